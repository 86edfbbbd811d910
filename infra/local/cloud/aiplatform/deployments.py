"""EndpointService deployments: deployModel, undeployModel, mutateDeployedModel, and the operations behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from infra.local.cloud.aiplatform import resources as rules
from infra.local.cloud.aiplatform.accounting import Accounting, replicas
from infra.local.cloud.aiplatform.context import ENDPOINTS, Api, check_required, generic_operation, response
from infra.local.cloud.aiplatform.endpoints import Endpoints, check_traffic
from infra.local.cloud.aiplatform.fleet import Fleet
from infra.local.cloud.aiplatform.messages import MESSAGES
from infra.local.cloud.aiplatform.models import check_act_as
from infra.local.cloud.aiplatform.names import (
    DEPLOYED_MODEL_ID,
    Scope,
    display_name_faults,
    found_errors,
    new_number,
    parse_model,
)
from infra.local.cloud.aiplatform.registry import Registry
from infra.local.cloud.errors import GoogleError, already_exists, failed_precondition, not_found
from infra.local.cloud.operations import Kind, Operation
from infra.local.container.contract import LogLine

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]

#: Stages of a deployment in order; names are DeploymentStage's. Each lasts the configured stage time.
STAGES = (
    "STARTING_DEPLOYMENT",
    "PREPARING_MODEL",
    "CREATING_SERVING_CLUSTER",
    "ADDING_NODES_TO_CLUSTER",
    "GETTING_CONTAINER_IMAGE",
    "STARTING_MODEL_SERVER",
    "FINISHING_UP",
)


class Deployments:
    """What is deployed on endpoints."""

    def __init__(
        self, cloud: Cloud, endpoints: Endpoints, registry: Registry, fleet: Fleet, accounting: Accounting
    ) -> None:
        self.cloud, self.endpoints, self.registry = cloud, endpoints, registry
        self.fleet, self.accounting = fleet, accounting
        cloud.operations.register(
            "deployModel",
            Kind(
                on_finish=self._deployed,
                on_stage=self._stage,
                on_failure=self._abandon,
                done_stage="SUCCESSFULLY_DEPLOYED",
                failed_stage="FAILED_TO_DEPLOY",
            ),
        )
        cloud.operations.register("undeployModel", Kind(on_finish=self._undeployed, cancellable=False))
        cloud.operations.register("mutateDeployedModel", Kind(on_finish=self._mutated))
        cloud.on_summary("deployedModels", self._summary)

    def _summary(self) -> list[str]:
        return [
            f"{name}/deployedModels/{deployed}"
            for name, document in self.cloud.store.items(ENDPOINTS)
            for deployed in document["deployedModels"]
        ]

    # deployModel -----------------------------------------------------------------------------------------------

    def deploy(self, api: Api) -> Json:
        """`endpoints.deployModel`."""
        request = api.body("DeployModelRequest")
        scope, document = self._endpoint(api, "aiplatform.endpoints.deploy")
        if "deployedModel" not in request:
            raise found_errors([("deployed_model", "Required field is not set.")])
        deployed = self._checked(api, scope, request["deployedModel"])
        name, version, model = self.registry.find(parse_model(deployed["model"], "deployed_model.model"))
        dedicated = rules.check(deployed, name, scope)
        if model["containerSpec"].get("invokeRoutePrefix") and not document.get("dedicatedEndpointEnabled"):
            raise failed_precondition(
                f"Model {name} sets invoke_route_prefix and can only be deployed to a dedicated endpoint."
            )
        if deployed.get("serviceAccount"):
            check_act_as(api, scope, deployed["serviceAccount"])
        deployed_id = self._free_id(document, deployed.get("id", ""))
        split = {
            deployed_id if key == "0" else key: value
            for key, value in request.get("trafficSplit", {}).items()
        }
        check_traffic(split, {*document["deployedModels"], deployed_id})
        flag = deployed.get("enableContainerLogging", False)
        deployed |= {
            "id": deployed_id,
            "model": name,
            "modelVersionId": version,
            "displayName": deployed.get("displayName") or model["displayName"],
            "createTime": self.cloud.clock.timestamp(),
            "dedicatedResources": dedicated,
            # v1beta1 sends container logs only when asked to; v1 unless asked not to.
            "_logging": bool(flag)
            if api.version == "v1beta1"
            else not deployed.get("disableContainerLogging"),
        }
        args = {
            "endpoint": document["name"],
            "deployed": deployed,
            "split": split,
            "version": scope.version,
            "granted": False,
            "stocked": False,
        }
        metadata = generic_operation(api.messages, "DeployModelOperationMetadata")
        return self.cloud.operations.create(
            document["name"], metadata, kind="deployModel", args=args, stages=STAGES
        )

    def _endpoint(self, api: Api, permission: str) -> tuple[Scope, Json]:
        endpoint_id = api.call.path["endpoint"]
        scope = api.enter(permission, f"endpoints/{endpoint_id}")
        return scope, self.endpoints.document(scope.endpoint(endpoint_id))

    def _checked(self, api: Api, scope: Scope, given: Json) -> Json:
        """The requested deployed model less what only the service sets, with nothing required missing."""
        deployed = api.messages.without_output_only("DeployedModel", given)
        resources = deployed.get("dedicatedResources", {})
        skip = (
            ("deployed_model.dedicated_resources.min_replica_count",)
            if "scaleToZeroSpec" in resources
            else ()
        )
        check_required(api, "DeployedModel", deployed, "deployed_model", skip)
        faults = display_name_faults(deployed, "deployed_model")
        if "model" not in deployed:
            faults.append(("deployed_model.model", "Required field is not set."))
        if deployed.get("id") and not DEPLOYED_MODEL_ID.fullmatch(deployed["id"]):
            faults.append(
                (
                    "deployed_model.id",
                    "This value should be 1-10 characters, and valid characters are /[0-9]/.",
                )
            )
        if faults:
            raise found_errors(faults)
        return deployed

    def _free_id(self, document: Json, wanted: str) -> str:
        """The chosen id, or one of the service's.

        Raises:
            GoogleError: ALREADY_EXISTS when a model is deployed, or being deployed, under it.
        """
        name = document["name"]
        if wanted in document["deployedModels"]:
            raise already_exists(f"DeployedModel {wanted} already exists in Endpoint `{name}`.")
        for operation in self.endpoints.deploying(name):
            if operation.args["deployed"]["id"] == wanted:
                raise already_exists(
                    f"DeployedModel {wanted} is already being deployed to Endpoint `{name}` by operation "
                    f"{operation.name}."
                )
        return wanted or new_number()

    async def _stage(self, operation: Operation, stage: str) -> None:
        args = operation.args
        resources = args["deployed"]["dedicatedResources"]
        _, number, _, region, _, _ = args["endpoint"].split("/")
        count = replicas(resources)
        if stage == "STARTING_DEPLOYMENT" and not args["granted"]:
            self.accounting.check(number, region, resources, count, operation.name)
            args["granted"] = True
        elif stage == "ADDING_NODES_TO_CLUSTER" and not args["stocked"]:
            machine, accelerator, wanted = _stock(resources)
            if not self.cloud.capacity.take(region, machine, accelerator, wanted):
                raise rules.stock_out(machine, accelerator)
            args["stocked"] = True
            self.accounting.starts(f"{args['endpoint']}/{args['deployed']['id']}", resources)
        elif stage == "STARTING_MODEL_SERVER":
            await self.fleet.start(args["endpoint"], args["deployed"])

    async def _deployed(self, operation: Operation) -> Json:
        args = operation.args
        deployed = args["deployed"]
        document = self.endpoints.document(args["endpoint"])
        if deployed["id"] not in document["deployedModels"]:
            ready = int(deployed["dedicatedResources"].get("minReplicaCount", 0))
            deployed["status"] = {
                "availableReplicaCount": ready,
                "lastUpdateTime": self.cloud.clock.timestamp(),
            }
            document["deployedModels"][deployed["id"]] = deployed
            if args["split"]:
                check_traffic(args["split"], set(document["deployedModels"]))
                document["trafficSplit"] = args["split"]
            self.endpoints.save(document)
        return response(MESSAGES[args["version"]], "DeployModelResponse", {"deployedModel": deployed})

    async def _abandon(self, operation: Operation, error: GoogleError) -> None:
        """Nothing of a failed deployment stays but its log: no container, no replica, no entry."""
        args = operation.args
        self.fleet.write(args["endpoint"], args["deployed"], [LogLine("ERROR", line) for line in error.lines])
        await self.fleet.stop(f"{args['endpoint']}/{args['deployed']['id']}")
        self._return_stock(args["endpoint"], args["deployed"], args["stocked"])
        if args["stocked"]:
            self.accounting.ends(f"{args['endpoint']}/{args['deployed']['id']}")
        args["stocked"] = args["granted"] = False

    def _return_stock(self, endpoint: str, deployed: Json, taken: bool) -> None:
        if taken:
            machine, accelerator, count = _stock(deployed["dedicatedResources"])
            self.cloud.capacity.give_back(endpoint.split("/")[3], machine, accelerator, count)

    # undeployModel ---------------------------------------------------------------------------------------------

    async def undeploy(self, api: Api) -> Json:
        """`endpoints.undeployModel`; of a model that is still being deployed, it ends the deployment."""
        request = api.body("UndeployModelRequest")
        scope, document = self._endpoint(api, "aiplatform.endpoints.undeploy")
        deployed_id = request.get("deployedModelId", "")
        if not deployed_id:
            raise found_errors([("deployed_model_id", "Required field is not set.")])
        name = document["name"]
        for operation in self.endpoints.deploying(name):
            if operation.args["deployed"]["id"] == deployed_id:
                await self.cloud.operations.cancel(operation.name)
                return self._undeploy_operation(api, scope, name, deployed_id)
        if deployed_id not in document["deployedModels"]:
            raise not_found(f"DeployedModel {deployed_id} is not found in Endpoint `{name}`.")
        for operation in self.cloud.operations.running(f"{name}/operations/", "undeployModel"):
            if operation.args["id"] == deployed_id:
                raise failed_precondition(
                    f"DeployedModel {deployed_id} of Endpoint `{name}` is already being undeployed by operation "
                    f"{operation.name}."
                )
        others = set(document["deployedModels"]) - {deployed_id}
        split = request.get("trafficSplit") or document.get("trafficSplit", {})
        if request.get("trafficSplit"):
            check_traffic(split, set(document["deployedModels"]))
        if others and split.get(deployed_id, 0) > 0:
            raise failed_precondition(
                f"DeployedModel {deployed_id} of Endpoint `{name}` has {split[deployed_id]}% of the traffic. Assign "
                "its traffic to other DeployedModels, with traffic_split in this request or with endpoints.patch, "
                "before undeploying it."
            )
        remaining = {key: value for key, value in split.items() if key != deployed_id} if others else {}
        if remaining != document.get("trafficSplit", {}):
            document["trafficSplit"] = remaining
            self.endpoints.save(document)
        return self._undeploy_operation(api, scope, name, deployed_id)

    def _undeploy_operation(self, api: Api, scope: Scope, name: str, deployed_id: str) -> Json:
        metadata = generic_operation(api.messages, "UndeployModelOperationMetadata")
        args = {"endpoint": name, "id": deployed_id, "version": scope.version}
        return self.cloud.operations.create(name, metadata, kind="undeployModel", args=args)

    async def _undeployed(self, operation: Operation) -> Json:
        args = operation.args
        await self.fleet.stop(f"{args['endpoint']}/{args['id']}")
        document = self.cloud.store.get(ENDPOINTS, args["endpoint"])
        if document is not None and args["id"] in document["deployedModels"]:
            deployed = document["deployedModels"].pop(args["id"])
            split = {
                key: value for key, value in document.get("trafficSplit", {}).items() if key != args["id"]
            }
            document["trafficSplit"] = split if document["deployedModels"] else {}
            self.endpoints.save(document)
            self._return_stock(args["endpoint"], deployed, True)
            self.accounting.ends(f"{args['endpoint']}/{args['id']}")
        return response(MESSAGES[args["version"]], "UndeployModelResponse", {})

    # mutateDeployedModel ---------------------------------------------------------------------------------------

    def mutate(self, api: Api) -> Json:
        """`endpoints.mutateDeployedModel`: replica counts, autoscaling metrics, container logging."""
        request = api.body("MutateDeployedModelRequest")
        scope, document = self._endpoint(api, "aiplatform.endpoints.deploy")
        given = request.get("deployedModel", {})
        deployed_id = given.get("id", "")
        if not deployed_id:
            raise found_errors([("deployed_model.id", "Required field is not set.")])
        if not request.get("updateMask"):
            raise found_errors([("update_mask", "Required field is not set.")])
        name = document["name"]
        if deployed_id not in document["deployedModels"]:
            raise not_found(f"DeployedModel {deployed_id} is not found in Endpoint `{name}`.")
        for operation in self.cloud.operations.running(f"{name}/operations/"):
            if (
                operation.kind in {"mutateDeployedModel", "undeployModel"}
                and operation.args["id"] == deployed_id
            ):
                raise failed_precondition(
                    f"There are other operations running on DeployedModel {deployed_id} of Endpoint `{name}`: "
                    f"{operation.name}."
                )
        current = document["deployedModels"][deployed_id]
        changed = rules.mutated(api.messages, current, given, request["updateMask"])
        args = {
            "endpoint": name,
            "id": deployed_id,
            "resources": rules.check(changed, current["model"], scope),
            "logging": {key: changed.get(key) for key in rules.LOGGING_FIELDS if key in changed},
            "sends_logs": rules.sends_logs(changed, current, request["updateMask"]),
            "version": scope.version,
        }
        metadata = generic_operation(api.messages, "MutateDeployedModelOperationMetadata")
        return self.cloud.operations.create(name, metadata, kind="mutateDeployedModel", args=args)

    async def _mutated(self, operation: Operation) -> Json:
        args = operation.args
        document = self.endpoints.document(args["endpoint"])
        current = document["deployedModels"].get(args["id"])
        if current is None:
            raise failed_precondition(f"DeployedModel {args['id']} was undeployed.")
        _, number, _, region, _, _ = args["endpoint"].split("/")
        before, after = replicas(current["dedicatedResources"]), replicas(args["resources"])
        if after > before:
            self.accounting.check(
                number, region, args["resources"], after, f"{args['endpoint']}/{args['id']}"
            )
        self._restock(region, current["dedicatedResources"], args["resources"])
        current["dedicatedResources"] = args["resources"]
        self.accounting.starts(f"{args['endpoint']}/{args['id']}", args["resources"])
        current |= args["logging"]
        current["_logging"] = args["sends_logs"]
        ready = int(args["resources"].get("minReplicaCount", 0))
        current["status"] = {"availableReplicaCount": ready, "lastUpdateTime": self.cloud.clock.timestamp()}
        self.endpoints.save(document)
        return response(MESSAGES[args["version"]], "MutateDeployedModelResponse", {"deployedModel": current})

    def _restock(self, region: str, old: Json, new: Json) -> None:
        machine, accelerator, before = _stock(old)
        after = _stock(new)[2]
        if after > before and not self.cloud.capacity.take(region, machine, accelerator, after - before):
            raise rules.stock_out(machine, accelerator)
        if after < before:
            self.cloud.capacity.give_back(region, machine, accelerator, before - after)


def _stock(resources: Json) -> tuple[str, str, int]:
    """(machine type, accelerator type, machines) that start at once: the smallest number of replicas."""
    spec = resources["machineSpec"]
    count = max(int(resources.get("minReplicaCount", 0)), int(resources.get("initialReplicaCount", 0)), 0)
    return spec["machineType"], spec.get("acceleratorType", ""), count

"""EndpointService without deployments: create, get, list, patch, update (long-running), delete."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infra.local.cloud import strict
from infra.local.cloud.aiplatform import masks
from infra.local.cloud.aiplatform.container_spec import seconds
from infra.local.cloud.aiplatform.context import (
    EMPTY_RESPONSE,
    ENDPOINTS,
    Api,
    check_etag,
    check_required,
    generic_operation,
    make_etag,
    response,
)
from infra.local.cloud.aiplatform.filters import Fields, page
from infra.local.cloud.aiplatform.messages import MESSAGES
from infra.local.cloud.aiplatform.names import (
    ENDPOINT_ID,
    Fault,
    Scope,
    display_name_faults,
    found_errors,
    label_faults,
    new_number,
)
from infra.local.cloud.errors import already_exists, failed_precondition, invalid, not_found
from infra.local.cloud.operations import Kind, Operation

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]

#: What `endpoints.patch` can change; a new value needs no new deployment.
_MUTABLE = frozenset(
    {
        "displayName", "description", "labels", "trafficSplit", "predictRequestResponseLoggingConfig",
        "clientConnectionConfig", "privateServiceConnectConfig", "genAiAdvancedFeaturesConfig",
    }
)  # fmt: skip
#: Longest inference timeout of a dedicated endpoint, in seconds (documentation, choose an endpoint type).
MAX_INFERENCE_TIMEOUT = 3600.0

_FIELDS = Fields(
    values={
        "endpoint": lambda item: str(item["name"]).rpartition("/")[2],
        "displayName": lambda item: str(item.get("displayName", "")),
        "baseModelName": lambda item: "",
    },
    operators={"endpoint": ("=", "!="), "displayName": ("=", "!="), "baseModelName": ("=",)},
    order=("displayName", "createTime", "updateTime"),
)


class Endpoints:
    """The endpoints of every project and location."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.operations.register("createEndpoint", Kind(on_finish=self._created))
        cloud.operations.register("updateEndpoint", Kind(on_finish=self._updated, cancellable=False))
        cloud.operations.register("deleteEndpoint", Kind(on_finish=self._deleted, cancellable=False))
        cloud.on_summary("endpoints", lambda: [name for name, _ in cloud.store.items(ENDPOINTS)])

    def document(self, name: str) -> Json:
        """The stored endpoint: its message, with `deployedModels` as a map by id, and `revision`.

        Raises:
            GoogleError: NOT_FOUND.
        """
        found = self.cloud.store.get(ENDPOINTS, name)
        if found is None:
            raise not_found(f"Endpoint `{name}` not found.")
        return found

    def save(self, document: Json) -> None:
        """Stores a changed endpoint with a new etag and update time."""
        document["revision"] += 1
        document["updateTime"] = self.cloud.clock.timestamp()
        self.cloud.store.put(ENDPOINTS, document["name"], document)

    def deploying(self, name: str) -> list[Operation]:
        """Deployments to the endpoint that have not ended."""
        return list(self.cloud.operations.running(f"{name}/operations/", "deployModel"))

    def shape(self, document: Json, *, all_states: bool = False) -> Json:
        """An endpoint as answers show it; with `all_states` the models that are being deployed too."""
        shaped = {key: value for key, value in document.items() if key != "revision"}
        shaped["etag"] = make_etag(document["name"], document["revision"])
        shaped["deployedModels"] = list(document["deployedModels"].values())
        if all_states:
            shaped["deployedModels"] += [
                operation.args["deployed"] for operation in self.deploying(document["name"])
            ]
        return shaped

    # Methods ---------------------------------------------------------------------------------------------------

    def create(self, api: Api) -> Json:
        """`endpoints.create`."""
        endpoint = api.body("Endpoint", "endpoint")
        query = api.query("CreateEndpointRequest")
        scope = api.enter("aiplatform.endpoints.create")
        endpoint = api.messages.without_output_only("Endpoint", endpoint)
        check_required(api, "Endpoint", endpoint, "endpoint", skip=("endpoint.name",))
        faults = _faults(endpoint)
        endpoint_id = query.get("endpointId", "")
        if endpoint_id and not ENDPOINT_ID.fullmatch(endpoint_id):
            faults.append(
                (
                    "endpoint_id",
                    "If the first character is a letter, this value may be up to 63 characters, and valid characters "
                    "are [a-z0-9-]. The last character must be a letter or number. If the first character is a number, "
                    "this value may be up to 9 characters, and valid characters are [0-9] with no leading zeros.",
                )
            )
        if endpoint.get("dedicatedEndpointEnabled") and "network" in endpoint:
            faults.append(("endpoint.network", "A dedicated endpoint cannot be peered with a network."))
        if faults:
            raise found_errors(faults)
        check_traffic(endpoint.get("trafficSplit", {}), set())
        endpoint_id = endpoint_id or new_number()
        name = scope.endpoint(endpoint_id)
        if self.cloud.operations.running(f"{name}/", "createEndpoint") or self.cloud.store.get(
            ENDPOINTS, name
        ):
            raise already_exists(f"Endpoint `{name}` already exists.")
        endpoint.pop("etag", None)
        endpoint["name"] = name
        if endpoint.get("dedicatedEndpointEnabled"):
            endpoint["dedicatedEndpointDns"] = dedicated_dns(scope, endpoint_id)
        metadata = generic_operation(api.messages, "CreateEndpointOperationMetadata")
        args = {"endpoint": endpoint, "version": scope.version}
        return self.cloud.operations.create(name, metadata, kind="createEndpoint", args=args)

    async def _created(self, operation: Operation) -> Json:
        endpoint = operation.args["endpoint"]
        document = self.cloud.store.get(ENDPOINTS, endpoint["name"])
        if document is None:
            document = {
                **endpoint,
                "createTime": self.cloud.clock.timestamp(),
                "deployedModels": {},
                "revision": 0,
            }
            self.save(document)
        return response(MESSAGES[operation.args["version"]], "Endpoint", self.shape(document))

    def get(self, api: Api) -> Json:
        """`endpoints.get`; `allDeploymentStates=true` also shows models that are being deployed."""
        api.query("GetEndpointRequest", "allDeploymentStates")
        endpoint_id = api.call.path["endpoint"]
        scope = api.enter("aiplatform.endpoints.get", f"endpoints/{endpoint_id}")
        document = self.document(scope.endpoint(endpoint_id))
        all_states = strict.boolean(api.call.query, "allDeploymentStates")
        answer = api.answer("Endpoint", self.shape(document, all_states=all_states))
        if all_states:
            # Documented for REST, absent from the protos: the state of each deployed model.
            for deployed in answer.get("deployedModels", []):
                deployed["state"] = (
                    "DEPLOYED" if deployed["id"] in document["deployedModels"] else "BEING_DEPLOYED"
                )
        return answer

    def list_endpoints(self, api: Api) -> Json:
        """`endpoints.list`."""
        query = api.query("ListEndpointsRequest", "gdcZone", "orderBy", "order_by")
        scope = api.enter("aiplatform.endpoints.list")
        query["orderBy"] = api.call.query.get("orderBy") or api.call.query.get("order_by") or ""
        chosen = masks.paths(query.get("readMask", ""), api.messages.descriptor("Endpoint"), "read_mask")
        documents = [
            document for _, document in self.cloud.store.items(ENDPOINTS, f"{scope.parent}/endpoints/")
        ]
        items, token = page([self.shape(document) for document in documents], query, _FIELDS)
        rendered = [masks.select(api.answer("Endpoint", item), chosen) for item in items]
        return {
            **({"endpoints": rendered} if rendered else {}),
            **({"nextPageToken": token} if token else {}),
        }

    def patch(self, api: Api) -> Json:
        """`endpoints.patch`: synchronous; `updateMask` is required."""
        endpoint = api.body("Endpoint", "endpoint")
        query = api.query("UpdateEndpointRequest")
        endpoint_id = api.call.path["endpoint"]
        scope = api.enter("aiplatform.endpoints.update", f"endpoints/{endpoint_id}")
        document = self.document(scope.endpoint(endpoint_id))
        paths = masks.paths(query.get("updateMask", ""), api.messages.descriptor("Endpoint"), "update_mask")
        if not paths:
            raise found_errors([("update_mask", "Required field is not set.")])
        paths = sorted(_MUTABLE) if paths == ["*"] else paths
        wrong = [path for path in paths if path.split(".")[0] not in _MUTABLE]
        if wrong:
            raise found_errors([("update_mask", f"Field {path!r} cannot be updated.") for path in wrong])
        if "displayName" in paths and not endpoint.get("displayName"):
            raise found_errors([("endpoint.display_name", "Required field is not set.")])
        faults = _faults({**document, **endpoint})
        if faults:
            raise found_errors(faults)
        check_etag(endpoint.get("etag", ""), make_etag(document["name"], document["revision"]))
        for path in paths:
            masks.write(document, path, masks.read(endpoint, path))
        if any(path.split(".")[0] == "trafficSplit" for path in paths):
            check_traffic(document.get("trafficSplit", {}), set(document["deployedModels"]))
        self.save(document)
        return api.answer("Endpoint", self.shape(document))

    def update(self, api: Api) -> Json:
        """`endpoints.update`: long-running; only `clientConnectionConfig` may differ."""
        request = api.body("UpdateEndpointLongRunningRequest")
        endpoint_id = api.call.path["endpoint"]
        scope = api.enter("aiplatform.endpoints.update", f"endpoints/{endpoint_id}")
        document = self.document(scope.endpoint(endpoint_id))
        endpoint = api.messages.without_output_only("Endpoint", request.get("endpoint", {}))
        ignored = {"name", "etag", "clientConnectionConfig"}
        other = [key for key, value in endpoint.items() if key not in ignored and document.get(key) != value]
        if other:
            raise invalid(
                f"Only client_connection_config can be updated, but the request changes {', '.join(other)}."
            )
        faults = _faults({**document, **endpoint})
        if faults:
            raise found_errors(faults)
        metadata = generic_operation(api.messages, "UpdateEndpointOperationMetadata")
        args = {
            "name": document["name"],
            "config": endpoint.get("clientConnectionConfig"),
            "version": scope.version,
        }
        return self.cloud.operations.create(document["name"], metadata, kind="updateEndpoint", args=args)

    async def _updated(self, operation: Operation) -> Json:
        document = self.document(operation.args["name"])
        masks.write(document, "clientConnectionConfig", operation.args["config"])
        self.save(document)
        return response(MESSAGES[operation.args["version"]], "Endpoint", self.shape(document))

    def delete(self, api: Api) -> Json:
        """`endpoints.delete`: refused while models are deployed or being deployed."""
        api.query("DeleteEndpointRequest")
        endpoint_id = api.call.path["endpoint"]
        scope = api.enter("aiplatform.endpoints.delete", f"endpoints/{endpoint_id}")
        name = scope.endpoint(endpoint_id)
        self.document(name)
        self._check_empty(name)
        metadata = generic_operation(api.messages, "DeleteOperationMetadata")
        return self.cloud.operations.create(name, metadata, kind="deleteEndpoint", args={"name": name})

    def _check_empty(self, name: str) -> None:
        document = self.cloud.store.get(ENDPOINTS, name)
        present = list(document["deployedModels"]) if document else []
        present += [operation.args["deployed"]["id"] for operation in self.deploying(name)]
        if present:
            raise failed_precondition(
                f"Endpoint `{name}` has deployed or being-deployed DeployedModel(s) {', '.join(present)}. "
                "Please undeploy them before deleting the Endpoint."
            )

    async def _deleted(self, operation: Operation) -> Json:
        self._check_empty(operation.args["name"])
        self.cloud.store.delete(ENDPOINTS, operation.args["name"])
        return dict(EMPTY_RESPONSE)


def dedicated_dns(scope: Scope, endpoint_id: str) -> str:
    """The host of a dedicated endpoint."""
    return f"{endpoint_id}.{scope.location}-{scope.project.number}.prediction.vertexai.goog"


def check_traffic(split: Mapping[str, int], deployed: set[str]) -> None:
    """A traffic split is empty, or sums to 100 over deployed models.

    Raises:
        GoogleError: INVALID_ARGUMENT for the numbers, FAILED_PRECONDITION for ids that are not deployed.
    """
    if not split:
        return
    wrong = {key: value for key, value in split.items() if not 0 <= value <= 100}
    if wrong:
        raise found_errors(
            [
                ("traffic_split", f"Traffic of {key} is {value}; it must be between 0 and 100.")
                for key, value in wrong.items()
            ]
        )
    total = sum(split.values())
    if total != 100:
        raise found_errors(
            [
                (
                    "traffic_split",
                    f"The traffic percentage values must add up to 100, but they add up to {total}.",
                )
            ]
        )
    unknown = [key for key in split if key not in deployed]
    if unknown:
        raise failed_precondition(f"The following DeployedModel ID(s) [{', '.join(unknown)}] do not exist.")


def _faults(endpoint: Mapping[str, Any]) -> list[Fault]:
    faults = display_name_faults(endpoint, "endpoint") + label_faults(endpoint, "endpoint")
    config = endpoint.get("clientConnectionConfig", {})
    if "inferenceTimeout" in config:
        timeout = seconds(config["inferenceTimeout"])
        if not 0 < timeout <= MAX_INFERENCE_TIMEOUT:
            faults.append(
                (
                    "endpoint.client_connection_config.inference_timeout",
                    f"Invalid timeout {timeout:g}s: it must be more than 0s and at most {MAX_INFERENCE_TIMEOUT:g}s.",
                )
            )
        private = endpoint.get("privateServiceConnectConfig", {}).get("enablePrivateServiceConnect")
        if not endpoint.get("dedicatedEndpointEnabled") and not private:
            faults.append(
                (
                    "endpoint.client_connection_config",
                    "The inference timeout can only be set for dedicated or Private Service Connect endpoints.",
                )
            )
    sampling = endpoint.get("predictRequestResponseLoggingConfig", {}).get("samplingRate")
    if sampling is not None and not 0 < sampling <= 1:
        faults.append(
            (
                "endpoint.predict_request_response_logging_config.sampling_rate",
                f"Invalid rate {sampling}: it must be in (0, 1].",
            )
        )
    return faults

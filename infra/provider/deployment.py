"""The resource Deployment: a model that serves on an endpoint, on machines of its own.

Replicas, autoscaling and the share of the traffic change in place. Any other change deploys the new model beside the
old one, asks it, hands the traffic over (`roll`), then undeploys the old one; if the new one fails, the old one goes on
serving. Where the quota holds only one of them, or the inputs say so, the old one goes first (`replacement`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from infra import expiry
from infra.metrics import DUTY_CYCLE, METRICS
from infra.plugin import UNKNOWN, Check, Context, Diff, PartialFailure, Resource, ResourceError, State
from infra.plugin.resource import Properties
from infra.provider import projects, traffic
from infra.provider.connect import Connector
from infra.provider.deployed import SCALING, Plan, find, fixed_of, from_api, plan_of, same_model, scaling_of
from infra.provider.failures import ApiError, Request, classify, redact, remedy
from infra.provider.fields import Failures, known
from infra.provider.inputs import DEFAULT_WAIT, DEPLOYMENT, LONGEST_START
from infra.provider.living import Living
from infra.provider.names import deployed_model_name, endpoint_name, same, still_in_project
from infra.provider.retry import Interrupted
from infra.provider.schemas import resource_schema
from infra.provider.traffic import NoShare

_DEPLOYING, _MOVING, _SCALING = "deploying", "moving traffic", "changing replicas"
"""What is saved of a deployment that is not as it should be, so that the next run knows where to go on."""

if TYPE_CHECKING:
    from infra.provider.vertex import Vertex


_NOT_YET = (
    "Deployed model {} is not there yet: its deployment goes on at Google (operation {}). "
    "`pulumi up` waits for it."
)


class Deployment(Resource):
    """vertexserving:index:Deployment."""

    token: ClassVar[str] = "vertexserving:index:Deployment"

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._living = Living()
        self._regranted: set[str] = set()  # URNs that get another service account in this run

    def check(self, ctx: Context, olds: Properties, news: Properties) -> Check:
        """Validates the inputs and fills in the defaults: one replica, no autoscaling, half an hour of patience."""
        self._living.checked(ctx.urn)
        failures = Failures(news)
        DEPLOYMENT.check("", news, failures)
        if not failures.found():
            _check_together(news, failures)
        found = failures.found()
        if found:
            return Check(news, found)
        inputs = {key: value for key, value in news.items() if value is not None}
        least = inputs.setdefault("minReplicaCount", 1)
        most = inputs.setdefault("maxReplicaCount", least)
        inputs.setdefault("deployRequestTimeoutSeconds", DEFAULT_WAIT)
        metrics = inputs.get("autoscalingMetricSpecs")
        if metrics is not UNKNOWN and metrics and known(least) and least == most:
            ctx.warn(
                f"autoscalingMetricSpecs has no effect while minReplicaCount and maxReplicaCount are both {least}: "
                "raise maxReplicaCount or leave the metrics out."
            )
        return Check(inputs)

    def diff(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Diff:
        """Replicas, autoscaling and traffic change in place, everything else replaces the deployment.

        Where a replacement is due, `replacement` says how, and may look at the quota that is left.

        How long to wait, how long it is wanted and how to roll are no properties of what is deployed: a change of them
        alone changes nothing. A preview and an up come here for every deployment that stays, so the warning of its end
        does.
        """
        olds = old_inputs or state
        replaces = [key for key in ("project", "location") if news.get(key) != olds.get(key)]
        named = endpoint_name(id.partition("/deployedModels/")[0])
        if named and still_in_project(news.get("project"), olds.get("project"), named.project):
            replaces = [key for key in replaces if key != "project"]
        wanted, found = _comparable(fixed_of, news), _comparable(fixed_of, olds)
        del wanted["displayName"]  # it cannot be changed, and is not worth another GPU
        for key, value in wanted.items():
            if key == "endpoint":
                equal = same(_endpoint(news), _endpoint(olds))
            elif key == "model":
                equal = same_model(_text(news, key), _text(olds, key))
            else:
                equal = value == found[key]
            if not equal:
                replaces.append(key)
        new_scaling, old_scaling = _comparable(scaling_of, news), _comparable(scaling_of, olds)
        changed = [key for key in SCALING if new_scaling[key] != old_scaling[key]]
        if news.get("trafficPercent") != olds.get("trafficPercent"):
            changed.append("trafficPercent")
        if "serviceAccount" in replaces:
            self._regranted.add(ctx.urn)
        if not replaces:
            if self._living.stays(ctx.urn, id):  # a refresh would warn a second time
                ending = expiry.warning(str(news.get("expiry") or ""), _created(state), datetime.now(UTC))
                if ending:
                    ctx.warn(ending)
            # A refresh takes the engine's mark of an unfinished resource away, not the operation nor the status.
            unfinished = state.get("operation") or state.get("status") in (_DEPLOYING, _MOVING)
            return Diff(bool(changed or unfinished), (), tuple(changed))
        first = False
        if self._living.of_program(ctx.urn):  # a refresh replaces nothing
            from infra.provider.replacement import goes_first

            first = goes_first(ctx, *(deployed_model_name(id) or ("", "")), olds, news)
        return Diff(True, tuple(replaces), tuple(changed), delete_before_replace=first)

    def create(self, ctx: Context, inputs: Properties) -> State:
        """Deploys the model, or adopts the deployment that an interrupted run made or began."""
        return self._settle(ctx, inputs, plan_of(inputs, timeout=ctx.timeout), None, None, unfinished=False)

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        """Changes replicas, autoscaling and traffic; first finishes, or repeats, a roll that did not end."""
        _, deployed_id = _parts(id)
        plan = plan_of(news, deployed_id, ctx.timeout)
        unfinished = state.get("status") in (_DEPLOYING, _MOVING)
        return self._settle(ctx, news, plan, state.get("operation"), id, unfinished=unfinished)

    def read(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> State | None:
        """The deployment as it is, or None when the model is not deployed any more."""
        from infra.provider.operations import running
        from infra.provider.roll import seen_share
        from infra.provider.rollout import DEPLOY, among_them

        name, deployed_id = _parts(id)
        parts = endpoint_name(name)
        assert parts is not None
        vertex = self._connector.connect(ctx, parts.location)
        try:
            operation = state.get("operation")  # first: see `rollout.undeploy`
            under_way = [operation] if operation and _under_way(vertex, operation) else []
            unseen = state.get("status") == _DEPLOYING and not under_way
            begun = running(vertex, name, DEPLOY) if unseen else []
            endpoint = vertex.get_endpoint(name)
            live = find(endpoint, deployed_id) if endpoint else None
            if endpoint is None or live is None:
                if endpoint and begun and among_them(vertex, name, endpoint, deployed_id) is not False:
                    under_way = begun
                if endpoint and under_way:
                    # Without an error of its own it would pass for deployed, and the next `up` would not wait for it.
                    raise PartialFailure(id, state, [_NOT_YET.format(deployed_id, under_way[0])], inputs)
                return None
            declared = seen_share(ctx, vertex, plan_of(inputs, deployed_id), endpoint) if inputs else None
            project = parts.project
            if "project" not in inputs:
                project = projects.spelling(ctx, parts, "endpoints", vertex.get_endpoint)
        except ApiError as e:
            raise _error("read", deployed_id, Request(parts.project, parts.location), e) from None
        except Interrupted:
            raise ResourceError(f"Interrupted while reading deployed model {deployed_id}.") from None
        if not traffic.share(endpoint, deployed_id) and traffic.others(endpoint, deployed_id):
            ctx.warn(
                f"Deployed model {deployed_id} gets no traffic (0 %) but bills its machines: endpoint {parts.id} sends "
                f"its requests to {', '.join(sorted(endpoint.get('trafficSplit') or {})) or 'nobody'}."
            )
        read = dict(inputs)
        read.setdefault("project", project)
        read.setdefault("location", parts.location)
        read.setdefault("endpoint", f"projects/{project}/locations/{parts.location}/endpoints/{parts.id}")
        found = from_api(live)
        if not same_model(_text(inputs, "model"), found["model"]):
            read["model"] = found["model"]
        here = {**fixed_of(inputs), **scaling_of(inputs)}
        for key, value in found.items():
            if key != "model" and (not inputs or value != here[key]):
                read[key] = value
        read["trafficPercent"] = declared
        read = {key: value for key, value in read.items() if value is not None}
        outputs = _outputs(read, endpoint, live)
        if state.get("status") in (_DEPLOYING, _MOVING):
            # What has not answered yet is asked by the next `up`, refreshed or not.
            outputs["status"] = _MOVING
        # Google's spelling of the project: the id of what create adopts has it too, see `Living`.
        return State(f"{endpoint['name']}/deployedModels/{deployed_id}", outputs, read)

    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        """Undeploys the model, moving its traffic to others on the endpoint if there are any."""
        from infra.provider import reports
        from infra.provider.operations import StillRunning
        from infra.provider.rollout import undeploy

        if id in self._living:
            ctx.info(f"{id} stays: what was to be undeployed is in use again, its content is the same.")
            return
        name, deployed_id = _parts(id)
        parts = endpoint_name(name)
        assert parts is not None
        vertex = self._connector.connect(ctx, parts.location)
        operation = state.get("operation")
        unseen = not operation and not state.get("createTime")
        limit = ctx.timeout or vertex.pace.undeploy + (LONGEST_START if operation or unseen else 0)
        try:
            undeploy(ctx, vertex, name, deployed_id, operation, limit, unseen=unseen)
        except StillRunning as e:
            raise ResourceError(
                f"Deployed model {deployed_id} is still there, and may bill: {reports.over(e)} while the operation "
                f"{e.operation} goes on at Google. Run the command again: it goes on from there."
            ) from None
        except Interrupted:
            raise ResourceError(
                f"Interrupted before deployed model {deployed_id} was undeployed: it may bill. Run the command again."
            ) from None
        except ApiError as e:
            raise _error("undeploy", deployed_id, Request(parts.project, parts.location), e) from None

    def schema(self) -> Mapping[str, Any]:
        """The entry in the package schema."""
        outputs = {
            "deployedModelId": "string",
            "dedicatedEndpointDns": "string",
            "createTime": "string",
            "traffic": "integer",
            "status": "string",
        }
        return resource_schema("A model that serves on an endpoint.", DEPLOYMENT, outputs)

    def _settle(
        self,
        ctx: Context,
        inputs: Properties,
        plan: Plan,
        operation: str | None,
        id: str | None,
        *,
        unfinished: bool,
    ) -> State:
        from infra.provider import reports
        from infra.provider.operations import StillRunning
        from infra.provider.roll import Roll, RollFailed, RollUnfinished, admit, no_share
        from infra.provider.rollout import DeployFailed, OthersDeployment, Rollout

        vertex = self._connector.connect(ctx, plan.endpoint.location)
        if ctx.urn in self._regranted:
            vertex.grants.made(time.time())
        rollout = Rollout(ctx, vertex, plan, lambda endpoint: admit(ctx, vertex, plan, endpoint))
        status = _DEPLOYING

        def partial(reason: str, under_way: str | None) -> PartialFailure:
            name = id or f"{rollout.endpoint.get('name') or plan.endpoint_name}/deployedModels/{plan.id}"
            self._living.add(name)
            outputs = {**inputs, "deployedModelId": plan.id, "operation": under_way, "status": status}
            return PartialFailure(name, outputs, [reason])

        try:
            live = rollout.ensure(operation)
            status = _MOVING
            reports.tell(ctx, plan, rollout.ended, adopted=id is None)
            rollout.others_end()
            roll = Roll(ctx, vertex, plan, rollout.endpoint)
            if id is None or unfinished or rollout.ended is not None:
                roll.run(new=unfinished or rollout.ended is not None)
            else:
                try:
                    roll.settle()
                except NoShare as e:  # what it serves, it goes on serving; replicas change all the same
                    ctx.warn(no_share(plan, e))
            rollout.endpoint = dict(roll.endpoint)
            status = _SCALING
            live = rollout.scale(live)
        except StillRunning as e:
            report = reports.unchanged if rollout.serving else reports.unfinished
            raise partial(report(e, plan), e.operation) from None
        except OthersDeployment as e:
            text = reports.waited(e.running, plan)
            # Its operation is in no state: a destroy would cancel what another stack deploys.
            kept = rollout.uncertain or id is not None
            raise (partial(text, None) if kept else ResourceError(text)) from None
        except DeployFailed as e:
            if rollout.begun:
                raise partial(reports.unwatched(plan, rollout.begun, e.error), rollout.begun) from None
            if not e.error.answered:
                raise partial(reports.unanswered(plan, e.error), None) from None
            raise ResourceError(reports.failed(ctx, vertex, plan, rollout, e)) from None
        except RollFailed as e:
            text, gone = reports.not_serving(ctx, vertex, plan, rollout, e)
            raise (ResourceError(text) if gone else partial(text, None)) from None
        except RollUnfinished as e:
            raise partial(reports.unproven(plan, roll.endpoint, e), None) from None
        except NoShare as e:
            raise (
                partial(no_share(plan, e), None) if id is None else ResourceError(no_share(plan, e))
            ) from None
        except ApiError as e:
            if rollout.begun:
                raise partial(reports.unwatched(plan, rollout.begun, e), rollout.begun) from None
            error = _error("change" if rollout.serving else "deploy", plan.id, plan.request, e)
            exists = rollout.uncertain or (rollout.serving and id is None)
            raise (partial(str(error), None) if exists else error) from None
        except Interrupted:
            if rollout.serving:
                text = reports.interrupted(plan)
                begun = id is None or (status == _MOVING and (unfinished or rollout.ended is not None))
                raise (partial(text, None) if begun else ResourceError(text)) from None
            if rollout.begun:
                raise partial(reports.unwatched(plan, rollout.begun, None), rollout.begun) from None
            if rollout.uncertain:
                raise partial(reports.unanswered(plan, None), None) from None
            raise ResourceError("Interrupted before the deployment began: nothing was deployed.") from None
        outputs = _outputs(inputs, rollout.endpoint, live)
        name = id or f"{rollout.endpoint['name']}/deployedModels/{plan.id}"
        self._living.add(name)
        if outputs["status"]:
            ctx.warn(f"Google says of deployed model {plan.id}: {outputs['status']}")
        return State(name, outputs)


def _check_together(news: Properties, failures: Failures) -> None:
    """What has to agree between inputs that are each right."""
    least, most = news.get("minReplicaCount", 1), news.get("maxReplicaCount")
    if known(least) and known(most) and most < least:
        failures(
            "maxReplicaCount", f"is {most}, less than minReplicaCount, {least}; raise it to {least} or more."
        )
    machine = news.get("machineSpec")
    accelerator = count = None
    if known(machine) and isinstance(machine, Mapping):
        accelerator, count = machine.get("acceleratorType"), machine.get("acceleratorCount")
        if accelerator is not None and count is None:
            failures("machineSpec.acceleratorCount", "is missing; say how many accelerators the machine has.")
        if count is not None and accelerator is None:
            failures("machineSpec.acceleratorType", f"is missing; say what the {count} accelerators are.")
    seen: set[str] = set()
    metrics = news.get("autoscalingMetricSpecs")
    for number, metric in enumerate(metrics if isinstance(metrics, list) else ()):
        if not isinstance(metric, Mapping) or not isinstance(metric.get("metricName"), str):
            continue
        path, name, target = f"autoscalingMetricSpecs[{number}]", metric["metricName"], metric.get("target")
        if name in seen:
            failures(f"{path}.metricName", f'"{name}" is there twice; keep one.')
        seen.add(name)
        if METRICS.get(name) and known(target) and isinstance(target, int) and target > 100:
            failures(f"{path}.target", f"is {target}, but this metric is a percentage; give 1 to 100.")
        if name == DUTY_CYCLE and known(machine) and accelerator is None:
            failures(
                f"{path}.metricName",
                "is about accelerators, and machineSpec has none; choose another metric.",
            )
    full = endpoint_name(news["endpoint"]) if isinstance(news.get("endpoint"), str) else None
    location = news.get("location")
    if full is not None and full.location and isinstance(location, str) and full.location != location:
        failures(
            "endpoint", f"is in {full.location}, but location is {location}; they must be the same region."
        )


def _created(state: Properties) -> datetime | None:
    """When the deployment of a state was made, as Google says it; None while that is not known."""
    try:
        found = datetime.fromisoformat(str(state.get("createTime") or "").replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _comparable(part: Any, inputs: Properties) -> dict[str, Any]:
    """A part of the inputs in comparable form, UNKNOWN where it is not known."""
    plain = {key: value for key, value in inputs.items() if value is not UNKNOWN}
    unknown = {key for key, value in inputs.items() if value is UNKNOWN}
    return {key: UNKNOWN if key in unknown else value for key, value in part(plain).items()}


def _endpoint(inputs: Properties) -> Any:
    text = inputs.get("endpoint")
    return (
        endpoint_name(text, inputs.get("project", ""), inputs.get("location", ""))
        if isinstance(text, str)
        else None
    )


def _text(inputs: Properties, key: str) -> str:
    """A property; empty where it is missing or not known yet."""
    text = inputs.get(key)
    return text if isinstance(text, str) else ""


def _parts(id: str) -> tuple[str, str]:
    parts = deployed_model_name(id)
    if parts is None:
        raise ResourceError(
            f"{id!r} is not the id of a deployment. Give "
            "projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT/deployedModels/ID, as "
            "`gcloud ai endpoints describe ENDPOINT --region LOCATION` shows its parts."
        )
    return parts


def _outputs(inputs: Mapping[str, Any], endpoint: Mapping[str, Any], live: Mapping[str, Any]) -> Properties:
    id = str(live["id"])
    return {
        **inputs,
        "deployedModelId": id,
        # Not None: what is not in the state is unknown to the program in every preview.
        "dedicatedEndpointDns": endpoint.get("dedicatedEndpointDns") or "",
        "createTime": live.get("createTime", ""),
        "traffic": traffic.share(endpoint, id),
        "status": (live.get("status") or {}).get("message") or None,
        "operation": None,
    }


def _under_way(vertex: Vertex, operation: str) -> bool:
    answer = vertex.operation(operation)
    return answer is not None and not answer.get("done")


def _error(doing: str, id: str, request: Request, error: ApiError) -> ResourceError:
    kind = classify(error)
    return ResourceError(
        f"Could not {doing} deployed model {id}: {kind.value}.\n"
        f"  Google's answer: {error.status}: {redact(error.message)}\n"
        f"  {remedy(kind, error.message, request)}"
    )

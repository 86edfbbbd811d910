"""What a user is told about a deployment: how it went, why it failed, what goes on without us."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.plugin import Context
from infra.provider import traffic
from infra.provider.deployed import Plan, scaling_of
from infra.provider.diagnosis import explained
from infra.provider.failures import ApiError, Kind, classify, redact, remedy
from infra.provider.logs import excerpt, last_lines, log_filter
from infra.provider.operations import Ended, StillRunning, duration, limit_of
from infra.provider.rest import Json
from infra.provider.retry import Interrupted
from infra.provider.roll import RollFailed, RollUnfinished
from infra.provider.rollout import DeployFailed, Rollout, undeploy
from infra.provider.vertex import Vertex


def tell(ctx: Context, plan: Plan, ended: Ended | None, *, adopted: bool) -> None:
    """The line that stays in the display of a deployed model that is there."""
    if ended is not None:
        stages = ", ".join(f"{stage} {_precise(seconds)}" for stage, seconds in ended.stages.items())
        ctx.info(f"deployed as {plan.id} in {_precise(ended.seconds)}{': ' + stages if stages else ''}")
    elif adopted:
        ctx.info(f"adopted deployed model {plan.id}, it was there already")


def _precise(seconds: float) -> str:
    """A time that is over: with tenths below ten seconds, as all of them are on the local cloud."""
    return f"{seconds:.1f}s" if seconds < 10 else duration(seconds)


def over(running: StillRunning) -> str:
    """Why a wait ended before the operation did."""
    return (
        "you interrupted the wait"
        if running.interrupted
        else f"the wait of {limit_of(running.limit)} is over"
    )


def unfinished(running: StillRunning, plan: Plan) -> str:
    """What is saved with a deployment that goes on at Google."""
    stage = f" at stage {running.stage}" if running.stage else ""
    return (
        f"The deployment of model {plan.model.id} on endpoint {plan.endpoint.id} goes on at Google{stage}, "
        f"{duration(running.seconds)} after it began, but {over(running)}.\n"
        "  It may bill. Run `pulumi up` again to go on waiting, or `pulumi destroy` to end it."
        f"{_longer(running, plan)}\n"
        f"  Operation: {running.operation}"
    )


def waited(running: StillRunning, plan: Plan) -> str:
    """What to say where another one's deployment on the endpoint took longer than the wait for it."""
    return (
        f"Model {plan.model.id} is not deployed yet: another deployment is under way on endpoint {plan.endpoint.id}, "
        f"and {over(running)}.\n  It is not this stack's, and goes on. Run `pulumi up` again when it has ended."
        f"{_longer(running, plan)}\n  Operation: {running.operation}"
    )


def unchanged(running: StillRunning, plan: Plan) -> str:
    """What is saved with a change of replicas that goes on at Google."""
    wanted = scaling_of(plan.inputs)
    least, most = wanted["minReplicaCount"], wanted["maxReplicaCount"]
    replicas = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"The change of deployed model {plan.id} on endpoint {plan.endpoint.id} to {replicas} "
        f"replica{'' if replicas == '1' else 's'} goes on at Google, {duration(running.seconds)} after it began, but "
        f"{over(running)}.\n"
        f"  The model serves meanwhile. Run `pulumi up` again to go on waiting.{_longer(running, plan)}\n"
        f"  Operation: {running.operation}"
    )


def interrupted(plan: Plan) -> str:
    """What to say when the user interrupted before a deployed model was changed."""
    return (
        f"Interrupted before deployed model {plan.id} on endpoint {plan.endpoint.id} had the traffic and the replicas "
        "asked for: it goes on as it was, and bills. Run `pulumi up` again to go on."
    )


def _longer(running: StillRunning, plan: Plan) -> str:
    if running.interrupted:
        return ""
    return f" To wait longer, raise deploy_request_timeout (now {plan.limit:.0f} s) in the stack file."


def unanswered(plan: Plan, error: ApiError | None) -> str:
    """What is saved when it is not known whether a deployment began."""
    why = f" ({error.message})" if error else ""
    return (
        f"Google did not answer the request to deploy model {plan.model.id} on endpoint {plan.endpoint.id}{why}: "
        "it may be under way, and bill.\n  Run `pulumi up` again: it looks first, and goes on with what is there."
    )


def unwatched(plan: Plan, operation: str, error: ApiError | None) -> str:
    """What is saved of a deployment that Google did not let us watch to its end, or that the user did not wait for.

    Args:
        plan: What was to be deployed.
        operation: The deployment.
        error: Why it could not be watched; None where the user interrupted.
    """
    why = "you interrupted the wait" if error is None else f"it cannot be watched: {classify(error).value}"
    lines = [f"The deployment of model {plan.model.id} on endpoint {plan.endpoint.id} began, but {why}."]
    if error is not None:
        seen = f"the deployment was last seen at {error.stage}" if error.stage else "no stage was seen yet"
        lines.append(f"Stage: watching the deployment; {seen}.")
        lines.append(f"Google's answer: {error.status}: {redact(error.message)}")
        lines.append(remedy(classify(error), error.message, plan.request))
    lines.append("It goes on, and may bill. `pulumi up` waits for it, `pulumi destroy` ends it.")
    lines.append(f"Operation: {operation}")
    return "\n  ".join(lines)


def failed(ctx: Context, vertex: Vertex, plan: Plan, rollout: Rollout, failure: DeployFailed) -> str:
    """The whole story of a failed deployment, after making sure that nothing of it is left."""
    error, ended = failure.error, failure.ended
    kind = classify(error)
    lines: list[str] = []
    text = [
        f"Vertex AI could not deploy model {plan.model.id} on endpoint {plan.endpoint.id}: {kind.value}.",
        f"Google's answer: {error.status}: {redact(error.message)}",
    ]
    if ended is not None:
        stage = f"Last stage: {ended.stage}, " if ended.stage else "It ended "
        text.append(f"{stage}{duration(ended.seconds)} after the start (operation {failure.operation})")
    else:
        text.append("Stage: the request to deploy; no deployment had begun.")
    in_container = kind in (Kind.CONTAINER, Kind.BUCKET, Kind.TRANSIENT, Kind.INVALID)
    if ended is not None and in_container:
        lines = _container_lines(ctx, vertex, plan, rollout.endpoint, ended.created, text)
    advice = explained(ctx, lines, redact(error.message)) if in_container else ""
    text.append(advice or remedy(kind, error.message, plan.request))
    text.append(_left_over(ctx, vertex, plan)[0])
    return "\n  ".join(text)


def not_serving(
    ctx: Context, vertex: Vertex, plan: Plan, rollout: Rollout, failure: RollFailed
) -> tuple[str, bool]:
    """The story of a deployed model that was healthy and did not serve, and whether it is gone.

    It is undeployed here: what served before has all its traffic again.
    """
    text = [
        f"Deployed model {plan.id} of model {plan.model.id} on endpoint {plan.endpoint.id} was taken away again: it "
        f"did not pass the {failure.stage}: {failure}."
    ]
    since = rollout.ended.created if rollout.ended else ""
    lines = _container_lines(ctx, vertex, plan, rollout.endpoint, since, text)
    found, gone = _left_over(ctx, vertex, plan)
    advice = explained(ctx, lines, redact(str(failure)))
    text.append(
        advice
        or "Change the stack file by what the lines say, then run `pulumi up` again; where the answer is "
        "right for this model, `rollout: {smoke: false}` takes it without one."
    )
    text.append(found if failure.restored else f"The traffic could not be put back as it was. {found}")
    return "\n  ".join(text), gone


def unproven(plan: Plan, endpoint: Mapping[str, Any], failure: RollUnfinished) -> str:
    """What is saved of a deployed model that is healthy, where Google did not let the hand-over go on."""
    kind = classify(failure.error)
    advice = remedy(kind, failure.error.message, plan.request)
    if failure.stage == "smoke test":
        if kind is Kind.PERMISSION and "aiplatform." not in failure.error.message:
            advice = "Grant the caller the permission aiplatform.endpoints.predict (roles/aiplatform.user)."
        advice += "\n  `rollout: {smoke: false}` in the stack file takes it without a prediction."
    return (
        f"Could not finish the {failure.stage} of deployed model {plan.id} of model {plan.model.id} on endpoint "
        f"{plan.endpoint.id}: {kind.value}.\n"
        f"  Google's answer: {failure.error.status}: {redact(failure.error.message)}\n"
        f"  {advice}\n"
        f"  It is healthy and stays, with {traffic.share(endpoint, plan.id)} % of the traffic, and bills. `pulumi up` "
        "goes on from there, `pulumi destroy` ends it."
    )


def _container_lines(
    ctx: Context, vertex: Vertex, plan: Plan, endpoint: Json, since: str, text: list[str]
) -> list[str]:
    """The container's last lines, told in `text` too, or how to read them."""
    project = str(endpoint.get("name", "")).split("/")[1:2] or [plan.endpoint.project]
    query = log_filter(plan.endpoint.id, plan.id, since)
    lines = [redact(each) for each in last_lines(ctx, vertex, project[0], query)]
    shown = excerpt(lines)
    if shown:
        text.append("The container's last lines:")
        text.extend(f"  | {line}" for line in shown)
    else:
        text.append(f"The container's log: gcloud logging read '{query}' --project {plan.inputs['project']}")
    return lines


def _left_over(ctx: Context, vertex: Vertex, plan: Plan) -> tuple[str, bool]:
    """Makes sure that a failed deployment leaves nothing deployed; says so, and whether that is sure."""
    try:
        undeploy(ctx, vertex, plan.endpoint_name, plan.id, None, vertex.pace.undeploy)
        others: Json = vertex.get_endpoint(plan.endpoint_name) or {}
    except (ApiError, Interrupted, StillRunning):
        return (
            f"Whether deployed model {plan.id} is left could not be found out; the next `pulumi up` looks again.",
            False,
        )
    serving = ", ".join(str(model["id"]) for model in others.get("deployedModels", ()))
    return (
        f"Nothing of it is deployed.{f' Deployed model {serving} goes on serving.' if serving else ''}",
        True,
    )

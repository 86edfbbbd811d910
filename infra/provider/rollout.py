"""Deploying, scaling and undeploying a model on an endpoint, from whatever an earlier run left behind.

Every step looks first and acts then. A deployment has a chosen id, so that looking tells: it is there (adopt it), it is
under way (wait for it), or it is neither (deploy). Deploying twice would bill the GPUs twice, and Vertex AI has no
other guard against it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from infra.plugin import Context, ResourceError
from infra.provider import traffic
from infra.provider.deployed import Plan, disagreement, find, scaling_mask, to_api
from infra.provider.failures import ApiError, Kind, classify
from infra.provider.logs import cause
from infra.provider.operations import Ended, StillRunning, running, wait
from infra.provider.rest import Json
from infra.provider.retry import CHANGE, Interrupted, Patience, sleep
from infra.provider.tenants import move, tenancy
from infra.provider.vertex import Vertex

DEPLOY = "DeployModelOperationMetadata"
"""Metadata of the operations that deploy."""
_CHANGING = "changing replicas"


class DeployFailed(Exception):
    """A deployment ended without success. `ended` is None when the operation did not even begin."""

    def __init__(self, error: ApiError, ended: Ended | None, operation: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.ended = ended
        self.operation = operation


class OthersDeployment(Exception):
    """The wait for another one's deployment on the endpoint is over, before this one's had begun."""

    def __init__(self, running: StillRunning) -> None:
        super().__init__(str(running))
        self.running = running


class Rollout:
    """The steps for one deployment, during one call of the engine.

    Attributes:
        endpoint: The endpoint as last seen.
        ended: The deployment operation of this call that succeeded, if there was one.
        uncertain: Google did not answer a request to deploy, so that it may be under way unseen.
        serving: It is deployed; only traffic, replicas and autoscaling may have to change.
        begun: A deployment of it that has not failed, as far as was seen; empty where there is none. It goes on at
            Google, or has ended and could not be looked at.
    """

    def __init__(self, ctx: Context, vertex: Vertex, plan: Plan, admit: Callable[[Json], None]) -> None:
        """`admit` is asked, with the endpoint, before anything is deployed there; it raises to refuse."""
        self._ctx = ctx
        self._admit = admit
        self._vertex = vertex
        self._plan = plan
        self._deadline = time.monotonic() + plan.limit
        self.endpoint: Json = {}
        self.ended: Ended | None = None
        self.uncertain = False
        self.serving = False
        self.begun = ""
        self._told = False  # Google names the models that are being deployed
        self._opened = False  # this call's deployment gives itself all of an endpoint without a split
        self._earlier: str | None = None  # an operation of an earlier run that is still under way

    def ensure(self, operation: str | None) -> Mapping[str, Any]:
        """The deployed model as it is, deployed if need be.

        Args:
            operation: What an earlier run began, if its name is known.

        Raises:
            StillRunning: the wait is over, the deployment goes on.
            OthersDeployment: the wait is over, for a deployment that surely is not this one.
            DeployFailed: it was refused or failed, and trying again would not help.
            ResourceError: the endpoint is missing, or its id is taken by something else.
            ApiError, Interrupted: while looking.
        """
        patience = Patience(self._ctx, CHANGE, self._vertex.pace.scale, grants=self._vertex.grants)
        ours = operation is not None
        if operation and not self._under_way(operation):
            operation = None
        succeeded, stage = False, ""
        while True:
            # Operations first: one that ends between the two looks has left what the second one sees.
            others = [] if operation or succeeded else self._deployments_under_way()
            live = self._look()
            if live is not None:
                self._earlier, self.serving, self.begun = operation, True, ""
                return live
            name, ended = "", None
            if succeeded:
                error = ApiError("ALREADY_EXISTS", "deployed, but not to be seen yet")
            else:
                try:
                    foreign = False
                    if operation is None:
                        operation, ours = self._join(others) if others else (self._deploy(), True)
                        foreign = not ours and self._told
                    name, self.begun = operation, "" if foreign else operation
                    doing = "deploying" if ours else "waiting for a deployment under way on the endpoint"
                    try:
                        ended = self._wait(operation, doing)
                    except StillRunning as e:
                        if foreign:
                            raise OthersDeployment(e) from None
                        raise
                    operation = None
                    if ended.error is None:
                        succeeded, self.ended = ours, ended if ours else None
                        continue
                    self.begun = ""
                    error = cause(self._ctx, self._vertex, self.endpoint, self._plan.id, ended, ended.error)
                except ApiError as e:
                    e.stage = stage = e.stage or stage
                    error = e
                    self.uncertain = self.uncertain or not e.answered
                if ended is not None and not ours:
                    continue  # somebody else's failed; the next look decides
            if not patience.again(error, before=self._left()):
                raise DeployFailed(error, ended, name)

    def others_end(self) -> None:
        """Waits for what began on an endpoint without a split at the same time as this one.

        Two stacks that start together both look before the other one has begun. Each deployment then gives itself all
        traffic when it ends, without an etag: what had been handed over before would be lost.

        Raises:
            ApiError, Interrupted: as they say.
        """
        if self.ended is None or not self._opened:
            return
        others = self._deployments_under_way()
        for operation in others:
            try:
                self._wait(operation, "waiting for another deployment that began at the same time")
            except StillRunning as e:
                if e.interrupted:
                    raise Interrupted from None
        if others:
            self._look()

    def scale(self, live: Mapping[str, Any]) -> Mapping[str, Any]:
        """Makes replicas and autoscaling agree, in place; answers the deployed model as it then is.

        Raises:
            StillRunning, ApiError, Interrupted: as they say.
        """
        patience = Patience(self._ctx, CHANGE, self._vertex.pace.scale)
        if self._earlier:
            self._wait(self._earlier, _CHANGING)
            live = self._look() or live
        while mask := scaling_mask(self._plan, live):
            try:
                started = self._vertex.mutate_deployed_model(
                    self._plan.endpoint_name, to_api(self._plan), mask
                )
                ended = self._wait(started["name"], _CHANGING)
                error = ended.error
            except ApiError as e:
                error = e
            if error is not None and not patience.again(error, before=self._left()):
                raise error
            seen = self._look()
            if seen is None:
                raise ResourceError(
                    f"Deployed model {self._plan.id} vanished from endpoint {self._plan.endpoint.id} while it was "
                    "being changed. Run `pulumi refresh`, then `pulumi up`."
                )
            live = seen
            if error is None and scaling_mask(self._plan, live):
                # Accepted, but not to be seen: asking again would not change that.
                break
        return live

    def _look(self) -> Mapping[str, Any] | None:
        endpoint = self._vertex.get_endpoint(self._plan.endpoint_name)
        if endpoint is None:
            raise ResourceError(
                f"There is no endpoint {self._plan.endpoint_name}.\n"
                "  Run `pulumi refresh`, so that `pulumi up` makes it again, or correct the deployment's endpoint."
            )
        self.endpoint = endpoint
        live = find(endpoint, self._plan.id)
        where = disagreement(self._plan, live) if live is not None else ""
        if where:
            raise ResourceError(
                f"Endpoint {self._plan.endpoint.id} has another deployed model with the id {self._plan.id}: {where}.\n"
                f"  If nothing needs it, run `gcloud ai endpoints undeploy-model {self._plan.endpoint.id} "
                f"--deployed-model-id {self._plan.id} --region {self._plan.endpoint.location} "
                f"--project {self._plan.inputs['project']}`, then `pulumi up`."
            )
        return live

    def _deployments_under_way(self) -> list[str]:
        return running(self._vertex, self._plan.endpoint_name, DEPLOY)

    def _join(self, others: list[str]) -> tuple[str, bool]:
        """A deployment under way on the endpoint, and whether it is known to be this one's."""
        # If Google does not tell whose it is, it is waited for, and whatever it was, the next look tells whether this
        # one is still needed.
        ours = among_them(self._vertex, self._plan.endpoint_name, self.endpoint, self._plan.id)
        self._told = ours is not None
        return others[0], bool(ours)

    def _deploy(self) -> str:
        self._admit(self.endpoint)
        # Without a split Google leaves the endpoint's as it is: what serves goes on serving, and `Roll` moves traffic.
        # An endpoint on which nothing has traffic needs one.
        split = {} if traffic.split_of(self.endpoint) else {"0": 100}
        self._opened = bool(split)
        started = self._vertex.deploy_model(self._plan.endpoint_name, to_api(self._plan), split)
        self.uncertain = False
        return str(started["name"])

    def _under_way(self, operation: str) -> bool:
        answer = self._vertex.operation(operation)
        return answer is not None and not answer.get("done")

    def _wait(self, operation: str, doing: str) -> Ended:
        return wait(self._ctx, self._vertex, operation, doing, self._plan.limit, self._left())

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


def among_them(vertex: Vertex, endpoint_name: str, endpoint: Json, id: str) -> bool | None:
    """Whether a deployed model is among those that are being deployed on an endpoint; None if Google does not tell.

    An operation does not say which deployed model it is for.
    """
    known = vertex.being_deployed(endpoint_name) or frozenset()
    known -= {str(each.get("id")) for each in endpoint.get("deployedModels") or ()}
    return id in known if known else None


def undeploy(
    ctx: Context,
    vertex: Vertex,
    endpoint_name: str,
    id: str,
    operation: str | None,
    limit: float,
    *,
    unseen: bool = False,
) -> None:
    """Undeploys a model, wherever it is on its way; one that is not there is fine. Its traffic goes to others first.

    Args:
        ctx: The engine's call.
        vertex: The service.
        endpoint_name: The endpoint's full name.
        id: The deployed model's id.
        operation: A deployment of it that may still be under way.
        limit: How long to wait for each operation, in seconds.
        unseen: It may be under way in an operation that nobody knows, since Google did not answer the request for it,
            or a kill cut it off. One that is under way is then waited for, even if Google does not tell whose it is.

    Raises:
        StillRunning, ApiError, Interrupted: as they say.
    """
    # Not there, says Google of what it just listed; or its split no longer fits, because another one on the endpoint is
    # undeployed at the same time (a destroy after a change that was cut off): the next look decides.
    pauses = {**CHANGE, Kind.MISSING: (0, 1, 5), Kind.INVALID: (0.5, 1, 2, 4)}
    patience = Patience(ctx, pauses, vertex.pace.scale)
    while True:
        # The operation first: if it ends between the two looks, the second one sees what it left.
        answer = vertex.operation(operation) if operation else None
        endpoint = vertex.get_endpoint(endpoint_name)
        if endpoint is None:
            return
        if find(endpoint, id) is None:
            surely = True
            if not operation or answer is None or answer.get("done"):
                begun = running(vertex, endpoint_name, DEPLOY)
                # Again: one may have ended between the two looks.
                endpoint = vertex.get_endpoint(endpoint_name)
                if endpoint is None:
                    return
                operation = None
                if find(endpoint, id) is not None:
                    continue
                ours = among_them(vertex, endpoint_name, endpoint, id) if begun else False
                if ours is False or (ours is None and not unseen):
                    return
                # Which of several is this one's is not known, and another stack's must not be cancelled.
                operation, surely = begun[0], bool(ours) and len(begun) == 1
            # Google may or may not heed this; if it does, the GPUs are not waited for in vain.
            if surely:
                with contextlib.suppress(ApiError):
                    vertex.cancel_operation(operation)
            wait(
                ctx, vertex, operation, "waiting for the deployment under way to end, then undeploying", limit
            )
            operation = None
            continue
        try:
            _leave(ctx, vertex, endpoint, endpoint_name, id)
            started = vertex.undeploy_model(endpoint_name, id)
            error = wait(ctx, vertex, started["name"], "undeploying", limit).error
        except ApiError as e:
            error = e
        if error is None:
            _unlisted(ctx, vertex, endpoint_name, id)
            return
        if (classify(error) is Kind.INVALID and "traffic" not in error.message.lower()) or not patience.again(
            error
        ):
            raise error


def _leave(ctx: Context, vertex: Vertex, endpoint: Json, name: str, id: str) -> None:
    """Takes the traffic away before an undeployment, with the etag: another stack may move its own at the same time."""
    if traffic.share(endpoint, id) and traffic.others(endpoint, id):
        who = tenancy(ctx, vertex, endpoint, id, None)
        move(ctx, vertex, name, lambda seen: traffic.without(seen, id, who.mine.ids, who.rest))


def _unlisted(ctx: Context, vertex: Vertex, name: str, id: str) -> None:
    """Waits until Google does not list what it has undeployed: endpoint and model are deleted next, by others too."""
    end = time.monotonic() + vertex.pace.in_use * vertex.pace.scale
    while time.monotonic() < end:
        endpoint = vertex.get_endpoint(name)
        if endpoint is None or find(endpoint, id) is None:
            return
        sleep(ctx, vertex.pace.poll_first)

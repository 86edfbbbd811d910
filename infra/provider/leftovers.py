"""The resource LeftoverCheck: at the end of a destroy, says what is left in the cloud with the stack's labels.

A bare `pulumi destroy` runs no program and no hook; what runs is the delete of each resource, here of one that is made
before all others and so goes last. A deployment whose creation was killed is in no state and keeps its endpoint from
being deleted, which ends a destroy before that; so a second one stands between the endpoint and its deployments.

It only tells. It never fails a destroy, and never holds it up: what Google does not answer in time is said to be not
known.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from infra.plugin import Check, Context, Diff, State
from infra.plugin.resource import Properties, changed_keys
from infra.provider.connect import Connector
from infra.provider.fields import Failures
from infra.provider.inputs import LEFTOVER_CHECK
from infra.provider.names import stack_labels
from infra.provider.schemas import resource_schema
from infra.provider.state_only import StateOnly

if TYPE_CHECKING:
    from infra.sweep.found import Thing

LIMIT = 20.0
"""Seconds in which Google is to answer; two questions and one more for each endpoint of the stack."""

_ID = "leftover-check/"
_CALL = 8.0  # seconds that one question may take


class LeftoverCheck(StateOnly):
    """vertexserving:index:LeftoverCheck."""

    token: ClassVar[str] = "vertexserving:index:LeftoverCheck"

    def __init__(self, connector: Connector, limit: float = LIMIT) -> None:
        self._connector = connector
        self._limit = limit

    def check(self, ctx: Context, olds: Properties, news: Properties) -> Check:
        """Validates the inputs."""
        failures = Failures(news)
        LEFTOVER_CHECK.check("", news, failures)
        return Check({key: value for key, value in news.items() if value is not None}, failures.found())

    def diff(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Diff:
        """Changes in place: a replacement would look in the middle of an update."""
        changed = changed_keys(old_inputs or state, news)
        return Diff(bool(changed), changed=changed)

    def create(self, ctx: Context, inputs: Properties) -> State:
        """Remembers where to look; nothing is called."""
        return State(f"{_ID}{ctx.name}", dict(inputs))

    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        """Looks, and warns of what is left."""
        found: list[tuple[list[Thing], list[Thing]]] = []
        failed: list[str] = []

        def look() -> None:
            try:
                found.append(self._left(ctx, state))
            except Exception as error:  # whatever it is, the destroy goes on
                failed.append(" ".join(str(error).split())[:300] or type(error).__name__)

        thread = threading.Thread(target=look, name="leftovers", daemon=True)
        thread.start()
        thread.join(self._limit)
        sweep = f"./vertex-vllm sweep --stack {ctx.stack}"
        if not found:
            why = failed[0] if failed else f"Google did not answer within {self._limit:.0f} s"
            ctx.warn(
                f"Whether anything of stack {ctx.stack} is left is not known: {why}. {sweep} looks again."
            )
        else:
            from infra.sweep.found import words

            left, others = found[0]
            if left:
                lines = "\n".join(f"  {words(thing)}" for thing in left)
                ctx.warn(
                    f"Left in the cloud with the labels of stack {ctx.stack}, in no state:\n{lines}\n"
                    f"  {sweep} --remove removes it{', then pulumi destroy again' if state.get('endpoint') else ''}."
                )
            if others:
                lines = "\n".join(f"  {words(each)}, {_owner(each)}" for each in others)
                ctx.warn(
                    f"On the endpoint of stack {ctx.stack}, which cannot be deleted before they are undeployed:\n"
                    f"{lines}"
                )
            if not left and not state.get("endpoint"):
                ctx.info(
                    f"no endpoint, deployment or model with the labels of stack {ctx.stack} is left in "
                    f"{state['location']}"
                )

    def schema(self) -> Mapping[str, Any]:
        """The entry in the package schema."""
        about = "Says on destroy what is left with the stack's labels."
        return resource_schema(about, LEFTOVER_CHECK, {})

    def _left(self, ctx: Context, state: Properties) -> tuple[list[Thing], list[Thing]]:
        """What has the stack's labels, none of it in the state by now; and what others have on the stack's endpoint.

        Raises:
            Unanswered, ResourceError: Google or the credentials do not answer.
        """
        from infra.provider.rest import Json
        from infra.sweep.found import KINDS
        from infra.sweep.look import Unanswered, in_region

        rest = self._connector.rest(ctx, call=_CALL)
        base = f"{rest.way.api_url(str(state['location']))}/v1"

        def ask(method: str, url: str, query: Mapping[str, str], body: Json | None) -> Json:
            from infra.provider.failures import ApiError

            try:
                return rest.request(method, url, query, body)
            except ApiError as error:
                raise Unanswered(
                    f"{error.status}: {error.message}", 404 if error.status == "NOT_FOUND" else 0
                ) from None

        ours = tuple(stack_labels(ctx.project, ctx.stack).values())
        things = in_region(ask, base, str(state["project"]), str(state["location"]), datetime.now(UTC))
        left = [each for each in things if (each.project_label, each.stack_label) == ours and not each.shared]
        endpoint = str(state.get("endpoint") or "").rpartition("/")[2]
        if not endpoint:
            return sorted(left, key=lambda each: KINDS.index(each.kind)), []
        on_it = [
            each
            for each in things
            if each.kind == "deployment" and each.endpoint.rpartition("/")[2] == endpoint
        ]
        own = any(
            each.kind == "endpoint" and each.id == endpoint and (each.project_label, each.stack_label) == ours
            for each in things
        )
        return [each for each in on_it if each in left], [each for each in on_it if own and each not in left]


def _owner(thing: Thing) -> str:
    """Whose a deployment on the stack's endpoint is, and what to do."""
    if thing.shared.startswith("its model"):
        return (
            f"of no stack: gcloud ai endpoints undeploy-model {thing.endpoint.rpartition('/')[2]} "
            f"--deployed-model-id {thing.id} --region {thing.region}"
        )
    return f"of stack {thing.stack_label}: pulumi destroy of that stack, then of this one again"

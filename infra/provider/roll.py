"""Handing the traffic over to a deployed model that is there and healthy, and taking it back if it does not serve.

Vertex AI sends no prediction to a deployed model without traffic. So the new one gets a small share of its stack's
own, and the endpoint is asked until an answer names it. Then its share grows, at once or in steps with a bake time, to
all that the stack has. Other stacks' shares are not touched. What an earlier run left behind is seen in the split, so
a roll that was interrupted or killed goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from infra.plugin import Context, ResourceError
from infra.provider import probe, traffic
from infra.provider.deployed import Plan
from infra.provider.failures import ApiError, Kind, classify
from infra.provider.operations import duration
from infra.provider.probe import Count, NeverAsked, NotServing
from infra.provider.retry import sleep
from infra.provider.tenants import Tenancy, declared_share, move, tenancy
from infra.provider.vertex import Vertex

SMOKE_PERCENT = 5
"""Of the stack's own traffic, what a new deployed model has until it has answered once."""
DEFAULT_ERROR_PERCENT = 5
_SMOKE = "smoke test"
_PROBES = 30
"""Requests of ours in a bake time, at most every ten seconds and at least every second."""
_FEW = 5
"""Answers before an error rate ends a step early."""


@dataclass(frozen=True)
class Steps:
    """How traffic is handed over.

    Attributes:
        smoke: Whether the new one has to answer one prediction first.
        percents: Of the stack's own traffic, before all of it.
        bake: Seconds to wait after each of them.
        max_error_percent: The most answers with HTTP 5xx, of a hundred, with which a step is passed.
    """

    smoke: bool = True
    percents: tuple[int, ...] = ()
    bake: float = 0.0
    max_error_percent: float = DEFAULT_ERROR_PERCENT


def steps_of(inputs: Mapping[str, Any]) -> Steps:
    """What a deployment's inputs say."""
    rollout = inputs.get("rollout") or {}
    return Steps(
        smoke=rollout.get("smoke", True),
        percents=tuple(rollout.get("steps") or ()),
        bake=float(rollout.get("bakeSeconds") or 0),
        max_error_percent=float(rollout.get("maxErrorPercent", DEFAULT_ERROR_PERCENT)),
    )


class RollFailed(Exception):
    """The new deployed model did not serve as it should; the traffic is as it was before, if `restored`."""

    def __init__(self, stage: str, failure: NotServing, restored: bool) -> None:
        super().__init__(str(failure))
        self.stage = stage
        self.restored = restored


class RollUnfinished(Exception):
    """Google did not let the roll go on, which says nothing of the new deployed model: it stays, and so does the split.

    In the smoke test, and in a step whose errors name nobody, the split is put back first, as far as Google lets that
    be done.
    """

    def __init__(self, stage: str, error: ApiError) -> None:
        super().__init__(str(error))
        self.stage = stage
        self.error = error


class _NamesNobody(ApiError):
    """Too many errors in a step say nothing of whose they are; clients have them too while the step lasts."""


def admit(ctx: Context, vertex: Vertex, plan: Plan, endpoint: Mapping[str, Any]) -> None:
    """Refuses, before anything is paid for, a deployment for which the declared shares leave no traffic.

    Raises:
        ResourceError: with the numbers.
        ApiError, Interrupted: while looking.
    """
    who = tenancy(ctx, vertex, endpoint, plan.id, plan.inputs.get("trafficPercent"))
    try:
        traffic.settled(traffic.split_of(endpoint), plan.id, who.mine, who.rest)
    except traffic.NoShare as e:
        raise ResourceError(no_share(plan, e)) from None


def seen_share(ctx: Context, vertex: Vertex, plan: Plan, endpoint: Mapping[str, Any]) -> int | None:
    """What to record as the declared share: the declared one where the split agrees with it, else the one it has.

    Raises:
        ApiError, Interrupted: while looking.
    """
    given = plan.inputs.get("trafficPercent")
    split = traffic.split_of(endpoint)
    who = tenancy(ctx, vertex, endpoint, plan.id, given)
    alone = not any(tenant.share(split) for tenant in who.rest)
    label = given if alone else declared_share(vertex, plan.inputs["model"])
    for declared in dict.fromkeys((label, given)):
        try:
            wanted = traffic.settled(split, plan.id, replace(who.mine, declared=declared), who.rest)
        except traffic.NoShare:
            return given
        if wanted[plan.id] == split.get(plan.id, 0):
            return declared
    return split.get(plan.id, 0)


def no_share(plan: Plan, reason: traffic.NoShare) -> str:
    """What to do where the shares of an endpoint's stacks do not go together."""
    return (
        f"Endpoint {plan.endpoint.id} has no traffic for deployed model {plan.id}: {reason}.\n"
        "  Declare shares that leave at least 1 % for each: endpoint.traffic in the stack files of all stacks but one, "
        "which takes the rest. Run `pulumi up` of the stack whose share gets smaller first."
    )


class Roll:
    """Hands the traffic over, during one call of the engine.

    Attributes:
        endpoint: The endpoint as last seen.
    """

    def __init__(self, ctx: Context, vertex: Vertex, plan: Plan, endpoint: Mapping[str, Any]) -> None:
        self._ctx = ctx
        self._vertex = vertex
        self._plan = plan
        self._steps = steps_of(plan.inputs)
        self._name = plan.endpoint_name
        self._id = plan.id
        self.endpoint = endpoint
        self._tenancy = self._look()
        self._own_before = {
            id: share
            for id, share in traffic.split_of(endpoint).items()
            if id in self._tenancy.mine.ids and id != self._id
        }
        self._before = traffic.split_of(endpoint)
        self._written: traffic.Split | None = None

    def run(self, *, new: bool) -> None:
        """Makes the deployed model serve all of its stack's traffic.

        Args:
            new: It was deployed by this call, or by one that did not end: it may be taken away again. One that was
                found serving stays whatever it answers.

        Raises:
            RollFailed: it did not serve; the split is as it was.
            RollUnfinished: Google refused to move the traffic, or the endpoint could not be asked.
            ApiError: Google refused, of one that had all its traffic already.
            NoShare, Interrupted: as they say; the split is as far as it came.
        """
        whole = self._final(self.endpoint)[self._id]
        now = traffic.share(self.endpoint, self._id)
        stage = _SMOKE
        try:
            if self._steps.smoke:
                if now < whole:
                    self._give(max(now, self._of(whole, SMOKE_PERCENT)))
                self._smoke()
            for percent in self._steps.percents if now < whole else ():
                # The step that an earlier run ended in is watched again: nobody knows how far it was.
                if self._of(whole, percent) >= now:
                    stage = f"step of {percent} %"
                    self._give(self._of(whole, percent))
                    self._bake(percent)
            stage = "hand-over"
            self.settle()
        except NotServing as failure:
            if new or now < whole:
                raise RollFailed(stage, failure, self._restore()) from None
            self._ctx.warn(f"Deployed model {self._id} has all its traffic, but {failure}.")
        except ApiError as error:
            if not new and now >= whole:
                if stage != _SMOKE:
                    raise
                self._ctx.warn(
                    f"Deployed model {self._id} has all its traffic, but could not be asked: {error.status}: "
                    f"{error.message}"
                )
                return
            # What has answered once may keep what it has, as after an interruption; not where clients are failed.
            unasked = stage == _SMOKE and (self._written is not None or not error.answered)
            if unasked or isinstance(error, _NamesNobody):
                self._restore()
            raise RollUnfinished(stage, error) from None
        if now < whole and self._own_before:
            self._ctx.info(
                f"traffic moved: deployed model {self._id} has {whole} % of endpoint {self._plan.endpoint.id}, "
                f"{', '.join(sorted(self._own_before))} nothing"
            )

    def settle(self) -> None:
        """Gives the deployed model all that its stack is to have, at once.

        Raises:
            NoShare, ApiError, Interrupted: as they say.
        """
        self.endpoint = move(self._ctx, self._vertex, self._name, self._final)

    def _look(self) -> Tenancy:
        declared = self._plan.inputs.get("trafficPercent")
        return tenancy(self._ctx, self._vertex, self.endpoint, self._id, declared)

    def _final(self, endpoint: Mapping[str, Any]) -> traffic.Split:
        if {str(model["id"]) for model in endpoint.get("deployedModels", ())} - self._known():
            self.endpoint = endpoint
            self._tenancy = self._look()
        mine, rest = self._tenancy.mine, self._tenancy.rest
        return traffic.settled(traffic.split_of(endpoint), self._id, mine, rest)

    def _known(self) -> set[str]:
        return {id for tenant in (self._tenancy.mine, *self._tenancy.rest) for id in tenant.ids}

    def _of(self, whole: int, percent: int) -> int:
        """A percentage of the stack's own share; at least one hundredth of the endpoint's traffic."""
        return max(1, whole * percent // 100)

    def _give(self, share: int) -> None:
        """Gives the deployed model a part of the endpoint's traffic, out of its stack's own where that has some."""

        def wanted(endpoint: Mapping[str, Any]) -> traffic.Split:
            split = traffic.split_of(endpoint)
            final = self._final(endpoint)
            if split.get(self._id, 0) >= share:
                return split
            start = traffic.given_back(split, self._id, self._own_before)
            if not start:
                return final
            return traffic.part_way(start, final, self._id, min(share, final[self._id]))

        self.endpoint = move(self._ctx, self._vertex, self._name, wanted)
        self._written = traffic.split_of(self.endpoint)

    def _smoke(self) -> None:
        begun = time.monotonic()
        while True:
            share = traffic.share(self.endpoint, self._id)
            try:
                number = probe.smoke(self._ctx, self._vertex, dict(self.endpoint), self._id, share)
                break
            except NeverAsked:
                # Another stack that moves its own traffic meanwhile takes some of this one's.
                seen = self._vertex.get_endpoint(self._name)
                if seen is None or traffic.share(seen, self._id) in (0, share):
                    raise
                self.endpoint = seen
        self._ctx.info(
            f"smoke test: deployed model {self._id} answered request {number} of the endpoint with {share} % of its "
            f"traffic, after {duration(time.monotonic() - begun)}"
        )

    def _bake(self, percent: int) -> None:
        """Waits, asks and counts; both our own requests and everybody's have to keep the limit.

        So do errors of Google's in front of the deployed models, such as that of a container that does not listen any
        more, where they do not say whose they are. Other answers without a name say nothing of the endpoint.
        """
        steps, count, nobody = self._steps, Count(), Count()
        unsaid, why_unsaid = 0, ""
        since = datetime.now(UTC)
        begun = time.monotonic()
        share = traffic.share(self.endpoint, self._id)
        pause = min(10.0, max(1.0, steps.bake / _PROBES)) * min(1.0, self._vertex.pace.scale * 10)
        while (left := steps.bake - (time.monotonic() - begun)) > 0:
            answer = probe.ask(self._vertex, dict(self.endpoint))
            nobody.answers += 1
            if answer.by == self._id:
                count.add(answer)
            elif answer.error is not None and classify(answer.error) is Kind.TRANSIENT:
                nobody.errors += 1
                nobody.said = f"{answer.error.status}: {answer.error.message}"
            elif answer.error is not None:
                unsaid += 1
                why_unsaid = answer.error.status
            if count.answers >= _FEW:
                self._judge(count, "of this roll's own requests")
            if nobody.errors >= _FEW:
                self._judge_nobody(nobody)
            self._ctx.status(
                f"step of {percent} %: {share} % of the traffic, {duration(left)} left, {count.errors} errors in "
                f"{count.answers} answers"
            )
            sleep(self._ctx, min(pause, left))
        self._judge(count, "of this roll's own requests")
        counted, why = self._counted(since)
        self._judge(counted, "by Cloud Monitoring")
        self._judge_nobody(nobody)
        clients = why or f"{counted.errors} errors in {counted.answers} by Cloud Monitoring"
        mine = f"{count.errors} errors in {count.answers} answers to this roll"
        if nobody.errors:
            mine += f", {nobody.errors} of {nobody.answers} requests with errors that name no deployed model"
        if unsaid:
            mine += f", {unsaid} of {nobody.answers} requests not answered by any ({why_unsaid})"
        self._ctx.info(f"step of {percent} % passed: {mine}, {clients}")

    def _counted(self, since: datetime) -> tuple[Count, str]:
        """Cloud Monitoring's count, and why there is none."""
        if not self._steps.bake:
            return Count(), "no bake time"
        try:
            found = probe.responses(self._vertex, self.endpoint, self._id, since, datetime.now(UTC))
        except ApiError as e:
            return Count(), f"Cloud Monitoring has no figures ({e.status})"
        return found, "" if found.answers else "Cloud Monitoring has no figures yet"

    def _judge(self, count: Count, whose: str) -> None:
        limit = self._steps.max_error_percent
        if count.percent > limit:
            raise NotServing(
                f"{count.errors} of {count.answers} answers were errors ({count.percent:.0f} %, counted {whose}), over "
                f"the limit of {limit:g} %; the last: {count.said}"
            )

    def _judge_nobody(self, count: Count) -> None:
        limit = self._steps.max_error_percent
        if count.percent > limit:
            raise _NamesNobody(
                "UNAVAILABLE",
                f"{count.errors} of {count.answers} requests of this roll had errors that name no deployed model "
                f"({count.percent:.0f} %), over the limit of {limit:g} %; the last: {count.said}",
                kind=Kind.TRANSIENT,
            )

    def _restore(self) -> bool:
        """The split as it was before; whether that worked."""

        def wanted(endpoint: Mapping[str, Any]) -> traffic.Split | None:
            split = traffic.split_of(endpoint)
            present = {str(model["id"]) for model in endpoint.get("deployedModels", ())}
            if split == self._written and self._id not in self._before and {*self._before} <= present:
                return self._before or None
            return traffic.given_back(split, self._id, self._own_before) or None

        try:
            self.endpoint = move(self._ctx, self._vertex, self._name, wanted)
        except ApiError:
            return False
        return True

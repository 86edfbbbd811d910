"""Serving quota: whether the GPUs and vCPUs of the plan fit into what the project may use and does not use yet.

Quota is charged for the largest number of replicas by one page of Google's documentation, for those that run by
another. So only the smallest number is a conclusive no, and what is in use is a range where replicas may scale.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from infra.preflight.finding import Finding, Status
from infra.preflight.google.answers import attempt, body, opens
from infra.preflight.google.limits import SERVICE, Limit, read_limit
from infra.preflight.google.usage import (
    Deployed,
    Taken,
    Usage,
    by_hand,
    deployment_under_way,
    read_usage,
)
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Subject
from infra.provider.content import derived_model_id, version_alias
from infra.recipes import QuotaRef, catalog
from infra.recipes.catalog import CPU
from infra.recipes.regions import elsewhere

__all__ = ["quota"]

_SURGE: Final = "quota-surge"
_REGIONS_NAMED: Final = 3


@dataclass(frozen=True, kw_only=True)
class Need:
    """What the plan takes from one quota.

    Attributes:
        check: Id of the finding about it.
        what: What is counted, as in "2 spot NVIDIA_L4".
        ref: The quota; None where nobody knows its id.
        units: Of one replica.
        replicas: The smallest and the largest number.
    """

    check: str
    what: str
    ref: QuotaRef | None
    units: int
    replicas: tuple[int, int]

    @property
    def least(self) -> int:
        """Units of the smallest number of replicas."""
        return self.units * self.replicas[0]

    @property
    def most(self) -> int:
        """Units of the largest number of replicas."""
        return self.units * self.replicas[1]


@dataclass(frozen=True, kw_only=True)
class Room:
    """One quota, with all that could be read of it.

    Attributes:
        subject: Whose.
        need: What the plan takes.
        ref: The quota.
        limit: What is allowed, or why that is not known.
        taken: What is in use, or why that is not known.
        kept: Units that this stack has already, where it is deployed as planned; else 0.
        doubt: Why it is not known what this stack has deployed; empty where it is.
        pending: Why some of what others use may be this stack's after all; empty where nothing speaks for it.
    """

    subject: Subject
    need: Need
    ref: QuotaRef
    limit: Limit | Unread
    taken: Taken | Unread
    kept: int
    doubt: str
    pending: str = ""

    @property
    def in_the_way(self) -> bool:
        """Whether what others use is all that keeps the smallest number of replicas out."""
        if isinstance(self.limit, Unread) or isinstance(self.taken, Unread) or self.limit.amount is None:
            return False
        left = self.limit.amount - self.taken.others_low
        return left < self.need.least <= self.limit.amount and self.need.least > self.kept

    def judged(self, regions: Sequence[str]) -> Finding:
        """The finding about replicas; `regions` are others whose limits hold the plan."""
        need, limit, taken = self.need, self.limit, self.taken
        if isinstance(limit, Unread):
            evidence = f"The limit is not known: {limit}.{self._documented()}"
            return self._finding(Status.SKIP, evidence, opens("roles/serviceusage.serviceUsageViewer", limit))
        takes = f"{_count(need.replicas)} take{_s(need.replicas[1])} {_span(need.least, need.most)}"
        if limit.amount is None:
            evidence = f"{limit.source} has no limit for {need.what} in {self.subject.region}; {takes}."
            return self._finding(Status.PASS, evidence)
        facts = f"{limit.amount} {need.what} are allowed in {self.subject.region} ({limit.source})"
        if limit.amount < need.least > self.kept:
            return self._finding(Status.FAIL, f"{facts}; {takes}.", self._more(need.least, regions))
        if isinstance(taken, Unread):
            evidence = f"{facts}, but what is in use cannot be read: {taken}."
            return self._finding(Status.SKIP, evidence, opens("roles/monitoring.viewer", taken), used=True)
        facts += f", {self._in_use(taken)}"
        if need.most <= self.kept:
            return self._finding(Status.PASS, f"{facts}; it is deployed as planned: {takes}.", used=True)
        left = (max(limit.amount - taken.others_high, 0), max(limit.amount - taken.others_low, 0))
        facts += f"; {takes} of the {_span(*left)} that are left for this stack"
        if self.in_the_way and self.pending:
            return self._finding(Status.WARN, f"{facts}; {self.pending}.", used=True)
        if self.in_the_way:
            return self._finding(
                Status.FAIL, f"{facts}.", self._more(taken.others_high + need.least, regions), used=True
            )
        if left[0] < need.most:
            return self._finding(
                Status.WARN,
                f"{facts}: {_reach(left[0] // need.units)}.",
                f"{self.ask(taken.others_high + need.most)}; or lower replicas.max_replica_count",
                used=True,
            )
        return self._finding(Status.PASS, f"{facts}.", used=True)

    def surge(self) -> tuple[str, str]:
        """What a rolling change takes and what is left for it; and, where that is too little, what to do.

        Both are empty where nothing limits it or not enough is known.
        """
        need, limit, taken = self.need, self.limit, self.taken
        if isinstance(limit, Unread) or isinstance(taken, Unread) or limit.amount is None:
            return "", ""
        running = taken.own_high or need.most
        left = max(limit.amount - taken.others_high - running, 0)
        facts = f"{_span(need.least, need.most)} more {need.what} ({left} left)"
        return facts, "" if need.most <= left else self.ask(taken.others_high + running + need.most)

    def ask(self, amount: int) -> str:
        """How to ask Google for a limit."""
        project, region = self.subject.project, self.subject.region
        return (
            f"ask for {amount}: gcloud beta quotas preferences create --service={SERVICE} --project={project} "
            f"--quota-id={self.ref.quota_id} --dimensions=region={region} --preferred-value={amount} "
            "--email=YOU@EXAMPLE.COM, or in the console: "
            f"https://console.cloud.google.com/iam-admin/quotas?service={SERVICE}&project={project}"
        )

    def _more(self, amount: int, regions: Sequence[str]) -> str:
        where = f"; or serve where the limits are high enough: {', '.join(regions)}" if regions else ""
        return f"{self.ask(amount)}{where}"

    def _in_use(self, taken: Taken) -> str:
        text = f"{_span(taken.low, taken.high)} in use ({taken.source})"
        if self.doubt and taken.high:
            return f"{text}, and how much of that by this stack cannot be read: {self.doubt}"
        return (
            f"{text}, {_span(taken.own_low, taken.own_high)} of that by this stack"
            if taken.own_high
            else text
        )

    def _documented(self) -> str:
        region = self.subject.region
        default = catalog().quota_default(self.ref.quota_id, region)
        if default is None:
            return ""
        return f" Google documents {default} {self.need.what} as the default in {region}; projects often have less."

    def _finding(self, status: Status, evidence: str, remedy: str = "", *, used: bool = False) -> Finding:
        """A finding, with the line that shows the limit and, where the evidence is about it, the one for the use."""
        lines = (
            f"gcloud beta quotas info describe {self.ref.quota_id} --service={SERVICE} "
            f"--project={self.subject.project} --format='json(dimensionsInfos)'"
        )
        if used:
            metric = self.ref.metric if isinstance(self.limit, Unread) else self.limit.metric
            lines += f"; {by_hand(self.subject, self.taken, metric or self.ref.metric)}"
        return Finding(
            check=self.need.check, status=status, evidence=evidence, remedy=_sentence(remedy), by_hand=lines
        )


async def quota(subject: Subject, net: Net) -> Sequence[Finding]:
    """What is allowed, less what others use, holds the smallest number of replicas, the largest, a rolling change."""
    needs = _needs(subject)
    usage, limits = await asyncio.gather(
        read_usage(subject, net), asyncio.gather(*(_limit(subject, net, need) for need in needs))
    )
    own = await _as_planned(subject, net, usage.own)
    rooms = [
        _room(subject, need, need.ref, limit, usage, own)
        for need, limit in zip(needs, limits, strict=True)
        if need.ref is not None
    ]
    if any(room.in_the_way for room in rooms):
        pending = await _pending(subject, net, usage)
        rooms = [replace(room, pending=pending) for room in rooms]
    regions = _elsewhere(subject, rooms)
    findings = [
        Finding(
            check=need.check,
            status=Status.SKIP,
            evidence=f"Nobody has published which quota {need.what} are taken from.",
        )
        for need in needs
        if need.ref is None
    ]
    findings += [room.judged(regions) for room in rooms]
    if not any(finding.status is Status.FAIL for finding in findings):
        findings += _surge(rooms, usage, own)
    return findings


def _needs(subject: Subject) -> tuple[Need, ...]:
    hardware, replicas = subject.plan.hardware, subject.plan.replicas
    spot = "spot " if hardware.spot else ""
    return tuple(
        Need(
            check=check,
            what=f"{spot}{what}",
            ref=catalog().quota(kind, hardware.spot),
            units=units,
            replicas=(replicas.min_replica_count, replicas.max_replica_count),
        )
        for check, kind, what, units in (
            ("quota-gpu", hardware.accelerator_type, hardware.accelerator_type, hardware.accelerator_count),
            ("quota-vcpu", CPU, "vCPUs", subject.plan.machine.vcpus),
        )
    )


async def _limit(subject: Subject, net: Net, need: Need) -> Limit | Unread:
    if need.ref is None:
        return Unread("its id is not known")
    return await attempt(read_limit(subject, net, need.ref))


def _room(
    subject: Subject, need: Need, ref: QuotaRef, limit: Limit | Unread, usage: Usage, own: Deployed | None
) -> Room:
    taken: Taken | Unread
    try:
        taken = usage.taken(ref.quota_id, ref.metric if isinstance(limit, Unread) else limit.metric)
    except Unread as reason:
        taken = reason
    return Room(
        subject=subject,
        need=need,
        ref=ref,
        limit=limit,
        taken=taken,
        kept=own.takes(ref.quota_id)[1] if own else 0,
        doubt=str(usage.deployed) if isinstance(usage.deployed, Unread) else "",
    )


async def _pending(subject: Subject, net: Net, usage: Usage) -> str:
    """A deployment of this stack that is under way has its quota already, and a rerun adopts it."""
    try:
        operation = await deployment_under_way(subject, net, usage.own_endpoints)
    except Unread as reason:
        return f"a deployment of this stack may be under way: {reason}"
    return f"a deployment on this stack's endpoint is under way, {operation}" if operation else ""


async def _as_planned(subject: Subject, net: Net, own: Iterable[Deployed]) -> Deployed | None:
    """What this stack has deployed and the plan leaves as it is, apart from the number of replicas."""
    hardware = subject.plan.hardware
    machine = (hardware.machine_type, hardware.accelerator_type, hardware.accelerator_count)
    for each in own:
        same_account = subject.service_account in (None, each.service_account)
        same_machine = (each.machine, each.spot) == (machine, hardware.spot)
        if same_account and same_machine and await _same_model(subject, net, each.model):
            return each
    return None


async def _same_model(subject: Subject, net: Net, name: str) -> bool:
    """Whether a model is the plan's: its id follows from the content, or where versions are kept an alias does."""
    plan = subject.plan
    inputs = {"containerSpec": plan.container.inputs(), "hfToken": subject.hf_token}
    if plan.stack.rollout.old_model == "delete":
        id = derived_model_id(subject.pulumi_project, subject.stack, plan.name, inputs)
        return name.rpartition("/")[2].partition("@")[0] == id
    version = name if "@" in name else f"{name}@1"
    try:
        live = body(await net.get(f"{subject.hosts.vertex}/{version}"))
    except Unread:
        return False
    alias = version_alias(f"{subject.pulumi_project}/{subject.stack}", inputs)
    aliases = live.get("versionAliases")
    return isinstance(aliases, list) and alias in aliases


def _elsewhere(subject: Subject, rooms: Sequence[Room]) -> tuple[str, ...]:
    """The nearest other regions whose limits hold the smallest number of replicas."""
    known = [(room.need.least, room.limit.elsewhere) for room in rooms if isinstance(room.limit, Limit)]
    if len(known) < len(rooms):
        return ()
    found = [
        each.region
        for each in elsewhere(subject.plan.hardware, subject.region)
        if all(_holds(limits.get(each.region, 0), least) for least, limits in known)
    ]
    return tuple(found[:_REGIONS_NAMED])


def _holds(limit: int | None, least: int) -> bool:
    return limit is None or limit >= least


def _surge(rooms: Sequence[Room], usage: Usage, own: Deployed | None) -> list[Finding]:
    """Whether a change of the model can roll: new replicas beside the old ones until they serve."""
    parts = [part for part in (room.surge() for room in rooms) if part[0]]
    if not parts:
        return []
    facts = " and ".join(fact for fact, _ in parts)
    asks = [ask for _, ask in parts if ask]
    subject = rooms[0].subject
    line = f"gcloud ai endpoints list --region={subject.region} --project={subject.project}"

    def finding(status: Status, evidence: str, remedy: str = "") -> list[Finding]:
        return [
            Finding(check=_SURGE, status=status, evidence=evidence, remedy=_sentence(remedy), by_hand=line)
        ]

    if own is not None:
        return finding(
            Status.PASS,
            f"Nothing rolls: deployed model {own.id} is as planned. A change of the model would take {facts}.",
        )
    if subject.plan.stack.rollout.strategy == "recreate":
        return finding(
            Status.PASS, "Nothing runs side by side: rollout: recreate takes the old deployment away first."
        )
    takes = f"A change of the model runs new replicas beside the old ones until they serve: {facts}"
    if not asks:
        return finding(Status.PASS, f"{takes}.")
    if isinstance(usage.deployed, Unread):
        return finding(
            Status.SKIP, f"{takes}, but what this stack has deployed cannot be read: {usage.deployed}."
        )
    again = "or leave it to rollout: auto, which then takes the old deployment away first, with a gap"
    return finding(Status.WARN, f"{takes}; that is too little.", "; ".join([*asks, again]))


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _count(replicas: tuple[int, int]) -> str:
    return f"{_span(*replicas)} replica{'' if replicas[1] == 1 else 's'}"


def _s(count: int) -> str:
    return "s" if count == 1 else ""


def _reach(replicas: int) -> str:
    return "perhaps not even one" if replicas == 0 else f"enough for {_count((replicas, replicas))}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"

"""What of the serving quotas is in use in the region, and how much of that is this stack's own.

Cloud Monitoring counts as the quota system does, a minute or so late; it does not say who uses what. The deployed
models of the region's endpoints tell that, and stand in where Monitoring cannot be read: without deployments that are
under way, and between the smallest and the largest number of replicas that autoscaling may choose.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from infra.ids import endpoint_id
from infra.preflight.google.answers import (
    Json,
    attempt,
    beta,
    body,
    curl,
    disabled,
    object_,
    objects,
    text,
    whole,
)
from infra.preflight.google.limits import SERVICE
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Place
from infra.provider.deployed import live_model
from infra.recipes import catalog
from infra.recipes.catalog import CPU

__all__ = ["Deployed", "Taken", "Usage", "amounts_of", "by_hand", "deployment_under_way", "read_usage"]

MONITORING: Final = "Cloud Monitoring"
"""The source of what it counts; any other is a count of the deployed models."""

_METRIC: Final = "serviceruntime.googleapis.com/quota/allocation/usage"
_HOURS: Final = 25
"""A value that does not change is repeated once in 24 hours."""

_PAGES: Final = 20
_CPU_MACHINE: Final = re.compile(r"(?:n1|n2|n2d|e2|c2|c2d|c3|c3d|c4|n4|m1)-[a-z]+-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """One deployed model.

    Attributes:
        endpoint: Id of its endpoint.
        id: Its id there.
        model: Resource name of the model, with its version where that is not the first.
        machine: Machine type, accelerator type and count, as text, text and number.
        spot: Whether its machines take from the quotas of spot capacity.
        service_account: Email that its containers run as, empty for Google's own.
        replicas: The smallest and the largest number.
        units: Quota id -> GPUs or vCPUs of one replica.
    """

    endpoint: str
    id: str
    model: str
    machine: tuple[str, str, int]
    spot: bool
    service_account: str
    replicas: tuple[int, int]
    units: Mapping[str, int]

    def takes(self, quota_id: str) -> tuple[int, int]:
        """Units of a quota that it takes, with its smallest and its largest number of replicas."""
        units = self.units.get(quota_id, 0)
        return units * self.replicas[0], units * self.replicas[1]


@dataclass(frozen=True, kw_only=True)
class Taken:
    """How much of a quota is in use.

    Attributes:
        low: At least so much.
        high: At most so much, as far as is known.
        own_low: Of that, at least so much is this stack's.
        own_high: At most so much.
        source: Where the figures come from.
    """

    low: int
    high: int
    own_low: int
    own_high: int
    source: str

    @property
    def others_low(self) -> int:
        """What others use at least."""
        return max(0, self.low - self.own_high)

    @property
    def others_high(self) -> int:
        """What others use at most."""
        return max(0, self.high - self.own_low)


@dataclass(frozen=True, kw_only=True)
class Usage:
    """The use of every serving quota in the region; what could not be read is there as the reason.

    Attributes:
        monitored: Name of a quota's metric -> units in use.
        deployed: The deployed models of the region.
        own_endpoints: Ids of the endpoints of this stack, whether or not they exist.
        shared: Whether other stacks may serve there too: then what is deployed there may be this stack's or not.
    """

    monitored: Mapping[str, int] | Unread
    deployed: tuple[Deployed, ...] | Unread
    own_endpoints: frozenset[str]
    shared: bool = False

    @property
    def own(self) -> tuple[Deployed, ...]:
        """What this stack has deployed; empty where that is not known."""
        if isinstance(self.deployed, Unread):
            return ()
        return tuple(each for each in self.deployed if each.endpoint in self.own_endpoints)

    def taken(self, quota_id: str, metric: str) -> Taken:
        """How much of one quota is in use.

        Raises:
            Unread: Neither source says it; the reason of each.
        """
        monitored = self.monitored if metric or isinstance(self.monitored, Unread) else _NAMELESS
        if isinstance(self.deployed, Unread):
            if isinstance(monitored, Unread):
                raise type(monitored)(f"Cloud Monitoring: {monitored}; endpoints: {self.deployed}")
            used = monitored.get(metric, 0)
            # Any part of it may be this stack's.
            return Taken(low=used, high=used, own_low=0, own_high=used, source=MONITORING)
        low, high = _sum(self.deployed, quota_id)
        own_low, own_high = _sum(self.own, quota_id)
        own_low = 0 if self.shared else own_low
        source = MONITORING
        counted = f"counted from {_models(self.deployed)} in the region"
        if isinstance(monitored, Unread):
            source = f"{counted}, as Cloud Monitoring cannot be read: {monitored}"
        elif metric in monitored:
            # It is a minute or so late: what is deployed is in use, whatever it says.
            low = high = max(monitored[metric], low)
        elif self.deployed:
            source = f"{counted}, as Cloud Monitoring has no figure"
        return Taken(low=low, high=high, own_low=own_low, own_high=own_high, source=source)


_NAMELESS: Final = Unread("the name of the quota's metric is not known")


async def read_usage(subject: Place, net: Net) -> Usage:
    """What is in use in the region that serves; asks Cloud Monitoring and Vertex AI at the same time."""
    monitored, deployed = await asyncio.gather(
        attempt(_monitored(subject, net)), attempt(_deployed(subject, net))
    )
    stack = f"{subject.pulumi_project}/{subject.stack}"
    own = {endpoint_id(subject.project, subject.region, f"{stack}{kind}") for kind in ("", "/dedicated")}
    if subject.endpoint is not None:
        own = {subject.endpoint.rpartition("/")[2]}
    return Usage(
        monitored=monitored,
        deployed=deployed,
        own_endpoints=frozenset(own),
        shared=subject.endpoint is not None,
    )


async def deployment_under_way(subject: Place, net: Net, endpoints: Iterable[str]) -> str:
    """Name of a deployment that is under way on one of the endpoints; empty where there is none.

    Raises:
        Unread: The operations of an endpoint that exists cannot be read.
    """
    place = f"{subject.hosts.vertex}/projects/{subject.project}/locations/{subject.region}"
    for endpoint in sorted(endpoints):
        params = {"pageSize": "100"}
        for _ in range(_PAGES):
            answer = await net.get(f"{place}/endpoints/{endpoint}/operations", params=params)
            if answer.gone:
                break
            data = body(answer)
            for each in objects(data, "operations"):
                kind = text(object_(each, "metadata"), "@type").rpartition(".")[2]
                if kind == "DeployModelOperationMetadata" and not each.get("done"):
                    return text(each, "name")
            if not data.get("nextPageToken"):
                break
            params = {**params, "pageToken": text(data, "nextPageToken")}
    return ""


def by_hand(subject: Place, taken: Taken | Unread, metric: str) -> str:
    """The line that shows what is in use of the quota with this metric, at the source of `taken`.

    Points of Cloud Monitoring have the newest first.
    """
    if not isinstance(taken, Unread) and taken.source != MONITORING:
        return f"gcloud ai endpoints list --region={subject.region} --project={subject.project}"
    which = f'{_filter(subject)} AND metric.labels.quota_metric="{metric}"'
    since = datetime.now(UTC).date() - timedelta(days=2)  # the same line all day
    return (
        f"{curl(subject, _time_series(subject))} -G --data-urlencode {shlex.quote(f'filter={which}')} "
        f'-d interval.startTime={since}T00:00:00Z -d interval.endTime="$(date -u +%Y-%m-%dT%H:%M:%SZ)"'
    )


def _filter(subject: Place) -> str:
    return (
        f'metric.type="{_METRIC}" AND resource.type="consumer_quota" AND resource.labels.service="{SERVICE}" '
        f'AND resource.labels.location="{subject.region}"'
    )


def _time_series(subject: Place) -> str:
    return f"{subject.hosts.monitoring}/projects/{subject.project}/timeSeries"


async def _monitored(subject: Place, net: Net) -> Mapping[str, int]:
    now = datetime.now(UTC)
    params = {
        "filter": _filter(subject),
        "interval.startTime": _stamp(now - timedelta(hours=_HOURS)),
        "interval.endTime": _stamp(now),
        "aggregation.alignmentPeriod": f"{_HOURS * 3600}s",
        "aggregation.perSeriesAligner": "ALIGN_NEXT_OLDER",
        "view": "FULL",
    }
    url = _time_series(subject)
    data = body(await net.get(url, params=params))
    if data.get("nextPageToken") or data.get("executionErrors"):
        raise Unread("Cloud Monitoring answers only a part")
    found: dict[str, int] = {}
    for series in objects(data, "timeSeries"):
        metric = text(object_(object_(series, "metric"), "labels"), "quota_metric")
        points = objects(series, "points")
        if points:  # the newest first
            value = whole(object_(points[0], "value").get("int64Value"))
            found[metric] = max(value, found.get(metric, 0))
    return found


async def _deployed(subject: Place, net: Net) -> tuple[Deployed, ...]:
    # v1 does not tell of flex-start, nor of machines that work together.
    url = f"{beta(subject.hosts.vertex)}/projects/{subject.project}/locations/{subject.region}/endpoints"
    found: list[Deployed] = []
    params = {"pageSize": "100"}
    for _ in range(_PAGES):
        answer = await net.get(url, params=params)
        if disabled(answer) and not found:
            return ()  # without the API nothing can be deployed
        data = body(answer)
        for endpoint in objects(data, "endpoints"):
            name = text(endpoint, "name").rpartition("/")[2]
            found += [_model(name, each) for each in objects(endpoint, "deployedModels")]
        if not data.get("nextPageToken"):
            return tuple(found)
        params = {**params, "pageToken": text(data, "nextPageToken")}
    raise Unread(f"more than {_PAGES} pages of endpoints")


def _model(endpoint: str, deployed: Json) -> Deployed:
    resources = object_(deployed, "dedicatedResources")
    spec = object_(resources, "machineSpec")
    least = whole(resources.get("minReplicaCount"))
    machine = (text(spec, "machineType"), text(spec, "acceleratorType"), whole(spec.get("acceleratorCount")))
    spot = bool(resources.get("spot")) or "flexStart" in resources
    return Deployed(
        endpoint=endpoint,
        id=text(deployed, "id"),
        model=live_model(deployed),
        machine=machine,
        spot=spot,
        service_account=text(deployed, "serviceAccount"),
        replicas=(least, max(least, whole(resources.get("maxReplicaCount")))),
        units=_units(*machine, spot=spot, nodes=max(whole(spec.get("multihostGpuNodeCount")), 1)),
    )


def amounts_of(machine_type: str, accelerator: str, count: int) -> dict[str, int]:
    """GPUs and vCPUs of one replica, by what a quota counts; without those of machines that nobody knows."""
    books = catalog()
    amounts = {accelerator: count} if accelerator else {}
    cpu_machine = _CPU_MACHINE.fullmatch(machine_type)
    machine = next((each for each in books.machines() if each.machine_type == machine_type), None)
    if machine is not None:
        # Replicas with 1, 2 or 4 of the 8 GPUs of an a3-highgpu-8g share the machine.
        whole_machine = max(machine.counts(accelerator), default=count)
        shared = machine_type == "a3-highgpu-8g" and 0 < count < whole_machine
        amounts[CPU] = machine.vcpus * count // whole_machine if shared else machine.vcpus
    elif cpu_machine is not None:
        amounts[CPU] = int(cpu_machine[1])
    return amounts


def _units(machine_type: str, accelerator: str, count: int, *, spot: bool, nodes: int) -> Mapping[str, int]:
    """Quota id -> GPUs or vCPUs of one replica."""
    books = catalog()
    found: dict[str, int] = {}
    for kind, amount in amounts_of(machine_type, accelerator, count).items():
        quota = books.quota(kind, spot)
        if quota is not None:
            found[quota.quota_id] = amount * nodes
    return found


def _sum(deployed: Iterable[Deployed], quota_id: str) -> tuple[int, int]:
    taken = [each.takes(quota_id) for each in deployed]
    return sum(low for low, _ in taken), sum(high for _, high in taken)


def _models(deployed: tuple[Deployed, ...]) -> str:
    return f"{len(deployed)} deployed model{'' if len(deployed) == 1 else 's'}"


def _stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

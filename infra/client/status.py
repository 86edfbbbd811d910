"""What an endpoint is, serves and costs, from what Vertex AI, Cloud Monitoring and Cloud Logging answer. Pure.

Owns the figures and their limits. What is not known is None, never 0: a price that nobody published, replicas that
Vertex AI has not counted yet, requests that Cloud Monitoring does not answer for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from infra import expiry
from infra.client.logs import Entry, printable
from infra.provider.names import PROJECT_LABEL, STACK_LABEL
from infra.recipes.costs import UNKNOWN, costs_of_machines
from infra.rfc3339 import parse_time

__all__ = [
    "Deployment",
    "Expiry",
    "Operation",
    "Requests",
    "Status",
    "deployment_of",
    "of_another_stack",
    "operations_of",
    "requests_of",
    "status_of",
]

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Expiry:
    """Until when the endpoint's model is wanted, by the label `expiry`.

    Attributes:
        label: The label's value; empty where there is none.
        end: The moment from which on it is not wanted; None for never, or where the label does not say.
        hours_left: Hours until then; negative when it has passed.
    """

    label: str
    end: datetime | None = None
    hours_left: float | None = None

    @property
    def days_left(self) -> int | None:
        """Whole days, where the end is a day those until that day: 0 on it, negative when it has passed."""
        return None if self.hours_left is None else math.ceil(self.hours_left / 24) - 1

    @property
    def passed(self) -> bool:
        """Whether it is not wanted any more."""
        return self.hours_left is not None and self.hours_left <= 0

    @property
    def text(self) -> str:
        """In words."""
        if not self.label:
            return f"no label {expiry.LABEL}"
        if self.hours_left is None:
            duration = expiry.Expiry.of(self.label).length is not None
            return f"{self.label} after a deployment" if duration else self.label
        hours = abs(self.hours_left)
        if expiry.Expiry.of(self.label).day is not None:
            days = self.days_left or 0
            return f"{self.label}, " + (
                f"passed {_days(-days)} ago" if self.passed else f"in {_days(days)}" if days else "today"
            )
        span = (
            f"{hours * 60:.0f} min"
            if hours < 1
            else f"{hours:.0f} h"
            if hours < 48
            else _days(int(hours // 24))
        )
        return f"{self.label} after the deployment, " + (
            f"passed {span} ago" if self.passed else f"in {span}"
        )

    def as_dict(self) -> Json:
        """The expiry for JSON."""
        return {
            "label": self.label or None,
            "end": None if self.end is None else _iso(self.end),
            "days_left": self.days_left,
            "passed": self.passed,
        }

    @staticmethod
    def of(label: str, deployed: datetime | None, at: datetime) -> Expiry:
        """What a label says at a time, of a model that was deployed then."""
        end = expiry.Expiry.of(label).end(deployed)
        return Expiry(
            label=label, end=end, hours_left=None if end is None else (end - at).total_seconds() / 3600
        )


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One deployed model of an endpoint.

    Attributes:
        id: Its id.
        name: Display name.
        model: Resource name of the model, with its version where Vertex AI says it.
        created: When it was deployed; None where Vertex AI does not say.
        hours: Hours since then.
        machine_type: The machine of a replica.
        accelerator_type: Vertex AI's name of the GPU; empty for none.
        accelerator_count: GPUs of a replica.
        spot: Whether the capacity is spot.
        available: Replicas that serve now; None where Vertex AI has not counted them.
        min_replicas: Least replicas.
        max_replicas: Most replicas.
        traffic: Percentage of the endpoint's requests.
        message: What Vertex AI says of its state; mostly empty.
        usd_per_hour: Price of one replica; None where it is not known.
        price_date: Date of the price's source; empty where it is not known.
        expiry: Until when it is wanted, where its model is another stack's than the endpoint and so has a label of its
            own; None where the endpoint's counts.
    """

    id: str
    name: str
    model: str
    created: datetime | None
    hours: float | None
    machine_type: str
    accelerator_type: str
    accelerator_count: int
    spot: bool
    available: int | None
    min_replicas: int
    max_replicas: int
    traffic: int
    message: str
    usd_per_hour: float | None
    price_date: str
    expiry: Expiry | None = None

    @property
    def usd_per_hour_now(self) -> float | None:
        """Price of the replicas that serve now; of the least where they are not counted."""
        count = self.min_replicas if self.available is None else self.available
        return None if self.usd_per_hour is None else self.usd_per_hour * count

    @property
    def usd_so_far(self) -> tuple[float, float] | None:
        """Price times time since the deployment, with the least and with the most replicas."""
        if self.usd_per_hour is None or self.hours is None:
            return None
        one = self.usd_per_hour * self.hours
        return one * self.min_replicas, one * self.max_replicas

    def as_dict(self) -> Json:
        """The deployment for JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "model": self.model,
            "created": None if self.created is None else _iso(self.created),
            "hours": None if self.hours is None else round(self.hours, 4),
            "machine_type": self.machine_type,
            "accelerator_type": self.accelerator_type or None,
            "accelerator_count": self.accelerator_count,
            "spot": self.spot,
            "replicas": {"available": self.available, "min": self.min_replicas, "max": self.max_replicas},
            "traffic": self.traffic,
            "message": self.message,
            **({} if self.expiry is None else {"expiry": self.expiry.as_dict()}),
            "cost": {
                "replica_usd_per_hour": _amount(self.usd_per_hour, 6),
                "now_usd_per_hour": _amount(self.usd_per_hour_now, 6),
                "so_far_usd": _range(self.usd_so_far),
                "price_date": self.price_date or UNKNOWN,
            },
        }


@dataclass(frozen=True, kw_only=True)
class Requests:
    """Answers of the last hour by the class of their HTTP status, as Cloud Monitoring has them (minutes late)."""

    by_class: Mapping[str, int]

    @property
    def total(self) -> int:
        """Of every class."""
        return sum(self.by_class.values())

    @property
    def failed(self) -> int:
        """4xx and 5xx."""
        return sum(count for name, count in self.by_class.items() if name.startswith(("4", "5")))

    def as_dict(self) -> Json:
        """The counts for JSON."""
        return {"total": self.total, "failed": self.failed, "by_class": dict(sorted(self.by_class.items()))}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that Vertex AI does or did to the endpoint, and that runs or failed.

    Attributes:
        id: The last part of its name.
        kind: ``DeployModel``, ``UndeployModel`` …
        began: When; None where Vertex AI does not say.
        done: Whether it is over.
        stage: How far a deployment is or came; empty for others.
        error: Why it failed; empty while it runs.
    """

    id: str
    kind: str
    began: datetime | None
    done: bool
    stage: str
    error: str

    def as_dict(self) -> Json:
        """The operation for JSON."""
        return {
            "id": self.id,
            "kind": self.kind,
            "began": None if self.began is None else _iso(self.began),
            "done": self.done,
            "stage": self.stage or None,
            "error": self.error or None,
        }


@dataclass(frozen=True, kw_only=True)
class Status:
    """One endpoint at one time.

    Attributes:
        at: The time.
        endpoint: Resource name.
        name: Display name.
        kind: ``shared``, ``dedicated`` or ``private``.
        dns: Host of a dedicated endpoint; empty for another.
        created: When it was made.
        expiry: Until when it is wanted; of a deployment with a label of its own, that says it.
        deployments: What it serves, those with more traffic first.
        operations: What Vertex AI is doing to it, and the last that failed where nothing succeeded since, oldest first.
        requests: Answers of the last hour; None where nobody says.
        errors: The newest lines of severity ERROR and worse, oldest first; None where they could not be read.
        notes: What could not be read, and why.
        local: Whether this is the local Google Cloud, which costs nothing.
        stopped: What to say where the stack was stopped; empty where it was not, or is not known.
    """

    at: datetime
    endpoint: str
    name: str
    kind: str
    dns: str
    created: datetime | None
    expiry: Expiry
    deployments: tuple[Deployment, ...]
    operations: tuple[Operation, ...]
    requests: Requests | None
    errors: tuple[Entry, ...] | None
    notes: tuple[str, ...]
    local: bool
    stopped: str = ""

    @property
    def usd_per_hour_now(self) -> float | None:
        """Of every deployment; None where one price is not known."""
        amounts = [each.usd_per_hour_now for each in self.deployments]
        known = [amount for amount in amounts if amount is not None]
        return sum(known) if len(known) == len(amounts) else None

    @property
    def usd_so_far(self) -> tuple[float, float] | None:
        """Of every deployment that exists now, least and most; None where one is not known."""
        ranges = [each.usd_so_far for each in self.deployments]
        known = [each for each in ranges if each is not None]
        if len(known) < len(ranges):
            return None
        return sum(low for low, _ in known), sum(high for _, high in known)

    @property
    def ready(self) -> bool:
        """Whether a deployment with traffic has a replica that serves."""
        return any(each.traffic and each.available for each in self.deployments)

    def as_dict(self) -> Json:
        """The status for JSON."""
        return {
            "at": _iso(self.at),
            "local": self.local,
            "endpoint": self.endpoint,
            "name": self.name,
            "kind": self.kind,
            "dns": self.dns or None,
            "created": None if self.created is None else _iso(self.created),
            "ready": self.ready,
            "stopped": bool(self.stopped),
            "expiry": self.expiry.as_dict(),
            "deployments": [each.as_dict() for each in self.deployments],
            "cost": {
                "now_usd_per_hour": _amount(self.usd_per_hour_now, 6),
                "so_far_usd": _range(self.usd_so_far),
            },
            "operations": [each.as_dict() for each in self.operations],
            "requests_last_hour": None if self.requests is None else self.requests.as_dict(),
            "last_errors": None if self.errors is None else [entry.as_dict() for entry in self.errors],
            "notes": list(self.notes),
        }


def status_of(
    endpoint: Mapping[str, Any],
    *,
    region: str,
    at: datetime,
    operations: tuple[Operation, ...] = (),
    requests: Requests | None = None,
    errors: tuple[Entry, ...] | None = (),
    notes: tuple[str, ...] = (),
    local: bool = False,
    stopped: str = "",
    models: Mapping[str, Mapping[str, Any]] | None = None,
) -> Status:
    """The status of an endpoint as Vertex AI answers it (v1, ``endpoints.get``).

    Args:
        endpoint: The answer.
        region: Where it is, for prices.
        at: The present time.
        operations: What is done to it.
        requests: Answers of the last hour.
        errors: The newest errors.
        notes: What could not be read.
        local: Whether this is the local Google Cloud.
        stopped: What to say where the stack was stopped.
        models: Labels of the deployed models, by resource name without a version.
    """
    dedicated = bool(endpoint.get("dedicatedEndpointEnabled"))
    private = bool(endpoint.get("network") or endpoint.get("privateServiceConnectConfig"))
    traffic = endpoint.get("trafficSplit") or {}
    found = [deployment_of(each, traffic, region, at) for each in endpoint.get("deployedModels") or []]
    labels = endpoint.get("labels") or {}
    for place, each in enumerate(found):
        own = (models or {}).get(each.model.partition("@")[0]) or {}
        if of_another_stack(own, labels):
            until = Expiry.of(str(own.get(expiry.LABEL) or ""), each.created, at)
            found[place] = replace(each, expiry=until)
    label = str(labels.get(expiry.LABEL) or "")
    deployed = min((each.created for each in found if each.created and each.expiry is None), default=None)
    return Status(
        at=at,
        endpoint=str(endpoint.get("name") or ""),
        name=printable(str(endpoint.get("displayName") or "")),
        kind="private" if private else "dedicated" if dedicated else "shared",
        dns=str(endpoint.get("dedicatedEndpointDns") or ""),
        created=parse_time(str(endpoint.get("createTime") or "")),
        expiry=Expiry.of(label, deployed, at),
        deployments=tuple(sorted(found, key=lambda each: (-each.traffic, each.id))),
        operations=operations,
        requests=requests,
        errors=errors,
        notes=notes,
        local=local,
        stopped=stopped,
    )


def of_another_stack(model: Mapping[str, Any], endpoint: Mapping[str, Any]) -> bool:
    """Whether a model is of another stack than the endpoint, by their labels: then its own expiry counts, too."""
    its, own = ((each.get(PROJECT_LABEL), each.get(STACK_LABEL)) for each in (model, endpoint))
    return all(its) and its != own


def requests_of(answer: Mapping[str, Any]) -> Requests:
    """What ``timeSeries:list`` says of ``prediction/online/response_count``, a series for each response code.

    Raises:
        ValueError: The answer has another shape.
    """
    counts: dict[str, int] = {}
    try:
        for series in answer.get("timeSeries") or []:
            code = str(series["metric"]["labels"]["response_code"])
            name = f"{code[0]}xx" if code[:1].isdigit() else code
            for point in series.get("points") or []:
                value = point["value"]
                counts[name] = counts.get(name, 0) + round(
                    float(value.get("int64Value", value.get("doubleValue", 0)))
                )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"no time series of response_count: {error!r}") from None
    return Requests(by_class=counts)


_NEVER: Final = datetime.min.replace(tzinfo=UTC)


def operations_of(found: Sequence[Mapping[str, Any]]) -> tuple[Operation, ...]:
    """What runs, and of each kind the last that is over, where it failed; oldest first."""
    made = sorted((_operation(each) for each in found), key=lambda each: each.began or _NEVER)
    last = {each.kind: each for each in made if each.done}
    return tuple(each for each in made if not each.done or (each.error and last[each.kind] is each))


def _operation(found: Mapping[str, Any]) -> Operation:
    metadata = found.get("metadata") or {}
    error = found.get("error") or {}
    kind = str(metadata.get("@type") or "").rpartition(".")[2].removesuffix("OperationMetadata")
    done = bool(found.get("done"))
    message = str(error.get("message") or f"code {error.get('code')}") if error else ""
    return Operation(
        id=str(found.get("name") or "").rpartition("/")[2],
        kind=kind or "Operation",
        began=parse_time(str((metadata.get("genericMetadata") or {}).get("createTime") or "")),
        done=done,
        stage=str(metadata.get("deploymentStage") or ""),
        error=printable(message) if done else "",
    )


def deployment_of(
    found: Mapping[str, Any], traffic: Mapping[str, Any], region: str, at: datetime
) -> Deployment:
    """A deployed model as Vertex AI answers it, with its price until now.

    Args:
        found: The ``deployedModels`` entry of an endpoint.
        traffic: The endpoint's ``trafficSplit``.
        region: Where it is, for prices.
        at: The present time.
    """
    resources = found.get("dedicatedResources") or {}
    machine = resources.get("machineSpec") or {}
    state = found.get("status") or {}
    created = parse_time(str(found.get("createTime") or ""))
    least = int(resources.get("minReplicaCount") or 0)
    most = int(resources.get("maxReplicaCount") or least)
    machine_type = str(machine.get("machineType") or "")
    gpu, count = str(machine.get("acceleratorType") or ""), int(machine.get("acceleratorCount") or 0)
    spot = bool(resources.get("spot"))
    costs = costs_of_machines(
        machine_type=machine_type,
        accelerator_type=gpu,
        accelerator_count=count,
        region=region,
        spot=spot,
        min_replicas=least,
        max_replicas=most,
    )
    version = str(found.get("modelVersionId") or "")
    available = state.get("availableReplicaCount")
    return Deployment(
        id=str(found.get("id") or ""),
        name=printable(str(found.get("displayName") or "")),
        model=str(found.get("model") or "") + (f"@{version}" if version else ""),
        created=created,
        hours=None if created is None else max((at - created).total_seconds() / 3600, 0.0),
        machine_type=machine_type,
        accelerator_type=gpu,
        accelerator_count=count,
        spot=spot,
        available=None if available is None else int(available),
        min_replicas=least,
        max_replicas=most,
        traffic=int(traffic.get(str(found.get("id"))) or 0),
        message=printable(str(state.get("message") or "")),
        usd_per_hour=costs.replica,
        price_date=costs.date,
    )


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def _amount(amount: float | None, digits: int) -> float | str:
    return UNKNOWN if amount is None else round(amount, digits)


def _range(found: tuple[float, float] | None) -> Json | str:
    return UNKNOWN if found is None else {"least": round(found[0], 4), "most": round(found[1], 4)}


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""One thing that exists in the cloud with labels of ours, and what it has cost. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from infra.client.status import Deployment, deployment_of, of_another_stack
from infra.expiry import LABEL
from infra.provider.names import PROJECT_LABEL, STACK_LABEL
from infra.recipes.costs import UNKNOWN

__all__ = ["KINDS", "Thing", "age", "belongs_to", "deployed", "described", "dollars", "key_of", "words"]

Json = dict[str, Any]

KINDS: Final = ("deployment", "endpoint", "model", "alert policy", "dashboard", "service account", "bucket")
"""In the order in which they can be removed."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One resource.

    Attributes:
        kind: One of `KINDS`.
        name: Resource name; of a deployment ``ENDPOINT/deployedModels/ID``, of one that is only being made the
            endpoint's name and its operation.
        display: What the console shows.
        region: Where it is; empty for what has no region.
        project_label, stack_label: The labels by which it is ours; empty where it has none.
        created: When it was made; None where Google does not say.
        hours: Hours since then.
        expiry: Value of the label `expiry`.
        deployment: Of a deployment: machine, replicas, price.
        operation: Of a deployment that is being made: Google's operation.
        shared: Why it is not only this stack's: another owner's model on its endpoint, or the reverse; empty where all
            of it is. Unless a state has it, it goes only where `host` is known too.
        host: Labels of the stack whose endpoint a deployment of another stack is on; None for none.
    """

    kind: str
    name: str
    display: str = ""
    region: str = ""
    project_label: str = ""
    stack_label: str = ""
    created: datetime | None = None
    hours: float | None = None
    expiry: str = ""
    deployment: Deployment | None = None
    operation: str = ""
    shared: str = ""
    host: tuple[str, str] | None = None

    @property
    def key(self) -> str:
        """By which a state knows it."""
        return key_of(self.name)

    @property
    def endpoint(self) -> str:
        """Of a deployment: the endpoint's resource name."""
        return re.split(r"/(?:deployedModels|operations)/", self.name, maxsplit=1)[0]

    @property
    def id(self) -> str:
        """The last part of its name."""
        return self.name.rpartition("/")[2]

    @property
    def usd_per_hour(self) -> float | None:
        """What it costs an hour now; 0 for what is not billed by the hour, None where no price is known."""
        if self.kind != "deployment":
            return 0.0
        return None if self.deployment is None else self.deployment.usd_per_hour_now

    @property
    def usd_so_far(self) -> tuple[float, float] | None:
        """What it has cost since it was made, with the least and the most replicas."""
        if self.kind != "deployment":
            return 0.0, 0.0
        return None if self.deployment is None else self.deployment.usd_so_far

    def as_dict(self) -> Json:
        """The thing for JSON."""
        so_far = self.usd_so_far
        hour = self.usd_per_hour
        return {
            "kind": self.kind,
            "name": self.name,
            "display_name": self.display or None,
            "region": self.region or None,
            "project_label": self.project_label or None,
            "stack_label": self.stack_label or None,
            "created": None
            if self.created is None
            else self.created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "hours": None if self.hours is None else round(self.hours, 4),
            "expiry": self.expiry or None,
            "operation": self.operation or None,
            "usd_per_hour": UNKNOWN if hour is None else round(hour, 6),
            "usd_so_far": UNKNOWN
            if so_far is None
            else {"least": round(so_far[0], 4), "most": round(so_far[1], 4)},
        }


def key_of(name: str) -> str:
    """A resource name without what two spellings of it differ in: the project (id or number), a model's version."""
    return re.sub(r"^projects/[^/]+/", "", name).partition("@")[0]


def belongs_to(labels: Mapping[str, Any] | None) -> tuple[str, str] | None:
    """The labels of project and stack, where both are there."""
    found = labels or {}
    project, stack = found.get(PROJECT_LABEL), found.get(STACK_LABEL)
    return (str(project), str(stack)) if project and stack else None


def described(account: Mapping[str, Any]) -> dict[str, str]:
    """What stands for labels in the description of a service account: ``name=value``, apart by spaces."""
    return dict(
        part.partition("=")[::2] for part in str(account.get("description") or "").split() if "=" in part
    )


def deployed(
    endpoint: Mapping[str, Any],
    live: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    region: str,
    at: datetime,
) -> Thing:
    """A deployed model: its stack is its model's, else its endpoint's; where the two differ it is shared.

    Args:
        endpoint: The endpoint as Vertex AI answers it.
        live: The entry of its ``deployedModels``.
        models: Labels of every model of the region, by key.
        region: The region.
        at: The present time.
    """
    known = deployment_of(live, endpoint.get("trafficSplit") or {}, region, at)
    model = key_of(known.model)
    own = belongs_to(endpoint.get("labels"))
    its = belongs_to(models.get(model))
    labels = models.get(model) or {}
    if not of_another_stack(labels, endpoint.get("labels") or {}):
        labels = endpoint.get("labels") or {}
    owner = its or own or ("", "")
    shared = ""
    if its and its != own:
        shared = f"the endpoint {str(endpoint.get('name')).rpartition('/')[2]} is not this stack's"
    elif own and not its and model in models:  # a model that is gone says nothing against it
        shared = f"its model {model.rpartition('/')[2]} is not this stack's"
    return Thing(
        kind="deployment",
        name=f"{endpoint.get('name')}/deployedModels/{known.id}",
        display=known.name,
        region=region,
        project_label=owner[0],
        stack_label=owner[1],
        created=known.created,
        hours=known.hours,
        expiry=str(labels.get(LABEL) or ""),
        deployment=known,
        shared=shared,
        host=own if its and its != own else None,
    )


def words(thing: Thing) -> str:
    """A thing in one line: what it is, where, how old, what it cost."""
    text = f"{thing.kind} {thing.id}"
    if thing.kind == "deployment":
        if thing.operation:
            text = f"a deployment under way ({thing.operation.rpartition('/')[2]})"
        else:
            text = f"deployed model {thing.id}"
        text += f" on endpoint {thing.endpoint.rpartition('/')[2]}"
    if thing.region:
        text += f" in {thing.region}"
    if thing.deployment is not None and thing.deployment.machine_type:
        many = thing.deployment
        text += f", {many.machine_type}"
        if many.accelerator_type:
            text += f" with {many.accelerator_count} x {many.accelerator_type}"
    if thing.hours is not None:
        text += f", {age(thing.hours)} old"
    if thing.kind == "deployment":
        cost = thing.usd_so_far
        text += ", cost so far unknown" if cost is None else f", {dollars(cost)} USD so far"
    return text


def age(hours: float) -> str:
    """An age as people say it."""
    return (
        f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
    )


def dollars(found: tuple[float, float] | None) -> str:
    """US dollars, least to most; ``unknown`` where no price is known."""
    if found is None:
        return UNKNOWN
    low, high = (f"{amount:,.2f}" for amount in found)
    return low if low == high else f"{low} to {high}"

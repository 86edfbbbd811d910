"""What a preview changes on the GPUs: deployments, the models that they run, the endpoint in front of them.

Owns the words for it, for how long old and new run side by side, and what a model's arguments look like beside each
other without secrets.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from infra.recipes import catalog
from infra.recipes.costs import Costs, costs_of_machines
from infra.report.preview import UNKNOWN, Preview, Resource, Step

__all__ = [
    "Container",
    "Deployed",
    "DeploymentChange",
    "EndpointChange",
    "Kind",
    "ModelChange",
    "Surge",
    "argument_lines",
    "deployments",
    "duration",
    "endpoints",
    "models",
]

_DEPLOYMENT: Final = "vertexserving:index:Deployment"
_MODEL: Final = "vertexserving:index:Model"
_ENDPOINT: Final = "gcp:vertex/aiEndpoint:AiEndpoint"

_LONGEST_START: Final = 7200
"""Seconds after which Vertex AI gives up a container; Google's limit of ModelContainerSpec.deployment_timeout."""

_LONG: Final = 160  # characters of one argument
_NAMED: Final = 8  # changes of a container in one line
_SECRET_FLAG: Final = re.compile(r"--?(?:[\w-]*[-_])?(?:token|password|secret|key)", re.IGNORECASE)


class Kind(Enum):
    """What happens to a resource."""

    CREATED = "created"
    REPLACED = "replaced"
    CHANGED = "changed in place"
    DELETED = "deleted"
    ADOPTED = "imported"
    SAME = "unchanged"


_KINDS: Final = {
    "create": Kind.CREATED,
    "replace": Kind.REPLACED,
    "import-replacement": Kind.REPLACED,
    "update": Kind.CHANGED,
    "delete": Kind.DELETED,
    "delete-replaced": Kind.DELETED,  # what an interrupted replacement left
    "import": Kind.ADOPTED,
}


@dataclass(frozen=True)
class Deployed:
    """A model on machines; what is not known before the update is None.

    Attributes:
        region: Region that serves.
        machine_type: The machine.
        accelerator_type: Its GPUs.
        accelerator_count: How many of them a machine has.
        spot: Whether the capacity is spot.
        min_replicas: Machines that always run.
        max_replicas: Machines at most.
        autoscaling: Metric and target of what decides in between.
        service_account: Account that the container runs as.
        wait_s: Seconds that one ``pulumi up`` waits for it.
    """

    region: str | None
    machine_type: str | None
    accelerator_type: str | None
    accelerator_count: int | None
    spot: bool | None
    min_replicas: int | None
    max_replicas: int | None
    autoscaling: tuple[tuple[str, str], ...]
    service_account: str | None
    wait_s: int | None

    @property
    def costs(self) -> Costs | None:
        """What it costs; None where the preview does not say what it is."""
        machine, gpu, count, region = (
            self.machine_type,
            self.accelerator_type,
            self.accelerator_count,
            self.region,
        )
        low, high = self.min_replicas, self.max_replicas
        if machine is None or gpu is None or count is None or region is None or low is None or high is None:
            return None
        return costs_of_machines(
            machine_type=machine,
            accelerator_type=gpu,
            accelerator_count=count,
            region=region,
            spot=bool(self.spot),
            min_replicas=low,
            max_replicas=high,
        )

    @property
    def hardware(self) -> str:
        """One machine in words."""
        capacity = "capacity unknown" if self.spot is None else "spot" if self.spot else "on demand"
        gpus = f"{_shown(self.accelerator_count)} x {_shown(self.accelerator_type)}"
        return f"{_shown(self.machine_type)} with {gpus}, {capacity}, in {_shown(self.region)}"

    @property
    def replicas(self) -> str:
        """How many machines."""
        low, high = self.min_replicas, self.max_replicas
        return _shown(low) if low == high else f"{_shown(low)} to {_shown(high)}"

    def rows(self) -> dict[str, str]:
        """What a reader compares, by name."""
        return {
            "machine type": _shown(self.machine_type),
            "accelerator": _shown(self.accelerator_type),
            "accelerators a machine": _shown(self.accelerator_count),
            "capacity": _shown(None if self.spot is None else "spot" if self.spot else "on demand"),
            "replicas at least": _shown(self.min_replicas),
            "replicas at most": _shown(self.max_replicas),
            "autoscaling": ", ".join(f"{name} at {target}" for name, target in self.autoscaling) or "none",
            "region": _shown(self.region),
            "service account": _shown(self.service_account),
        }


@dataclass(frozen=True)
class Surge:
    """Old and new side by side, until the new one serves.

    Attributes:
        at_most_s: Seconds after which Vertex AI gives the new one up.
        wait_s: Seconds of it that one ``pulumi up`` waits, None where it is not known.
        replicas: Machines of the new one.
        usd_per_hour: What they cost an hour, on top of the old ones; None where no price is known.
    """

    at_most_s: int
    wait_s: int | None
    replicas: int | None
    usd_per_hour: float | None

    @property
    def usd(self) -> float | None:
        """US dollars at most, on top of what runs already."""
        return None if self.usd_per_hour is None else self.usd_per_hour * self.at_most_s / 3600

    @property
    def text(self) -> str:
        """One sentence."""
        price = "at a price that is not known"
        if self.usd_per_hour is not None and self.usd is not None:
            price = f"{self.usd_per_hour:,.2f} USD an hour on top, {self.usd:,.2f} USD at most"
        waits = ""
        if self.wait_s is not None and self.wait_s < self.at_most_s:
            waits = f"; one pulumi up waits {duration(self.wait_s)} of it"
        return (
            f"old and new run side by side until the new one serves, {duration(self.at_most_s)} at most"
            f" (the container's deployment_timeout), {price}{waits}"
        )


@dataclass(frozen=True)
class DeploymentChange:
    """What happens to one deployment.

    ``because`` are the properties that force a replacement; with ``gap`` the old one is taken away first.
    """

    kind: Kind
    name: str
    before: Deployed | None
    after: Deployed | None
    because: tuple[str, ...]
    surge: Surge | None
    gap: bool = False

    @property
    def text(self) -> str:
        """One line, without a full stop."""
        before, after = self.before, self.after
        if self.kind is Kind.SAME or (before is None and after is None):
            return f"nothing changes{'' if after is None else f': {_what(after)}'}"
        if before is None:
            assert after is not None
            word = "imported" if self.kind is Kind.ADOPTED else "new"
            return f"{word}: {_what(after)}"
        if after is None:
            return f"gone: {_what(before)}"
        found = differences(before, after)
        changes = "; ".join(f"{name} {old} → {new}" for name, old, new in found)
        if self.kind is Kind.CHANGED:
            return f"changes in place, nothing restarts: {changes or ', '.join(self.because) or 'no visible change'}"
        because = f" because of {', '.join(self.because)}" if self.because else ""
        gap = "; the old one goes first: nothing serves until the new one does" if self.gap else ""
        return f"replaced{because}: {changes or f'on the same hardware, {_what(after)}'}{gap}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        surge = self.surge
        return {
            "name": self.name,
            "change": self.kind.value,
            "text": self.text,
            "because": list(self.because),
            "gap": self.gap,
            "before": None if self.before is None else _dict(self.before),
            "after": None if self.after is None else _dict(self.after),
            "side_by_side": None
            if surge is None
            else {
                "at_most_s": surge.at_most_s,
                "wait_s": surge.wait_s,
                "replicas": surge.replicas,
                "usd_per_hour": _rounded(surge.usd_per_hour),
                "usd_at_most": _rounded(surge.usd),
                "text": surge.text,
            },
        }


@dataclass(frozen=True)
class Container:
    """What a model is: image, arguments, names of its environment variables (not their values)."""

    image: str | None
    args: tuple[str, ...]
    env: Mapping[str, str]
    start_timeout_s: int | None
    memory_mb: int | None

    @property
    def version(self) -> str:
        """vLLM's version in the image, as the catalogue knows it."""
        known = None if self.image is None else catalog().container(self.image)
        return "unknown" if known is None or known.vllm_version is None else known.vllm_version

    def rows(self) -> dict[str, str]:
        """What a reader compares, by name."""
        return {
            "image": _shown(self.image),
            "vLLM": self.version,
            "shared memory": _shown(self.memory_mb, " MiB"),
            "deployment_timeout": "not known"
            if self.start_timeout_s is None
            else duration(self.start_timeout_s),
        }


@dataclass(frozen=True)
class ModelChange:
    """What happens to one uploaded model."""

    kind: Kind
    name: str
    before: Container | None
    after: Container | None
    because: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments, each line with ``-``, ``+`` or a blank before it."""
        before = () if self.before is None else self.before.args
        after = () if self.after is None else self.after.args
        return argument_lines(before, after)

    @property
    def environment(self) -> tuple[str, ...]:
        """Sentences on variables that come, go or change; never a value."""
        if self.before is None or self.after is None:
            return ()
        old, new = self.before.env, self.after.env
        found = [f"{name} is new" for name in sorted(new.keys() - old.keys())]
        found += [f"{name} is gone" for name in sorted(old.keys() - new.keys())]
        return (
            *found,
            *(f"{name} changes" for name in sorted(old.keys() & new.keys()) if old[name] != new[name]),
        )

    @property
    def text(self) -> str:
        """One line, without a full stop."""
        before, after = self.before, self.after
        if self.kind is Kind.CHANGED:
            return f"changes in place: {', '.join(self.because) or 'no visible change'}"
        if before is None or after is None or self.kind is not Kind.REPLACED:
            found = after or before
            word = {Kind.CREATED: "new", Kind.DELETED: "gone", Kind.ADOPTED: "imported"}.get(
                self.kind, "unchanged"
            )
            return word if found is None else f"{word}: {_shown(found.image)}, vLLM {found.version}"
        parts = [f"{name} {old} → {new}" for name, old, new in _compared(before.rows(), after.rows())]
        parts += _argument_words(self.arguments)
        parts += (f"environment: {text}" for text in self.environment)
        more = len(parts) - _NAMED
        shown = [*parts[:_NAMED], *([f"and {more} more"] if more > 0 else [])]
        return f"replaced: {'; '.join(shown) or ', '.join(self.because)}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON; arguments are those of :attr:`arguments`."""
        return {
            "name": self.name,
            "change": self.kind.value,
            "text": self.text,
            "because": list(self.because),
            "before": None if self.before is None else self.before.rows(),
            "after": None if self.after is None else self.after.rows(),
            "arguments": list(self.arguments),
            "environment": list(self.environment),
        }


@dataclass(frozen=True)
class EndpointChange:
    """What happens to one endpoint."""

    kind: Kind
    name: str
    because: tuple[str, ...]
    dedicated_before: bool | None
    dedicated_after: bool | None

    @property
    def text(self) -> str:
        """One line, without a full stop."""
        after = "" if self.dedicated_after is None else "dedicated" if self.dedicated_after else "shared"
        if self.kind is Kind.CREATED:
            return f"new, {after}"
        if self.kind is Kind.DELETED:
            return "gone: its address answers no more"
        if self.kind is Kind.REPLACED:
            change = f"; it becomes {after}" if self.dedicated_before != self.dedicated_after else ""
            return (
                f"replaced because of {', '.join(self.because) or 'its inputs'}: its address changes{change}"
            )
        if self.kind is Kind.CHANGED:
            return f"changes in place: {', '.join(self.because)}; its address stays"
        return f"{self.kind.value}: its address stays"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "change": self.kind.value,
            "text": self.text,
            "because": list(self.because),
            "address_changes": self.kind in (Kind.REPLACED, Kind.DELETED),
        }


def deployments(preview: Preview) -> tuple[DeploymentChange, ...]:
    """What happens to every deployment of the preview."""
    start = next((change.after.start_timeout_s for change in models(preview) if change.after), None)
    found = []
    for step, kind in _changes(preview, _DEPLOYMENT):
        before, after = _deployed(step.old), _deployed(step.new)
        gap = step.gap or _goes_first(preview, step)
        surge = _surge(after, start) if kind is Kind.REPLACED and before and after and not gap else None
        if kind is Kind.DELETED:
            after = None
        found.append(DeploymentChange(kind, step.name, before, after, _because(step), surge, gap))
    return tuple(found)


def models(preview: Preview) -> tuple[ModelChange, ...]:
    """What happens to every model of the preview."""
    found = []
    for step, kind in _changes(preview, _MODEL):
        before, after = _container(step.old), _container(step.new)
        found.append(
            ModelChange(kind, step.name, before, None if kind is Kind.DELETED else after, _because(step))
        )
    return tuple(found)


def endpoints(preview: Preview) -> tuple[EndpointChange, ...]:
    """What happens to every endpoint of the preview."""

    def dedicated(found: Resource | None) -> bool | None:
        value = None if found is None else found.inputs.get("dedicatedEndpointEnabled", False)
        return value if isinstance(value, bool) else None

    return tuple(
        EndpointChange(kind, step.name, _because(step), dedicated(step.old), dedicated(step.new))
        for step, kind in _changes(preview, _ENDPOINT)
    )


def differences(before: Deployed, after: Deployed) -> tuple[tuple[str, str, str], ...]:
    """What differs between two deployments: name, before, after."""
    return _compared(before.rows(), after.rows())


def argument_lines(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """Two lists of arguments beside each other, a line each: ``- old``, ``+ new``, ``  same``.

    Values of flags that name a secret are not shown; a long one (a chat template) is cut and told apart by its digest.
    """
    # Compared as they are and shown without secrets, so that a changed secret is seen to change.
    lines: list[str] = []
    shown_before, shown_after = _without_secrets(before), _without_secrets(after)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for tag, low, high, start, stop in matcher.get_opcodes():
        if tag == "equal":
            lines += [f"  {_short(each)}" for each in shown_after[start:stop]]
            continue
        lines += [f"- {_short(each)}" for each in shown_before[low:high]]
        lines += [f"+ {_short(each)}" for each in shown_after[start:stop]]
    return tuple(lines)


def duration(seconds: float) -> str:
    """Seconds in words: ``30 min``, ``2 h``, ``1 h 30 min``, ``45 s``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, minutes = divmod(round(whole / 60), 60)
    return " ".join(
        [*([f"{hours} h"] if hours else []), *([f"{minutes} min"] if minutes or not hours else [])]
    )


def _argument_words(lines: Sequence[str]) -> Iterable[str]:
    """The changed ones of some argument lines in words: ``--flag 1 → 2``, ``without --flag``, ``with --flag=1``."""
    gone = dict(line[2:].partition("=")[::2] for line in lines if line.startswith("-"))
    new = dict(line[2:].partition("=")[::2] for line in lines if line.startswith("+"))
    for flag, value in gone.items():
        if flag in new:
            yield f"{flag} {value or '(no value)'} → {new[flag] or '(no value)'}"
        else:
            yield f"without {flag}"
    yield from (
        f"with {flag}{f'={value}' if value else ''}" for flag, value in new.items() if flag not in gone
    )


def _changes(preview: Preview, kind: str) -> Iterable[tuple[Step, Kind]]:
    for step in preview.of_type(kind):
        yield step, _KINDS.get(step.op, Kind.SAME)


def _goes_first(preview: Preview, step: Step) -> bool:
    """Whether the provider says that the old one goes first; without streaming the order of steps does not tell it."""
    return any(each.urn == step.urn and each.message.startswith("recreate (") for each in preview.diagnostics)


def _because(step: Step) -> tuple[str, ...]:
    # A chosen id follows from what it is made of; it is no reason of its own.
    found = tuple(sorted(key for key in step.replaces or step.reasons if key != "modelId"))
    return found or step.replaces or step.reasons


def _surge(after: Deployed, start_timeout_s: int | None) -> Surge:
    costs = after.costs
    replica = None if costs is None else costs.replica
    return Surge(
        at_most_s=start_timeout_s or _LONGEST_START,
        wait_s=after.wait_s,
        replicas=after.min_replicas,
        usd_per_hour=None if replica is None or after.min_replicas is None else replica * after.min_replicas,
    )


def _deployed(found: Resource | None) -> Deployed | None:
    if found is None:
        return None
    inputs = found.inputs or found.outputs
    machine = inputs.get("machineSpec")
    machine = machine if isinstance(machine, Mapping) else {}
    metrics = inputs.get("autoscalingMetricSpecs")
    return Deployed(
        region=_text(inputs.get("location")),
        machine_type=_text(machine.get("machineType")),
        accelerator_type=_text(machine.get("acceleratorType")),
        accelerator_count=_whole(machine.get("acceleratorCount")),
        spot=inputs.get("spot", False) if isinstance(inputs.get("spot", False), bool) else None,
        min_replicas=_whole(inputs.get("minReplicaCount")),
        max_replicas=_whole(inputs.get("maxReplicaCount")),
        autoscaling=tuple(
            (str(each.get("metricName")).rpartition("/")[2], str(each.get("target")))
            for each in (metrics if isinstance(metrics, list) else ())
            if isinstance(each, Mapping)
        ),
        service_account=_text(inputs.get("serviceAccount")),
        wait_s=_whole(inputs.get("deployRequestTimeoutSeconds")),
    )


def _container(found: Resource | None) -> Container | None:
    if found is None:
        return None
    inputs = found.inputs or found.outputs
    spec = inputs.get("containerSpec")
    spec = spec if isinstance(spec, Mapping) else {}
    args, env = spec.get("args"), spec.get("env")
    return Container(
        image=_text(spec.get("imageUri")),
        args=tuple(str(each) for each in args) if isinstance(args, list) else (),
        env={str(key): str(value) for key, value in env.items()} if isinstance(env, Mapping) else {},
        start_timeout_s=_whole(spec.get("deploymentTimeoutSeconds")),
        memory_mb=_whole(spec.get("sharedMemorySizeMb")),
    )


def _compared(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    return tuple(
        (name, before.get(name, ""), value) for name, value in after.items() if before.get(name, "") != value
    )


def _what(found: Deployed) -> str:
    noun = "replica" if found.min_replicas == found.max_replicas == 1 else "replicas"
    return f"{found.replicas} {noun} of {found.hardware}"


def _without_secrets(args: Sequence[str]) -> list[str]:
    """The arguments, with a mark where the value of a flag is a secret."""
    shown, hide = [], False
    for argument in args:
        flag, equals, _ = argument.partition("=")
        secret = bool(_SECRET_FLAG.fullmatch(flag))
        if secret and equals:
            shown.append(f"{flag}=[secret]")
        else:
            shown.append("[secret]" if hide and not argument.startswith("-") else argument)
        hide = secret and not equals
    return shown


def _short(argument: str) -> str:
    line = argument.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
    if len(line) <= _LONG:
        return line
    digest = hashlib.sha256(argument.encode(errors="replace")).hexdigest()[:8]
    return f"{line[: _LONG // 2]}… ({len(argument):,} characters, sha256 {digest}…)"


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value and value != UNKNOWN else None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def _shown(value: object, unit: str = "") -> str:
    return "not known yet" if value is None else f"{value}{unit}"


def _rounded(amount: float | None) -> float | str:
    return "unknown" if amount is None else round(amount, 4)


def _dict(found: Deployed) -> dict[str, Any]:
    return {
        "region": found.region,
        "machine_type": found.machine_type,
        "accelerator_type": found.accelerator_type,
        "accelerator_count": found.accelerator_count,
        "spot": found.spot,
        "min_replica_count": found.min_replicas,
        "max_replica_count": found.max_replicas,
        "autoscaling": [{"metric": name, "target": target} for name, target in found.autoscaling],
        "service_account": found.service_account,
    }

"""Reads the catalogue (``infra/catalog``): models, machines, regions, prices, quotas, containers, vLLM's flags.

Every file is read when it is first asked for and then kept: a preview reads one model card and four small tables.
The columns, units and sources are described in ``infra/catalog/README.md``.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from infra.cards import ModelCard
from infra.recipes.errors import StackError, UnknownMachine, UnknownModel, nearest
from infra.recipes.flags import FlagTable, FlagTables, ForkFlag
from infra.recipes.prices import Price, Shape, price_of
from infra.recipes.yamlfile import parse_yaml, read_text
from infra.versions import version_key

__all__ = [
    "Accelerator",
    "ArchitectureRun",
    "Catalog",
    "ContainerImage",
    "MachineType",
    "QuotaRef",
    "QuotaUse",
    "catalog",
]

_HERE: Final = Path(__file__).resolve().parent.parent / "catalog"
_MODEL_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
CPU: Final = "CPU"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of GPU.

    ``memory_gib`` is the advertised memory; ``usable_gib_low``/``_high`` is the range that torch or vLLM reported as
    the total (None: no report found). ``compute_capability`` is CUDA's, as (major, minor). ``cpu_arch`` is the
    architecture of the machines it comes in: ``x86`` or ``arm``.
    """

    accelerator_type: str
    memory_gib: float | None
    usable_gib_low: float | None
    usable_gib_high: float | None
    compute_capability: tuple[int, int]
    cpu_arch: str


@dataclass(frozen=True, slots=True)
class MachineType:
    """One Compute Engine machine type that Vertex AI offers for serving, with the accelerators it may carry."""

    machine_type: str
    vcpus: int
    memory_gib: float
    accelerators: tuple[tuple[str, int], ...]
    note: str

    @property
    def accelerator_types(self) -> tuple[str, ...]:
        """The kinds of accelerators, each once."""
        return tuple(dict.fromkeys(kind for kind, _ in self.accelerators))

    def counts(self, accelerator_type: str) -> tuple[int, ...]:
        """How many accelerators of this kind it may carry."""
        return tuple(count for kind, count in self.accelerators if kind == accelerator_type)


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """One container image. ``vllm_version`` is None where nobody has documented it; ``version_basis`` says how it is
    known (documented, tag name, inferred: ...). ``arch`` is ``x86``, ``arm`` or ``tpu``. ``architectures`` are those
    that Google documents it to serve besides its version's.
    """

    uri: str
    date: str
    arch: str
    vllm_version: str | None
    version_basis: str
    flavour: str
    note: str
    architectures: tuple[str, ...] = ()

    @property
    def moves(self) -> bool:
        """Whether its tag names another image from time to time."""
        return self.note == "movable tag" or self.uri.endswith(":latest")

    @property
    def released(self) -> bool:
        """Whether it is built from a release of vLLM, rather than from a commit between two."""
        return not ("after this release" in self.version_basis or self.version_basis.startswith("reported"))


@dataclass(frozen=True, slots=True)
class ArchitectureRun:
    """A model architecture (``LlamaForCausalLM``) in a run of vLLM versions, and what vLLM's class can do there.

    In the versions from ``first`` up to, not including, ``gone`` (None: to the newest that was read) it runs, with
    ``pipeline_parallel`` and ``lora`` as said.
    """

    name: str
    first: str
    gone: str | None
    pipeline_parallel: bool
    lora: bool

    def holds(self, version: str) -> bool:
        """Whether a version is one of the run."""
        key = version_key(version)
        return version_key(self.first) <= key and (self.gone is None or key < version_key(self.gone))


@dataclass(frozen=True, slots=True)
class QuotaRef:
    """A serving quota of ``aiplatform.googleapis.com``: its Cloud Quotas id and its Service Usage metric."""

    quota_id: str
    metric: str


@dataclass(frozen=True, slots=True)
class QuotaUse:
    """How much of a quota a deployment takes; ``amount`` is GPUs or vCPUs."""

    quota: QuotaRef
    amount: int


class Catalog:
    """The catalogue. Use :func:`catalog`; a folder is only given by tests."""

    def __init__(self, folder: Path = _HERE) -> None:
        self._folder = folder
        self._cards: dict[str, ModelCard] = {}

    def _rows(self, name: str) -> list[dict[str, str]]:
        with (self._folder / name).open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    # Models

    @functools.cached_property
    def _model_ids(self) -> tuple[str, ...]:
        root = self._folder / "models"
        return tuple(sorted(f"{p.parent.name}/{p.stem}" for p in root.glob("*/*.yaml")))

    def models(self) -> tuple[str, ...]:
        """All model ids, sorted. Reads no card."""
        return self._model_ids

    def model_path(self, model_id: str) -> Path:
        """Where the card of a model is (or would be)."""
        return self._folder / "models" / f"{model_id}.yaml"

    def model(self, model_id: str) -> ModelCard:
        """The card of a model.

        Raises:
            UnknownModel: no card; ``choices`` are the ids of the catalogue, closest first.
        """
        if model_id in self._cards:
            return self._cards[model_id]
        if not _MODEL_ID.fullmatch(model_id) or model_id not in self._model_ids:
            choices = nearest(model_id, self._model_ids)
            raise UnknownModel(
                "the catalogue has no such model.",
                key="model",
                value=model_id,
                choices=choices,
                remedy=f"model: {choices[0]}" if choices else "add its card under infra/catalog/models",
            )
        path = self.model_path(model_id)
        raw, _ = parse_yaml(read_text(path), str(path))
        try:
            card = ModelCard.model_validate(raw)
        except ValidationError as error:
            raise StackError(f"is not a model card: {error}", file=str(path)) from error
        self._cards[model_id] = card
        return card

    # Hardware and regions

    @functools.cached_property
    def _machines(self) -> dict[str, MachineType]:
        found: dict[str, MachineType] = {}
        for row in self._rows("machines.csv"):
            name = row["machine_type"]
            pair = (row["accelerator_type"], int(row["accelerator_count"]))
            old = found.get(name)
            found[name] = MachineType(
                name,
                int(row["vcpus"]),
                float(row["memory_gib"]),
                (*old.accelerators, pair) if old else (pair,),
                old.note if old else row["note"],
            )
        return found

    def machines(self) -> tuple[MachineType, ...]:
        """All machine types for serving on GPUs."""
        return tuple(self._machines.values())

    def machine(self, machine_type: str) -> MachineType:
        """One machine type.

        Raises:
            UnknownMachine: ``choices`` are the machine types of the catalogue, closest first.
        """
        if machine_type in self._machines:
            return self._machines[machine_type]
        choices = nearest(machine_type, self._machines)
        raise UnknownMachine(
            "Vertex AI does not serve on such a machine type.",
            key="hardware.machine_type",
            value=machine_type,
            choices=choices,
            remedy=f"machine_type: {choices[0]}",
        )

    @functools.cached_property
    def _accelerators(self) -> dict[str, Accelerator]:
        def number(text: str) -> float | None:
            return float(text) if text else None

        found: dict[str, Accelerator] = {}
        for row in self._rows("accelerators.csv"):
            found[row["accelerator_type"]] = Accelerator(
                row["accelerator_type"],
                number(row["memory_gib"]),
                number(row["usable_gib_low"]),
                number(row["usable_gib_high"]),
                _capability(row["compute_capability"]),
                row["cpu_arch"],
            )
        return found

    def accelerators(self) -> tuple[Accelerator, ...]:
        """All kinds of GPU."""
        return tuple(self._accelerators.values())

    def accelerator(self, accelerator_type: str) -> Accelerator:
        """One kind of GPU; KeyError when there is none (stack files are checked against :meth:`machine` first)."""
        return self._accelerators[accelerator_type]

    @functools.cached_property
    def _serving(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for row in self._rows("regions.csv"):
            found.setdefault(row["region"], {})[row["accelerator_type"]] = row["serving"]
        return found

    def regions(self) -> tuple[str, ...]:
        """All regions with online prediction, sorted."""
        return tuple(self._serving)

    def serves(self, region: str, accelerator_type: str) -> bool:
        """Whether online prediction in ``region`` has this accelerator (an allow-list counts as no)."""
        return self._serving.get(region, {}).get(accelerator_type) == "yes"

    def regions_with(self, accelerator_type: str) -> tuple[str, ...]:
        """The regions that serve this accelerator."""
        return tuple(region for region in self._serving if self.serves(region, accelerator_type))

    # Prices and quotas

    @functools.cached_property
    def _price_rows(self) -> list[dict[str, str]]:
        return self._rows("prices.csv")

    def price(
        self,
        machine_type: str,
        region: str,
        spot: bool = False,
        *,
        accelerator_type: str | None = None,
        accelerator_count: int | None = None,
    ) -> Price | None:
        """What one replica costs an hour on Vertex AI, in US dollars before tax; None when it is not known.

        N1 machines are priced without their GPUs, so those need ``accelerator_type`` and ``accelerator_count``.
        """
        machine = self._machines.get(machine_type)
        if machine is None:
            return None
        gpu: tuple[str, int] | None = None
        if machine_type.startswith("n1-"):
            if accelerator_type is None or accelerator_count is None:
                return None
            gpu = (accelerator_type, accelerator_count)
        kind, count = gpu or machine.accelerators[0]
        shape = Shape(kind, count, machine.vcpus, machine.memory_gib)
        return price_of(self._price_rows, machine_type, region, spot=spot, gpu=gpu, shape=shape)

    @functools.cached_property
    def _quota_rows(self) -> list[dict[str, str]]:
        return self._rows("quotas.csv")

    def quota(self, accelerator_type: str, spot: bool = False) -> QuotaRef | None:
        """The serving quota of an accelerator, or of vCPUs for ``CPU``; None when no id is known.

        The metric is empty where only the id is known.
        """
        kind = "spot" if spot else "on-demand"
        for row in self._quota_rows:
            if row["accelerator_type"] == accelerator_type and row["provisioning"] == kind:
                return QuotaRef(row["quota_id"], row["metric"])
        return None

    def quotas(self) -> tuple[QuotaRef, ...]:
        """Every serving quota, each once."""
        return tuple(dict.fromkeys(QuotaRef(row["quota_id"], row["metric"]) for row in self._quota_rows))

    def quota_default(self, quota_id: str, region: str) -> int | None:
        """The documented default of a quota in a region; None when none is documented. Projects often have less."""
        for row in self._quota_rows:
            if row["quota_id"] == quota_id and row["region"] == region:
                return int(row["default_limit"])
        return None

    def quota_use(
        self,
        machine_type: str,
        accelerator_type: str,
        accelerator_count: int,
        replicas: int,
        spot: bool = False,
    ) -> tuple[QuotaUse, ...]:
        """The quotas that ``replicas`` machines take: GPUs and vCPUs, those of spot machines in quotas of their own."""
        machine = self.machine(machine_type)
        uses = ((accelerator_type, accelerator_count), (CPU, machine.vcpus))
        found = ((self.quota(kind, spot), amount * replicas) for kind, amount in uses)
        return tuple(QuotaUse(quota, amount) for quota, amount in found if quota is not None)

    # What a version of vLLM runs

    @functools.cached_property
    def _quantization(self) -> dict[str, tuple[tuple[str, tuple[int, int] | None], ...]]:
        found: dict[str, tuple[tuple[str, tuple[int, int] | None], ...]] = {}
        for row in self._rows("quantization.csv"):
            least = row["compute_capability"]
            fact = (row["vllm_version"], _capability(least) if least else None)
            found[row["method"]] = (*found.get(row["method"], ()), fact)
        return found

    def quantization_capability(self, method: str, version: str | None = None) -> tuple[int, int] | None:
        """The least compute capability on which a version of vLLM runs a quantization method.

        Args:
            method: vLLM's name of it.
            version: of vLLM; None for the least of any version.

        Returns:
            None when the version has no such method, or nothing is known of it.
        """
        facts = self._quantization.get(method, ())
        if version is None:
            return min((least for _, least in facts if least is not None), default=None)
        reached = [least for since, least in facts if version_key(since) <= version_key(version)]
        return reached[-1] if reached else None

    def quantization_versions(self, method: str) -> tuple[tuple[str, str | None], ...]:
        """The runs of versions with a method: the first of each, and the first without it (None: the newest has it)."""
        runs: list[tuple[str, str | None]] = []
        for since, least in self._quantization.get(method, ()):
            if least is None:
                runs[-1] = (runs[-1][0], since)
            elif not runs or runs[-1][1] is not None:
                runs.append((since, None))
        return tuple(runs)

    @functools.cached_property
    def _architectures(self) -> dict[str, tuple[ArchitectureRun, ...]]:
        found: dict[str, tuple[ArchitectureRun, ...]] = {}
        for row in self._rows("vllm_architectures.csv"):
            name = row["architecture"]
            yes = row["pipeline_parallel"] == "yes", row["lora"] == "yes"
            run = ArchitectureRun(name, row["first"], row["gone"] or None, *yes)
            found[name] = (*found.get(name, ()), run)
        return found

    def architectures(self) -> tuple[str, ...]:
        """The model architectures that some version of vLLM has, sorted."""
        return tuple(self._architectures)

    def architecture_runs(self, name: str) -> tuple[ArchitectureRun, ...]:
        """What is known of an architecture, oldest versions first; empty for one that no version read has."""
        return self._architectures.get(name, ())

    def next_version(self, version: str) -> str | None:
        """The first version of vLLM, of those whose architectures were read, that is newer; None for none."""
        runs = (run for runs in self._architectures.values() for run in runs)
        known = {version for run in runs for version in (run.first, run.gone) if version}
        newer = (other for other in known if version_key(other) > version_key(version))
        return min(newer, key=version_key, default=None)

    def architecture(self, name: str, version: str) -> ArchitectureRun | None:
        """An architecture as a version of vLLM has it; None when that version has it not."""
        return next((run for run in self.architecture_runs(name) if run.holds(version)), None)

    # Tool calls

    @functools.cached_property
    def _tool_parsers(self) -> tuple[tuple[str, str, str], ...]:
        # A parser of a post-release was in the release too: of such a pair only the last was read.
        return tuple(
            (row["parser"], row["first"].partition(".post")[0], row["gone"])
            for row in self._rows("vllm_tool_parsers.csv")
        )

    def tool_parsers(self, version: str | None = None) -> tuple[str, ...]:
        """The names that ``--tool-call-parser`` takes in a vLLM version, sorted; in any where none is given."""
        key = version_key(version) if version else None
        found = {
            name
            for name, first, gone in self._tool_parsers
            if key is None or (version_key(first) <= key and not (gone and version_key(gone) <= key))
        }
        return tuple(sorted(found))

    # Containers

    @functools.cached_property
    def _images(self) -> dict[str, ContainerImage]:
        return {
            row["uri"]: ContainerImage(
                row["uri"],
                row["date"],
                row["arch"],
                row["vllm_version"] or None,
                row["version_basis"],
                row["flavour"],
                row["note"],
                tuple(row["architectures"].split()),
            )
            for row in self._rows("containers.csv")
        }

    def containers(self) -> tuple[ContainerImage, ...]:
        """All container images of the catalogue."""
        return tuple(self._images.values())

    def container(self, image_uri: str) -> ContainerImage | None:
        """One container image; None when the catalogue does not have it (a user's own build).

        A digest after the tag pins what the tag names, so it changes nothing here.
        """
        return self._images.get(image_uri.partition("@")[0])

    @functools.cached_property
    def _flags(self) -> FlagTables:
        return FlagTables(json.loads((self._folder / "vllm_flags.json").read_text(encoding="utf-8")))

    def flag_versions(self) -> tuple[str, ...]:
        """The vLLM versions whose flags are known exactly, oldest first."""
        return self._flags.versions

    def flags(self, version: str) -> FlagTable:
        """The flags of a vLLM version, or of the closest older (for the oldest: the oldest) version that is known."""
        return self._flags.of(version)

    def fork_flags(self) -> Mapping[str, ForkFlag]:
        """The flags that only Google's images have, or that take more there, with the images that have them."""
        return self._flags.fork


def _capability(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)


@functools.lru_cache(maxsize=1)
def catalog() -> Catalog:
    """The one catalogue of this process."""
    return Catalog()

"""Measured start-ups and the shapes of their models, read from CSV, with every derived column in one place.

The columns are described in ``benchmarks/data/README.md``. An empty cell is None, never 0.
"""

from __future__ import annotations

import csv
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).resolve().parents[1] / "data"
GIB: Final = 2**30

#: Family of an architecture: the first pattern that its name matches. Cross-validation leaves one family out.
_FAMILIES: Final = (
    (r"^(Llama|Mllama)", "llama"),
    (r"^(Qwen3_5|Qwen3Next)", "qwen3.5"),
    (r"^Qwen3", "qwen3"),
    (r"^Qwen2", "qwen2"),
    (r"^Gemma", "gemma"),
    (r"^(Mistral|Mixtral)", "mistral"),
    (r"^(Deepseek|KimiVL)", "deepseek"),
    (r"^Phi", "phi"),
    (r"^Granite", "granite"),
    (r"^GptOss", "gpt-oss"),
    (r"^OPT", "opt"),
    (r"^(Llava|InternVL|MiniCPMV)", "other image models"),
)
#: Of models whose architecture is not known, by a word of their name.
_FAMILIES_BY_NAME: Final = (
    ("gemma", "gemma"),
    ("mistral", "mistral"),
    ("qwen3.", "qwen3.5"),
    ("qwen3", "qwen3"),
    ("qwen", "qwen2"),
    ("llama", "llama"),
    ("granite", "granite"),
)
_IMAGE_MODELS: Final = re.compile(
    r"VL|Vision|Llava|Mllama|MiniCPMV|Phi3V|Gemma3For|Gemma4For|Mistral3|Llama4|KimiVL"
)
_HYBRIDS: Final = re.compile(r"^(Qwen3_5|Qwen3Next|NemotronH|GraniteMoeHybrid)")
_VERSION: Final = re.compile(r"^v?(\d+)\.(\d+)\.(\d+)")
#: vLLM's defaults of gpu_memory_utilization: 0.90, from 0.20.0 0.92 (config/cache.py of its wheels).
_UTILIZATIONS: Final = (((0, 0, 0), 0.90), ((0, 20, 0), 0.92))

ERAS: Final = ("to 0.7", "0.8 to 0.16", "0.17 to 0.19", "0.20 and later", "unknown")


def number(text: str | None) -> float | None:
    """The number that a cell begins with ("0.304 (CLIP-L)" is 0.304), None for a cell without one."""
    found = re.match(r"\s*-?\d+(\.\d+)?", text or "")
    return float(found[0]) if found else None


def whole(text: str | None) -> int | None:
    """As :func:`number`, for a count."""
    value = number(text)
    return None if value is None else int(value)


@dataclass(frozen=True)
class Arch:
    """The shape of one model; ``raw`` is its row of the file. Counts, widths in elements, sizes in GiB."""

    raw: Mapping[str, str]

    def _count(self, column: str) -> int | None:
        return whole(self.raw.get(column))

    @property
    def name(self) -> str:
        """Architecture as in ``config.json``, empty where unknown."""
        return self.raw.get("architecture", "")

    @property
    def layers(self) -> int | None:
        return self._count("num_hidden_layers")

    @property
    def hidden(self) -> int | None:
        return self._count("hidden_size")

    @property
    def heads(self) -> int | None:
        return self._count("num_attention_heads")

    @property
    def kv_heads(self) -> int | None:
        return self._count("num_key_value_heads")

    @property
    def head_dim(self) -> int | None:
        return self._count("head_dim")

    @property
    def experts(self) -> int | None:
        return self._count("num_experts")

    @property
    def params(self) -> float | None:
        """Parameters, in 10^9; of a quantised checkpoint those of its base."""
        return number(self.raw.get("params_billion"))

    @property
    def weights(self) -> float | None:
        """Size of the checkpoint or of the weights at a start-up, GiB, all GPUs together."""
        return number(self.raw.get("weight_bytes_gib"))

    @property
    def weights_measured(self) -> bool:
        """Whether :attr:`weights` was read off a start-up and not off the files."""
        return "observed at" in self.raw.get("source", "")

    @property
    def latent(self) -> bool:
        """Multi-head latent attention."""
        return bool(re.match(r"^(Deepseek|KimiVL)", self.name))

    @property
    def attention(self) -> str:
        """MHA, GQA, MLA; "window" where some layers keep a window, "hybrid" where some keep a state; else unknown."""
        if self.latent:
            return "MLA"
        if _HYBRIDS.match(self.name):
            return "hybrid"
        if not (self.heads and self.kv_heads):
            return "unknown"
        # A window in brackets covers some of the layers; a plain one is that of all layers or switched off.
        if "of" in (self.raw.get("sliding_window") or "") or "every" in (
            self.raw.get("sliding_window") or ""
        ):
            return "window"
        if self.name.startswith("Llama4"):
            return "window"
        return "MHA" if self.heads == self.kv_heads else "GQA"

    @property
    def multimodal(self) -> bool:
        return bool(_IMAGE_MODELS.search(self.name))

    def without_measured_weights(self) -> Arch:
        """The same shape, with :attr:`weights` left out where it was measured at a start-up."""
        return Arch({**self.raw, "weight_bytes_gib": ""}) if self.weights_measured else self


@dataclass(frozen=True)
class Row:
    """One measured start-up with the shape of its model. Memory in GiB a GPU, lengths in tokens."""

    raw: Mapping[str, str]
    arch: Arch
    doubts: Mapping[str, str]
    total: float | None

    def _number(self, column: str) -> float | None:
        return number(self.raw.get(column))

    @property
    def id(self) -> str:
        return self.raw["id"]

    @property
    def model(self) -> str:
        return self.raw["model_id"]

    @property
    def gpu(self) -> str:
        return self.raw.get("gpu", "")

    @property
    def card(self) -> str:
        """The card's name without its memory and remarks."""
        return re.sub(r"\s*(\(.*|\d+\s?GB.*|card.*)$", "", self.gpu) or "unknown"

    @property
    def sticker(self) -> float | None:
        """Advertised memory of the card, GiB: what its name says, else the first usual size above its total."""
        found = re.search(r"(\d+)\s?GB", self.gpu)
        if found:
            return float(found[1])
        if self.total is None:
            return None
        sizes = (4, 6, 8, 12, 16, 24, 32, 40, 48, 64, 80, 94, 96, 141, 180, 192)
        return next((float(size) for size in sizes if size >= self.total), None)

    @property
    def tp(self) -> int:
        return whole(self.raw.get("tp")) or 1

    @property
    def pp(self) -> int:
        return whole(self.raw.get("pp")) or 1

    @property
    def gpus(self) -> int:
        return self.tp * self.pp

    @property
    def version(self) -> tuple[int, int, int] | None:
        """vLLM's version where the row names a released one exactly."""
        text = self.raw.get("vllm_version", "")
        found = _VERSION.match(text)
        if not found or re.search(r"dev|rc|nightly|era|ROCm|image", text):
            return None
        return int(found[1]), int(found[2]), int(found[3])

    @property
    def era(self) -> str:
        """Range of versions, by the first three numbers of the row's version however inexact."""
        found = re.search(r"(\d+)\.(\d+)", self.raw.get("vllm_version", ""))
        if not found or int(found[1]) > 0:
            return "unknown"
        minor = int(found[2])
        return ERAS[0] if minor < 8 else ERAS[1] if minor < 17 else ERAS[2] if minor < 20 else ERAS[3]

    @property
    def utilization(self) -> float:
        """``gpu_memory_utilization``, vLLM's default where the row does not say."""
        given = self._number("gpu_memory_utilization")
        if given is not None:
            return given
        version = self.version or (0, 0, 0)
        return [value for since, value in _UTILIZATIONS if version >= since][-1]

    @property
    def max_model_len(self) -> int | None:
        """As given, else the model's own."""
        return whole(self.raw.get("max_model_len")) or whole(self.arch.raw.get("max_position_embeddings"))

    @property
    def max_num_seqs(self) -> int | None:
        return whole(self.raw.get("max_num_seqs"))

    @property
    def cache_bytes(self) -> float:
        """Bytes of one element of the cache."""
        cache = self.raw.get("kv_cache_dtype", "")
        if cache.startswith(("fp8", "int8")):
            return 1.0
        return 4.0 if self.raw.get("dtype") == "float32" else 2.0

    @property
    def sixteen_bit(self) -> bool:
        """Whether the weights are 16 bits wide: no quantisation is named in the row or in the model's name."""
        if self.raw.get("quantization") or self.raw.get("dtype") == "float32":
            return False
        words = r"awq|gptq|fp8|int4|int8|w4a|w8a|bnb|nvfp4|exl3|aqlm|mxfp4|gpt-oss|4-bit"
        return not re.search(words, self.model, re.IGNORECASE)

    @property
    def family(self) -> str:
        """The model's family, for cross-validation."""
        for pattern, family in _FAMILIES:
            if re.match(pattern, self.arch.name):
                return family
        if not self.arch.name:
            for word, family in _FAMILIES_BY_NAME:
                if word in self.model.lower():
                    return family
        return "other"

    @property
    def headline(self) -> bool:
        """Whether it is a dense text model in 16 bits with a known shape, on a released vLLM of known version."""
        return (
            self.sixteen_bit
            and self.version is not None
            and self.arch.layers is not None
            and self.arch.experts is None
            and not self.arch.multimodal
            and self.arch.attention in ("MHA", "GQA", "window")
        )

    # Measured

    @property
    def weights(self) -> float | None:
        return self._number("weights_gib_per_gpu")

    @property
    def activation(self) -> float | None:
        return self._number("activation_gib")

    @property
    def non_torch(self) -> float | None:
        return self._number("non_torch_gib")

    @property
    def kv(self) -> float | None:
        return self._number("kv_gib")

    @property
    def outcome(self) -> str:
        return self.raw.get("outcome", "")

    @property
    def kv_tokens(self) -> int | None:
        return whole(self.raw.get("kv_tokens"))

    @property
    def cache_tokens(self) -> int | None:
        """Tokens that fit the cache as printed, or as blocks times their size.

        None with pipeline stages and for kinds of attention whose tokens vLLM derives.
        """
        if self.pp > 1 or self.arch.attention not in ("MHA", "GQA", "MLA") or self.doubtful("kv"):
            return None
        blocks = whole(self.raw.get("gpu_blocks"))
        size = whole(self.raw.get("block_size")) or 16
        return self.kv_tokens or (blocks * size if blocks else None)

    @property
    def kv_bytes_per_token(self) -> float | None:
        """Measured cache bytes of one token on one GPU.

        None where the row does not fix it to half a percent: a cache below 1 GiB (it is printed to 0.01), pipeline
        stages (the smallest one decides the tokens), kinds of attention whose tokens vLLM derives.
        """
        if not (self.kv and self.kv_tokens) or self.kv < 1 or self.pp > 1:
            return None
        if self.arch.attention not in ("MHA", "GQA", "MLA") or self.doubtful("kv"):
            return None
        return self.kv * GIB / self.kv_tokens

    def doubtful(self, figure: str) -> str | None:
        """Why a figure (``weights``, ``kv``, ``verdict``) of the row cannot be compared; None where it can."""
        return self.doubts.get(figure) or self.doubts.get("all")


@dataclass(frozen=True)
class Table:
    """All rows, with the shapes that they refer to."""

    rows: tuple[Row, ...]

    @cached_property
    def families(self) -> tuple[str, ...]:
        """The families that rows have, sorted."""
        return tuple(sorted({row.family for row in self.rows}))


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def load(
    rows: Path = DATA / "fit_truth.csv",
    archs: Path = DATA / "model_arch.csv",
    doubts: Path | None = DATA / "fit_doubts.csv",
) -> Table:
    """Read the three files.

    A row whose total is not given takes the median of what other rows of the file report for a card of the same name.

    Raises:
        ValueError: a file lacks a column that is needed, or two rows have one id.
    """
    facts = _read(rows)
    shapes = {shape["model_id"]: Arch(shape) for shape in _read(archs)}
    _require(rows, facts, ("id", "model_id"))
    totals = _totals(facts)
    noted: dict[str, dict[str, str]] = {}
    for doubt in _read(doubts) if doubts and doubts.exists() else ():
        noted.setdefault(doubt["id"], {})[doubt["figures"]] = doubt["reason"]
    return Table(
        tuple(
            Row(
                fact,
                shapes.get(fact["model_id"], Arch({"model_id": fact["model_id"]})),
                noted.get(fact["id"], {}),
                number(fact.get("gpu_mem_gib")) or totals.get(fact.get("gpu", "")),
            )
            for fact in facts
        )
    )


def _require(path: Path, facts: Sequence[Mapping[str, str]], columns: tuple[str, ...]) -> None:
    if not facts:
        raise ValueError(
            f"{path} has no rows: its first line names the columns, each further line is a start-up"
        )
    absent = [column for column in columns if column not in facts[0]]
    if absent:
        raise ValueError(
            f"{path} has no column {absent[0]}: add it; benchmarks/data/README.md lists the columns"
        )
    seen: set[str] = set()
    for fact in facts:
        if fact["id"] in seen:
            raise ValueError(f"{path} has two rows with the id {fact['id']}: give one of them another id")
        seen.add(fact["id"])


def _totals(facts: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Median total of each card that at least one row reports, by the card's name."""
    reported: dict[str, list[float]] = {}
    for fact in facts:
        total = number(fact.get("gpu_mem_gib"))
        if total is not None and fact.get("gpu"):
            reported.setdefault(fact["gpu"], []).append(total)
    return {gpu: statistics.median(values) for gpu, values in reported.items()}

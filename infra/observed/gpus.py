"""GPUs by the names that people write in logs and tables, such as ``RTX 3090 24GB``."""

from __future__ import annotations

import csv
import functools
import re
from pathlib import Path
from typing import Final

from infra.fit import Gpu, gpu_of
from infra.recipes import catalog

_TABLE: Final = Path(__file__).resolve().parents[1] / "catalog" / "other_gpus.csv"
_STICKER: Final = re.compile(r"(\d+(?:\.\d+)?) ?(GiB|GB)", re.IGNORECASE)
# torch's total over the advertised memory: 0.91 (T4) to 0.99 (H100) in published logs.
_USABLE: Final = 0.97
# A card whose name says nothing: capability and multiprocessors of an A10-like one.
_OTHER: Final = (8.6, 82)
_LARGE: Final = (9.0, 132)
# No card has as much; GH200's 480 GB are the host's.
_MOST: Final = 300.0
_AMD: Final = re.compile(r"\b(amd|radeon|rocm|gfx\d+|mi\d{3}\w?)\b")


@functools.lru_cache(maxsize=1)
def _table() -> tuple[tuple[str, Gpu], ...]:
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            (
                row["name"].lower(),
                Gpu(
                    row["name"],
                    float(row["usable_gib"]),
                    float(row["compute_capability"]),
                    int(row["multiprocessors"]),
                ),
            )
            for row in csv.DictReader(file)
        )


@functools.lru_cache(maxsize=1)
def _vertex() -> dict[str, Gpu]:
    known = (a for a in catalog().accelerators() if a.usable_gib_low or a.memory_gib)
    return {accelerator.accelerator_type: gpu_of(accelerator) for accelerator in known}


def gpu_named(name: str, total: float | None) -> Gpu | None:
    """Return the GPU that a name means; None when neither name nor total says its memory.

    Args:
        name: as written, ``A100 40GB`` or ``24GB class (21.99 GiB)``, or Vertex AI's; may be empty.
        total: GiB that torch reported, None when it is not said.
    """
    text = _plain(name)
    found = _vertex().get(name.strip().upper()) or next(
        (gpu for key, gpu in _table() if _in(key, text)), None
    )
    if found is not None:
        # A whole number is the sticker's, not what torch reports.
        measured = total is not None and abs(total - round(total)) > 1e-6
        size = total if total is not None and measured else found.total
        # What ROCm takes outside torch was never measured: as wide as a total that is not known.
        known = (found.total_known or measured) and not _AMD.search(text)
        return Gpu(name, size, found.capability, found.multiprocessors, total_known=known)
    known = total is not None
    if total is None:
        sticker = _STICKER.search(text)
        if sticker is None:
            return None
        total = float(sticker[1]) if sticker[2] == "gib" else float(sticker[1]) * _USABLE
    if total > _MOST:
        return None
    capability, multiprocessors = _LARGE if total > 70 else _OTHER
    return Gpu(name, total, capability, multiprocessors, total_known=known)


def _plain(name: str) -> str:
    """A name without how many there are, in small letters, its words as the table has them: ``8xA100-80G``."""
    text = re.sub(r"\b\d+ ?[x\u00d7] ?(?=[a-z])", "", name.lower().replace("_", " "))
    text = re.sub(r"\b([rg]tx)(?=\d)", r"\1 ", text)
    return re.sub(r"(?<![\w.])(\d+) ?gb?\b", r"\1gb", text)


def _in(key: str, text: str) -> bool:
    """Whether all words of a key stand in a text, each as a whole word."""
    return all(re.search(rf"(?<![\w]){re.escape(word)}(?![\w])", text) for word in key.split())

"""The KV cache that a real vLLM makes of each architecture family, against our arithmetic, to the token.

The truth is ``benchmarks/data/kv_truth.csv``: what vLLM for the CPU says when it starts with a small config that keeps
a real model's layers, KV heads, head size, windows, latent widths and state shapes (``kv_configs.py``), in a cache of
a given number of bytes. Blocks, groups and tokens follow from these alone, so they are exact, weights or not.

    python benchmarks/kv_truth.py                            compare (a second, no vLLM)
    python benchmarks/kv_truth.py --json FILE
    python benchmarks/kv_truth.py --measure                  run the cases that have no row yet
    python benchmarks/kv_truth.py --measure --again gemma    run those anew whose name has "gemma" in it

Measuring needs the real vLLM (``make test-vllm`` installs it: 6 GB) and takes 5 to 60 s a case on two cores. Each row
is written as it comes, so it can be interrupted.

What the CPU does differently from a GPU, and the comparison follows: blocks of 128 tokens by default and multiples of
32 (latent attention: 16), no asynchronous scheduling (windows hold one batch, not two), and state-space layers with a
recurrent state in float32 on processors with AVX-512 BF16, whatever the model says.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.kv_configs import NoConfig, config_of
from infra.cards import Architecture
from infra.fit.cache import Layout, layout
from infra.fit.facts import accounting
from infra.fit.types import Gpu, Options
from infra.recipes.catalog import catalog

ROOT: Final = Path(__file__).resolve().parents[1]
DATA: Final = ROOT / "benchmarks" / "data" / "kv_truth.csv"
GIB: Final = 2**30
#: The attention kernels' smallest block on the CPU (``CPUAttentionBackend.get_supported_kernel_block_sizes``).
CPU_GRANULE: Final = 32
CPU_BLOCK: Final = 128
CPU_MLA_BLOCK: Final = 16
# The rules of a version are asked for a GPU; those of the cache depend on none.
_ANY_GPU: Final = Gpu("NVIDIA L4", 22.0, 8.9, 58)
_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class Case:
    """One start of vLLM. Sizes in bytes and tokens; ``block_size`` None leaves it to vLLM."""

    family: str
    model_id: str
    cache_bytes: int = 2 * GIB + 12345
    max_model_len: int = 8192
    max_num_batched_tokens: int = 2048
    max_num_seqs: int = 16
    dtype: str = "bfloat16"
    kv_cache_dtype: str = "auto"
    block_size: int | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    enable_prefix_caching: bool | None = None
    disable_hybrid_kv_cache_manager: bool = False

    @property
    def name(self) -> str:
        """What tells it from every other case."""
        said = [
            self.model_id,
            f"cache={self.cache_bytes}",
            f"len={self.max_model_len}",
            f"batch={self.max_num_batched_tokens}",
            f"seqs={self.max_num_seqs}",
            self.dtype,
        ]
        if self.kv_cache_dtype != "auto":
            said.append(f"kv={self.kv_cache_dtype}")
        if self.block_size:
            said.append(f"block={self.block_size}")
        if self.tensor_parallel_size > 1:
            said.append(f"tp={self.tensor_parallel_size}")
        if self.pipeline_parallel_size > 1:
            said.append(f"pp={self.pipeline_parallel_size}")
        if self.enable_prefix_caching is not None:
            said.append("prefix" if self.enable_prefix_caching else "no-prefix")
        if self.disable_hybrid_kv_cache_manager:
            said.append("no-hybrid")
        return " ".join(said)

    def arguments(self) -> dict[str, Any]:
        """The arguments of ``vllm.LLM``."""
        given: dict[str, Any] = {
            "kv_cache_memory_bytes": self.cache_bytes,
            "max_model_len": self.max_model_len,
            "max_num_batched_tokens": self.max_num_batched_tokens,
            "max_num_seqs": self.max_num_seqs,
            "dtype": self.dtype,
            "kv_cache_dtype": self.kv_cache_dtype,
            "tensor_parallel_size": self.tensor_parallel_size,
            "pipeline_parallel_size": self.pipeline_parallel_size,
        }
        if self.block_size:
            given["block_size"] = self.block_size
        if self.enable_prefix_caching is not None:
            given["enable_prefix_caching"] = self.enable_prefix_caching
        if self.disable_hybrid_kv_cache_manager:
            given["disable_hybrid_kv_cache_manager"] = True
        return given


#: Family -> models. Each is started once; those that keep less than every token also with a longer length and batch.
FAMILIES: Final[dict[str, tuple[str, ...]]] = {
    "multi-head": (
        "meta-llama/Llama-2-7b-hf",
        "facebook/opt-125m",
        "databricks/dolly-v2-3b",
        "microsoft/phi-2",
    ),
    "grouped-query": (
        "meta-llama/Llama-3.1-8B-Instruct",
        "meta-llama/Llama-3.2-1B-Instruct",
        "meta-llama/Meta-Llama-3.1-405B-FP8",
        "Qwen/Qwen2.5-0.5B-Instruct",
        "Qwen/Qwen3-8B",
        "microsoft/phi-4",
        "microsoft/Phi-3-mini-4k-instruct",
        "mistralai/Mistral-Nemo-Instruct-2407",
        "ibm-granite/granite-3.3-8b-instruct",
        "tiiuae/falcon-40b-instruct",
    ),
    "multi-query": ("tiiuae/falcon-7b-instruct", "google/gemma-2b", "bigcode/starcoder"),
    "experts": (
        "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "Qwen/Qwen3-30B-A3B",
        "microsoft/Phi-3.5-MoE-instruct",
        "Qwen/Qwen1.5-MoE-A2.7B",
        "MiniMaxAI/MiniMax-M2",
    ),
    "latent": ("deepseek-ai/DeepSeek-V2-Lite-Chat", "deepseek-ai/DeepSeek-V3"),
    "sliding": ("mistralai/Mistral-7B-Instruct-v0.1", "bigcode/starcoder2-15b"),
    "interleaved": (
        "google/gemma-2-2b-it",
        "google/gemma-2-27b-it",
        "google/gemma-3-1b-it",
        "google/gemma-3-12b-it",
        "google/gemma-3-27b-it",
        "openai/gpt-oss-20b",
        "CohereLabs/c4ai-command-r7b-12-2024",
        "LGAI-EXAONE/EXAONE-4.0-32B",
        "allenai/Olmo-3-7B-Instruct",
    ),
    "unequal heads": ("google/gemma-4-31B-it", "google/gemma-4-E4B-it"),
    "chunked": ("meta-llama/Llama-4-Scout-17B-16E-Instruct",),
    "state-space": (
        "ai21labs/Jamba-v0.1",
        "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "ibm-granite/granite-4.0-h-tiny",
        "ibm-granite/granite-4.0-h-small",
    ),
    "linear": ("Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen/Qwen3.5-35B-A3B"),
    "state beside attention": ("tiiuae/Falcon-H1-7B-Instruct",),
}
#: The catalogue's other architectures, one start each: that their layers keep what the card says.
OTHERS: Final = (
    "ByteDance-Seed/Seed-OSS-36B-Instruct",
    "CohereLabs/aya-23-8B",
    "EleutherAI/gpt-j-6b",
    "HuggingFaceTB/SmolLM3-3B",
    "Qwen/Qwen2-VL-7B-Instruct",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen3-VL-4B-Instruct",
    "Qwen/Qwen3-VL-30B-A3B-Instruct",
    "Qwen/Qwen3.5-27B",
    "allenai/OLMo-1B-hf",
    "allenai/OLMo-2-0425-1B-Instruct",
    "allenai/OLMoE-1B-7B-0924-Instruct",
    "baidu/ERNIE-4.5-21B-A3B-PT",
    "bigscience/bloom-1b7",
    "databricks/dbrx-instruct",
    "google/gemma-3n-E2B-it",
    "google/gemma-4-12B-it",
    "ibm-granite/granite-3.0-3b-a800m-instruct",
    "llava-hf/llava-1.5-7b-hf",
    "llava-hf/llava-v1.6-mistral-7b-hf",
    "microsoft/Phi-3-vision-128k-instruct",
    "mistralai/Ministral-3-14B-Instruct-2512",
    "mistralai/Ministral-8B-Instruct-2410",
    "moonshotai/Kimi-K2.5",
    "moonshotai/Kimi-VL-A3B-Instruct",
    "openai-community/gpt2",
    "stabilityai/stablelm-3b-4e1t",
    "zai-org/GLM-4-9B-0414",
    "zai-org/GLM-4.5-Air",
    "zai-org/GLM-4.7-Flash",
    "zai-org/glm-4-9b-chat-hf",
    "deepseek-ai/DeepSeek-V3.2",
)
_FIRST: Final = {
    "multi-head": "meta-llama/Llama-2-7b-hf",
    "grouped-query": "meta-llama/Llama-3.1-8B-Instruct",
    "multi-query": "tiiuae/falcon-7b-instruct",
    "experts": "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "latent": "deepseek-ai/DeepSeek-V2-Lite-Chat",
    "sliding": "mistralai/Mistral-7B-Instruct-v0.1",
    "interleaved": "google/gemma-2-2b-it",
    "unequal heads": "google/gemma-4-31B-it",
    "chunked": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "state-space": "nvidia/NVIDIA-Nemotron-Nano-9B-v2",
    "linear": "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "state beside attention": "tiiuae/Falcon-H1-7B-Instruct",
}
_PLAIN: Final = ("multi-head", "grouped-query", "multi-query", "experts")


def cases() -> list[Case]:
    """Every case, the widest view first."""
    found: list[Case] = []
    models = [(family, model) for family, names in FAMILIES.items() for model in names]
    for family, model in models:
        found.append(Case(family, model, max_model_len=min(8192, _positions(model))))
    for family, model in _FIRST.items():
        short = Case(family, model, max_model_len=min(4096, _positions(model)), cache_bytes=3 * GIB + 777)
        change = functools.partial(dataclasses.replace, short)
        if family != "latent":  # the CPU's latent attention has one block size and no fp8 cache
            found += [
                change(block_size=32, max_num_batched_tokens=512),
                change(block_size=256, max_num_seqs=256),
                change(kv_cache_dtype="fp8"),
                change(kv_cache_dtype="fp8_e5m2", block_size=64),
            ]
        half = "bfloat16" if "gemma" in model else "float16"  # vLLM refuses float16 for Gemma
        found += [change(dtype="float32"), change(dtype=half, max_num_batched_tokens=16384)]
        if "state" in family or family == "linear":
            found.append(change(enable_prefix_caching=False))
        if family in ("interleaved", "chunked"):
            found.append(change(disable_hybrid_kv_cache_manager=True))
        # a cache that is too small: what vLLM says is needed, and the longest that fits
        found.append(change(cache_bytes=GIB // 5, max_model_len=min(32768, _positions(model))))
    for family, model in _FIRST.items():
        if family not in ("multi-head", "experts"):
            found.append(
                Case(family, model, max_model_len=min(8192, _positions(model)), tensor_parallel_size=2)
            )
    for family in ("grouped-query", "interleaved"):
        found.append(Case(family, _FIRST[family], pipeline_parallel_size=2))
    for model in OTHERS:
        found.append(
            Case("others", model, cache_bytes=4 * GIB + 12345, max_model_len=min(8192, _positions(model)))
        )
    for family, model in models:
        if family in _PLAIN and model != _FIRST[family]:
            continue  # a multiple of the short one
        longer = Case(
            family,
            model,
            cache_bytes=4 * GIB + 54321,
            max_model_len=min(32768, _positions(model)),
            max_num_batched_tokens=8192,
            max_num_seqs=64,
        )
        found.append(longer)
    return found


def architecture(model_id: str) -> Architecture:
    """The catalogue's architecture of a model."""
    return catalog().model(model_id).architecture


def _positions(model_id: str) -> int:
    return architecture(model_id).max_position_embeddings


# --- the truth -------------------------------------------------------------------------------------------------

COLUMNS: Final = (
    "case",
    "family",
    "model_id",
    "vllm_version",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "cache_bytes",
    "dtype",
    "kv_cache_dtype",
    "max_model_len",
    "max_num_batched_tokens",
    "max_num_seqs",
    "asked_block_size",
    "enable_prefix_caching",
    "disable_hybrid_kv_cache_manager",
    "state_dtype",
    "outcome",
    "block_size",
    "num_blocks",
    "groups",
    "page_bytes",
    "kv_tokens",
    "max_concurrency",
    "printed",
    "kv_needed_gib",
    "estimated_max_len",
    "notes",
)


def rows() -> list[dict[str, str]]:
    """The committed truth."""
    if not DATA.exists():
        return []
    with DATA.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _row(case: Case, found: dict[str, Any]) -> dict[str, str]:
    groups = found.get("groups") or []
    arch = architecture(case.model_id)
    filled = {
        "case": case.name,
        "family": case.family,
        "model_id": case.model_id,
        "vllm_version": found.get("vllm_version"),
        "tensor_parallel_size": case.tensor_parallel_size,
        "pipeline_parallel_size": case.pipeline_parallel_size,
        "cache_bytes": case.cache_bytes,
        "dtype": case.dtype,
        "kv_cache_dtype": case.kv_cache_dtype,
        "max_model_len": case.max_model_len,
        "max_num_batched_tokens": found.get("max_num_batched_tokens", case.max_num_batched_tokens),
        "max_num_seqs": case.max_num_seqs,
        "asked_block_size": case.block_size,
        "enable_prefix_caching": found.get("enable_prefix_caching", case.enable_prefix_caching),
        "disable_hybrid_kv_cache_manager": case.disable_hybrid_kv_cache_manager,
        "state_dtype": (found.get("mamba_ssm_cache_dtype") or "float32") if arch.state else None,
        "outcome": found["outcome"],
        "block_size": found.get("block_size"),
        "num_blocks": found.get("num_blocks"),
        "groups": _groups_text(groups),
        "page_bytes": max((group["page_bytes"] for group in groups), default=None),
        "kv_tokens": found.get("kv_tokens"),
        "max_concurrency": found.get("max_concurrency"),
        "printed": found.get("printed"),
        "kv_needed_gib": found.get("kv_needed_gib"),
        "estimated_max_len": found.get("estimated_max_len"),
        "notes": " ".join(found["error"].split())[:300] if found["outcome"] == "error" else None,
    }
    return {name: "" if filled[name] is None else str(filled[name]) for name in COLUMNS}


def _groups_text(groups: Iterable[dict[str, Any]]) -> str:
    """``6 x SlidingWindow 4@128``: six groups of four such layers, 128 tokens in a block."""
    counted: dict[str, int] = {}
    for group in groups:
        text = f"{group['spec'].removesuffix('Spec')} {group['layers']}@{group['block_size']}"
        counted[text] = counted.get(text, 0) + 1
    return "; ".join(f"{count} x {text}" for text, count in sorted(counted.items()))


def _write(all_rows: Sequence[dict[str, str]]) -> None:
    order = {case.name: index for index, case in enumerate(cases())}
    kept = sorted(all_rows, key=lambda row: (order.get(row["case"], len(order)), row["case"]))
    DATA.parent.mkdir(exist_ok=True)
    with DATA.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept)


def measure(wanted: str, again: bool, say: Console) -> None:
    """Run the cases whose name has ``wanted`` in it and that have no row yet (all such ones when ``again``)."""
    from infra.local.container.real import environment

    known = {case.name: case for case in cases()}
    have = {row["case"]: row for row in rows() if row["case"] in known}
    todo = {name: case for name, case in known.items() if wanted in name and (again or name not in have)}
    say.print(f"{len(todo)} cases to run, {len(have)} rows there")
    if not todo:
        return
    lines = []
    for case in list(todo.values()):
        try:
            config = config_of(architecture(case.model_id))
        except NoConfig as missing:
            say.print(f"{case.name}: {missing}")
            continue
        env = {"VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        lines.append(json.dumps({"id": case.name, "config": config, "args": case.arguments(), "env": env}))
    environment.ensure()
    with tempfile.TemporaryDirectory() as logs:
        for found in _probe(lines, Path(logs)):
            have[found["id"]] = _row(todo[found["id"]], found)
            _write(list(have.values()))
            said = found.get("printed") or f"{found['outcome']} {(found.get('error') or '')[-160:]}"
            say.print(f"{found['id']}: {said} [{found['seconds']:.0f} s]", markup=False, highlight=False)


def _probe(lines: Sequence[str], logs: Path) -> Iterator[dict[str, Any]]:
    from infra.local.container.real import environment

    command = [str(environment.python()), str(ROOT / "benchmarks" / "kv_probe.py"), str(logs)]
    todo = logs / "cases.jsonl"
    todo.write_text("\n".join(lines) + "\n")
    with (logs / "probe.err").open("w") as errors, todo.open() as given:
        process = subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                yield json.loads(line)
        finally:
            process.terminate()
            process.wait()


# --- the comparison --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """One row beside our arithmetic. ``differences`` is empty when they agree to the token."""

    case: str
    family: str
    model_id: str
    outcome: str
    truth: str
    ours: str
    differences: tuple[str, ...]
    explained: str = ""


#: Pattern of a case's name -> why our arithmetic does not cover it. A test holds that each is met.
EXPLAINED: Final[dict[str, str]] = {}


def predicted(row: dict[str, str]) -> Layout:
    """Our layout for a row, with what a CPU does in place of what a GPU does."""
    arch = architecture(row["model_id"])
    if arch.state is not None and row["state_dtype"] not in ("", "auto"):
        arch = arch.model_copy(update={"state": arch.state.model_copy(update={"dtype": row["state_dtype"]})})
    options = Options(
        tensor_parallel_size=int(row["tensor_parallel_size"]),
        pipeline_parallel_size=int(row["pipeline_parallel_size"]),
        enable_prefix_caching=row["enable_prefix_caching"] != "False",
        disable_hybrid_kv_cache_manager=row["disable_hybrid_kv_cache_manager"] == "True",
    )
    rules = accounting(catalog().model(row["model_id"]), _ANY_GPU, options, row["vllm_version"])
    block = int(row["asked_block_size"] or CPU_BLOCK)
    found = layout(
        arch,
        rules,
        tensor_parallel_size=options.tensor_parallel_size,
        pipeline_parallel_size=options.pipeline_parallel_size,
        element_bytes=_BYTES[row["dtype"]],
        kv_cache_dtype=row["kv_cache_dtype"],
        block_size=CPU_MLA_BLOCK if arch.mla else block,
        max_num_batched_tokens=int(row["max_num_batched_tokens"]),
        disable_hybrid_kv_cache_manager=options.disable_hybrid_kv_cache_manager,
        granule=CPU_GRANULE,
    )
    # No asynchronous scheduling on the CPU: as many batches in flight as there are pipeline stages.
    batches = int(row["pipeline_parallel_size"])
    return dataclasses.replace(found, batch_tokens=int(row["max_num_batched_tokens"]) * batches)


def compare(row: dict[str, str]) -> Compared:
    """Compare one row; outcome, blocks, tokens, concurrency, and what is needed when the cache is too small."""
    cache, length = int(row["cache_bytes"]), int(row["max_model_len"])
    found = predicted(row)
    differences: list[str] = []

    def expect(name: str, truth: str, ours: object) -> None:
        if truth and truth != str(ours):
            differences.append(f"{name} {ours}, vLLM {truth}")

    serves = found.serves(cache, length)
    expect("outcome", row["outcome"], "ok" if serves else "kv_too_small")
    if row["outcome"] == "ok":
        truth = f"{int(row['kv_tokens']):,} tokens"
        ours = f"{found.tokens(cache, length):,} tokens"
        expect("tokens", row["kv_tokens"], found.tokens(cache, length))
        expect("blocks", row["num_blocks"], found.num_blocks(cache))
        expect("max_concurrency", row["max_concurrency"], found.max_concurrency(cache, length))
    else:
        truth = f"needs {row['kv_needed_gib']} GiB, at most {row['estimated_max_len']} tokens"
        needed = found.blocks_per_request(length) * found.block_bytes
        longest = _longest(found, cache, length)
        ours = f"needs {needed / GIB:.2f} GiB, at most {longest} tokens"
        if row["kv_needed_gib"]:
            expect("needed", f"{float(row['kv_needed_gib']):.2f}", f"{needed / GIB:.2f}")
        expect("longest", row["estimated_max_len"], longest)
    why = next((why for part, why in EXPLAINED.items() if re.search(part, row["case"])), "")
    return Compared(
        row["case"], row["family"], row["model_id"], row["outcome"], truth, ours, tuple(differences), why
    )


def _longest(found: Layout, cache: int, length: int) -> int:
    """vLLM's binary search for the longest length that fits."""
    low, high, best = 1, length, 0
    while low <= high:
        middle = (low + high) // 2
        if found.serves(cache, middle):
            best, low = middle, middle + 1
        else:
            high = middle - 1
    return best


def comparable() -> list[dict[str, str]]:
    """Rows in which vLLM gave numbers: not those that the CPU cannot run."""
    return [row for row in rows() if row["outcome"] in ("ok", "kv_too_small")]


def _print(found: Sequence[Compared], say: Console) -> None:
    table = Table(title="KV cache: ours against a real vLLM on the CPU", title_justify="left")
    for name in ("family", "model", "rows", "agree to the token", "difference"):
        table.add_column(name, justify="right" if name in ("rows", "agree to the token") else "left")
    by_model: dict[tuple[str, str], list[Compared]] = {}
    for item in found:
        by_model.setdefault((item.family, item.model_id), []).append(item)
    for (family, model), items in by_model.items():
        off = [item for item in items if item.differences]
        text = "\n".join(f"{item.case}: {item.explained or '; '.join(item.differences)}" for item in off)
        table.add_row(family, model, str(len(items)), str(len(items) - len(off)), text)
    say.print(table)
    off = [item for item in found if item.differences]
    versions = ", ".join(sorted({row["vllm_version"] for row in comparable()}))
    say.print(
        f"{len(found) - len(off)} of {len(found)} rows agree to the token (vLLM {versions}); "
        f"{sum(1 for item in off if item.explained)} differ for a stated reason, "
        f"{sum(1 for item in off if not item.explained)} without one."
    )
    for row in rows():
        if row["outcome"] == "error":
            say.print(f"not measurable on the CPU: {row['case']}: {row['notes'][:110]}", markup=False)


def main() -> int:
    """Compare, or measure; the exit status is 1 when a row differs without a stated reason."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("filter", nargs="?", default="", help="part of a case's name")
    parser.add_argument("--measure", action="store_true", help="run the real vLLM for cases without a row")
    parser.add_argument("--again", action="store_true", help="with --measure: also those that have a row")
    parser.add_argument("--json", type=Path, help="write the comparison there too")
    options = parser.parse_args()
    say = Console(soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the probe ends with us
    if options.measure:
        measure(options.filter, options.again, say)
    found = [compare(row) for row in comparable() if options.filter in row["case"]]
    _print(found, Console())
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(item) for item in found], indent=1) + "\n")
    return 1 if any(item.differences and not item.explained for item in found) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Measure what the installed vLLM does with this machine's GPU, and add rows to a file.

Run it with the Python of vLLM's environment. Weights are random (load_format=dummy) and no tokenizer is loaded: nothing
is downloaded. Each start is a process of its own; a file that has rows already is continued.

    python benchmarks/gpu_probe/run.py --out rows.csv
    python benchmarks/gpu_probe/run.py --out rows.csv --models Qwen/Qwen3-8B,Qwen/Qwen3-14B
    python benchmarks/gpu_probe/run.py --out rows.csv --models Qwen/Qwen3-8B --args '{"max_num_seqs": 64}'
    .venv/bin/python benchmarks/fit.py --rows rows.csv --arch rows.arch.csv
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.gpu_probe.cases import GIB, Case, card, plan
from benchmarks.kv_configs import NoConfig
from infra.cards import ModelCard
from infra.diagnose.readings import Readings, read

_DATA: Final = Path(__file__).resolve().parents[1] / "data"


def _header(name: str) -> list[str]:
    with (_DATA / name).open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file))


COLUMNS: Final = _header("fit_truth.csv")
ARCH_COLUMNS: Final = _header("model_arch.csv")
_STARTER: Final = Path(__file__).with_name("start.py")
#: Arguments that have a column of their own; the others go to ``other_args``.
_OWN: Final = {"tensor_parallel_size", "pipeline_parallel_size", *COLUMNS}


def main() -> int:
    """Runs the cases that the file has no row of; 1 where no case gave a row."""
    options = _options()
    cards = cards_here()
    try:
        given = [json.loads(options.args)] if options.args else ()
        cases = plan([name for name in options.models.split(",") if name], given)
    except (NoConfig, json.JSONDecodeError) as error:
        sys.exit(f"{error}")
    done = _done(options.out)
    written = len(done)
    for place, one in enumerate(cases, 1):
        name = f"[{place}/{len(cases)}] {one.id}"
        if one.id in done:
            print(f"{name}: has a row", flush=True)
            continue
        if cards and one.weights and one.weights / _gpus(one) > cards[0][1]:
            print(f"{name}: left out, {one.weights:.1f} GiB of weights on {cards[0][1]:.1f} GiB", flush=True)
            continue
        row = measure(one, options, cards)
        if row is None:
            continue
        add(options.out, COLUMNS, row)
        shapes = options.out.with_suffix(".arch.csv")
        if one.model not in _done(shapes, "model_id"):
            add(shapes, ARCH_COLUMNS, shape(card(one.model)))
        written += 1
        print(f"{name}: {row['outcome']} {row['kv_gib']} {row['oom_stage']}".rstrip(), flush=True)
    return 0 if written else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="file of rows; the shapes go to OUT's name with .arch.csv"
    )
    parser.add_argument(
        "--models", default="", help="ids of the catalogue, with commas; without: a chosen set"
    )
    parser.add_argument("--args", default="", help="arguments of vllm.LLM for one more start, as JSON")
    parser.add_argument(
        "--source", default="", help="what source_url says (default: this runner and the date)"
    )
    parser.add_argument(
        "--seconds", type=float, default=600, help="the most that one start may take (default 600)"
    )
    parser.add_argument("--python", default=sys.executable, help="Python that vLLM is installed for")
    return parser.parse_args()


def cards_here() -> list[tuple[str, float]]:
    """Name and memory (GiB) of each card as nvidia-smi says; empty where there is none."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    lines = (line.rpartition(",") for line in shown.strip().splitlines())
    return [(name.strip(), float(mib) / 1024) for name, _, mib in lines]


def _gpus(one: Case) -> int:
    tp, pp = one.arguments.get("tensor_parallel_size", 1), one.arguments.get("pipeline_parallel_size", 1)
    return int(tp) * int(pp)


def measure(one: Case, options: argparse.Namespace, cards: list[tuple[str, float]]) -> dict[str, Any] | None:
    """Start one case and return its row; None, with a word on the screen, for a start that says nothing of memory."""
    folder = options.out.with_suffix(".logs")
    folder.mkdir(parents=True, exist_ok=True)
    log, answer = folder / f"{one.file}.log", folder / f"{one.file}.json"
    answer.unlink(missing_ok=True)
    ended = _start(options.python, one, log, answer, options.seconds)
    held = json.loads(answer.read_text()) if answer.is_file() else {}
    found = read(log.read_text(errors="replace"))
    if found.outcome is None:
        print(f"{one.id}: no row, {ended}; see {log}", flush=True)
        return None
    source = options.source or f"benchmarks/gpu_probe, {datetime.date.today().isoformat()}"
    return row_of(one, found, held, cards, source)


def _start(python: str, one: Case, log: Path, answer: Path, seconds: float) -> str:
    """Run the starter; how it ended, in words. All that it started ends with it."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [python, str(_STARTER), str(answer.resolve())],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            process.communicate(one.as_json(), timeout=seconds)
            return f"it ended with {process.returncode}"
        except subprocess.TimeoutExpired:
            return f"it was not ready after {seconds:.0f} s"
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """End the starter and its workers: a card is free again only when all of them are gone."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        time.sleep(0.5)
    process.wait()


def row_of(
    one: Case, found: Readings, held: dict[str, Any], cards: list[tuple[str, float]], source: str
) -> dict[str, Any]:
    """The row of a start: exact bytes where the worker gave them, else what it printed."""
    settled, exact = held.get("settings", {}), held.get("bytes", {})

    def gib(figure: str, printed: float | None) -> float | None:
        return round(exact[figure] / GIB, 4) if figure in exact else printed

    estimate = gib("graph_estimate", found.graph_estimate)
    consumed = gib("consumed", found.consumed)
    weights = gib("weights", found.weights)
    activation, non_torch = gib("peak", found.activation), gib("non_torch", found.non_torch)
    if consumed is not None and "peak" in exact:  # from 0.27: see lines.py
        activation = round(exact["peak"] / GIB - (estimate or 0.0), 4)
    if "consumed" in exact and weights is not None and consumed is not None:
        non_torch = round(consumed - weights, 4)
    extra = {
        **{key: value for key, value in one.arguments.items() if key not in _OWN},
        "max_num_batched_tokens": settled.get(
            "max_num_batched_tokens", one.arguments.get("max_num_batched_tokens")
        ),
        "init_free_gib": gib("init_free", found.init_free),
        "cudagraph_est_gib": estimate,
        "cudagraph_gib": found.graphs,
        "consumed_gib": consumed,
        "load_format": "dummy",
    }

    def option(name: str) -> Any:
        value = settled.get(name)
        return one.arguments.get(name) if value is None else value

    tokens, blocks = found.kv_tokens, settled.get("blocks") or found.blocks
    row = {
        "id": one.id,
        "model_id": one.model,
        "gpu": cards[0][0] if cards else held.get("gpu") or "",
        "gpu_count_visible": len(cards) or None,
        "gpu_mem_gib": gib("total", found.total),
        "tp": one.arguments.get("tensor_parallel_size", 1),
        "pp": one.arguments.get("pipeline_parallel_size", 1),
        "vllm_version": held.get("vllm_version") or found.version,
        "gpu_memory_utilization": option("gpu_memory_utilization"),
        "max_model_len": option("max_model_len"),
        "max_num_seqs": option("max_num_seqs"),
        "dtype": option("dtype"),
        "quantization": one.arguments.get("quantization"),
        "kv_cache_dtype": option("kv_cache_dtype"),
        "enforce_eager": option("enforce_eager"),
        "enable_lora": one.arguments.get("enable_lora"),
        "other_args": "; ".join(f"{key}={value}" for key, value in extra.items() if value is not None),
        "weights_gib_per_gpu": weights,
        "activation_gib": activation,
        "non_torch_gib": non_torch,
        "kv_gib": gib("kv", found.kv),
        "kv_tokens": tokens,
        "gpu_blocks": blocks,
        "block_size": settled.get("block_size"),
        "max_concurrency": found.max_concurrency,
        "outcome": found.outcome,
        "oom_stage": found.oom_stage,
        "estimated_max_len": found.estimated_max_len,
        "source_url": source,
    }
    return {column: "" if row[column] is None else row[column] for column in COLUMNS}


def shape(known: ModelCard) -> dict[str, Any]:
    """The model's row of the file of shapes."""
    arch, weights = known.architecture, known.weights
    window = arch.sliding_window if arch.kinds.sliding else None
    if window and arch.kinds.sliding < arch.num_hidden_layers:
        window_text = f"{window} ({arch.kinds.sliding} of {arch.num_hidden_layers} layers)"
    else:
        window_text = "" if window is None else str(window)
    row = {
        "model_id": known.id,
        "architecture": arch.name,
        "num_hidden_layers": arch.num_hidden_layers,
        "hidden_size": arch.hidden_size,
        "intermediate_size": arch.experts.moe_intermediate_size if arch.experts else arch.intermediate_size,
        "num_attention_heads": arch.num_attention_heads,
        "num_key_value_heads": arch.num_key_value_heads,
        "head_dim": arch.head_dim,
        "vocab_size": arch.vocab_size,
        "tie_word_embeddings": arch.tie_word_embeddings,
        "num_experts": arch.experts.num_experts if arch.experts else "",
        "params_billion": "" if weights.parameters is None else round(weights.parameters / 1e9, 3),
        "weight_bytes_gib": "" if weights.bytes is None else round(weights.bytes / GIB, 2),
        "max_position_embeddings": arch.max_position_embeddings,
        "sliding_window": window_text,
        "vision_params": "",
        "source": "infra/catalog/models",
    }
    return {column: row[column] for column in ARCH_COLUMNS}


def add(path: Path, columns: list[str], row: dict[str, Any]) -> None:
    """Append a row, with the names of the columns where the file is new."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def _done(path: Path, column: str = "id") -> set[str]:
    if not path.exists():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {row[column] for row in csv.DictReader(file)}


if __name__ == "__main__":
    sys.exit(main())

"""The runner: configs in full size, the plan of cases, rows, and that it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy.rows import load
from benchmarks.gpu_probe import run
from benchmarks.gpu_probe.cases import PLAIN, Case, card, case, plan
from benchmarks.gpu_probe.configs import CHECKED, full_config
from benchmarks.kv_configs import NoConfig
from infra.diagnose.readings import read

GIB = 2**30
NEW = """\
INFO [gpu_model_runner.py:425] Model loading took 14.99 GiB memory and 2.1 seconds
INFO [gpu_model_runner.py:6475] Estimated CUDA graph memory: 0.40 GiB total
INFO [gpu_worker.py:760] Available KV cache memory: 56.21 GiB
INFO [kv_cache_utils.py] GPU KV cache size: 460,496 tokens, Maximum concurrency for 8,192 tokens per request: 56.21x
"""


def test_a_full_config_is_that_of_the_repository() -> None:
    llama = full_config(card("meta-llama/Llama-3.1-8B-Instruct"))
    assert llama["architectures"] == ["LlamaForCausalLM"]
    named = {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    assert {key: llama[key] for key in named} == named


def test_a_full_config_has_the_experts_and_the_latent_attention() -> None:
    lite = full_config(card("deepseek-ai/DeepSeek-V2-Lite-Chat"))
    named = {
        "hidden_size": 2048,
        "intermediate_size": 10944,
        "moe_intermediate_size": 1408,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "first_k_dense_replace": 1,
        "kv_lora_rank": 512,
        "q_lora_rank": None,
    }
    assert {key: lite[key] for key in named} == named
    mixtral = full_config(card("mistralai/Mixtral-8x7B-Instruct-v0.1"))
    assert (mixtral["intermediate_size"], mixtral["num_local_experts"]) == (14336, 8)


def test_what_has_no_full_config_says_why() -> None:
    with pytest.raises(NoConfig, match="is not one of LlamaForCausalLM"):
        full_config(card("meta-llama/Llama-3.2-11B-Vision-Instruct"))
    with pytest.raises(NoConfig, match=r"there is no infra/catalog/models/nobody/nothing\.yaml"):
        card("nobody/nothing")
    with pytest.raises(NoConfig, match="--models takes ids of the catalogue"):
        plan(["nobody/nothing"])


def test_the_plan_names_each_case_once_and_changes_one_model() -> None:
    cases = plan()
    ids = [one.id for one in cases]
    assert len(set(ids)) == len(ids)
    assert len({one.file for one in cases}) == len(cases)
    assert [one.model for one in cases[: len(PLAIN)]] == list(PLAIN)
    assert {one.model for one in cases[len(PLAIN) :]} == {PLAIN[0]}
    changed = {key for one in cases for key in one.arguments}
    assert {
        "max_num_seqs",
        "max_num_batched_tokens",
        "enforce_eager",
        "kv_cache_dtype",
        "quantization",
    } <= changed
    assert {one.config["architectures"][0] for one in cases} <= set(CHECKED)


def test_a_length_beyond_the_model_is_the_models() -> None:
    one = case("meta-llama/Llama-2-13b-hf", {"max_model_len": 8192})
    assert one.arguments == {"max_model_len": 4096}
    assert one.weights == pytest.approx(24.24, abs=0.01)


def test_chosen_models_and_arguments() -> None:
    assert [one.id for one in plan(["Qwen/Qwen3-8B", "microsoft/phi-4"])] == [
        "Qwen/Qwen3-8B-max_model_len=8192",
        "microsoft/phi-4-max_model_len=8192",
    ]
    with_more = plan(["Qwen/Qwen3-8B"], [{"max_num_seqs": 64}])
    assert with_more[1].arguments == {"max_model_len": 8192, "max_num_seqs": 64}


CASE = Case("meta-llama/Llama-3.1-8B-Instruct", {}, {"max_model_len": 8192, "seed": 1})


def test_a_row_takes_exact_bytes_before_printed_figures() -> None:
    held = {
        "vllm_version": "0.32.0",
        "gpu": "NVIDIA H100 80GB HBM3",
        "settings": {"max_num_seqs": 1024, "max_num_batched_tokens": 8192, "block_size": 16, "blocks": 28781},
        "bytes": {
            "weights": int(14.9893 * GIB),
            "consumed": int(15.2612 * GIB),
            "peak": int(1.4401 * GIB),
            "graph_estimate": int(0.4004 * GIB),
            "kv": int(56.2101 * GIB),
            "total": int(79.2512 * GIB),
            "init_free": int(78.84 * GIB),
        },
    }
    row = run.row_of(CASE, read(NEW), held, [("NVIDIA H100 80GB HBM3", 79.6)], "here")
    assert list(row) == run.COLUMNS
    assert (row["weights_gib_per_gpu"], row["non_torch_gib"], row["kv_gib"]) == (14.9893, 0.2719, 56.2101)
    assert row["activation_gib"] == pytest.approx(1.0397, abs=0.0001)
    assert (row["kv_tokens"], row["gpu_blocks"], row["max_concurrency"]) == (460496, 28781, 56.21)
    assert (row["outcome"], row["oom_stage"], row["vllm_version"]) == ("ok", "", "0.32.0")
    assert (row["gpu"], row["gpu_mem_gib"], row["max_num_seqs"]) == ("NVIDIA H100 80GB HBM3", 79.2512, 1024)
    assert row["other_args"] == (
        "seed=1; max_num_batched_tokens=8192; init_free_gib=78.84; cudagraph_est_gib=0.4004; consumed_gib=15.2612; "
        "load_format=dummy"
    )


def test_a_row_of_log_lines_alone() -> None:
    row = run.row_of(CASE, read(NEW), {}, [], "here")
    assert (row["weights_gib_per_gpu"], row["kv_gib"], row["max_model_len"]) == (14.99, 56.21, 8192)
    assert (row["gpu"], row["gpu_mem_gib"], row["gpu_blocks"]) == ("", "", "")


FAKE = """\
#!{python}
import json, sys
case = json.load(sys.stdin)
with open({calls!r}, "a") as file:
    file.write(case["id"] + chr(10))
if "Qwen" in case["id"]:
    print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.00 GiB. in load_model")
    sys.exit(1)
if "phi" in case["id"]:
    sys.exit("no such option")
print({log!r})
with open(sys.argv[2], "w") as file:
    json.dump({{"vllm_version": "0.32.0", "settings": {{"max_num_seqs": 256}}, "bytes": {{}}}}, file)
"""


def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: str) -> tuple[int, list[str]]:
    calls = tmp_path / "calls"
    python = tmp_path / "python"
    python.write_text(FAKE.format(python=sys.executable, calls=str(calls), log=NEW))
    python.chmod(0o755)
    out = tmp_path / "rows.csv"
    arguments = [
        "run.py",
        "--out",
        str(out),
        "--python",
        str(python),
        "--models",
        models,
        "--source",
        "a test",
    ]
    monkeypatch.setattr("sys.argv", arguments)
    calls.write_text("")
    return run.main(), calls.read_text().split("\n")[:-1]


def test_rows_are_added_and_a_second_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "cards_here", list)
    llama, qwen, phi = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B", "microsoft/phi-4"
    ended, calls = _run(tmp_path, monkeypatch, f"{llama},{qwen},{phi}")
    assert (ended, len(calls)) == (0, 3)
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert [(row["model_id"], row["outcome"], row["oom_stage"]) for row in rows] == [
        (llama, "ok", ""),
        (qwen, "oom", "weight_loading"),
    ]
    assert rows[0]["source_url"] == "a test"
    ended, calls = _run(tmp_path, monkeypatch, f"{llama},{qwen},{phi}")
    assert (ended, calls) == (0, [f"{phi}-max_model_len=8192"])  # only the one without a row

    table = load(tmp_path / "rows.csv", tmp_path / "rows.arch.csv", None)
    first = table.rows[0]
    assert (first.family, first.arch.attention, first.version, first.kv) == (
        "llama",
        "GQA",
        (0, 32, 0),
        56.21,
    )


def test_models_that_no_card_can_load_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "cards_here", lambda: [("NVIDIA L4", 22.49)])
    ended, calls = _run(tmp_path, monkeypatch, "microsoft/phi-4")
    assert (ended, calls) == (1, [])
    assert "left out, 27.3 GiB of weights on 22.5 GiB" in capsys.readouterr().out


def test_a_start_without_an_end_is_ended(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho started\nsleep 60\n")
    python.chmod(0o755)
    log = tmp_path / "log"
    ended = run._start(str(python), CASE, log, tmp_path / "answer", 0.5)
    assert "not ready after 0 s" in ended or "not ready after 1 s" in ended
    assert log.read_text() == "started\n"


def test_shapes_have_the_columns_of_the_file() -> None:
    row = run.shape(card("google/gemma-2-9b-it"))
    assert list(row) == run.ARCH_COLUMNS
    assert row["sliding_window"] == "4096 (21 of 42 layers)"
    assert json.dumps(row)

"""The change that mends a failure, and the prediction beside the log's figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cli.stack import plan_of
from infra.diagnose import recognise
from infra.diagnose.changes import Proposal, propose
from infra.diagnose.compare import compared
from infra.diagnose.edit import diff
from infra.diagnose.readings import read
from infra.recipes.errors import StackError

ROOT = Path(__file__).resolve().parents[2]
LLAMA = "meta-llama-3.1-8b-instruct.l4x1"
BIG = "meta-llama-3.1-70b-instruct.l4x8"
VISION = "llama-3.2-11b-vision-instruct.a100x1"
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.91 GiB."
FRAME = '  File "x.py", line 1, in {}'


def proposed(tmp_path: Path, stack: str, *log: str, replace: tuple[str, str] = ("", "")) -> Proposal | None:
    """What is proposed for a shipped stack file, changed in one place, and a log."""
    file = tmp_path / f"{stack}.yaml"
    file.write_text((ROOT / "stacks" / file.name).read_text().replace(*replace, 1))
    planned, _ = plan_of(file)
    found = recognise(log)
    return propose(found[0], planned, file.read_text(), file, read("\n".join(log)))


def lines(tmp_path: Path, stack: str, *log: str, replace: tuple[str, str] = ("", "")) -> list[str]:
    """The lines of the diff that differ."""
    made = proposed(tmp_path, stack, *log, replace=replace)
    assert made is not None
    assert not made.refused, made.refused
    before = (tmp_path / f"{stack}.yaml").read_text()
    rows = diff(before, made.text, "x").splitlines()
    return [row for row in rows if row[:1] in "+-" and row[:3] not in ("+++", "---")]


EXTRA = (
    "max_num_seqs: 256",
    "max_num_seqs: 256\n  extra_args: [--max-num-batched-tokens=4096, --disable-sliding-window]",
)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            [
                "The model's max seq len (4096) is larger than the maximum number of tokens that can be stored in KV "
                "cache (2256)."
            ],
            ["-  max_model_len: 4096", "+  max_model_len: 2256"],
        ),
        (
            [
                "To serve at least one request with the models's max seq len (4096), (0.50 GiB KV cache is needed, "
                "which is larger than the available KV cache memory (0.25 GiB). Try increasing"
            ],
            ["-  max_model_len: 4096", "+  max_model_len: 2048"],
        ),
        (
            ["Available KV cache memory: -0.49 GiB", "ValueError: No available memory for the cache blocks."],
            ["-  gpu_memory_utilization: 0.9", "+  gpu_memory_utilization: 0.95"],
        ),
        (
            [
                "Free memory on device (19.0/22.05 GiB) on startup is less than desired GPU memory utilization (0.9, "
                "19.84 GiB)."
            ],
            ["-  gpu_memory_utilization: 0.9", "+  gpu_memory_utilization: 0.86"],
        ),
        ([FRAME.format("profile_run"), OOM], ["-  max_num_seqs: 256", "+  max_num_seqs: 128"]),
        *(
            (
                [FRAME.format(function), OOM],
                ["-  gpu_memory_utilization: 0.9", "+  gpu_memory_utilization: 0.85"],
            )
            for function in ("capture_model", "_allocate_kv_cache", "compile_or_warm_up_model")
        ),
        (
            ["max_num_seqs (256) exceeds available Mamba cache blocks (96)."],
            ["-  max_num_seqs: 256", "+  max_num_seqs: 96"],
        ),
        (
            ["Model X does not support LoRA, but LoRA is enabled."],
            ["-  enable_lora: true", "+  enable_lora: false"],
        ),
        (["LoRA rank 20 is greater than max_lora_rank 16."], ['+  extra_args: ["--max-lora-rank=32"]']),
        (
            ["Loading x requires you to execute the configuration file in that repo"],
            ["+  trust_remote_code: true"],
        ),
        (
            [
                "misc/shmutils.cc:129 NCCL WARN Error while creating shared memory segment /dev/shm/nccl-a (size 3), "
                "error: No space left on device (28)"
            ],
            ["-  shared_memory_size_mb: 16384", "+  shared_memory_size_mb: 32768"],
        ),
        (["[1.0] Out of memory: Killed process 5 (python)"], ["+  swap_space: 4"]),
    ],
    ids=lambda value: "",
)
def test_one_key(tmp_path: Path, log: list[str], expected: list[str]) -> None:
    assert lines(tmp_path, LLAMA, *log) == expected


@pytest.mark.parametrize("stage", ["profile_run", "nothing"])
def test_what_the_prediction_sees_is_mended_by_it(tmp_path: Path, stage: str) -> None:
    """No number of sequences makes it start, so a length does; a change that would not do is none."""
    replace = ("max_model_len: 4096", "max_model_len: 65536")
    made = proposed(tmp_path, LLAMA, FRAME.format(stage), OOM, replace=replace)
    assert made is not None
    assert [change.key for change in made.changes] == ["vllm.max_model_len"]
    assert made.fit is not None
    assert made.fit.ok


def test_memory_at_no_stage_and_no_prediction_of_it_changes_nothing(tmp_path: Path) -> None:
    assert proposed(tmp_path, LLAMA, OOM) is None


def test_waiting_longer_does_not_help_a_server_that_started(tmp_path: Path) -> None:
    replace = ("deployment_timeout: 7200", "deployment_timeout: 1800")
    log = "Model server never became ready."
    assert lines(tmp_path, LLAMA, log, replace=replace) == [
        "-  deployment_timeout: 1800",
        "+  deployment_timeout: 7200",
    ]
    assert proposed(tmp_path, LLAMA, "Application startup complete.", log, replace=replace) is None


def test_the_guide_s_vision_model_gets_what_starts(tmp_path: Path) -> None:
    replace = ("max_num_seqs: 12", "max_num_seqs: 256")
    rows = lines(tmp_path, VISION, FRAME.format("profile_run"), OOM, replace=replace)
    assert rows[0] == "-  max_num_seqs: 256"
    assert 12 <= int(rows[1].partition(": ")[2]) < 256


def test_a_flag_is_taken_out(tmp_path: Path) -> None:
    log = "api_server.py: error: unrecognized arguments: --disable-sliding-window"
    assert lines(tmp_path, LLAMA, log, replace=EXTRA)[1:] == [
        '+  extra_args: ["--max-num-batched-tokens=4096"]'
    ]


def test_weights_that_do_not_fit_need_other_hardware(tmp_path: Path) -> None:
    replace = ("enforce_eager: true", "enforce_eager: true\n  tensor_parallel_size: 1")
    made = proposed(tmp_path, LLAMA, FRAME.format("load_model"), OOM, replace=replace)
    assert made is not None
    assert made.fit is not None
    assert made.fit.ok
    assert [change.key for change in made.changes] == [
        "hardware.machine_type",
        "hardware.accelerator_type",
        "hardware.accelerator_count",
        "vllm.tensor_parallel_size",
    ]
    assert "tensor_parallel_size" not in made.text


def test_parallel_sizes_are_left_to_the_plan(tmp_path: Path) -> None:
    log = "ValueError: The number of required GPUs exceeds the total number of available GPUs in the placement group."
    replace = ("enforce_eager: true", "enforce_eager: true\n  tensor_parallel_size: 8   # all")
    assert lines(tmp_path, BIG, log, replace=replace) == ["-  tensor_parallel_size: 8   # all"]


@pytest.mark.parametrize(
    "log",
    ["AssertionError: 12 is not divisible by 8", "    assert self.total_num_kv_heads % tp_size == 0"],
)
def test_sizes_that_cannot_be_split(tmp_path: Path, log: str) -> None:
    replace = ("enforce_eager: true", "enforce_eager: true\n  tensor_parallel_size: 8")
    assert lines(tmp_path, BIG, log, replace=replace) == ["-  tensor_parallel_size: 8"]


def test_a_newer_image_has_the_model(tmp_path: Path) -> None:
    log = "ValueError: `rope_scaling` must be a dictionary with two fields, `type` and `factor`, got {}"
    rows = lines(tmp_path, LLAMA, log)
    assert [row[:13] for row in rows] == ["-  image_uri:", "+  image_uri:"]


@pytest.mark.parametrize(
    "log",
    [
        "OSError: You are trying to access a gated repo.",
        "429 The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion 8",
        "max seq len (9) is larger than the maximum number of tokens that can be stored in KV cache (9000).",
        "Model server never became ready.",  # the stack file waits as long as Vertex AI lets it
        "api_server.py: error: unrecognized arguments: --not-in-the-file",
    ],
)
def test_what_no_key_mends(tmp_path: Path, log: str) -> None:
    made = proposed(tmp_path, LLAMA, log)
    assert made is None or made.changes[0].key.startswith("hardware.") is (log[:3] == "max")


def test_a_change_that_is_not_enough_says_what_else(tmp_path: Path) -> None:
    log = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    made = proposed(tmp_path, LLAMA, log)
    assert made is not None
    assert [(each.key, each.value) for each in made.changes] == [("vllm.tool_calling", True)]
    assert "its vLLM, 0.6.2, has no tool call parser" in made.refused
    assert "fix: image_uri: " in made.refused


def test_what_a_preview_would_refuse_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise StackError("no.")

    file = tmp_path / f"{LLAMA}.yaml"
    file.write_text((ROOT / "stacks" / file.name).read_text())
    planned, _ = plan_of(file)
    monkeypatch.setattr("infra.diagnose.changes.plan", refuses)
    found = recognise(["LoRA rank 20 is greater than max_lora_rank 16."])
    made = propose(found[0], planned, file.read_text(), file, read(""))
    assert made is not None
    assert made.refused == "no."


V0 = """\
INFO 10-01 10:00:00 model_runner.py:1025] Loading model weights took 16.5000 GB
INFO 10-01 10:00:05 gpu_executor.py:122] # GPU blocks: 141, # CPU blocks: 2048
"""


def test_the_prediction_beside_the_log() -> None:
    planned, _ = plan_of(ROOT / "stacks" / f"{LLAMA}.yaml")
    assert planned.fit is not None
    rows = {row.name: row for row in compared(planned.fit, read(V0))}
    assert rows["weights"].measured == 16.5
    assert rows["weights"].outside
    assert rows["kv_tokens"].measured == 141 * 16
    assert rows["kv_cache"].measured is None
    assert not rows["kv_cache"].outside
    assert compared(planned.fit, read("nothing")) == ()

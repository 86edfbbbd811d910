"""Stages, order and repeated starts; every failure of the simulated container is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.diagnose import recognise
from infra.diagnose.known import KNOWN
from tests.local.container.conftest import (
    BASE,
    FORK,
    LLAMA,
    VISION,
    container_request,
    start,
)

ROOT = Path(__file__).resolve().parents[2]
OOM = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.91 GiB. GPU 0 has a total capacity of 39.38 GiB "
    "of which 2.50 GiB is free."
)
BANNER = "INFO 10-01 10:00:00 api_server.py:1] vLLM API server version 0.6.2"
FLAG = "api_server.py: error: unrecognized arguments: --no-such=1"


def ids(*lines: str) -> list[str]:
    return [each.id for each in recognise(lines)]


@pytest.mark.parametrize(
    ("before", "stage"),
    [
        (
            [
                '  File "x.py", line 229, in determine_num_available_blocks',
                "  self.model_runner.profile_run()",
            ],
            "profile",
        ),
        (
            ['  File "x.py", line 1, in profile_run', '  File "x.py", line 2, in _dummy_sampler_run'],
            "sampler",
        ),
        (["    cuda_graph_memory_bytes = self.model_runner.capture_model()"], "graphs"),
        (['  File "x.py", line 136, in load_model', '  File "y.py", line 9, in forward'], "load"),
        (["INFO Model loading took 14.99 GiB memory and 3.2 seconds"], "profile"),
        (["INFO Model loading took 14.99 GiB", "INFO GPU KV cache size: 476,016 tokens"], "cache"),
        (["INFO # GPU blocks: 3852", "Capturing CUDA graph shapes:   3%|"], "graphs"),
        (["INFO GPU KV cache size: 476,016 tokens", "INFO Graph capturing finished in 15 secs"], "warm-up"),
        (
            ["    self._initialize_kv_caches(vllm_config)", '  File "x.py", line 4, in _allocate_kv_cache'],
            "cache",
        ),
        (
            [
                '  File "abstract.py", line 75, in initialize_from_config',
                '    self.collective_rpc("compile_or_warm_up_model")',
            ],
            "warm-up",
        ),
        (
            [
                '  File "gpu_worker.py", line 216, in compile_or_warm_up_model',
                "    self.model_runner.capture_model()",
            ],
            "graphs",
        ),
        (["INFO Model loading took 14.99 GiB", "INFO:     Application startup complete."], "serving"),
        ([], ""),
    ],
)
def test_the_stage_of_an_allocation_that_failed(before: list[str], stage: str) -> None:
    found = recognise([*before, OOM])
    assert [each.id for each in found] == [f"out-of-memory-{stage}".rstrip("-")]
    assert found[0].evidence.line == len(before) + 1
    assert found[0].numbers == {"amount": "3.91 GiB", "free": "2.50 GiB", "total": "39.38 GiB"}
    assert "(3.91 GiB more were asked for, 2.50 GiB of 39.38 GiB were free)" in found[0].cause


def test_the_cause_comes_before_how_it_ended() -> None:
    busy = (
        "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co/x"
    )
    assert ids(busy, FLAG, "Model server never became ready. Please validate") == [
        "unknown-flag",
        "hub-busy",
        "never-ready",
    ]


def test_the_last_of_several_starts_counts() -> None:
    assert ids(BANNER, OOM, BANNER, "ValueError: No available memory for the cache blocks.") == [
        "kv-cache-none"
    ]
    assert ids(BANNER, OOM, BANNER, "INFO nothing yet") == ["out-of-memory"]


def test_a_message_may_be_broken_over_lines() -> None:
    found = recognise(
        [
            "ValueError: To serve at least one request with the models's max seq len (40960),",
            "(5.62 GiB KV cache is needed, which is larger than the available KV cache memory (4.50 GiB).",
            "Based on the available memory, the estimated maximum model length is 32768.",
        ]
    )
    assert [each.id for each in found] == ["kv-cache-too-small-v1"]
    assert found[0].number("estimate") == 32768
    assert found[0].evidence.line == 1


def test_a_long_line_is_shortened() -> None:
    found = recognise([f"ValueError: Model architectures ['X'] are not supported for now. {'a' * 9000}"])
    assert len(found[0].evidence.text) == 400


def test_a_progress_bar_may_come_after_the_error() -> None:
    assert ids(OOM, "", "Loading safetensors checkpoint shards:   3% Completed | 1/37 [00:02<01:39]") == [
        "out-of-memory-load"
    ]
    assert ids(OOM, "Loading safetensors checkpoint shards: 100% Completed | 37/37") == ["out-of-memory"]


def test_a_prompt_is_no_failure() -> None:
    """vLLM logs what it is asked, and people ask about their errors."""
    asked = f"INFO 10-01 10:00:00 logger.py:37] Received request chat-1: prompt: '{OOM}\\n{FLAG}', params: x"
    assert ids(asked) == []
    assert recognise([asked, FLAG])[0].evidence.line == 2


def test_every_quota_is_named() -> None:
    found = recognise(["The following quotas are exceeded: GPUsPerRegion, CPUsPerRegion"])
    assert found[0].cause == "The quota is too small: GPUsPerRegion, CPUsPerRegion"


def test_a_server_that_listens_where_nobody_asks() -> None:
    wrong = "INFO:     Uvicorn running on http://127.0.0.1:8000 (Press CTRL+C to quit)"
    right = "INFO:     Uvicorn running on http://0.0.0.0:8080 (Press CTRL+C to quit)"
    ended = "Model server never became ready. Please validate"
    assert ids(wrong, ended) == ["wrong-address", "never-ready"]
    assert "listens on 127.0.0.1:8000" in recognise([wrong, ended])[0].cause
    assert ids(right, ended) == ["never-ready"]
    assert "deployment_timeout" in recognise([right, ended])[0].advice
    started = recognise(["INFO:     Application startup complete.", right, ended])
    assert [each.id for each in started] == ["never-ready"]
    assert "deployment_timeout" not in started[0].advice  # to wait longer would not help
    assert ids(wrong) == []


def test_a_large_log() -> None:
    lines = [f"INFO 10-01 10:00:00 engine.py:1] Avg prompt throughput: {n}.0 tokens/s" for n in range(20_000)]
    assert ids(*lines, FLAG) == ["unknown-flag"]


def test_nothing_but_the_standard_library_is_imported() -> None:
    script = (
        "import sys; before = set(sys.modules); import infra.diagnose; "
        "print([m for m in set(sys.modules) - before if m.split('.')[0] not in sys.stdlib_module_names"
        " and not m.startswith('infra')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_text_can_be_filled_in() -> None:
    for failure in KNOWN:
        names = dict.fromkeys(failure.compiled().groupindex, "1")
        assert failure.cause.format_map(names)
        assert failure.advice.format_map(names)


@pytest.mark.parametrize(
    ("expected", "extra", "fields"),
    [
        # the guide's four
        (
            "out-of-memory-profile",
            ["--max-num-seqs=256"],
            {"model": VISION, "machine": ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1)},
        ),
        ("gated-repository", [], {"env": {}}),
        ("kv-cache-too-small-v0", ["--gpu-memory-utilization=0.79"], {"max_model_len": 8192}),
        # the rest
        ("kv-cache-none", ["--gpu-memory-utilization=0.7"], {}),
        ("out-of-memory-load", [], {"model": "meta-llama/Meta-Llama-3.1-70B-Instruct"}),
        ("unknown-flag", ["--no-such-flag=1"], {}),
        ("refused-argument", ["--dtype=double"], {}),
        ("heads-not-divisible", ["--tensor-parallel-size=3"], {}),
        ("more-gpus-than-there-are", ["--tensor-parallel-size=2"], {}),
        ("longer-than-model", [], {"max_model_len": 1_000_000}),
        ("bfloat16-unsupported", [], {"machine": ("n1-standard-8", "NVIDIA_TESLA_T4", 1)}),
        ("chat-template-unreadable", ["--chat-template=/no/such.jinja"], {}),
        ("fewer-cpu-loras", ["--enable-lora", "--max-loras=4", "--max-cpu-loras=2"], {}),
        (
            "lora-unsupported",
            ["--enable-lora", "--max-num-seqs=12"],
            {"model": VISION, "machine": ("a2-highgpu-1g", "NVIDIA_TESLA_A100", 1)},
        ),
        ("kv-cache-too-small-v1", [], {"max_model_len": 100_000, "image": f"{FORK}:20250506_0916_RC01"}),
    ],
)
def test_a_simulated_container_that_fails(expected: str, extra: list[str], fields: dict[str, Any]) -> None:
    result = start(container_request("--enforce-eager", *extra, **fields))
    assert not result.ok
    assert ids(*(line.text for line in result.lines))[:1] == [expected]


@pytest.mark.parametrize("model", [LLAMA, BASE])
def test_a_container_that_starts_has_no_failure(model: str) -> None:
    result = start(container_request("--enforce-eager", model=model))
    assert result.ok
    assert ids(*(line.text for line in result.lines)) == []

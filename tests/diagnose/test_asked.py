"""Whether a log is of a stack file as it stands, by the arguments that vLLM writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.cli.stack import plan_of
from infra.diagnose.asked import differences
from infra.diagnose.readings import read

ROOT = Path(__file__).resolve().parents[2]
SAME = (
    "max_model_len=4096, max_num_seqs=256, gpu_memory_utilization=0.9, tensor_parallel_size=1, swap_space=16.0, "
    "enforce_eager=True, enable_lora=True, model='meta-llama/Meta-Llama-3.1-8B-Instruct', chat_template=None, "
    "lora_modules=None, allowed_origins=['*'], host='0.0.0.0', dtype='auto'"
)


def found(line: str, *more: str) -> tuple[str, ...]:
    planned, _ = plan_of(ROOT / "stacks/meta-llama-3.1-8b-instruct.l4x1.yaml")
    return differences(None, planned, read(line), [line, *more])


def old(arguments: str) -> str:
    """To vLLM 0.8: all arguments."""
    return f"INFO 10-01 10:00:00 api_server.py:495] args: Namespace({arguments})"


def new(arguments: str) -> str:
    """From vLLM 0.9: those that are not its default."""
    return f"(APIServer pid=1) INFO 10-01 10:00:00 [utils.py:233] non-default args: {{{arguments}}}"


@pytest.mark.parametrize(
    "line",
    [
        old(SAME),
        new("'max_model_len': 4096, 'enforce_eager': True, 'served_model_name': ['x'], 'max_num_seqs': 256"),
        "INFO nothing of arguments",
        "usage: api_server.py [-h] [--max-model-len MAX_MODEL_LEN]",
    ],
)
def test_the_same(line: str) -> None:
    assert found(line) == ()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            old(SAME.replace("=4096", "=8192")),
            "vllm.max_model_len is 4096 in the stack file and was 8192",
        ),
        (
            new("'max_model_len': 4096, 'gpu_memory_utilization': 0.8"),
            "vllm.gpu_memory_utilization is 0.9 in the stack file and was 0.8",
        ),
        (
            old(SAME.replace("eager=True", "eager=False")),
            "vllm.enforce_eager is true in the stack file and was False",
        ),
        (
            new("'trust_remote_code': True"),
            "vllm.trust_remote_code is false in the stack file and was true",
        ),
        (
            old(SAME.replace("Meta-Llama-3.1-8B-Instruct", "Meta-Llama-3.1-8B")),
            "model is meta-llama/Meta-Llama-3.1-8B-Instruct in the stack file and was meta-llama/Meta-Llama-3.1-8B",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. GPU 0 has a total capacity of 39.38 GiB of which",
            "a GPU has 22.03 GiB by the stack file and had 39.38",
        ),
    ],
)
def test_another(line: str, said: str) -> None:
    assert found(line) == (said,)


def test_the_last_start_counts() -> None:
    assert found(old(SAME.replace("=4096", "=8192")), old(SAME)) == ()

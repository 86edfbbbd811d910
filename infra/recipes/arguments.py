"""The arguments of the serving container. This is the only module that spells a vLLM flag."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from infra.recipes.flags import FlagTable
from infra.recipes.stackfile import VllmOptions

__all__ = ["ENTRYPOINT", "KEY_OF_FLAG", "chat_template_names", "container_arguments", "parse_arguments"]

ENTRYPOINT: Final = ("python", "-m", "vllm.entrypoints.api_server")

KEY_OF_FLAG: Final[Mapping[str, str]] = {
    "--host": "",
    "--port": "",
    "--model": "weights",
    "--tensor-parallel-size": "hardware.accelerator_count",
    "--pipeline-parallel-size": "hardware.accelerator_count",
    "--swap-space": "vllm.swap_space",
    "--gpu-memory-utilization": "vllm.gpu_memory_utilization",
    "--max-model-len": "vllm.max_model_len",
    "--dtype": "vllm.dtype",
    "--max-loras": "vllm.max_loras",
    "--max-cpu-loras": "vllm.max_cpu_loras",
    "--max-num-seqs": "vllm.max_num_seqs",
    "--disable-log-stats": "vllm.disable_log_stats",
    "--trust-remote-code": "vllm.trust_remote_code",
    "--enforce-eager": "vllm.enforce_eager",
    "--enable-lora": "vllm.enable_lora",
    "--model-type": "vllm.model_type",
    "--chat-template": "vllm.chat_template",
}
"""Flags that this module writes, and the key of the stack file that sets each (empty: nothing does)."""

SWAP_SPACE: Final = "--swap-space"
MODEL_TYPE: Final = "--model-type"
QUANTIZATION: Final = "--quantization"
MAX_BATCHED_TOKENS: Final = "--max-num-batched-tokens"
LONGER_CONTEXT: Final = frozenset({"--rope-scaling", "--rope-theta", "--hf-overrides"})

_TEMPLATES: Final = Path(__file__).resolve().parent.parent / "catalog" / "chat_templates"


def chat_template_names() -> tuple[str, ...]:
    """The chat templates that are shipped, by name."""
    return tuple(sorted(path.stem for path in _TEMPLATES.glob("*.jinja")))


@lru_cache
def _chat_template(name_or_path: str) -> str:
    """A shipped template as text (vLLM takes a template in place of its path); a path as it stands."""
    if name_or_path in chat_template_names():
        return (_TEMPLATES / f"{name_or_path}.jinja").read_text(encoding="utf-8").rstrip("\n")
    return name_or_path


def container_arguments(
    *, model: str, gpus: int, vllm: VllmOptions, flags: FlagTable | None
) -> tuple[str, ...]:
    """The container's arguments, in the order of Google's guide.

    Args:
        model: Hugging Face id, or the ``gs://`` prefix of the weights.
        gpus: GPUs of one replica; the tensor parallel size.
        vllm: the options.
        flags: the flags of the image's vLLM version; None when it is not known (every flag is then written).

    Returns:
        The entry point and its flags. A flag that the version has not (``--swap-space`` from 0.18) is left out.
    """
    arguments = [
        *ENTRYPOINT,
        "--host=0.0.0.0",
        "--port=8080",
        f"--model={model}",
        f"--tensor-parallel-size={gpus}",
        f"{SWAP_SPACE}={vllm.swap_space}",
        f"--gpu-memory-utilization={vllm.gpu_memory_utilization}",
        f"--max-model-len={vllm.max_model_len}",
        f"--dtype={vllm.dtype}",
        f"--max-loras={vllm.max_loras}",
        f"--max-cpu-loras={vllm.max_cpu_loras}",
        f"--max-num-seqs={vllm.max_num_seqs}",
    ]
    if flags is not None and SWAP_SPACE not in flags:
        arguments.remove(f"{SWAP_SPACE}={vllm.swap_space}")
    if vllm.disable_log_stats:
        arguments.append("--disable-log-stats")
    if vllm.trust_remote_code:
        arguments.append("--trust-remote-code")
    if vllm.enforce_eager:
        arguments.append("--enforce-eager")
    if vllm.enable_lora:
        arguments.append("--enable-lora")
    if vllm.model_type:
        arguments.append(f"{MODEL_TYPE}={vllm.model_type}")
    if vllm.chat_template:
        arguments.append(f"--chat-template={_chat_template(vllm.chat_template)}")
    arguments.extend(vllm.extra_args)
    return tuple(arguments)


def parse_arguments(arguments: tuple[str, ...]) -> dict[str, str | None]:
    """Read the container's arguments back: flag (dashes) to value, None for a switch. The inverse of the above."""
    found: dict[str, str | None] = {}
    for argument in arguments[len(ENTRYPOINT) :]:
        flag, equals, value = argument.partition("=")
        found[flag.replace("_", "-")] = value if equals else None
    return found

"""The arguments of the serving container. This is the only module that spells a vLLM flag."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from infra.recipes.flags import FlagTable
from infra.recipes.parallel import Split
from infra.recipes.stackfile import VllmOptions

__all__ = ["ENTRYPOINT", "KEY_OF_FLAG", "container_arguments", "parse_arguments", "passed"]

ENTRYPOINT: Final = ("python", "-m", "vllm.entrypoints.api_server")

KEY_OF_FLAG: Final[Mapping[str, str]] = {
    "--host": "",
    "--port": "",
    "--model": "weights",
    "--tensor-parallel-size": "vllm.tensor_parallel_size",
    "--pipeline-parallel-size": "vllm.pipeline_parallel_size",
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
CHAT_TEMPLATE: Final = "--chat-template"
AUTO_TOOLS: Final = "--enable-auto-tool-choice"
TOOL_CALL_PARSER: Final = "--tool-call-parser"
QUANTIZATION: Final = "--quantization"
MAX_BATCHED_TOKENS: Final = "--max-num-batched-tokens"
DATA_PARALLEL: Final = "--data-parallel-size"
EXPERT_PARALLEL: Final = "--enable-expert-parallel"
ENCODER_PARALLEL: Final = "--mm-encoder-tp-mode"
CHUNKED_PREFILL: Final = "--enable-chunked-prefill"
PREFIX_CACHING: Final = "--enable-prefix-caching"
KV_CACHE_DTYPE: Final = "--kv-cache-dtype"
MAX_LORA_RANK: Final = "--max-lora-rank"
LORA_BIAS: Final = "--enable-lora-bias"
LOAD_FORMAT: Final = "--load-format"
NO_SLIDING_WINDOW: Final = "--disable-sliding-window"
HF_OVERRIDES: Final = "--hf-overrides"
LONGER_CONTEXT: Final = frozenset({"--rope-scaling", "--rope-theta", HF_OVERRIDES})


def passed(vllm: VllmOptions) -> dict[str, str | None]:
    """The extra arguments of a stack file: flag (dashes) to value, None for a switch."""
    return _read(vllm.extra_args)


def container_arguments(
    *,
    model: str,
    split: Split,
    vllm: VllmOptions,
    flags: FlagTable | None,
    chat_template: str | None = None,
    tool_call_parser: str | None = None,
) -> tuple[str, ...]:
    """The container's arguments, in the order of Google's guide.

    Args:
        model: Hugging Face id, or the ``gs://`` prefix of the weights.
        split: the parallel sizes; a pipeline of 1 is vLLM's default and not written.
        vllm: the options.
        flags: the flags of the image's vLLM version; None when it is not known (every flag is then written).
        chat_template: text of the chat template, or its path in the container; None for none.
        tool_call_parser: the parser of tool calls, where tools are on and the extra arguments do not name it.

    Returns:
        The entry point and its flags. A flag that the version has not (``--swap-space`` from 0.18) is left out.
    """
    arguments = [
        *ENTRYPOINT,
        "--host=0.0.0.0",
        "--port=8080",
        f"--model={model}",
        f"--tensor-parallel-size={split.tensor}",
        *([f"--pipeline-parallel-size={split.pipeline}"] if split.pipeline > 1 else []),
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
    if chat_template is not None:
        arguments.append(f"{CHAT_TEMPLATE}={chat_template}")
    if vllm.tool_calling and AUTO_TOOLS not in passed(vllm):
        arguments.append(AUTO_TOOLS)
    if tool_call_parser is not None:
        arguments.append(f"{TOOL_CALL_PARSER}={tool_call_parser}")
    arguments.extend(vllm.extra_args)
    return tuple(arguments)


def parse_arguments(arguments: tuple[str, ...]) -> dict[str, str | None]:
    """Read the container's arguments back: flag (dashes) to value, None for a switch. The inverse of the above."""
    return _read(arguments[len(ENTRYPOINT) :])


def _read(arguments: tuple[str, ...]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        found[flag.replace("_", "-")] = value if equals else None
    return found

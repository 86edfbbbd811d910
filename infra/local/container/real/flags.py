"""From a stack's own arguments to those of the real vLLM on the CPU.

Kept as they are, except the flags of :data:`LEFT_OUT` and those that vLLM 0.32 does not have any more. The start
lines name every argument that was left out, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.local.container.arguments import Options
from infra.local.container.real.environment import VLLM_VERSION
from infra.recipes.catalog import catalog

_SHRUNK: Final = "the shrunk model has random weights in its own folder"
_DEVICE: Final = "names the GPU; there is none"
# Flag -> why it is not passed on. The README of the local cloud shows this table.
LEFT_OUT: Final[Mapping[str, str]] = {
    "--tensor-parallel-size": _DEVICE,
    "--pipeline-parallel-size": _DEVICE,
    "--data-parallel-size": _DEVICE,
    "--distributed-executor-backend": _DEVICE,
    "--gpu-memory-utilization": "the KV cache has a fixed size here (VLLM_CPU_KVCACHE_SPACE=1 GiB)",
    "--kv-cache-memory-bytes": "the KV cache has a fixed size here (VLLM_CPU_KVCACHE_SPACE=1 GiB)",
    "--kv-cache-dtype": _DEVICE,
    "--cpu-offload-gb": _DEVICE,
    "--block-size": "the CPU backend chooses it",
    "--dtype": "float32 is the CPU's type",
    "--quantization": _SHRUNK,
    "--load-format": _SHRUNK,
    "--model": _SHRUNK,
    "--tokenizer": _SHRUNK,
    "--revision": _SHRUNK,
    "--served-model-name": "replaced by the same name for the shrunk model",
    "--host": "the process listens on 127.0.0.1",
    "--port": "the process listens on a free port",
    "--enable-lora": "adapters do not fit the shrunk model",
    "--max-loras": "adapters do not fit the shrunk model",
    "--max-cpu-loras": "adapters do not fit the shrunk model",
    "--max-lora-rank": "adapters do not fit the shrunk model",
    "--lora-modules": "adapters do not fit the shrunk model",
    "--chat-template": "passed on when it is a template; a path or gs:// name has no file here",
    "--tool-call-parser": "passed on when upstream vLLM has it",
}
# Parsers that only Google's images have, and the upstream one for the same models.
PARSERS: Final[Mapping[str, str]] = {"vertex-llama-3": "llama3_json"}


@dataclass(frozen=True)
class RealArguments:
    """Arguments after ``vllm serve``, and what was left out with the reason."""

    arguments: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def real_arguments(options: Options, model_folder: Path, port: int) -> RealArguments:
    """Return the real server's arguments for parsed ones.

    Args:
        options: the container's own arguments, parsed with its version's flags.
        model_folder: the shrunk model.
        port: where the process listens.
    """
    table = catalog().flags(VLLM_VERSION)
    passed: list[str] = []
    left: list[tuple[str, str]] = []
    for name, value in sorted(options.given.items()):
        flag = "--" + name.replace("_", "-")
        if flag == "--chat-template" and any(mark in str(value) for mark in "{}\n"):
            passed += [flag, str(value)]
        elif flag == "--tool-call-parser":
            passed.append(f"{flag}={PARSERS.get(str(value), value)}")
        elif flag in LEFT_OUT:
            left.append((_shown(flag, value), LEFT_OUT[flag]))
        elif flag in table.fork:
            left.append((_shown(flag, value), "only Google's build of vLLM has it"))
        elif flag not in table.takes:
            left.append((_shown(flag, value), f"vLLM {VLLM_VERSION} does not have it any more"))
        else:
            passed += _written(flag, value, table.takes[flag])
    names = options.many("served_model_name") or (options.model,)
    fixed = [
        "--load-format=dummy",
        "--dtype=float32",
        "--host=127.0.0.1",
        f"--port={port}",
        "--served-model-name",
        *names,
    ]
    if "enforce_eager" not in options.given:
        fixed.insert(0, "--enforce-eager")
    return RealArguments((str(model_folder), *fixed, *passed), tuple(left))


def _written(flag: str, value: Any, kind: str) -> list[str]:
    if isinstance(value, bool):
        if kind == "switch" or kind == "flag":
            return [flag] if value else ([f"--no-{flag[2:]}"] if kind == "switch" else [])
        return [f"{flag}={str(value).lower()}"]
    if isinstance(value, list):
        return [flag, *(str(item) for item in value)]
    if str(value).lower() in ("true", "false") and kind == "switch":
        return [flag] if str(value).lower() == "true" else [f"--no-{flag[2:]}"]
    return [f"{flag}={value}"]


def _shown(flag: str, value: Any) -> str:
    return flag if value is True else f"{flag}={value}"

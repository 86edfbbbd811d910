"""Start one vLLM and write what its worker holds: the exact bytes, where this version has them.

Reads a case (JSON: ``config``, ``arguments``) from standard input, writes a JSON object to the file it is given.
Everything that vLLM prints goes to standard output and error. Nothing here is imported from this project.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

#: Attribute of the worker, of its model runner or of its first snapshot -> figure. In bytes; names since vLLM 0.9.1.
_WORKER = {
    "requested_memory": "requested",
    "peak_activation_memory": "peak",
    "non_torch_memory": "non_torch",
    "total_consumed": "consumed",
    "cudagraph_memory_estimate": "graph_estimate",
    "available_kv_cache_memory_bytes": "kv",
}
_RUNNER = {"model_memory_usage": "weights"}
_SNAPSHOT = {"total_memory": "total", "free_memory": "init_free"}


def reached(start: Any, *names: str) -> Any:
    """Follow attributes; None where one is absent."""
    for name in names:
        start = getattr(start, name, None)
        if start is None:
            return None
    return start


def figures(worker: Any) -> dict[str, int]:
    """What the worker measured, in bytes."""
    held: dict[str, int] = {}
    places = ((worker, _WORKER), (reached(worker, "model_runner"), _RUNNER))
    for place, names in (*places, (reached(worker, "init_snapshot"), _SNAPSHOT)):
        for name, figure in names.items():
            value = getattr(place, name, None)
            if isinstance(value, int | float):
                held[figure] = int(value)
    return held


def settings(engine: Any) -> dict[str, Any]:
    """The options that vLLM settled on."""
    config = reached(engine, "vllm_config")
    cache = reached(config, "cache_config") or reached(engine, "cache_config")
    scheduler = reached(config, "scheduler_config") or reached(engine, "scheduler_config")
    model = reached(config, "model_config") or reached(engine, "model_config")
    return {
        "block_size": reached(cache, "block_size"),
        "blocks": reached(cache, "num_gpu_blocks"),
        "gpu_memory_utilization": reached(cache, "gpu_memory_utilization"),
        "kv_cache_dtype": reached(cache, "cache_dtype"),
        "max_num_seqs": reached(scheduler, "max_num_seqs"),
        "max_num_batched_tokens": reached(scheduler, "max_num_batched_tokens"),
        "max_model_len": reached(model, "max_model_len"),
        "dtype": str(reached(model, "dtype") or "").removeprefix("torch.") or None,
        "enforce_eager": reached(model, "enforce_eager"),
    }


def worker_of(engine: Any) -> Any:
    """The worker of an engine that runs in this process: V1's core, else V0's executor."""
    core = reached(engine, "engine_core", "engine_core") or engine
    driver = reached(core, "model_executor", "driver_worker")
    return reached(driver, "worker") or driver


def device() -> str:
    """Name of the card; empty without one."""
    import torch  # type: ignore[import-not-found]  # in vLLM's environment only

    return str(torch.cuda.get_device_name(0)) if torch.cuda.is_available() else ""


def main() -> None:
    """Start the case of standard input."""
    case, answer = json.load(sys.stdin), Path(sys.argv[1])
    # The engine's core in this process: its attributes can be read. Debug lines carry figures that no other line has.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "DEBUG")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import vllm  # type: ignore[import-not-found]

    found: dict[str, Any] = {"vllm_version": vllm.__version__}
    answer.write_text(json.dumps(found))  # also of a start that fails
    arguments = {"load_format": "dummy", "skip_tokenizer_init": True, "seed": 0, **case["arguments"]}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(case["config"]))
        llm = vllm.LLM(model=folder, **arguments)
        engine = llm.llm_engine
        found |= {"gpu": device(), "settings": settings(engine), "bytes": figures(worker_of(engine))}
        answer.write_text(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # an engine that is torn down at exit may hang


if __name__ == "__main__":
    main()

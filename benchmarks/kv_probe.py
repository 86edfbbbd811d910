"""Start a real vLLM on the CPU with a small config and say what its KV cache is: one line of JSON a case.

Runs in the environment of the real vLLM (``.local/vllm-env``), which has nothing of this project; ``kv_truth.py``
starts it. Standard input: one case a line, ``{"id", "config": a config.json, "args": arguments of vllm.LLM}``.
Standard output: the case's id with what vLLM holds and what it logged, exact. Each case runs in a fork of one parent
that has imported vLLM, so a start costs no import; weights are random, and no tokenizer is loaded.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
import traceback
from typing import Any

os.environ |= {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine core lives in our process: attributes, not log lines
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
SECONDS = 240.0


def groups(kv_cache_config: Any) -> list[dict[str, Any]]:
    """What each group of layers keeps, by vLLM's own names, as the scheduler sees it: one layer's page."""
    found = []
    for group in kv_cache_config.kv_cache_groups:
        spec = group.kv_cache_spec
        found.append(
            {
                "spec": type(spec).__name__,
                "layers": len(group.layer_names),
                "block_size": spec.block_size,
                "page_bytes": spec.page_size_bytes,
                "padded": getattr(spec, "page_size_padded", None) is not None,
            }
        )
    return found


def start(case: dict[str, Any], log: str) -> dict[str, Any]:
    """Start an engine and return its cache, or why it did not start."""
    import vllm  # type: ignore[import-not-found]
    from vllm import LLM
    from vllm.v1.core.kv_cache_utils import (  # type: ignore[import-not-found]
        get_max_concurrency_for_kv_cache_config,
    )

    args = {"load_format": "dummy", "skip_tokenizer_init": True, "enforce_eager": True} | case["args"]
    with tempfile.TemporaryDirectory() as folder:
        for name, body in {"config.json": case["config"], **case.get("files", {})}.items():
            with open(f"{folder}/{name}", "w") as file:
                json.dump(body, file)
        try:
            llm = LLM(model=folder, **args)
        except BaseException as error:  # a start that fails is a result too
            with open(log, "a") as file:
                file.write("".join(traceback.format_exception(error)))
            text = str(error)
            needed = re.search(r"\(([\d.]+) GiB KV cache is needed", text)
            longest = re.search(r"estimated maximum model length is (\d+)", text)
            return {
                "outcome": "kv_too_small" if needed else "error",
                "kv_needed_gib": float(needed[1]) if needed else None,
                "estimated_max_len": int(longest[1]) if longest else None,
                "error": text[-600:],
                "vllm_version": vllm.__version__,
            }
        core = llm.llm_engine.engine_core.engine_core
        config, kv = core.vllm_config, core.scheduler.kv_cache_config
        sys.stdout.flush()
        with open(log) as file:
            line = re.search(
                r"(\w+) KV cache size: ([\d,]+) tokens, Maximum concurrency for ([\d,]+) tokens per request: "
                r"([\d.]+)x",
                file.read(),
            )
        return {
            "outcome": "ok",
            "vllm_version": vllm.__version__,
            "block_size": config.cache_config.block_size,
            "max_model_len": config.model_config.max_model_len,
            "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
            "max_in_flight_tokens": config.max_in_flight_tokens,
            "max_num_seqs": config.scheduler_config.max_num_seqs,
            "enable_prefix_caching": config.cache_config.enable_prefix_caching,
            "mamba_cache_mode": config.cache_config.mamba_cache_mode,
            "mamba_ssm_cache_dtype": config.cache_config.mamba_ssm_cache_dtype,
            "layout": config.cache_config.kv_cache_layout,
            "num_blocks": kv.num_blocks,
            "cache_bytes_used": max((tensor.size for tensor in kv.kv_cache_tensors), default=0),
            "groups": groups(kv),
            "max_concurrency": get_max_concurrency_for_kv_cache_config(config, kv)
            if kv.kv_cache_groups
            else None,
            "printed": line[0] if line else None,
            "kv_tokens": int(line[2].replace(",", "")) if line else None,
            "concurrency_printed": float(line[4]) if line else None,
        }


def main() -> None:
    """Run the cases of standard input, each in its own process with a deadline."""
    # imported once, before the forks
    import vllm.entrypoints.llm  # type: ignore[import-not-found]
    import vllm.v1.engine.llm_engine  # type: ignore[import-not-found]  # noqa: F401

    logs = sys.argv[1]
    for line in sys.stdin:
        case = json.loads(line)
        log = os.path.join(logs, re.sub(r"[^\w.=-]+", "_", case["id"])[:180] + ".log")
        answer, begun = log + ".json", time.monotonic()
        child = os.fork()
        if not child:
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            os.environ |= case.get("env", {})
            try:
                found = start(case, log)
                with open(answer, "w") as file:
                    json.dump(found, file)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(0)
        found = {"outcome": "error", "error": "ended without an answer"}
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() - begun > SECONDS:
                os.kill(child, 9)
                os.waitpid(child, 0)
                found = {"outcome": "error", "error": f"not ready after {SECONDS:.0f} s"}
                break
            time.sleep(0.1)
        if os.path.exists(answer):
            with open(answer) as file:
                found = json.load(file)
            os.remove(answer)
        print(
            json.dumps({"id": case["id"], **found, "seconds": round(time.monotonic() - begun, 1)}), flush=True
        )


if __name__ == "__main__":
    main()

"""``GET /metrics``: the gauges and counters that autoscaling reads, in Prometheus' text form."""

from __future__ import annotations

from infra.local.container.contract import ContainerResponse
from infra.local.container.engine import Engine

TYPE = "text/plain; version=0.0.4; charset=utf-8"


def handle(engine: Engine) -> ContainerResponse:
    """Return vLLM's metrics; nothing but an empty page with ``--disable-log-stats``, as in vLLM.

    The cache gauge is ``gpu_cache_usage_perc`` up to 0.9, both names until 0.11, ``kv_cache_usage_perc`` later
    (vllm-project/vllm pull requests 18354 and 29330).
    """
    if not engine.log_stats:
        return ContainerResponse(200, {"content-type": TYPE}, b"")
    label = f'{{model_name="{engine.served_names[0]}"}}'
    dialect = engine.dialect
    caches = []
    if not dialect.since("0.12.0"):
        caches.append("gpu_cache_usage_perc")
    if dialect.since("0.9.0"):
        caches.append("kv_cache_usage_perc")
    lines: list[str] = []
    gauges = {"num_requests_running": 0.0, "num_requests_waiting": 0.0, **dict.fromkeys(caches, 0.0)}
    for name, value in gauges.items():
        lines += [f"# TYPE vllm:{name} gauge", f"vllm:{name}{label} {value}"]
    for name, key in (("prompt_tokens", "prompt_tokens"), ("generation_tokens", "generation_tokens")):
        lines += [
            f"# TYPE vllm:{name}_total counter",
            f"vllm:{name}_total{label} {float(engine.counts[key])}",
        ]
    finished = f'{{finished_reason="stop",model_name="{engine.served_names[0]}"}}'
    lines += [
        "# TYPE vllm:request_success_total counter",
        f"vllm:request_success_total{finished} {float(engine.counts['request_success'])}",
    ]
    return ContainerResponse(200, {"content-type": TYPE}, ("\n".join(lines) + "\n").encode())

"""What Cloud Monitoring shows and watches of one endpoint: the charts of its dashboard and its alerts, as PromQL.

Pure and without Pulumi; `components.telemetry` registers it. Metric names, units and labels: Google's list of metrics
(cloud.google.com/monitoring/api/metrics_gcp, section aiplatform). Names of vLLM's own: the page on AutoMetrics of
online inference, which scrapes ``/metrics`` and keeps what begins with ``vllm:`` as ``vertex_vllm_…``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Alert", "alerts", "dashboard"]

ERROR_SHARE: Final = 0.05
"""Share of answers that are 5xx above which the errors alert opens."""

SLOW_SHARE: Final = 0.75
"""Share of the longest time a request may take that the 95th percentile may use before the slow alert opens."""

IDLE_HOURS: Final = 1

SHARED_LIMIT_S: Final = 60
DEDICATED_LIMIT_S: Final = 3600
"""How long a request may take at most on an endpoint of each kind."""

_COLUMNS: Final = 48
_WIDTH, _HEIGHT = _COLUMNS // 2, 16
_CLOSE_AFTER: Final = "1800s"


@dataclass(frozen=True)
class Alert:
    """One alert policy.

    Attributes:
        role: Short name, for the resource.
        title: What the mail's subject says.
        query: PromQL; the alert is open while it has a result.
        duration: For how long it must have one, such as `300s`.
        severity: `CRITICAL`, `ERROR` or `WARNING`.
        advice: What to do, in Markdown.
        auto_close: After how long without data an open alert closes.
    """

    role: str
    title: str
    query: str
    duration: str
    severity: str
    advice: str
    auto_close: str = _CLOSE_AFTER


@dataclass(frozen=True)
class _Chart:
    title: str
    query: str
    unit: str
    axis: str


def dashboard(
    *, endpoint_id: str, display_name: str, dedicated: bool, vllm_metrics: bool, labels: Mapping[str, str]
) -> str:
    """The dashboard of an endpoint, as the JSON that Cloud Monitoring takes.

    Args:
        endpoint_id: Id of the endpoint, as metrics are labelled with it.
        display_name: Name of what is served; it heads the dashboard.
        dedicated: Whether the endpoint has a host of its own; decides how long a request may take.
        vllm_metrics: Whether vLLM counts (no `--disable-log-stats`), so that its queue and cache are exported.
        labels: Labels of the dashboard.
    """
    tiles = [
        _tile(index, {"title": chart.title, "xyChart": _xy(chart)})
        for index, chart in enumerate(_charts(endpoint_id, dedicated, vllm_metrics))
    ]
    if not vllm_metrics:
        content = (
            "vLLM exports nothing with `--disable-log-stats`. For its queue and its KV cache here, write "
            "`disable_log_stats: false` under `vllm:` in the stack file."
        )
        text = {"title": "vLLM", "text": {"content": content, "format": "MARKDOWN"}}
        tiles.append(_tile(len(tiles), text))
    document = {
        "displayName": f"vLLM: {display_name}",
        "labels": dict(labels),
        "mosaicLayout": {"columns": _COLUMNS, "tiles": tiles},
    }
    return json.dumps(document, sort_keys=True)


def alerts(
    *, endpoint_id: str, display_name: str, dedicated: bool, usd_per_hour: float | None
) -> tuple[Alert, ...]:
    """The alerts of an endpoint.

    Args:
        endpoint_id: Id of the endpoint, as metrics are labelled with it.
        display_name: Name of what is served; it is part of every title.
        dedicated: Whether the endpoint has a host of its own.
        usd_per_hour: What the replicas that always run cost, US dollars an hour; None when it is not known.
    """
    responses = _online("response_count", endpoint_id)
    failed = _online("response_count", endpoint_id, 'response_code=~"5.*"')
    replicas = _online("replicas", endpoint_id)
    limit = _limit(dedicated)
    price = "" if usd_per_hour is None else f" (${usd_per_hour:,.2f} an hour at the least)"
    return (
        Alert(
            role="errors",
            title=f"{display_name}: {ERROR_SHARE:.0%} of answers are errors",
            query=f"sum(increase({failed}[10m])) / sum(increase({responses}[10m])) > {ERROR_SHARE}",
            duration="300s",
            severity="ERROR",
            advice=f"More than {ERROR_SHARE:.0%} of the answers of the last 10 minutes were 5xx. The container's log "
            "says why. 503 for a request that took too long: lower `max_tokens`, or use a dedicated endpoint "
            f"({DEDICATED_LIMIT_S} s a request in the place of {SHARED_LIMIT_S} s).",
        ),
        Alert(
            role="slow",
            title=f"{display_name}: answers come near the limit of {limit} s",
            query=f"{_quantile(endpoint_id, 0.95)} > {round(limit * 1000 * SLOW_SHARE)}",
            duration="300s",
            severity="WARNING",
            advice=f"One answer in twenty takes more than {SLOW_SHARE:.0%} of the {limit} s after which the endpoint "
            "gives up. Lower `max_tokens`, stream, raise `max_replica_count` in the stack file, or use a faster GPU.",
        ),
        Alert(
            role="idle",
            title=f"{display_name}: no traffic for {IDLE_HOURS} h while replicas run",
            # Replicas of that long ago too: a deployment that is minutes old has had no chance to be called.
            query=f"sum({replicas} offset {IDLE_HOURS}h) > 0 and sum({replicas}) > 0 "
            f"unless sum(increase({responses}[{IDLE_HOURS}h])) > 0",
            duration="300s",
            severity="WARNING",
            advice=f"Nobody has called the endpoint for {IDLE_HOURS} h, and its replicas are billed all the "
            f"same{price}. `pulumi destroy` ends that.",
        ),
    )


def _charts(endpoint_id: str, dedicated: bool, vllm_metrics: bool) -> list[_Chart]:
    responses = _online("response_count", endpoint_id)
    failed = _online("response_count", endpoint_id, 'response_code=~"5.*"')
    found = [
        _Chart(
            "Requests, by response code",
            f"sum by (response_code) (rate({responses}[5m]))",
            "1/s",
            "per second",
        ),
        _Chart(
            "Share of errors (5xx)",
            f"sum(increase({failed}[5m])) / sum(increase({responses}[5m]))",
            "10^2.%",
            "of all answers",
        ),
        _Chart(
            f"Latency, 95th percentile (limit {_limit(dedicated)} s)",
            _quantile(endpoint_id, 0.95),
            "ms",
            "whole answer",
        ),
        _Chart("Latency, median", _quantile(endpoint_id, 0.5), "ms", "whole answer"),
        _Chart("Replicas", f"sum({_online('replicas', endpoint_id)})", "1", "that run"),
        _Chart("Replicas wanted", f"sum({_online('target_replicas', endpoint_id)})", "1", "by autoscaling"),
        _Chart(
            "GPU duty cycle, by replica",
            f"avg by (replica_id) ({_online('accelerator_duty_cycle', endpoint_id)})",
            "10^2.%",
            "of the time",
        ),
        _Chart(
            "GPU memory, by replica",
            f"sum by (replica_id) ({_online('accelerator_memory_bytes_used', endpoint_id)})",
            "By",
            "in use",
        ),
    ]
    if vllm_metrics:
        found += [
            _Chart(
                "vLLM: requests that wait, by replica",
                f"sum by (replica_id) ({_vllm('num_requests_waiting', endpoint_id)})",
                "1",
                "requests",
            ),
            _Chart(
                "vLLM: KV cache in use, by replica",
                # vLLM renamed the gauge in 2025 (vllm-project/vllm, pull requests 18354 and 29330).
                f"max by (replica_id) ({_vllm('kv_cache_usage_perc', endpoint_id)} "
                f"or {_vllm('gpu_cache_usage_perc', endpoint_id)})",
                "10^2.%",
                "of its blocks",
            ),
        ]
    return found


def _online(metric: str, endpoint_id: str, *more: str) -> str:
    """The PromQL selector of a metric of online prediction, of one endpoint."""
    labels = [
        'monitored_resource="aiplatform.googleapis.com/Endpoint"',
        f'endpoint_id="{endpoint_id}"',
        *more,
    ]
    return f"aiplatform_googleapis_com:prediction_online_{metric}{{{','.join(labels)}}}"


def _vllm(metric: str, endpoint_id: str) -> str:
    return f'vertex_vllm_{metric}{{endpoint_id="{endpoint_id}"}}'


def _quantile(endpoint_id: str, share: float) -> str:
    """A percentile of the whole latency, milliseconds."""
    buckets = _online("prediction_latencies_bucket", endpoint_id, 'latency_type="total"')
    return f"histogram_quantile({share}, sum by (le) (increase({buckets}[5m])))"


def _limit(dedicated: bool) -> int:
    return DEDICATED_LIMIT_S if dedicated else SHARED_LIMIT_S


def _xy(chart: _Chart) -> dict[str, Any]:
    data = {
        "plotType": "LINE",
        "targetAxis": "Y1",
        "timeSeriesQuery": {"prometheusQuery": chart.query, "unitOverride": chart.unit},
    }
    return {"dataSets": [data], "yAxis": {"label": chart.axis, "scale": "LINEAR"}}


def _tile(index: int, widget: dict[str, Any]) -> dict[str, Any]:
    """Two tiles a row. A position of 0 is left out, as the API does."""
    row, column = divmod(index, 2)
    where = {key: value for key, value in (("xPos", column * _WIDTH), ("yPos", row * _HEIGHT)) if value}
    return {**where, "width": _WIDTH, "height": _HEIGHT, "widget": widget}

"""Charts and alerts: what they ask for, and that a Cloud Monitoring takes them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from infra import telemetry

_METRICS = {
    # cloud.google.com/monitoring/api/metrics_gcp, aiplatform, as PromQL names them.
    "aiplatform_googleapis_com:prediction_online_accelerator_duty_cycle",
    "aiplatform_googleapis_com:prediction_online_accelerator_memory_bytes_used",
    "aiplatform_googleapis_com:prediction_online_prediction_latencies_bucket",
    "aiplatform_googleapis_com:prediction_online_replicas",
    "aiplatform_googleapis_com:prediction_online_response_count",
    "aiplatform_googleapis_com:prediction_online_target_replicas",
}
_VLLM = {
    "vertex_vllm_gpu_cache_usage_perc",
    "vertex_vllm_kv_cache_usage_perc",
    "vertex_vllm_num_requests_waiting",
}


def board(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "endpoint_id": "123",
        "display_name": "llama (dev)",
        "dedicated": False,
        "vllm_metrics": True,
        "labels": {"vertex-vllm-stack": "dev"},
        **changes,
    }
    document: dict[str, Any] = json.loads(telemetry.dashboard(**values))
    return document


def queries(document: dict[str, Any]) -> list[str]:
    return [
        data["timeSeriesQuery"]["prometheusQuery"]
        for tile in document["mosaicLayout"]["tiles"]
        for data in tile["widget"].get("xyChart", {}).get("dataSets", [])
    ]


def metrics(text: str) -> set[str]:
    return set(re.findall(r"(?:aiplatform_googleapis_com:|vertex_vllm_)\w+", text))


def test_the_dashboard_shows_traffic_replicas_gpus_queue_and_cache() -> None:
    assert metrics(" ".join(queries(board()))) == _METRICS | _VLLM


def test_without_statistics_the_dashboard_says_which_line_brings_them() -> None:
    document = board(vllm_metrics=False)
    assert metrics(" ".join(queries(document))) == _METRICS
    (text,) = (
        tile["widget"]["text"] for tile in document["mosaicLayout"]["tiles"] if "text" in tile["widget"]
    )
    assert "disable_log_stats: false" in text["content"]


@pytest.mark.parametrize("vllm_metrics", [True, False])
def test_every_query_is_of_this_endpoint_alone(vllm_metrics: bool) -> None:
    found = queries(board(vllm_metrics=vllm_metrics))
    found += [
        alert.query
        for alert in telemetry.alerts(
            endpoint_id="123", display_name="llama", dedicated=False, usd_per_hour=None
        )
    ]
    for query in found:
        selectors = re.findall(r"\{([^{}]*)\}", query)
        assert selectors
        assert all('endpoint_id="123"' in selector for selector in selectors), query
        assert query.count("(") == query.count(")"), query
        assert query.count("[") == query.count("]"), query


def test_limits_and_price_are_in_the_alerts() -> None:
    shared = telemetry.alerts(endpoint_id="1", display_name="llama", dedicated=False, usd_per_hour=1.5)
    assert [alert.role for alert in shared] == ["errors", "slow", "idle"]
    assert shared[1].query.endswith("> 45000")
    assert "60 s" in shared[1].title
    assert "$1.50 an hour" in shared[2].advice
    dedicated = telemetry.alerts(endpoint_id="1", display_name="llama", dedicated=True, usd_per_hour=None)
    assert dedicated[1].query.endswith("> 2700000")
    assert "$" not in dedicated[2].advice


def test_idle_needs_replicas_an_hour_ago_and_now_and_no_answer_since() -> None:
    *_, idle = telemetry.alerts(endpoint_id="1", display_name="llama", dedicated=False, usd_per_hour=None)
    before, now, answered = re.split(r" and | unless ", idle.query)
    assert "replicas" in before
    assert before.endswith("offset 1h) > 0")
    assert "replicas" in now
    assert "offset" not in now
    assert "response_count" in answered
    assert "[1h]" in answered

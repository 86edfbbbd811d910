"""Cloud Monitoring's time series of what serving quotas are taken."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud

from .helpers import Vertex

_PATH = "/v3/projects/local-project/timeSeries"
_TYPE = "serviceruntime.googleapis.com/quota/allocation/usage"
_L4 = "aiplatform.googleapis.com/custom_model_serving_nvidia_l4_gpus"
_CPU = "aiplatform.googleapis.com/custom_model_serving_cpus"
_ALL = f'metric.type="{_TYPE}" AND resource.type="consumer_quota"'


def _stamp(seconds: float = 0.0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _query(filter: str = _ALL, hours: float = 25, **more: Any) -> dict[str, Any]:
    interval = {"interval.startTime": _stamp(-3600 * hours), "interval.endTime": _stamp()}
    return {"filter": filter, **interval, **{name.replace("_", "."): value for name, value in more.items()}}


def _ask(cloud: LocalCloud, *arguments: Any, **more: Any) -> Any:
    return cloud.http.get(_PATH, params=_query(*arguments, **more))


def _values(answer: Any) -> dict[tuple[str, str], str]:
    return {
        (series["metric"]["labels"]["quota_metric"], series["resource"]["labels"]["location"]): series[
            "points"
        ][0]["value"]["int64Value"]
        for series in answer.raise_for_status().json().get("timeSeries", [])
    }


@pytest.fixture
def served(vertex: Vertex) -> LocalCloud:
    """Two replicas at most of a machine with an L4 and 12 vCPUs, in us-central1."""
    vertex.upload()
    vertex.endpoint()
    vertex.deploy(dedicatedResources={"maxReplicaCount": 2})
    return vertex.cloud


def test_nothing_deployed_is_no_series(vertex: Vertex) -> None:
    assert _ask(vertex.cloud).json() == {"unit": "1"}


def test_what_is_deployed_is_in_use(served: LocalCloud) -> None:
    answer = _ask(served)
    assert _values(answer) == {(_L4, "us-central1"): "2", (_CPU, "us-central1"): "24"}
    series = answer.json()["timeSeries"][1]
    (point,) = series.pop("points")
    assert series == {
        "metric": {"type": _TYPE, "labels": {"quota_metric": _L4}},
        "resource": {
            "type": "consumer_quota",
            "labels": {
                "project_id": "local-project",
                "service": "aiplatform.googleapis.com",
                "location": "us-central1",
            },
        },
        "metricKind": "GAUGE",
        "valueType": "INT64",
    }
    assert point["interval"]["startTime"] == point["interval"]["endTime"]
    assert point["interval"]["endTime"].endswith(":00Z"), "sampled every full minute"


def test_filters_narrow_the_series(served: LocalCloud) -> None:
    for text in (
        f'metric.labels.quota_metric="{_L4}"',
        f"metric.label.quota_metric='{_L4}'",
        'metric.labels.quota_metric=ends_with("l4_gpus") AND resource.label.location = us-central1',
        'metric.labels.quota_metric != starts_with("aiplatform.googleapis.com/custom_model_serving_cpu")',
        f'metric.labels.quota_metric = one_of("nothing", "{_L4}") project="local-project"',
    ):
        assert set(_values(_ask(served, f"{_ALL} AND {text}"))) == {(_L4, "us-central1")}, text
    for text in (
        'resource.labels.location="europe-west4"',
        'resource.labels.service="compute.googleapis.com"',
    ):
        assert _ask(served, f"{_ALL} AND {text}").json() == {"unit": "1"}, text


def test_values_are_those_of_the_interval(served: LocalCloud) -> None:
    assert _ask(served, hours=-0.01).status_code == 400, "it begins after it ends"
    past = {"filter": _ALL, "interval.startTime": _stamp(-9000), "interval.endTime": _stamp(-3600)}
    assert served.http.get(_PATH, params=past).json() == {"unit": "1"}
    now = _query() | {"interval.endTime": _stamp(1)}
    assert len(_values(served.http.get(_PATH, params=now))) == 2


def test_aligned_to_the_end_of_the_interval(served: LocalCloud) -> None:
    aligned: dict[str, Any] = {
        "aggregation_alignmentPeriod": "90000s",
        "aggregation_perSeriesAligner": "ALIGN_NEXT_OLDER",
    }
    query = _query(**aligned)
    first = served.http.get(_PATH, params=query).json()["timeSeries"][0]
    assert first["points"] == [
        {
            "interval": {"startTime": query["interval.startTime"], "endTime": query["interval.endTime"]},
            "value": {"int64Value": "24"},
        }
    ]
    mean = _ask(served, **aligned | {"aggregation_perSeriesAligner": "ALIGN_MEAN"}).json()["timeSeries"][0]
    assert (mean["valueType"], mean["points"][0]["value"]) == ("DOUBLE", {"doubleValue": 24.0})


def test_many_series_become_one(served: LocalCloud) -> None:
    how: dict[str, Any] = {
        "aggregation_alignmentPeriod": "604800s",
        "aggregation_perSeriesAligner": "ALIGN_MAX",
        "aggregation_crossSeriesReducer": "REDUCE_MAX",
    }
    (one,) = _ask(served, **how).json()["timeSeries"]
    assert one["metric"] == {"type": _TYPE}
    assert one["resource"]["labels"] == {"project_id": "local-project"}
    assert one["points"][0]["value"] == {"int64Value": "24"}
    grouped = _ask(served, **how, aggregation_groupByFields=["metric.label.quota_metric"]).json()[
        "timeSeries"
    ]
    assert [(s["metric"]["labels"], s["points"][0]["value"]["int64Value"]) for s in grouped] == [
        ({"quota_metric": _CPU}, "24"),
        ({"quota_metric": _L4}, "2"),
    ]
    count = _ask(served, **how | {"aggregation_crossSeriesReducer": "REDUCE_COUNT"}).json()["timeSeries"][0]
    assert count["points"][0]["value"] == {"int64Value": "2"}


def test_headers_and_pages(served: LocalCloud) -> None:
    headers = _ask(served, view="HEADERS").json()["timeSeries"]
    assert len(headers) == 2
    assert not any("points" in series for series in headers)
    first = _ask(served, pageSize="1").json()
    rest = _ask(served, pageSize="1", pageToken=first["nextPageToken"]).json()
    assert [page["timeSeries"][0]["metric"]["labels"]["quota_metric"] for page in (first, rest)] == [
        _CPU,
        _L4,
    ]
    assert "nextPageToken" not in rest


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"filter": ""}, "names one metric type"),
        ({"filter": 'resource.type="consumer_quota"'}, "names one metric type"),
        ({"filter": f'metric.type=starts_with("{_TYPE}")'}, "names one metric type"),
        ({"filter": f"{_ALL} OR project=x"}, "has no OR"),
        ({"filter": f"{_ALL} AND metric.labels.quota_metric > 3"}, "cannot be read"),
        ({"filter": f"{_ALL} AND metric.labels.quota_metric"}, "SELECTOR = VALUE"),
        ({"filter": f'{_ALL} AND metadata.user_labels.x="y"'}, "nothing that a series has"),
        (
            {"filter": f'{_ALL} AND resource.labels.location=monitoring.regex.full_match("x")'},
            "has no function",
        ),
        ({"filter": f'{_ALL} AND resource.labels.location=one_of("a"'}, "does not end"),
        ({"filter": f'{_ALL} AND resource.labels.location=starts_with("a", "b")'}, "takes one text"),
        ({"interval.endTime": ""}, "interval.endTime had an invalid value"),
        ({"interval.endTime": "yesterday"}, "google.protobuf.Timestamp"),
        ({"interval.startTime": "2026-01-01T00:00:00"}, "google.protobuf.Timestamp"),
        ({"orderBy": "timestamp"}, "left blank"),
        ({"view": "SOME"}, "Invalid value at 'view'"),
        ({"pageSize": "-1"}, "must not be negative"),
        ({"aggregation.perSeriesAligner": "ALIGN_NEXT_OLDER"}, "needs a period"),
        (
            {"aggregation.perSeriesAligner": "ALIGN_NEXT_OLDER", "aggregation.alignmentPeriod": "30s"},
            "at least 60 seconds",
        ),
        (
            {"aggregation.perSeriesAligner": "ALIGN_RATE", "aggregation.alignmentPeriod": "60s"},
            'Field aggregation.perSeriesAligner had an invalid value of "ALIGN_RATE": The aligner cannot be applied to '
            "metrics with kind GAUGE and value type INT64.",
        ),
        ({"aggregation.crossSeriesReducer": "REDUCE_SUM"}, "needs a perSeriesAligner"),
        ({"aggregation.crossSeriesReducer": "REDUCE_STDDEV"}, "the local cloud has REDUCE_MEAN"),
        ({"interval.start": "x"}, "Cannot bind query parameter"),
    ],
)
def test_wrong_questions_are_refused(vertex: Vertex, change: dict[str, str], text: str) -> None:
    answer = vertex.cloud.http.get(_PATH, params=_query() | change)
    assert answer.status_code == 400, answer.text
    assert text in answer.json()["error"]["message"]


def test_a_metric_that_is_not_here(vertex: Vertex) -> None:
    answer = _ask(vertex.cloud, 'metric.type="compute.googleapis.com/instance/cpu/utilization"')
    assert answer.status_code == 404
    assert answer.json()["error"]["message"].startswith('Cannot find metric(s) that match type = "compute.')


def test_only_those_who_may(vertex: Vertex) -> None:
    stranger = vertex.cloud.as_account("nobody@local-project.iam.gserviceaccount.com")
    answer = stranger.get(_PATH, params=_query())
    assert answer.status_code == 403
    assert (
        answer.json()["error"]["message"]
        == "Permission monitoring.timeSeries.list denied (or the resource may not exist)."
    )
    assert _ask(vertex.cloud).status_code == 200
    vertex.cloud.http.post("/v1/projects/local-project/services/monitoring.googleapis.com:disable", json={})
    deadline = time.monotonic() + 10
    while (answer := _ask(vertex.cloud)).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert answer.json()["error"]["details"][0]["reason"] == "SERVICE_DISABLED"
    assert answer.json()["error"]["message"].startswith(
        "Cloud Monitoring API has not been used in project 123456789012"
    )

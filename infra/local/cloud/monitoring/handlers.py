"""Time series of quota use: one for each quota of a region that something deployed takes from.

There is no history: a series has the one value of now, stamped with the full minute, which is how often the real
metric is sampled. As there, a quota of which nothing is used has no series.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.aiplatform.context import ENDPOINTS
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError, invalid, not_found, service_disabled
from infra.local.cloud.monitoring import filters
from infra.local.cloud.projects import Project
from infra.local.cloud.quotas import SERVICE as QUOTA_SERVICE
from infra.local.cloud.rest import Call
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
SERVICE = "monitoring.googleapis.com"
#: A gauge of whole numbers.
QUOTA_USE = "serviceruntime.googleapis.com/quota/allocation/usage"
_MINUTE = 60.0
#: The aligners of gauges of whole numbers that one value has a meaning for -> the value's field, and the value.
_ALIGNERS: dict[str, tuple[str, Callable[[int], str | float]]] = {
    "ALIGN_NEXT_OLDER": ("int64Value", str),
    "ALIGN_MIN": ("int64Value", str),
    "ALIGN_MAX": ("int64Value", str),
    "ALIGN_SUM": ("int64Value", str),
    "ALIGN_MEAN": ("doubleValue", float),
    "ALIGN_COUNT": ("int64Value", lambda _value: "1"),
}
#: Aligners of Google's that do not go with gauges of whole numbers.
_OTHER_ALIGNERS = (
    "ALIGN_DELTA", "ALIGN_RATE", "ALIGN_COUNT_TRUE", "ALIGN_COUNT_FALSE", "ALIGN_FRACTION_TRUE",
    "ALIGN_PERCENTILE_99", "ALIGN_PERCENTILE_95", "ALIGN_PERCENTILE_50", "ALIGN_PERCENTILE_05",
)  # fmt: skip
_REDUCERS: dict[str, Callable[[Sequence[float]], float]] = {
    "REDUCE_MEAN": lambda values: sum(values) / len(values),
    "REDUCE_MIN": min,
    "REDUCE_MAX": max,
    "REDUCE_SUM": sum,
    "REDUCE_COUNT": len,
}
_WHOLE = {"REDUCE_MIN", "REDUCE_MAX", "REDUCE_SUM"}


@dataclass(frozen=True)
class Series:
    """One series: labels of the metric and of the resource, and its present value."""

    metric: dict[str, str]
    resource: dict[str, str]
    value: float
    field: str = "int64Value"

    def facts(self) -> filters.Facts:
        """The series as filters and `groupByFields` name its parts."""
        return {
            "metric.type": QUOTA_USE,
            "resource.type": "consumer_quota",
            "project": self.resource.get("project_id", ""),
            **{f"metric.labels.{name}": value for name, value in self.metric.items()},
            **{f"resource.labels.{name}": value for name, value in self.resource.items()},
        }


@dataclass(frozen=True)
class Aggregation:
    """What becomes of the values: an aligner with its period in seconds, then perhaps one value out of many series."""

    aligner: str = ""
    period: float = 0.0
    reducer: str = ""
    group_by: tuple[str, ...] = ()


class TimeSeries:
    """Handlers of timeSeries."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def list(self, call: Call) -> Json:
        """GET the series that a filter names, with their values in an interval."""
        project = self._require(call)
        text = call.query.get("filter", "")
        comparisons = filters.parse(text)
        wanted = filters.metric_type(text, comparisons)
        start, end = self._interval(call)
        how = _aggregation(call)
        view = call.query.get("view") or "FULL"
        if view not in {"FULL", "HEADERS"}:
            raise invalid(f"Invalid value at 'view' (type.googleapis.com/google.monitoring.v3), \"{view}\"")
        if call.query.get("orderBy"):
            raise _bad("orderBy", call.query["orderBy"], "it must be left blank.")
        if wanted != QUOTA_USE:
            raise not_found(
                f'Cannot find metric(s) that match type = "{wanted}". If a metric was created recently, it could take '
                "up to 10 minutes to become available. Please try again soon."
            )
        sampled = self.cloud.clock.now() // _MINUTE * _MINUTE
        found: list[Series] = []
        if start <= sampled <= end:
            found = list(self._series(project, comparisons))
        at = end if how.aligner else sampled
        begins = end - how.period if how.aligner else sampled
        size = strict.page_size(call.query, default=100_000, maximum=100_000)
        first = int(decode_token(call.query.get("pageToken", "")) or 0)
        shown = _aggregated(found, how)
        answer: Json = {}
        if shown[first : first + size]:
            interval = {"startTime": self._stamp(begins), "endTime": self._stamp(at)}
            answer["timeSeries"] = [
                _view(each, None if view == "HEADERS" else interval) for each in shown[first : first + size]
            ]
        if len(shown) > first + size:
            answer["nextPageToken"] = encode_token(str(first + size))
        return answer | {"unit": "1"}

    def _series(self, project: Project, comparisons: Sequence[filters.Comparison]) -> Iterator[Series]:
        quotas = self.cloud.quotas
        prefix = f"projects/{project.number}/locations/"
        # Whatever takes from a quota is on an endpoint, or is being deployed on one.
        regions = sorted({name.split("/")[3] for name, _ in self.cloud.store.items(ENDPOINTS, prefix)})
        for definition in sorted(quotas.definitions().values(), key=lambda each: each.metric):
            for region in regions:
                resource = {"project_id": project.id, "service": QUOTA_SERVICE, "location": region}
                series = Series({"quota_metric": definition.metric}, resource, 0)
                if all(each.holds(series.facts()) for each in comparisons):
                    used = quotas.usage(project.number, definition.quota_id, region)
                    if used:
                        yield replace(series, value=used)

    def _require(self, call: Call) -> Project:
        """The project, in this service's order and words."""
        project = self.cloud.project(call.path["project"], SERVICE)
        if not self.cloud.services.enabled(project.number, SERVICE):
            raise service_disabled(SERVICE, project.number)
        permission = "monitoring.timeSeries.list"
        if not self.cloud.policies.allows(call.principal, permission, [f"projects/{project.id}"]):
            raise GoogleError(
                "PERMISSION_DENIED", f"Permission {permission} denied (or the resource may not exist)."
            )
        return project

    def _interval(self, call: Call) -> tuple[float, float]:
        end = _time(call, "interval.endTime")
        if end is None:
            raise _bad("interval.endTime", "", "it is required.")
        start = _time(call, "interval.startTime")
        if start is not None and start > end:
            raise _bad(
                "interval.startTime", call.query["interval.startTime"], "it is later than the end time."
            )
        return end if start is None else start, end

    def _stamp(self, at: float) -> str:
        return self.cloud.clock.timestamp(at).replace(".000000Z", "Z")


def _aggregation(call: Call) -> Aggregation:
    aligner = call.query.get("aggregation.perSeriesAligner") or "ALIGN_NONE"
    reducer = call.query.get("aggregation.crossSeriesReducer") or "REDUCE_NONE"
    group_by = tuple(
        re.sub(r"^(metric|resource)\.label\.", r"\1.labels.", field)
        for field in call.repeated("aggregation.groupByFields")
    )
    if aligner in _OTHER_ALIGNERS:
        problem = "The aligner cannot be applied to metrics with kind GAUGE and value type INT64."
        raise _bad("aggregation.perSeriesAligner", aligner, problem)
    if aligner != "ALIGN_NONE" and aligner not in _ALIGNERS:
        raise _bad("aggregation.perSeriesAligner", aligner, f"the local cloud has {', '.join(_ALIGNERS)}.")
    if reducer != "REDUCE_NONE" and reducer not in _REDUCERS:
        raise _bad("aggregation.crossSeriesReducer", reducer, f"the local cloud has {', '.join(_REDUCERS)}.")
    if reducer != "REDUCE_NONE" and aligner == "ALIGN_NONE":
        raise _bad("aggregation.crossSeriesReducer", reducer, "it needs a perSeriesAligner.")
    wrong = [
        field for field in group_by if not re.fullmatch(r"(metric|resource)\.labels\.\w+|project", field)
    ]
    if wrong:
        raise _bad("aggregation.groupByFields", wrong[0], "it is nothing that a series has here.")
    if aligner == "ALIGN_NONE":
        return Aggregation()
    text = call.query.get("aggregation.alignmentPeriod", "")
    match = re.fullmatch(r"(\d+(?:\.\d{1,9})?)s", text)
    if match is None:
        raise _bad("aggregation.alignmentPeriod", text, "an aligner needs a period such as 60s.")
    if float(match[1]) < _MINUTE:
        raise _bad("aggregation.alignmentPeriod", text, "it must be at least 60 seconds.")
    return Aggregation(aligner, float(match[1]), "" if reducer == "REDUCE_NONE" else reducer, group_by)


def _aggregated(found: Sequence[Series], how: Aggregation) -> list[Series]:
    if not how.aligner:
        return list(found)
    field, convert = _ALIGNERS[how.aligner]
    aligned = [Series(each.metric, each.resource, float(convert(int(each.value))), field) for each in found]
    if not how.reducer:
        return aligned
    groups: dict[tuple[str, ...], list[Series]] = {}
    for each in aligned:
        groups.setdefault(tuple(each.facts().get(name, "") for name in how.group_by), []).append(each)
    field = (
        "int64Value" if how.reducer == "REDUCE_COUNT" else field if how.reducer in _WHOLE else "doubleValue"
    )
    return [
        Series(
            {
                name: value
                for name, value in group[0].metric.items()
                if f"metric.labels.{name}" in how.group_by
            },
            {
                name: value
                for name, value in group[0].resource.items()
                if name == "project_id" or f"resource.labels.{name}" in how.group_by
            },
            _REDUCERS[how.reducer]([each.value for each in group]),
            field,
        )
        for _, group in sorted(groups.items())
    ]


def _view(series: Series, interval: Json | None) -> Json:
    """The series as clients see it; without its values where there is no interval."""
    whole = series.field == "int64Value"
    shown: Json = {
        "metric": {"type": QUOTA_USE} | ({"labels": series.metric} if series.metric else {}),
        "resource": {"type": "consumer_quota", "labels": series.resource},
        "metricKind": "GAUGE",
        "valueType": "INT64" if whole else "DOUBLE",
    }
    if interval:
        value = str(int(series.value)) if whole else series.value
        shown["points"] = [{"interval": interval, "value": {series.field: value}}]
    return shown


def _time(call: Call, name: str) -> float | None:
    text = call.query.get(name, "")
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise invalid(
            f"Invalid value at '{name}' (type.googleapis.com/google.protobuf.Timestamp), \"{text}\""
        )
    return moment.astimezone(UTC).timestamp()


def _bad(field: str, value: str, problem: str) -> GoogleError:
    return invalid(f'Field {field} had an invalid value of "{value}": {problem}')

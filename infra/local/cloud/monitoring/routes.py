"""Paths of monitoring.googleapis.com/v3."""

from __future__ import annotations

from starlette.routing import BaseRoute

from infra.local.cloud.core import Cloud
from infra.local.cloud.monitoring.handlers import TimeSeries
from infra.local.cloud.rest import Method


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    service = TimeSeries(cloud)
    return [
        Method(
            cloud,
            "GET",
            "/v3/projects/{project}/timeSeries",
            service.list,
            query=(
                "filter",
                "interval.startTime",
                "interval.endTime",
                "aggregation.alignmentPeriod",
                "aggregation.perSeriesAligner",
                "aggregation.crossSeriesReducer",
                "aggregation.groupByFields",
                "orderBy",
                "view",
                "pageSize",
                "pageToken",
            ),
        )
    ]

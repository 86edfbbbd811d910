"""Paths of monitoring.googleapis.com/v1 (dashboards) and /v3 (everything else)."""

from __future__ import annotations

from starlette.routing import BaseRoute

from infra.local.cloud.core import Cloud
from infra.local.cloud.monitoring.alerts import POLICY, AlertPolicies
from infra.local.cloud.monitoring.dashboards import DASHBOARD, Dashboards
from infra.local.cloud.monitoring.handlers import TimeSeries
from infra.local.cloud.rest import Method


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    service, boards, policies = TimeSeries(cloud), Dashboards(cloud), AlertPolicies(cloud)
    cloud.on_summary("dashboards", boards.summary)
    cloud.on_summary("alert policies", policies.summary)
    board = "/v1/projects/{project}/dashboards"
    policy = "/v3/projects/{project}/alertPolicies"
    return [
        Method(cloud, "POST", board, boards.create, query=("validateOnly",), body=DASHBOARD),
        Method(cloud, "GET", board, boards.list, query=("pageSize", "pageToken")),
        Method(cloud, "GET", board + "/{id}", boards.get),
        Method(cloud, "PATCH", board + "/{id}", boards.patch, query=("validateOnly",), body=DASHBOARD),
        Method(cloud, "DELETE", board + "/{id}", boards.delete),
        Method(cloud, "POST", policy, policies.create, body=POLICY),
        Method(cloud, "GET", policy, policies.list, query=("pageSize", "pageToken")),
        Method(cloud, "GET", policy + "/{id}", policies.get),
        Method(cloud, "PATCH", policy + "/{id}", policies.patch, query=("updateMask",), body=POLICY),
        Method(cloud, "DELETE", policy + "/{id}", policies.delete),
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
        ),
    ]

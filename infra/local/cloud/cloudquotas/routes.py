"""Paths of cloudquotas.googleapis.com/v1."""

from __future__ import annotations

from starlette.routing import BaseRoute

from infra.local.cloud.cloudquotas.handlers import QuotaInfos
from infra.local.cloud.core import Cloud
from infra.local.cloud.rest import Method


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    service = QuotaInfos(cloud)
    base = "/v1/projects/{project}/locations/global/services/{service}/quotaInfos"
    return [
        Method(cloud, "GET", base, service.list, query=("pageSize", "pageToken")),
        Method(cloud, "GET", base + "/{quota}", service.get),
    ]

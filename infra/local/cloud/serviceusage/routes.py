"""Paths of serviceusage.googleapis.com: v1, and v1beta1 for quotas."""

from __future__ import annotations

from starlette.routing import BaseRoute

from infra.local.cloud.core import Cloud
from infra.local.cloud.operations import Kind
from infra.local.cloud.rest import Method
from infra.local.cloud.serviceusage.handlers import ENABLE, ServiceUsage
from infra.local.cloud.serviceusage.quotas import QuotaMetrics


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    service = ServiceUsage(cloud)
    quotas = QuotaMetrics(cloud)
    cloud.operations.register(ENABLE, Kind(on_finish=service.finish))
    cloud.on_summary("enabled services", service.summary)
    base = "/v1/projects/{project}/services"
    name = base + "/{service}"
    beta = "/v1beta1/projects/{project}/services/{service}/consumerQuotaMetrics"
    return [
        Method(cloud, "GET", base, service.list, query=("filter", "pageSize", "pageToken")),
        Method(cloud, "GET", base + ":batchGet", service.batch_get, query=("names",)),
        Method(cloud, "POST", base + ":batchEnable", service.batch_enable, body={"serviceIds": [str]}),
        Method(cloud, "GET", name, service.get),
        Method(cloud, "POST", name + ":enable", service.enable, body={}),
        Method(
            cloud,
            "POST",
            name + ":disable",
            service.disable,
            body={"disableDependentServices": bool, "checkIfServiceHasUsage": str},
        ),
        Method(cloud, "GET", "/v1/operations/{operation}", service.operation),
        Method(cloud, "GET", beta, quotas.list, query=("pageSize", "pageToken", "view")),
        Method(cloud, "GET", beta + "/{metric}", quotas.get, query=("view",)),
        Method(cloud, "GET", beta + "/{metric}/limits/{limit}", quotas.get_limit, query=("view",)),
    ]

"""Consumer quota metrics of Service Usage v1beta1, as far as Vertex AI serving quotas go."""

from __future__ import annotations

from typing import Any

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import not_found
from infra.local.cloud.projects import Project
from infra.local.cloud.quotas import SERVICE as QUOTA_SERVICE
from infra.local.cloud.quotas import QuotaDefinition
from infra.local.cloud.rest import Call
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
SERVICE = "serviceusage.googleapis.com"


class QuotaMetrics:
    """Handlers of consumerQuotaMetrics."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def list(self, call: Call) -> Json:
        """GET all metrics with their limits and buckets, one metric a quota."""
        project, definitions = self._definitions(call)
        size = strict.page_size(call.query, default=2000, maximum=2000)
        after = decode_token(call.query.get("pageToken", ""))
        names = sorted(name for name in definitions if name > after)
        page = names[:size]
        answer: Json = (
            {"metrics": [self._metric(project, call, definitions[name]) for name in page]} if page else {}
        )
        if len(names) > size:
            answer["nextPageToken"] = encode_token(page[-1])
        return answer

    def get(self, call: Call) -> Json:
        """GET one metric by its encoded id."""
        project, definitions = self._definitions(call)
        return self._metric(project, call, self._find(definitions, call.path["metric"]))

    def get_limit(self, call: Call) -> Json:
        """GET one limit of a metric."""
        metric = self.get(call)
        limit: Json = metric["consumerQuotaLimits"][0]
        if call.path["limit"] != "/project/region":
            raise not_found(f"Limit {call.path['limit']} not found.")
        return limit

    def _definitions(self, call: Call) -> tuple[Project, dict[str, QuotaDefinition]]:
        project = self.cloud.require(
            call.principal, "serviceusage.quotas.get", f"projects/{call.path['project']}", service=SERVICE
        )
        definitions = {}
        if call.path["service"] == QUOTA_SERVICE:
            definitions = {
                definition.metric: definition for definition in self.cloud.quotas.definitions().values()
            }
        return project, definitions

    def _find(self, definitions: dict[str, QuotaDefinition], encoded: str) -> QuotaDefinition:
        for metric, definition in definitions.items():
            if _encode(metric) == encoded or metric == encoded:
                return definition
        raise not_found(f"Metric {encoded} not found.")

    def _metric(self, project: Project, call: Call, definition: QuotaDefinition) -> Json:
        name = (
            f"projects/{project.number}/services/{call.path['service']}"
            f"/consumerQuotaMetrics/{_encode(definition.metric)}"
        )
        quotas = self.cloud.quotas
        # Of every region without a bucket of its own. -1 is no limit: where none is documented, none is enforced here.
        buckets: list[Json] = [{"effectiveLimit": "-1", "defaultLimit": "-1"}]
        for region in quotas.regions(definition.quota_id):
            buckets.append(
                {
                    "effectiveLimit": str(quotas.limit(definition.quota_id, region)),
                    "defaultLimit": str(quotas.default(definition.quota_id, region)),
                    "dimensions": {"region": region},
                }
            )
        return {
            "name": name,
            "metric": definition.metric,
            "displayName": definition.display_name,
            "consumerQuotaLimits": [
                {
                    "name": f"{name}/limits/%2Fproject%2Fregion",
                    "metric": definition.metric,
                    "unit": definition.unit,
                    "isPrecise": True,
                    "quotaBuckets": buckets,
                }
            ],
            "unit": "1",
        }


def _encode(metric: str) -> str:
    return metric.replace("/", "%2F")

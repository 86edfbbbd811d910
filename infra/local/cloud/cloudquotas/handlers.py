"""quotaInfos: one a quota, with its limits by region."""

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
SERVICE = "cloudquotas.googleapis.com"


class QuotaInfos:
    """Handlers of quotaInfos."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def list(self, call: Call) -> Json:
        """GET every quota of the service."""
        project, definitions = self._definitions(call)
        size = strict.page_size(call.query, default=1000, maximum=10000)
        after = decode_token(call.query.get("pageToken", ""))
        names = sorted(name for name in definitions if name > after)
        page = names[:size]
        answer: Json = (
            {"quotaInfos": [self._view(project, call, definitions[name]) for name in page]} if page else {}
        )
        if len(names) > size:
            answer["nextPageToken"] = encode_token(page[-1])
        return answer

    def get(self, call: Call) -> Json:
        """GET one quota by its id."""
        project, definitions = self._definitions(call)
        definition = definitions.get(call.path["quota"])
        if definition is None:
            raise not_found(
                f"Quota info for quota id {call.path['quota']} of service {call.path['service']} was not found."
            )
        return self._view(project, call, definition)

    def _definitions(self, call: Call) -> tuple[Project, dict[str, QuotaDefinition]]:
        project = self.cloud.require(
            call.principal, "cloudquotas.quotas.get", f"projects/{call.path['project']}", service=SERVICE
        )
        known = call.path["service"] == QUOTA_SERVICE
        return project, dict(self.cloud.quotas.definitions()) if known else {}

    def _view(self, project: Project, call: Call, definition: QuotaDefinition) -> Json:
        quotas = self.cloud.quotas
        return {
            "name": (
                f"projects/{project.number}/locations/global/services/{call.path['service']}"
                f"/quotaInfos/{definition.quota_id}"
            ),
            "quotaId": definition.quota_id,
            "metric": definition.metric,
            "service": call.path["service"],
            "isPrecise": True,
            "containerType": "PROJECT",
            "dimensions": ["region"],
            "metricDisplayName": definition.display_name,
            "quotaDisplayName": definition.display_name,
            "metricUnit": "1",
            "quotaIncreaseEligibility": {"isEligible": True},
            "dimensionsInfos": [
                {
                    "dimensions": {"region": region},
                    "details": {"value": str(quotas.limit(definition.quota_id, region))},
                    "applicableLocations": [region],
                }
                for region in quotas.regions(definition.quota_id)
            ],
        }

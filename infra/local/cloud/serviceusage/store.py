"""Which APIs each project has enabled."""

from __future__ import annotations

from infra.local.cloud.errors import SERVICE_TITLES
from infra.local.cloud.store import Store

COLLECTION = "enabled_services"
#: Enabled in a new project, as far as this cloud knows them. aiplatform and compute are not.
DEFAULT = frozenset(
    {
        "cloudresourcemanager.googleapis.com",
        "iam.googleapis.com",
        "logging.googleapis.com",
        "monitoring.googleapis.com",
        "serviceusage.googleapis.com",
        "storage.googleapis.com",
        "cloudquotas.googleapis.com",
    }
)
#: Every API that can be enabled: the ones served here, and some that stacks enable though nothing here serves them.
KNOWN: dict[str, str] = {
    **SERVICE_TITLES,
    "artifactregistry.googleapis.com": "Artifact Registry API",
    "cloudbilling.googleapis.com": "Cloud Billing API",
    "iamcredentials.googleapis.com": "IAM Service Account Credentials API",
    "secretmanager.googleapis.com": "Secret Manager API",
}


class EnabledServices:
    """The state of every API in every project."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def enabled(self, project_number: str, service: str) -> bool:
        """Whether the API is enabled in the project."""
        document = self._store.get(COLLECTION, f"{project_number}/{service}")
        return bool(document["enabled"]) if document else service in DEFAULT

    def set(self, project_number: str, service: str, enabled: bool) -> None:
        """Enables or disables it."""
        self._store.put(COLLECTION, f"{project_number}/{service}", {"enabled": enabled})

    def all_enabled(self, project_number: str) -> list[str]:
        """Names of the project's enabled APIs, sorted."""
        return sorted(name for name in KNOWN if self.enabled(project_number, name))

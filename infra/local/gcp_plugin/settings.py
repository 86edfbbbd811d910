"""The provider's configuration, read as the official plugin reads it: `gcp:` settings first, environment
second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from infra.plugin import ResourceError

APIS: Final[Mapping[str, tuple[str, str]]] = {
    # API: (setting without its namespace, environment variable), both of the official plugin
    "Cloud Storage": ("storageCustomEndpoint", "GOOGLE_STORAGE_CUSTOM_ENDPOINT"),
    "Service Usage": ("serviceUsageCustomEndpoint", "GOOGLE_SERVICE_USAGE_CUSTOM_ENDPOINT"),
    "Resource Manager": ("resourceManagerCustomEndpoint", "GOOGLE_RESOURCE_MANAGER_CUSTOM_ENDPOINT"),
    # Service accounts are served from here; the official plugin ignores iamCustomEndpoint for them.
    "IAM": ("iamBetaCustomEndpoint", "GOOGLE_IAM_BETA_CUSTOM_ENDPOINT"),
    "Vertex AI": ("vertexAiCustomEndpoint", "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT"),
    # The only one without a version in it: dashboards are of v1, alert policies of v3.
    "Cloud Monitoring": ("monitoringCustomEndpoint", "GOOGLE_MONITORING_CUSTOM_ENDPOINT"),
}

PROJECT_VARIABLES: Final = (
    "GOOGLE_PROJECT",
    "GOOGLE_CLOUD_PROJECT",
    "GCLOUD_PROJECT",
    "CLOUDSDK_CORE_PROJECT",
)
TOKEN_VARIABLE: Final = "GOOGLE_OAUTH_ACCESS_TOKEN"
ATTRIBUTION_LABEL: Final = {"goog-pulumi-provisioned": "true"}


@dataclass(frozen=True)
class Settings:
    """What a configured provider knows.

    Attributes:
        endpoints: Base URLs by API name, ending in a slash; only those that are set.
        access_token: The bearer token, or None to send none.
        project: The default project, or None.
        default_labels: Labels for every resource that has labels.
    """

    endpoints: Mapping[str, str] = field(default_factory=dict)
    access_token: str | None = None
    project: str | None = None
    default_labels: Mapping[str, str] = field(default_factory=dict)

    def endpoint(self, api: str) -> str:
        """The base URL of an API.

        Raises:
            ResourceError: when it is not set; the text names the setting.
        """
        if api in self.endpoints:
            return self.endpoints[api]
        setting, variable = APIS[api]
        raise ResourceError(
            f"There is no endpoint for {api}: neither the setting gcp:{setting} nor {variable} is set. This "
            "is the local stand-in of the gcp plugin, which only talks to the local Google Cloud: run `. "
            ".local/env` in the project's root, which sets them. To deploy to Google Cloud itself, use a "
            "PULUMI_HOME of your own, where the official plugin is installed (`pulumi plugin install "
            "resource gcp`)."
        )


def read_settings(config: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Settings from the provider's configuration and the environment.

    Raises:
        ResourceError: for a setting that cannot be read.
    """
    endpoints = {}
    for api, (setting, variable) in APIS.items():
        url = config.get(setting) or environ.get(variable)
        if url:
            if not url.startswith(("http://", "https://")):
                source = f"gcp:{setting}" if config.get(setting) else variable
                raise ResourceError(
                    f"{source} is {url!r}; it must be a URL such as http://127.0.0.1:8099/v1/"
                )
            endpoints[api] = url.rstrip("/") + "/"
    return Settings(
        endpoints=endpoints,
        access_token=config.get("accessToken") or environ.get(TOKEN_VARIABLE) or None,
        project=config.get("project")
        or next((environ[v] for v in PROJECT_VARIABLES if environ.get(v)), None),
        default_labels=_default_labels(config),
    )


def _default_labels(config: Mapping[str, str]) -> dict[str, str]:
    try:
        labels = json.loads(config.get("defaultLabels") or "{}")
    except ValueError:
        labels = None
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise ResourceError('gcp:defaultLabels is not a JSON object of texts, such as {"team": "ml"}')
    attribution = config.get("addPulumiAttributionLabel", "true") != "false"
    return {**labels, **(ATTRIBUTION_LABEL if attribution else {})}

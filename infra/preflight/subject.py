"""What is checked: one plan in one project, and where the services are that know about it. Pure.

The addresses come from the settings of Google's own Pulumi and Terraform provider (``gcp:…CustomEndpoint``,
``GOOGLE_*_CUSTOM_ENDPOINT``, ``gcp:accessToken``, ``GOOGLE_CREDENTIALS`` …), so that preflight asks where the plugin
will go, as whom the plugin will go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infra import naming

if TYPE_CHECKING:
    from infra.recipes import ServingPlan

__all__ = ["HUGGING_FACE", "PREVIEW_ONLY", "Hosts", "Login", "Place", "Subject", "hosts", "hub", "login"]

HUGGING_FACE: Final = "https://huggingface.co"

PREVIEW_ONLY: Final = "VERTEX_VLLM_PREVIEW_ONLY"
"""Variable of a workflow whose account may read and no more; see .github/workflows/preview.yml."""

_VERTEX: Final = (
    "gcp:vertexAiCustomEndpoint",
    "vertexserving:apiEndpoint",
    "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT",
)
_VERSION: Final = re.compile(r"(?:/storage)?(?:/v\d+(?:(?:alpha|beta)\d+)?)?/*$")


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """Base addresses of the services, each with the version of its API and without a slash at the end.

    Attributes:
        vertex: Vertex AI of the region, v1.
        service_usage: Service Usage, v1.
        cloud_quotas: Cloud Quotas, v1.
        monitoring: Cloud Monitoring, v3.
        storage: The JSON API of Cloud Storage, v1.
        iam: IAM, v1.
        resource_manager: Resource Manager, v1.
        registry: ``http(s)://host[:port]`` of one container registry for every image; None: the image's own host.
    """

    vertex: str
    service_usage: str
    cloud_quotas: str
    monitoring: str
    storage: str
    iam: str
    resource_manager: str
    registry: str | None = None

    @property
    def local(self) -> bool:
        """Whether Vertex AI is on this machine: then nothing may be asked of any other machine."""
        return naming.is_loopback(self.vertex)

    @property
    def google(self) -> tuple[str, ...]:
        """The addresses that a Google access token may be sent to."""
        return (
            self.vertex,
            self.service_usage,
            self.cloud_quotas,
            self.monitoring,
            self.storage,
            self.iam,
            self.resource_manager,
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Login:
    """As whom Google is asked; all None: the default credentials of this machine.

    Attributes:
        token: A ready access token.
        credentials: A key as JSON text, or the path of a file with one.
        impersonate: Email of the service account that is impersonated.
        previews_only: Whether somebody else deploys, so that its rights say nothing of those that a deployment needs.
    """

    token: str | None = None
    credentials: str | None = None
    impersonate: str | None = None
    previews_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where something is asked, as whom, and for which stack.

    Attributes:
        project: Google Cloud project id.
        region: Region that serves.
        pulumi_project: Name of the Pulumi project.
        stack: Name of the Pulumi stack.
        hosts: Where the services are.
        login: As whom Google is asked.
        endpoint: Full name of an existing endpoint, None where one is made.
    """

    project: str
    region: str
    pulumi_project: str
    stack: str
    hosts: Hosts
    login: Login = Login()
    endpoint: str | None = None


@dataclass(frozen=True, kw_only=True)
class Subject(Place):
    """One environment, as the checks need it.

    Attributes:
        plan: What is served on what.
        path: The stack file's path, as a command of this folder takes it.
        bucket: Existing bucket, None where one is made.
        service_account: Email of an existing account, None where one is made.
        grants: Which set of roles the account gets, ``least`` or ``guide``.
        hf_token: Hugging Face token in clear, None where there is none.
        max_usd_per_hour: Budget for all replicas at most, None for none.
        hf_endpoint: Address of the Hugging Face hub without a slash at the end; empty where none may be asked (a local
            Google Cloud without a hub of its own on this machine).
        telemetry: Whether the stack makes a dashboard and alerts.
    """

    plan: ServingPlan
    path: str
    bucket: str | None
    service_account: str | None
    grants: str
    hf_token: str | None = field(repr=False)
    max_usd_per_hour: float | None
    hf_endpoint: str
    telemetry: bool = False


def hosts(config: Mapping[str, str], environ: Mapping[str, str], *, region: str) -> Hosts:
    """Where the services are, by the configuration and the environment of the stack.

    A Vertex AI on this machine means that every other service is there too, unless it has an address of its own that is
    on this machine as well: a local run must never send anything to Google.

    Args:
        config: Pulumi's configuration by full key.
        environ: Environment variables.
        region: Region that serves.
    """
    vertex = _base(_first(config, environ, *_VERTEX))
    here = vertex if vertex and naming.is_loopback(vertex) else None

    def service(name: str, path: str, *settings: str) -> str:
        base = _base(_first(config, environ, *settings))
        if here and (base is None or not naming.is_loopback(base)):
            base = here
        return f"{base or f'https://{name}.googleapis.com'}/{path}"

    return Hosts(
        vertex=f"{vertex or f'https://{region}-aiplatform.googleapis.com'}/v1",
        service_usage=service("serviceusage", "v1", *_settings("serviceUsage")),
        cloud_quotas=service("cloudquotas", "v1", *_settings("cloudQuotas")),
        monitoring=service("monitoring", "v3", *_settings("monitoring")),
        storage=service("storage", "storage/v1", *_settings("storage")),
        iam=service("iam", "v1", *_settings("iamBeta")),
        resource_manager=service(
            "cloudresourcemanager", "v1", *_settings("cloudResourceManager"), *_settings("resourceManager")
        ),
    )


def login(config: Mapping[str, str], environ: Mapping[str, str]) -> Login:
    """As whom the gcp plugin will call Google; its configuration comes before the environment."""
    return Login(
        token=_first(config, environ, "gcp:accessToken", "GOOGLE_OAUTH_ACCESS_TOKEN"),
        credentials=_first(
            config,
            environ,
            "gcp:credentials",
            "GOOGLE_CREDENTIALS",
            "GOOGLE_CLOUD_KEYFILE_JSON",
            "GCLOUD_KEYFILE_JSON",
        ),
        impersonate=_first(
            config, environ, "gcp:impersonateServiceAccount", "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT"
        ),
        previews_only=(environ.get(PREVIEW_ONLY) or "").strip().lower() not in ("", "0", "false", "no"),
    )


def hub(environ: Mapping[str, str], *, local: bool) -> str:
    """Address of the Hugging Face hub (``HF_ENDPOINT`` replaces it); empty where a local run may ask none."""
    given = (environ.get("HF_ENDPOINT") or "").strip().rstrip("/")
    if local and not naming.is_loopback(given):
        return ""
    return given or HUGGING_FACE


def _settings(service: str) -> tuple[str, str]:
    snake = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in service)
    return f"gcp:{service}CustomEndpoint", f"GOOGLE_{snake}_CUSTOM_ENDPOINT"


def _first(config: Mapping[str, str], environ: Mapping[str, str], *names: str) -> str | None:
    """The first setting that is not empty; names with a colon are of the configuration."""
    for name in names:
        value = ((config if ":" in name else environ).get(name) or "").strip()
        if value:
            return value
    return None


def _base(url: str | None) -> str | None:
    """An address without path of version, None where there is none."""
    return _VERSION.sub("", url) if url else None

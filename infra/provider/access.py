"""Where Vertex AI and Cloud Logging, Monitoring and Storage are, and with which credentials they are called. Pure.

The settings are those of Google's own Pulumi and Terraform provider, so that one environment serves both: the
environment variables `GOOGLE_*_CUSTOM_ENDPOINT`, `GOOGLE_OAUTH_ACCESS_TOKEN` and `GOOGLE_CREDENTIALS`. The provider's
configuration (`vertexserving:apiEndpoint`, `:loggingEndpoint`, `:monitoringEndpoint`, `:storageEndpoint`,
`:accessToken`) comes first.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

CONFIG_KEYS = (
    "apiEndpoint",
    "loggingEndpoint",
    "monitoringEndpoint",
    "storageEndpoint",
    "accessToken",
    "version",
)
_VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d+)?/*$")


class AccessError(ValueError):
    """A setting that cannot be used; `str(e)` names it and says what it should look like."""


@dataclass(frozen=True)
class Access:
    """How to reach Google.

    Attributes:
        api_endpoint: Replaces the regional Vertex AI hosts; scheme, host and perhaps a path, without the version.
        logging_url: Cloud Logging, with its version, without a slash at the end.
        monitoring_url: Cloud Monitoring, likewise.
        storage_url: The JSON API of Cloud Storage, likewise.
        token: A ready access token.
        credentials: A key as JSON text, or the path of a file with one.
        anonymous: Send no credentials: a server on this machine, and no token given.
    """

    api_endpoint: str | None = None
    logging_url: str = "https://logging.googleapis.com/v2"
    monitoring_url: str = "https://monitoring.googleapis.com/v3"
    storage_url: str = "https://storage.googleapis.com/storage/v1"
    token: str | None = None
    credentials: str | None = None
    anonymous: bool = False

    def api_url(self, location: str) -> str:
        """The base address of Vertex AI for a region, without the version."""
        return self.api_endpoint or f"https://{location}-aiplatform.googleapis.com"


def access(config: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> Access:
    """The access that a provider configuration and an environment describe.

    With Vertex AI on this machine the other services are taken to be there too, unless they have an address of their
    own: a local run must never send anything to Google.

    Raises:
        AccessError: for an address that is no http(s) URL.
    """
    api = _url(config, environ, "apiEndpoint", "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT")
    api = _VERSION.sub("", api).rstrip("/") if api else None
    local = bool(api) and _is_loopback(api or "")
    token = config.get("accessToken") or environ.get("GOOGLE_OAUTH_ACCESS_TOKEN") or None
    return Access(
        api_endpoint=api,
        logging_url=_url(config, environ, "loggingEndpoint", "GOOGLE_LOGGING_CUSTOM_ENDPOINT")
        or (f"{api}/v2" if local else Access.logging_url),
        monitoring_url=_url(config, environ, "monitoringEndpoint", "GOOGLE_MONITORING_CUSTOM_ENDPOINT")
        or (f"{api}/v3" if local else Access.monitoring_url),
        storage_url=_url(config, environ, "storageEndpoint", "GOOGLE_STORAGE_CUSTOM_ENDPOINT")
        or (f"{api}/storage/v1" if local else Access.storage_url),
        token=token,
        credentials=None if token or local else environ.get("GOOGLE_CREDENTIALS") or None,
        anonymous=local and not token,
    )


def _url(config: Mapping[str, str], environ: Mapping[str, str], key: str, variable: str) -> str | None:
    value, source = config.get(key), f"vertexserving:{key}"
    if not value:
        value, source = environ.get(variable), variable
    if not value:
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AccessError(
            f"{source} is {value!r}, which is no address. "
            "Give a URL with a scheme and a host, for example http://127.0.0.1:8099/v1beta1/."
        )
    return value.rstrip("/")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "localhost" or host.endswith(".localhost") or host == "::1" or host.startswith("127.")

"""The addresses of an endpoint, for people and clients."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["EndpointUrls", "api_host", "endpoint_urls"]


@dataclass(frozen=True, slots=True)
class EndpointUrls:
    """``openai_base_url`` is for the ``openai`` client (api key: an access token); ``curl`` is a line to paste."""

    openai_base_url: str
    predict_url: str
    raw_predict_url: str
    stream_raw_predict_url: str
    curl: str


def api_host(region: str) -> str:
    """The regional host of the API, with its scheme."""
    return f"https://{region}-aiplatform.googleapis.com"


def endpoint_urls(
    endpoint_name: str, region: str, dedicated_dns: str | None = None, api_endpoint: str | None = None
) -> EndpointUrls:
    """The addresses of an endpoint.

    Args:
        endpoint_name: ``projects/NUMBER/locations/REGION/endpoints/ID``.
        region: its region.
        dedicated_dns: the DNS name of a dedicated endpoint; None for a shared one.
        api_endpoint: another base address of the API (a proxy, the local cloud), with or without ``/v1beta1/``.
            Dedicated hosts are then below ``/dedicated/DNS``: names below ``localhost`` do not resolve everywhere.
    """
    override = re.sub(r"/v1(beta1)?/?$", "", api_endpoint.strip()).rstrip("/") if api_endpoint else None
    if override and "://" not in override:
        override = f"https://{override}"
    if dedicated_dns:
        host = f"{override}/dedicated/{dedicated_dns}" if override else f"https://{dedicated_dns}"
    else:
        host = override or api_host(region)
    base = f"{host}/v1beta1/{endpoint_name}"
    stable = f"{host}/v1/{endpoint_name}"
    local = bool(override) and urlsplit(override or "").hostname in {"127.0.0.1", "localhost", "::1"}
    token = "local" if local else "$(gcloud auth print-access-token)"
    body = '{"model": "", "messages": [{"role": "user", "content": "What is a car?"}], "max_tokens": 50}'
    return EndpointUrls(
        openai_base_url=base,
        predict_url=f"{stable}:predict",
        raw_predict_url=f"{stable}:rawPredict",
        stream_raw_predict_url=f"{stable}:streamRawPredict",
        curl=(
            f'curl -sS "{base}/chat/completions" -H "Authorization: Bearer {token}"'
            f" -H \"Content-Type: application/json\" -d '{body}'"
        ),
    )

"""What Google's services say of one endpoint: Vertex AI, Cloud Logging, Cloud Monitoring. Only reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from infra import naming
from infra.client.endpoint import Endpoint
from infra.client.errors import BadTarget, NoAnswer
from infra.client.rest import TIMEOUT_S, ask, http_client
from infra.client.token import Token
from infra.preflight.subject import hosts

if TYPE_CHECKING:
    import httpx

__all__ = ["Google"]

Json = dict[str, Any]

RESPONSES: Final = "aiplatform.googleapis.com/prediction/online/response_count"
"""Answers by their HTTP status (cloud.google.com/monitoring/api/metrics_gcp, aiplatform)."""

_LOGGING: Final = "https://logging.googleapis.com/v2"


class Google:
    """Google's services, for one endpoint. ``with Google(endpoint) as google`` closes its connections.

    Args:
        endpoint: Whose logs and figures are read. On this machine nothing is asked of any other.
        environ: Environment variables: addresses and credentials, as of Google's Pulumi and Terraform provider.
    """

    def __init__(self, endpoint: Endpoint, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._endpoint = endpoint
        self._token: Token = endpoint.token(environ)
        self._http: httpx.Client = http_client(local=endpoint.local, timeout_s=TIMEOUT_S)
        own = {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": endpoint.api} if endpoint.local else {}
        self._monitoring = hosts({}, {**environ, **own}, region=endpoint.region).monitoring
        logging = (environ.get("GOOGLE_LOGGING_CUSTOM_ENDPOINT") or "").rstrip("/")
        if endpoint.local and not naming.is_loopback(logging):
            logging = f"{endpoint.api}/v2"
        self._logging = logging or _LOGGING

    def __enter__(self) -> Google:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def endpoint(self) -> Json:
        """The endpoint as Vertex AI has it now.

        Raises:
            BadTarget: It is no more.
            NoAnswer: Vertex AI cannot be asked.
        """
        url = f"{self._endpoint.api}/v1/{self._endpoint.name}"
        found = self._send("GET", url, "aiplatform", absent=True)
        if found is None:
            raise BadTarget(
                f"There is no endpoint {self._endpoint.name} any more. pulumi refresh, then pulumi up makes it again."
            )
        return found

    def model(self, name: str) -> Json:
        """A model of the registry.

        Args:
            name: ``projects/P/locations/R/models/ID``, with or without a version.

        Raises:
            BadTarget: It is no more.
            NoAnswer: Vertex AI cannot be asked.
        """
        found = self._send("GET", f"{self._endpoint.api}/v1/{name}", "aiplatform", absent=True)
        if found is None:
            raise BadTarget(f"There is no model {name} any more.")
        return found

    def operations(self) -> list[Json]:
        """The endpoint's long-running operations that Vertex AI still knows, at most 100.

        Raises:
            NoAnswer: Vertex AI cannot be asked.
        """
        url = f"{self._endpoint.api}/v1/{self._endpoint.name}/operations"
        found = self._send("GET", url, "aiplatform", absent=True, params={"pageSize": 100}) or {}
        return [each for each in found.get("operations") or () if isinstance(each, dict)]

    def entries(self, body: Mapping[str, Any]) -> Json:
        """One page of log entries: Cloud Logging's ``entries:list``.

        Raises:
            NoAnswer: Cloud Logging cannot be asked, or refuses.
        """
        return self._send("POST", f"{self._logging}/entries:list", "logging", json=dict(body)) or {}

    def responses(self, at: datetime, hours: float = 1.0) -> Json:
        """Answers that the endpoint gave, a time series for each response code: Monitoring's ``timeSeries:list``.

        Raises:
            NoAnswer: Cloud Monitoring cannot be asked, or has no such metric.
        """
        seconds = int(hours * 3600)
        begin = at - timedelta(seconds=seconds)
        query = {
            "filter": f'metric.type = "{RESPONSES}" AND resource.labels.endpoint_id = "{self._endpoint.id}"',
            "interval.startTime": begin.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "interval.endTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "aggregation.alignmentPeriod": f"{seconds}s",
            "aggregation.perSeriesAligner": "ALIGN_SUM",
            "aggregation.crossSeriesReducer": "REDUCE_SUM",
            "aggregation.groupByFields": "metric.labels.response_code",
        }
        url = f"{self._monitoring}/projects/{self._endpoint.project}/timeSeries"
        found = self._send("GET", url, "monitoring", absent=True, params=query)
        if found is None:  # a metric exists in a project from its first value on
            raise NoAnswer("Cloud Monitoring has no figures of this project's predictions yet.")
        return found

    def _send(
        self, method: str, url: str, service: str, *, absent: bool = False, **content: Any
    ) -> Json | None:
        return ask(
            self._http,
            method,
            url,
            self._token,
            local=self._endpoint.local,
            role=f"roles/{service}.viewer",
            absent=(404,) if absent else (),
            **content,
        )

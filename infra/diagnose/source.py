"""Fetches what a diagnosis is made from: the last deployment's operation and the containers' log of one endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from infra import naming
from infra.client.endpoint import http_client
from infra.client.errors import NoAnswer
from infra.client.logs import console_url, log_filter, newest, parse_time
from infra.client.token import Token

__all__ = ["Gathered", "Where", "gather"]

_TIMEOUT_S: Final = 30.0
_ENTRIES: Final = 3000
_DEPLOY: Final = "DeployModelOperationMetadata"
_EARLIER: Final = timedelta(seconds=5)  # clocks differ


@dataclass(frozen=True)
class Where:
    """An endpoint and the addresses of the two services: ``vertex`` with its version, ``logging`` with its version."""

    project: str
    region: str
    endpoint_id: str
    vertex: str
    logging: str

    @property
    def name(self) -> str:
        """The endpoint's resource name."""
        return f"projects/{self.project}/locations/{self.region}/endpoints/{self.endpoint_id}"


@dataclass(frozen=True)
class Gathered:
    """What was found.

    Attributes:
        lines: The containers' log since the operation began, oldest first.
        operation: The last deployment's operation; empty where there is none.
        error: Its error, as Google words it; empty where it did not fail or goes on.
        done: Whether it ended.
        query: The filter that shows the log in the console.
        console: Where.
    """

    lines: tuple[str, ...]
    operation: str
    error: str
    done: bool
    query: str
    console: str


def gather(where: Where, environ: Mapping[str, str]) -> Gathered:
    """Read the last deployment of an endpoint and its containers' log.

    Raises:
        NoAnswer: A service cannot be asked.
    """
    local = naming.is_loopback(where.vertex)
    token = Token(local=local, environ=environ, project=where.project)
    with http_client(local=local, timeout_s=_TIMEOUT_S) as http:

        def ask(method: str, url: str, **content: Any) -> dict[str, Any]:
            import httpx

            host = urlsplit(url).netloc
            try:
                answer = http.request(method, url, headers=token.headers(), **content)
                document = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                hint = " Is the local cloud up? make env starts it." if local else ""
                why = " ".join(str(error).split())[:200] or type(error).__name__
                raise NoAnswer(f"{host} cannot be read: {why}.{hint}") from None
            if answer.status_code == 404:
                return {}
            if not answer.is_success or not isinstance(document, dict):
                said = document.get("error") if isinstance(document, dict) else None
                message = " ".join(str((said or {}).get("message") or "no reason").split())[:400]
                raise NoAnswer(f"{host} answers {answer.status_code}: {message}")
            return document

        operation = _last(ask("GET", f"{where.vertex}/{where.name}/operations", params={"pageSize": 100}))
        created = str(_generic(operation).get("createTime") or "")
        moment = parse_time(created) if created else None
        deployed = str((operation.get("metadata") or {}).get("deployedModelId") or "")
        query = log_filter(
            where.endpoint_id,
            deployed_model_id=deployed,
            since=moment - _EARLIER if moment is not None else None,
        )
        entries = newest(
            lambda body: ask("POST", f"{where.logging}/entries:list", json=body),
            where.project,
            query,
            _ENTRIES,
        )
    error = operation.get("error") or {}
    return Gathered(
        lines=tuple(line for entry in entries for line in entry.text.splitlines()),
        operation=str(operation.get("name") or ""),
        error=" ".join(str(error.get("message") or "").split()) if error else "",
        done=bool(operation.get("done")),
        query=query,
        console=console_url(where.project, query),
    )


def _last(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """The newest deployment among an endpoint's operations."""
    found = [
        each
        for each in answer.get("operations") or ()
        if isinstance(each, dict) and _DEPLOY in str((each.get("metadata") or {}).get("@type"))
    ]
    oldest = datetime.min.replace(tzinfo=UTC)
    return max(
        found, key=lambda each: parse_time(str(_generic(each).get("createTime") or "")) or oldest, default={}
    )


def _generic(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    generic = (operation.get("metadata") or {}).get("genericMetadata")
    return generic if isinstance(generic, dict) else {}

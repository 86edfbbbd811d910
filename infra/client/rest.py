"""One call of one of Google's APIs, and what its answer means."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from infra.client.errors import NoAnswer
from infra.client.token import Token
from infra.preflight.net import LOGIN_REMEDY

if TYPE_CHECKING:
    import httpx

__all__ = [
    "CONNECT_S",
    "TIMEOUT_S",
    "ask",
    "document_of",
    "http_client",
    "refused",
    "request",
    "without_json",
]

Json = dict[str, Any]

TIMEOUT_S: Final = 30.0
"""Seconds that an API has for one answer; predictions have limits of their own."""


CONNECT_S: Final = 10.0
"""Seconds to connect: who is not there then is behind a network that drops packets."""


def http_client(*, local: bool, timeout_s: float | None) -> httpx.Client:
    """A client for one endpoint; on this machine never through a proxy, whatever the environment says."""
    import httpx

    return httpx.Client(trust_env=not local, timeout=timeout_s)


def ask(
    http: httpx.Client,
    method: str,
    url: str,
    token: Token,
    *,
    local: bool,
    role: str,
    absent: Collection[int] = (),
    **content: Any,
) -> Json | None:
    """The JSON of one answer; None for what does not exist.

    Args:
        http: Asks.
        method: HTTP method.
        url: The whole address.
        token: Who asks.
        local: Whether it is the local Google Cloud.
        role: Has the permission that a 403 says is missing.
        absent: Statuses that mean that it does not exist.
        content: What httpx sends: ``params``, ``json``.

    Raises:
        NoAnswer: The service cannot be asked, or refuses.
    """
    response = request(http, method, url, token, local=local, **content)
    document = document_of(response)
    if document is None:
        raise NoAnswer(without_json(url, response))
    if response.is_success:
        return document
    if response.status_code in absent:
        return None
    hints = {401: LOGIN_REMEDY, 403: f"the role {role} has the permission."}
    hint = hints.get(response.status_code)
    raise NoAnswer(refused(url, response, document) + (f"\n  {hint}" if hint else ""))


def request(
    http: httpx.Client, method: str, url: str, token: Token, *, local: bool, **content: Any
) -> httpx.Response:
    """One answer, whatever it says; arguments as of `ask`.

    Raises:
        NoAnswer: Nobody is there.
    """
    import httpx

    try:
        return http.request(method, url, headers=token.headers(), **content)
    except httpx.HTTPError as error:
        start = " Is the local cloud up? make env starts it." if local else ""
        host = urlsplit(url).netloc
        raise NoAnswer(f"{host} cannot be reached: {error or type(error).__name__}.{start}") from None


def document_of(response: httpx.Response) -> Json | None:
    """The JSON object of an answer, empty where it has no content; None where it is something else."""
    try:
        document = response.json() if response.content else {}
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def without_json(url: str, response: httpx.Response) -> str:
    """What is said of an answer that is no JSON object."""
    return f"{urlsplit(url).netloc} answers {response.status_code} without JSON (a proxy or a sign-in page?)"


def refused(url: str, response: httpx.Response, document: Json) -> str:
    """What is said of a refusal: who, which status, and Google's own words."""
    refusal = document.get("error")
    said = refusal.get("message") if isinstance(refusal, dict) else None
    words = " ".join(str(said or "no reason").split())[:400]
    return f"{urlsplit(url).netloc} answers {response.status_code}: {words}"

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

__all__ = ["CONNECT_S", "TIMEOUT_S", "ask", "http_client"]

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
    import httpx

    host = urlsplit(url).netloc
    try:
        response = http.request(method, url, headers=token.headers(), **content)
    except httpx.HTTPError as error:
        start = " Is the local cloud up? make env starts it." if local else ""
        raise NoAnswer(f"{host} cannot be reached: {error or type(error).__name__}.{start}") from None
    try:
        document = response.json() if response.content else {}
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise NoAnswer(f"{host} answers {response.status_code} without JSON (a proxy or a sign-in page?)")
    if response.is_success:
        return document
    if response.status_code in absent:
        return None
    refusal = document.get("error")
    said = refusal.get("message") if isinstance(refusal, dict) else None
    message = " ".join(str(said or "no reason").split())[:400]
    hints = {401: LOGIN_REMEDY, 403: f"the role {role} has the permission."}
    hint = hints.get(response.status_code)
    raise NoAnswer(f"{host} answers {response.status_code}: {message}" + (f"\n  {hint}" if hint else ""))

"""Makes Google's clients, on the first call that needs them.

Google's libraries take long to import (google-cloud-aiplatform 2 to 6 s, google-auth half a second) and every preview
starts this provider, so they are imported by nothing that is imported at the start.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from infra.plugin import Context, ResourceError
from infra.provider.access import Access, AccessError, access
from infra.provider.credentials import ignore_warnings_of_google, load_credentials
from infra.provider.failures import CREDENTIALS_REMEDY
from infra.provider.retry import Pace

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

    from infra.provider.rest import Rest
    from infra.provider.vertex import Clients, Vertex


class Connector:
    """Makes the clients, once for each way of access and region."""

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self._lock = threading.Lock()
        self._sessions: dict[Access, AuthorizedSession] = {}
        self._clients: dict[tuple[Access, str], Clients] = {}

    def connect(self, ctx: Context, location: str) -> Vertex:
        """Vertex AI in a region, on behalf of one call of the engine.

        Raises:
            ResourceError: when the settings or the credentials cannot be used.
        """
        way = _way(ctx)
        with self._lock:  # also keeps two threads from importing Google's libraries at once
            clients = self._clients.get((way, location))
            if clients is None:
                clients = self._clients[way, location] = _make(self._session(way), way, location)
        from infra.provider.vertex import Vertex

        return Vertex(ctx, clients, way, self._pace)

    def rest(self, ctx: Context, call: float | None = None) -> Rest:
        """Google's REST APIs without a client library, on behalf of one call of the engine.

        Args:
            ctx: The engine's call.
            call: How long one request may take, in seconds; None: as the pace says.

        Raises:
            ResourceError: when the settings or the credentials cannot be used.
        """
        way = _way(ctx)
        with self._lock:
            session = self._session(way)
        from infra.provider.rest import Rest

        return Rest(ctx, session, way, self._pace if call is None else replace(self._pace, call=call))

    def _session(self, way: Access) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession

        if way not in self._sessions:
            self._sessions[way] = AuthorizedSession(_credentials(way))  # type: ignore[no-untyped-call]
        return self._sessions[way]


def _way(ctx: Context) -> Access:
    ignore_warnings_of_google()
    try:
        return access(ctx.config)
    except AccessError as e:
        raise ResourceError(str(e)) from None


def _make(session: AuthorizedSession, way: Access, location: str) -> Clients:
    from infra.provider.vertex import Clients

    return Clients(way.api_url(location), session)


def _credentials(way: Access) -> Any:
    from google.auth import exceptions
    from google.auth.credentials import AnonymousCredentials
    from google.oauth2.credentials import Credentials

    if way.token:
        return Credentials(way.token)  # type: ignore[no-untyped-call]
    if way.anonymous:
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    try:
        return load_credentials(way.credentials)
    except (exceptions.GoogleAuthError, OSError, ValueError) as e:
        raise ResourceError(
            f"There are no credentials for Google Cloud: {e}\n  {CREDENTIALS_REMEDY}"
        ) from None

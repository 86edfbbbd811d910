"""The access token that an endpoint is called with, new before it expires."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from infra.client.errors import NoAnswer
from infra.preflight.net import LOGIN_REMEDY
from infra.preflight.subject import Login, login
from infra.provider.credentials import ignore_warnings_of_google, impersonate, load_credentials

__all__ = ["LOCAL_TOKEN", "REFRESH_S", "Token"]

LOCAL_TOKEN: Final = "local"
"""Stands in the header on loopback, where clients insist on a key: it opens nothing anywhere else."""

REFRESH_S: Final = 300.0
"""Seconds before its end that a token is replaced: a request may wait for a minute, and clocks differ."""


class Token:
    """An access token of the caller, by ``GOOGLE_OAUTH_ACCESS_TOKEN``, a key, or the default credentials.

    Safe to use from several threads. No credentials are looked for before the first :meth:`get`.

    Args:
        local: Whether the endpoint is on this machine: then no credential is read, and none is sent.
        environ: Environment variables, those of Google's Pulumi and Terraform provider.
        project: Billed for a user's calls of APIs that ask for a project; empty for none.
    """

    def __init__(
        self, *, local: bool = False, environ: Mapping[str, str] | None = None, project: str = ""
    ) -> None:
        self._local = local
        self._login: Login = login({}, os.environ if environ is None else environ)
        self._project = project
        self._lock = threading.Lock()
        self._credentials: Any = None

    def __repr__(self) -> str:
        return f"Token(local={self._local})"  # never the token

    @property
    def fixed(self) -> bool:
        """Whether it was given as it is, so that nobody here can make a new one when it has expired."""
        return not self._local and bool(self._login.token)

    def get(self) -> str:
        """The token, valid for :data:`REFRESH_S` more seconds at least where that can be had.

        Raises:
            NoAnswer: There are no credentials, or Google gives no token for them.
        """
        if self._local:
            return LOCAL_TOKEN
        if self._login.token:
            return self._login.token
        with self._lock:
            try:
                return self._fresh()
            except Exception as error:  # google-auth's own, OSError, ValueError, and what requests raises
                why = (
                    (" ".join(str(error).split()) or type(error).__name__)[:200]
                    .partition(". ")[0]
                    .rstrip(".")
                )
                raise NoAnswer(
                    f"There are no Google credentials that work: {why}.\n"
                    f"  {LOGIN_REMEDY}\n"
                    "  or export GOOGLE_OAUTH_ACCESS_TOKEN=$(gcloud auth print-access-token)"
                ) from None

    def headers(self) -> dict[str, str]:
        """Headers for Google's own APIs; predictions need no more than :meth:`get`.

        Raises:
            NoAnswer: As :meth:`get`.
        """
        headers = {"authorization": f"Bearer {self.get()}"}
        quota = getattr(self._credentials, "quota_project_id", None)
        if self._credentials is not None and hasattr(self._credentials, "refresh_token"):
            quota = quota or self._project  # a user's credentials belong to no project
        return headers | ({"x-goog-user-project": quota} if quota else {})

    def _fresh(self) -> str:
        if self._credentials is None:
            ignore_warnings_of_google()
            self._credentials = impersonate(
                load_credentials(self._login.credentials), self._login.impersonate
            )
        if _left(self._credentials) < REFRESH_S:
            from google.auth.transport.requests import Request

            self._credentials.refresh(Request())
        token: str = self._credentials.token
        return token


def _left(credentials: Any) -> float:
    """Seconds that the token is valid; 0 where there is none, infinity where it has no end."""
    if not credentials.token:
        return 0.0
    if credentials.expiry is None:
        return float("inf")
    # google-auth's times are in UTC and do not say so.
    end: float = credentials.expiry.replace(tzinfo=UTC).timestamp()
    return end - time.time()

"""Where the endpoint is, and the token to call it with: what all examples share."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

_credentials: Any = None


def base_url() -> str:
    """The stack output ``openai_base_url``, from the environment."""
    url = os.environ.get("BASE_URL", "")
    if not url:
        raise SystemExit("export BASE_URL=$(pulumi stack output openai_base_url)")
    return url


def token() -> str:
    """An access token of Application Default Credentials; it lasts an hour, so ask for it at every request."""
    global _credentials
    if urlsplit(base_url()).hostname in ("127.0.0.1", "localhost"):
        return "local"  # the local cloud takes any
    import google.auth
    from google.auth.transport.requests import Request

    if _credentials is None:
        _credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    if not _credentials.valid:
        _credentials.refresh(Request())
    return str(_credentials.token)

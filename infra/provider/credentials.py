"""Credentials for Google Cloud, from what the settings say. Google's libraries are imported on the first call."""

from __future__ import annotations

import json
import warnings
from typing import Any, Final

__all__ = ["SCOPE", "ignore_warnings_of_google", "impersonate", "load_credentials"]

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"


def ignore_warnings_of_google() -> None:
    """Keep quiet what Google's libraries warn of as they are imported: nobody who runs Pulumi can act on it.

    They warn of the end of Python versions and of modules of their own, and the engine shows what a plugin writes.
    """
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category, module=r"google\b.*")


def load_credentials(credentials: str | None) -> Any:
    """The credentials of a key as JSON text, of the file at a path, or without either the default ones.

    Raises:
        google.auth.exceptions.GoogleAuthError, OSError, ValueError: there are none, or they cannot be read.
    """
    import google.auth

    load: Any = google.auth
    if not credentials:
        return load.default(scopes=[SCOPE])[0]
    if credentials.lstrip().startswith("{"):
        return load.load_credentials_from_dict(json.loads(credentials), scopes=[SCOPE])[0]
    return load.load_credentials_from_file(credentials, scopes=[SCOPE])[0]


def impersonate(credentials: Any, service_account: str | None) -> Any:
    """The credentials of a service account on whose behalf ``credentials`` may act; the same ones without one."""
    if not service_account:
        return credentials
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source_credentials=credentials, target_principal=service_account, target_scopes=[SCOPE]
    )

"""Who is calling: the bearer token of a request, turned into a principal.

There are no secrets here: "local" (or no credentials at all) is the project's owner, "sa:EMAIL" is that service account
with the grants it has and no others, "expired" is a token that has run out, anything else is not a token.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from infra.local.cloud.errors import GoogleError, unauthenticated

OWNER_EMAIL = "owner@local.test"


@dataclass(frozen=True)
class Principal:
    """A caller; `member` is its name in a policy binding."""

    email: str
    is_owner: bool = False

    @property
    def member(self) -> str:
        """E.g. "serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"."""
        return f"user:{self.email}" if self.is_owner else f"serviceAccount:{self.email}"


OWNER = Principal(OWNER_EMAIL, is_owner=True)


def caller(request: Request) -> Principal:
    """The principal of a request.

    Raises:
        GoogleError: UNAUTHENTICATED for a token that is expired or that is none of ours.
    """
    header = request.headers.get("authorization", "")
    token = request.query_params.get("access_token", "")
    if header:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated("ACCESS_TOKEN_TYPE_UNSUPPORTED")
    token = token.strip()
    if token in {"", "local"}:
        return OWNER
    if token.startswith("sa:"):
        return Principal(token.removeprefix("sa:"))
    if token == "expired":
        raise unauthenticated("ACCESS_TOKEN_EXPIRED")
    raise bad_token(token)


def bad_token(token: str) -> GoogleError:
    """The error for an unknown token; its second sentence is for the reader of this server's answers."""
    del token
    error = unauthenticated("ACCESS_TOKEN_INVALID")
    error.message += ' The local cloud takes the tokens "local", "sa:EMAIL" and "expired".'
    return error

"""HTTP calls to Google with the caller's credentials, for what has no client library here; errors as `ApiError`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import requests
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.protobuf import json_format

from infra.plugin import Context
from infra.provider.access import Access
from infra.provider.failures import ApiError, from_response
from infra.provider.retry import IDEMPOTENT, READ, READ_BUDGET, Grants, Pace, Patience, interruptibly

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession

Json = dict[str, Any]
T = TypeVar("T")


class Rest:
    """Google's REST APIs, for the length of one call of the engine."""

    def __init__(self, ctx: Context, session: AuthorizedSession, way: Access, pace: Pace) -> None:
        self._ctx = ctx
        self._session = session
        self.way = way
        self.pace = pace
        self.grants = Grants()

    def request(
        self, method: str, url: str, query: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        """One HTTP call, sent once; answers the JSON, `{}` where there is none.

        Raises:
            ApiError: Google refused it or did not answer.
        """

        def call() -> Json:
            answer = self._exchange(method, url, query, body)
            try:
                content = answer.json() if answer.content else {}
            except ValueError:
                content = None
            if answer.status_code >= 400:
                raise from_response(answer.status_code, content, answer.text, answer.headers)
            if not isinstance(content, dict):
                raise _unreadable(f"{method} {url} answered {answer.text[:100]!r} instead of JSON.")
            return content

        return translate(call)

    def answer(self, method: str, url: str, body: Json | None = None) -> requests.Response:
        """One HTTP call, sent once; answers whatever came, errors too, within a tenth of a second of an interruption.

        Raises:
            ApiError: No answer came.
            Interrupted: the user interrupted.
        """
        return interruptibly(self._ctx, lambda: translate(lambda: self._exchange(method, url, None, body)))

    def _exchange(
        self, method: str, url: str, query: Mapping[str, str] | None, body: Json | None
    ) -> requests.Response:
        answer: requests.Response = self._session.request(  # type: ignore[no-untyped-call]
            method, url, params=dict(query or {}), json=body, timeout=self.pace.call
        )
        return answer

    def reading(self, call: Callable[[], T]) -> T:
        """The result of a call without effects, repeated while Google is out of reach.

        Raises:
            ApiError: Google refused it, or stayed out of reach.
            Interrupted: the user interrupted; at once, whatever the call is doing.
        """
        patience = Patience(self._ctx, READ, self.pace.scale, budget=READ_BUDGET)
        while True:
            try:
                return interruptibly(self._ctx, lambda: translate(call))
            except ApiError as e:
                if not patience.again(e):
                    raise

    def repeating(self, call: Callable[[], T]) -> T:
        """The result of a change that has the same effect however often it is made, repeated where that can help.

        Raises:
            ApiError: Google refused it, or stayed out of reach.
            Interrupted: the user interrupted between two tries.
        """
        patience = Patience(self._ctx, IDEMPOTENT, self.pace.scale)
        while True:
            try:
                return translate(call)
            except ApiError as e:
                if not patience.again(e):
                    raise

    def or_none(self, call: Callable[[], T]) -> T | None:
        """Like `reading`, with None for what does not exist."""
        try:
            return self.reading(call)
        except ApiError as e:
            if e.status == "NOT_FOUND":
                return None
            raise


def translate(call: Callable[[], T]) -> T:
    """The result of a call, with every exception of Google's libraries turned into `ApiError`."""
    try:
        return call()
    except api_exceptions.GoogleAPICallError as e:
        answer = getattr(e, "response", None)
        if isinstance(answer, requests.Response):
            # Over REST the class of the exception depends on the HTTP status only, which hides for example
            # FAILED_PRECONDITION behind BadRequest: the canonical code is in the answer's body.
            try:
                body = answer.json()
            except ValueError:
                body = None
            raise from_response(answer.status_code, body, answer.text, answer.headers) from None
        raise from_response(int(e.code or 500), None, str(e)) from None
    except auth_exceptions.TransportError as e:
        raise ApiError("UNAVAILABLE", f"no answer: {e}", answered=False) from None
    except auth_exceptions.GoogleAuthError as e:
        raise ApiError("UNAUTHENTICATED", str(e)) from None
    except requests.exceptions.RequestException as e:
        raise ApiError("UNAVAILABLE", f"no answer: {e}", answered=False) from None
    except (json_format.ParseError, UnicodeDecodeError) as e:
        raise _unreadable(f"an answer that cannot be read: {e}") from None


def _unreadable(text: str) -> ApiError:
    return ApiError("INTERNAL", text, answered=False)

"""One way to call a Google API: token, retries with backoff, errors that carry Google's own message."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from infra.local.gcp_plugin.settings import APIS, Settings
from infra.plugin import Context, ResourceError

if TYPE_CHECKING:
    import httpx

Json = dict[str, Any]

# Statuses, pauses and limit are those of the official plugin (terraform-provider-google, transport: retry_transport.go
# and error_retry_predicates.go). It does not look at Retry-After, and does not repeat a 504.
BUSY = frozenset({429, 500, 502, 503})
"""Statuses that may pass by themselves."""

PER_MINUTE = re.compile(r"Quota exceeded for quota metric '.*' and limit '.* per minute' of service")
"""A 403 with this text is a rate limit."""

BUSY_SECONDS = 90.0
FIRST_DELAY_SECONDS = 0.5
"""The pauses are this, twice this, then each the sum of the two before it."""

UNREACHABLE_SECONDS = 4.0
"""Shorter than the official plugin's: the local cloud starts in less, or not at all."""

REQUEST_SECONDS = 60.0


class ApiError(ResourceError):
    """An API said no.

    Attributes:
        status: The HTTP status.
        reason: Google's canonical status, such as `NOT_FOUND`, or its older short reason, such as `conflict`.
        message: Google's message.
        repeated: The request had been sent before without a clear answer, so that a conflict may be with
        itself.
    """

    def __init__(self, call: str, status: int, reason: str, message: str, repeated: bool = False) -> None:
        self.call = call
        self.status = status
        self.reason = reason
        self.message = message
        self.repeated = repeated
        super().__init__(self._text(_GENERAL_REMEDIES.get(status, "")))

    def because(self, remedy: str) -> ResourceError:
        """The same failure with advice that fits what was being done."""
        return ResourceError(self._text(remedy))

    def _text(self, remedy: str) -> str:
        message = self.message if not self.message or self.message[-1] in ".!?" else f"{self.message}."
        return f"{self.call} answered {self.status} {self.reason}: {message} {remedy}".rstrip(": ")


_GENERAL_REMEDIES = {
    400: "Correct what the message names, then run `pulumi up` again.",
    401: "The access token is not accepted: set gcp:accessToken or GOOGLE_OAUTH_ACCESS_TOKEN to a valid one "
    "(`. .local/env` sets the local cloud's).",
    404: "Run `pulumi refresh`, so that the state agrees with what exists, then `pulumi up`.",
    403: "Let the caller have what the message names, or use an access token of somebody who has it.",
    429: "The service stayed busy; wait a minute and run `pulumi up` again.",
    500: "Run `pulumi up` again; if it stays, see https://status.cloud.google.com.",
    502: "Run `pulumi up` again; if it stays, see https://status.cloud.google.com.",
    503: "The service stayed unavailable; run `pulumi up` again when it is back.",
    504: "Run `pulumi up` again; if it stays, see https://status.cloud.google.com.",
}


class Rest:
    """Calls Google APIs under the configured endpoints. Thread-safe; connections are kept open."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def call(
        self,
        ctx: Context,
        api: str,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: Json | None = None,
    ) -> Json:
        """The answer's JSON; an empty object where there is none.

        Args:
            ctx: Interrupting the run ends the retries.
            api: A key of `settings.APIS`.
            method: The HTTP method.
            path: What follows the API's base URL.
            params: The query.
            body: The JSON body.

        Raises:
            ApiError: when the API answers with an error that does not pass within 90 s.
            ResourceError: when there is no endpoint, or nothing answers there.
        """
        url = self.settings.endpoint(api) + path
        sent = {"params": {"alt": "json", **(params or {})}, "json": body}
        return as_json(f"{method} {url}", self.answer(ctx, api, method, url, **sent))

    def content(self, ctx: Context, api: str, path: str) -> bytes:
        """The bytes of an object; arguments and errors as for `call`."""
        url = self.settings.endpoint(api) + path
        return self.answer(ctx, api, "GET", url, params={"alt": "media"}).content

    def answer(
        self,
        ctx: Context,
        api: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        **sent: Any,
    ) -> httpx.Response:
        """The answer to one request, tried again while the service is busy; a redirect is an answer.

        Args:
            ctx: Interrupting the run ends the retries.
            api: A key of `settings.APIS`, for the errors.
            method: The HTTP method.
            url: The whole address.
            headers: Headers beside the caller's token.
            sent: Query and body, as httpx takes them.

        Raises:
            ApiError: when the API answers with an error that does not pass within 90 s.
            ResourceError: when nothing answers there.
        """
        import httpx  # here because it takes 0.2 s to import and a preview without changes never gets here

        request = f"{method} {url}"
        started, delay, next_delay, repeated = (
            time.monotonic(),
            FIRST_DELAY_SECONDS,
            FIRST_DELAY_SECONDS,
            False,
        )
        while True:
            patience = BUSY_SECONDS
            failure: ResourceError
            try:
                response = self._open().request(
                    method, url, headers={**self._headers(), **(headers or {})}, **sent
                )
                if response.status_code < 400:
                    return response
                failure = _api_error(request, response, repeated=repeated)
                if response.status_code not in BUSY and not _rate_limited(response):
                    raise failure
                repeated = repeated or response.status_code >= 500
            except httpx.ConnectError as e:
                patience = UNREACHABLE_SECONDS
                failure = _unreachable(api, url, e)
            except httpx.TransportError as e:
                repeated = True
                failure = ResourceError(
                    f"{request}: the connection broke off ({type(e).__name__}: {e}). Run `pulumi up` again: it "
                    "looks at what there is."
                )
            if time.monotonic() - started + delay > patience:
                raise failure
            if ctx.cancelled.wait(delay):
                raise ResourceError(
                    f"{request}: interrupted while waiting to try again. Last answer: {failure}"
                )
            delay, next_delay = delay + next_delay, delay

    def _headers(self) -> dict[str, str]:
        token = self.settings.access_token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _open(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                # trust_env=False: a proxy of the user's environment has no business between this and
                # loopback. Certificates take 30 to 90 ms to load, and nothing on loopback has one.
                secure = any(url.startswith("https:") for url in self.settings.endpoints.values())
                self._client = httpx.Client(timeout=REQUEST_SECONDS, trust_env=False, verify=secure)
            return self._client


def _rate_limited(response: httpx.Response) -> bool:
    return response.status_code == 403 and PER_MINUTE.search(response.text) is not None


def as_json(request: str, response: httpx.Response) -> Json:
    """The JSON object of an answer to `request`; empty where it has no content."""
    if not response.content:
        return {}
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ResourceError(
            f"{request} answered {response.status_code} with something other than a JSON object "
            f"({response.headers.get('content-type', 'no content type')}). Is the endpoint right? If so, run "
            "`pulumi up` again: it looks at what there is."
        )
    return answer


def _api_error(request: str, response: httpx.Response, repeated: bool) -> ApiError:
    try:
        error = response.json()["error"]
        message = str(error.get("message", ""))
        reason = error.get("status") or (error.get("errors") or [{}])[0].get("reason", "")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        # The page of a proxy: its heading says all there is.
        page = re.sub(r"<(title|style|script)\b.*?</\1>|<[^>]*>", " ", response.text, flags=re.DOTALL)
        message, reason = " ".join(page.split())[:300], ""
    return ApiError(request, response.status_code, str(reason or response.reason_phrase), message, repeated)


def _unreachable(api: str, url: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"Nothing answers at {url} ({error}). Is the local Google Cloud running? `make up` starts it; "
        f"the address of {api} comes from gcp:{_setting(api)}."
    )


def _setting(api: str) -> str:
    setting, variable = APIS[api]
    return f"{setting} or {variable}"

"""How checks ask the network: one client for all, a deadline, and one exception for whatever cannot be read.

A check gets either an `Answer` or `Unread`, and what it makes of `Unread` is a SKIP. So time-outs, refused connections,
a captive portal's page, half a JSON document and an overloaded server never look like a yes or a no.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from infra import naming
from infra.preflight.subject import Login, Place
from infra.provider.credentials import ignore_warnings_of_google, impersonate, load_credentials

if TYPE_CHECKING:
    import httpx

__all__ = ["Answer", "Forbidden", "Net", "Unread"]

T = TypeVar("T")

MAX_BYTES: Final = 16 * 2**20
"""No answer that a check asks for is near it; a captive portal or a wrong address may send anything."""

LOGIN_REMEDY: Final = "gcloud auth application-default login"

_TOO_MANY: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "RATE_LIMIT_EXCEEDED"})
"""Reasons with which Google answers 403 where it means 429."""


class Unread(Exception):
    """No answer that can be read; ``str(e)`` says why in half a sentence, without secrets."""


class Forbidden(Unread):
    """The caller may not read the answer, as the service itself says: a role opens it."""


@dataclass(frozen=True)
class Answer:
    """An answer that can be read.

    Attributes:
        status: HTTP status: 2xx, or a 4xx that may be conclusive (403, 404, 400 …).
        data: The JSON document; None where the body is empty or was not asked for (HEAD).
        headers: Names in lower case.
    """

    status: int
    data: Any
    headers: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether a Google API itself says that there is no such thing; a proxy's 404 does not say it."""
        return self.status == 404 and self._error().get("code") == 404

    @property
    def message(self) -> str:
        """The text of a Google error, on one line; empty where there is none."""
        return " ".join(str(self._error().get("message") or "").split())

    @property
    def reason(self) -> str:
        """The machine-readable reason of a Google error, such as ``SERVICE_DISABLED`` or ``notFound``; else empty."""
        return next(iter(self._reasons()), "")

    def _error(self) -> Mapping[str, Any]:
        error = self.data.get("error") if isinstance(self.data, dict) else None
        return error if isinstance(error, dict) else {}

    def _reasons(self) -> list[str]:
        error = self._error()
        found = []
        for key in ("details", "errors"):  # of the newer APIs, and of Cloud Storage
            parts = error.get(key)
            for part in parts if isinstance(parts, list) else []:
                if isinstance(part, dict) and isinstance(part.get("reason"), str):
                    found.append(part["reason"])
        return found


class Net:
    """The network, for as long as one run of the checks.

    ``async with Net(subject) as net`` opens it. Equal GETs are sent once in a run, whoever asks; the caller's Google
    credentials are fetched once, and sent to Google's addresses only.
    """

    def __init__(self, subject: Place, deadline_s: float = 5.0) -> None:
        self._subject = subject
        self._ends = time.monotonic() + deadline_s
        self._client: httpx.AsyncClient | None = None
        self._broken = "the network is not open"
        self._shared: dict[object, asyncio.Task[Any]] = {}

    async def __aenter__(self) -> Net:
        try:
            self._client = _client(local=self._subject.hosts.local)
        except Exception as error:  # whatever a proxy setting or a file of certificates makes of it
            self._broken = f"the network cannot be asked: {_words(error)}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._shared.values():
            task.cancel()
        await asyncio.gather(*self._shared.values(), return_exceptions=True)
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.aclose()

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; 0 or less when it has passed."""
        return self._ends - time.monotonic()

    async def get(
        self,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        expect: Collection[int] = (),
        google: bool | None = None,
    ) -> Answer:
        """Send a GET, or share the answer of an equal one.

        Args:
            url: Where to.
            params: Query parameters.
            headers: Further headers.
            expect: Statuses that come back as an answer although they usually say nothing, such as 401.
            google: Whether the caller's Google credentials are sent; None: to `Hosts.google` and googleapis.com only.

        Raises:
            Unread: No answer that can be read.
        """
        key = (
            "GET",
            url,
            _frozen(params),
            _frozen(headers),
            tuple(sorted(expect)),
            google,
        )
        return await self._once(
            key, lambda: self._send("GET", url, params=params, headers=headers, expect=expect, google=google)
        )

    async def head(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        expect: Collection[int] = (),
        google: bool | None = None,
    ) -> Answer:
        """Send a HEAD. Arguments as of `get`.

        Raises:
            Unread: No answer that can be read.
        """
        return await self._send("HEAD", url, headers=headers, expect=expect, google=google)

    async def post(
        self,
        url: str,
        *,
        json: Any,
        headers: Mapping[str, str] | None = None,
        expect: Collection[int] = (),
        google: bool | None = None,
    ) -> Answer:
        """Send a POST with a JSON body, for questions such as testIamPermissions. Arguments as of `get`.

        Raises:
            Unread: No answer that can be read.
        """
        return await self._send("POST", url, json=json, headers=headers, expect=expect, google=google)

    async def thread(self, function: Callable[[], T]) -> T:
        """Run blocking code in a thread until the deadline; the thread itself is left behind, not waited for.

        Raises:
            Unread: The deadline passed.
            Exception: What the function raises.
        """
        try:
            async with asyncio.timeout(self.left_s):
                return await asyncio.get_running_loop().run_in_executor(None, function)
        except TimeoutError:
            if self.left_s > 0:
                raise  # the function's own
            raise Unread("no answer in time") from None

    async def google_headers(self) -> Mapping[str, str]:
        """The headers that say to Google who asks; empty on a local cloud without a token. Fetched once in a run.

        Raises:
            Unread: There are no credentials, or they cannot be used.
        """
        return await self._once("google", self._google_headers)

    async def _google_headers(self) -> Mapping[str, str]:
        login = self._subject.login
        if login.token:
            return {"authorization": f"Bearer {login.token}"}
        if self._subject.hosts.local:
            return {}
        try:
            return await self.thread(lambda: _default_headers(login, self._subject.project))
        except Unread:
            raise Unread(f"no Google credentials were found in time (try: {LOGIN_REMEDY})") from None
        except Exception as error:  # google-auth's own, OSError, ValueError, and what requests raises
            why = _words(error).partition(". ")[0].rstrip(".")  # the rest is a link
            raise Unread(f"there are no Google credentials that work ({why}): {LOGIN_REMEDY}") from None

    async def _once(self, key: object, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if key not in self._shared:
            self._shared[key] = asyncio.ensure_future(make())
        # A check that runs out of time must not take the answer away from those that share it.
        answer: T = await asyncio.shield(self._shared[key])
        return answer

    async def _send(
        self,
        method: str,
        url: str,
        *,
        expect: Collection[int],
        google: bool | None,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> Answer:
        if self._client is None:
            raise Unread(self._broken)
        host = urlsplit(url).hostname or url
        if self._subject.hosts.local and not naming.is_loopback(url):
            raise Unread(f"{host} is not on this machine, and the Google Cloud of this stack is")
        if google is None:
            google = _is_google(url, self._subject.hosts.google)
        started = self.left_s
        if started <= 0:
            raise Unread(f"no time was left to ask {host}")
        try:
            async with asyncio.timeout(started):
                own = await self.google_headers() if google else {}
                sent = {**own, **(headers or {})}
                return await self._exchange(
                    self._client, method, url, host, expect, as_caller=bool(own), headers=sent, **content
                )
        except Unread:
            raise
        except TimeoutError:
            raise Unread(f"{host} did not answer within {started:.1f} s") from None
        except Exception as error:  # httpx's own, and what httpcore, h11, ssl and anyio let through
            raise Unread(f"{host} cannot be reached: {_words(error)}") from None

    async def _exchange(
        self,
        client: httpx.AsyncClient,
        method: str,
        url: str,
        host: str,
        expect: Collection[int],
        *,
        as_caller: bool,
        **content: Any,
    ) -> Answer:
        async with client.stream(method, url, **content) as response:
            status = response.status_code
            if status not in expect and (status in (401, 407, 408, 425, 429) or not _conclusive(status)):
                said = f"{host} answers {status} {response.reason_phrase}".rstrip()
                if status == 401 and as_caller:
                    given = "access token" if self._subject.login.token else "credentials"
                    remedy = "take a new one" if self._subject.login.token else LOGIN_REMEDY
                    said += f" to your Google {given} (expired or revoked?): {remedy}"
                raise Unread(said)
            body = bytearray()
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise Unread(f"{host} answers more than {MAX_BYTES // 2**20} MiB")
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            # What comes with a redirect or a challenge is for people.
            told = 300 <= status < 400 or status == 401
            data = None if told else _document(bytes(body), kind, host, status)
            answer = Answer(status, data, dict(response.headers))
        if answer.status == 403 and _TOO_MANY.intersection(answer._reasons()):
            raise Unread(f"{host} answers 403 {answer.reason}")
        return answer


def _conclusive(status: int) -> bool:
    """Whether a status is an answer: success, or a refusal of this very question."""
    return 200 <= status < 300 or 400 <= status < 500


def _document(body: bytes, kind: str, host: str, status: int) -> Any:
    if kind in ("text/html", "application/xhtml+xml"):
        raise Unread(f"{host} answers {status} with a web page instead of JSON (a proxy or a sign-in page?)")
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise Unread(f"{host} answers {status} with {len(body)} bytes that are not JSON") from None


def _import_httpx() -> None:
    """Import httpx without its command line, which brings rich and click: 35 ms instead of 145 in every preview."""
    command_line = "httpx._main"
    if "httpx" not in sys.modules:
        # None makes the import fail, which httpx expects where those two are not installed.
        sys.modules[command_line] = None  # type: ignore[assignment]
        try:
            import httpx  # noqa: F401
        finally:
            del sys.modules[command_line]


def _client(*, local: bool) -> httpx.AsyncClient:
    _import_httpx()
    import httpx

    # Read once: the file of certificates takes some 40 ms. On this machine there is none to read, and what nobody has
    # signed is not trusted.
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if local else httpx.create_ssl_context()
    # Never through a proxy to this machine, whatever NO_PROXY says.
    here = httpx.AsyncHTTPTransport(verify=trusted)
    direct = {f"all://{host}": here for host in ("127.0.0.1", "localhost", "[::1]")}
    return httpx.AsyncClient(
        follow_redirects=False,  # what redirects an API is not the API
        mounts=direct,
        verify=trusted,
        timeout=None,  # each request has a deadline as a whole
        headers={"user-agent": "vertex-vllm-preflight", "accept": "application/json, */*"},
    )


def _is_google(url: str, bases: Collection[str]) -> bool:
    parts = urlsplit(url)
    if parts.scheme == "https" and (parts.hostname or "").endswith(".googleapis.com"):
        return True
    origin = (parts.scheme, parts.hostname, parts.port)
    return any((base.scheme, base.hostname, base.port) == origin for base in map(urlsplit, bases))


def _default_headers(login: Login, project: str) -> Mapping[str, str]:
    """Headers from the default credentials or a key, impersonating where that is asked for. Blocks."""
    ignore_warnings_of_google()
    from google.auth.transport.requests import Request

    credentials = load_credentials(login.credentials)
    is_user = hasattr(credentials, "refresh_token")
    credentials = impersonate(credentials, login.impersonate)
    credentials.refresh(Request())
    headers = {"authorization": f"Bearer {credentials.token}"}
    quota_project = getattr(credentials, "quota_project_id", None)
    if quota_project or is_user:
        # A user's credentials belong to no project, and Cloud Quotas and Service Usage refuse them without one.
        headers["x-goog-user-project"] = quota_project or project
    return headers


def _frozen(pairs: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name.lower(), repr(value)) for name, value in (pairs or {}).items()))


def _words(error: Exception) -> str:
    """An exception on one line, not long."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]

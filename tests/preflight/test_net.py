"""The network of the checks: equal questions are sent once, credentials go to Google only, what cannot be read says so.

What each check makes of bad answers is in `test_bad_network.py`.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.preflight import net as module
from infra.preflight.net import Answer, Net, Unread
from infra.preflight.subject import Login, Subject, hosts, hub, login
from tests.preflight.subjects import subject

Reply = tuple[int, str, bytes]


class Server:
    """A server on loopback with answers by path; remembers what it was asked."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.delay_s = 0.0
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                headers = {name.lower(): value for name, value in self.headers.items()}
                outer.seen.append((self.command, self.path, headers, self.rfile.read(length)))
                time.sleep(outer.delay_s)
                default = (200, "application/json", b'{"ok": true}')
                status, kind, body = outer.replies.get(self.path.partition("?")[0], default)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(body)))
                if status in (301, 302):
                    self.send_header("location", "http://example.com/login")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_HEAD = answer

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    thread = threading.Thread(target=made.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()


def do(of: Subject, body: Callable[[Net], Awaitable[Any]], deadline_s: float = 5.0) -> Any:
    async def main() -> Any:
        async with Net(of, deadline_s) as net:
            return await body(net)

    return asyncio.run(main())


def reason(of: Subject, body: Callable[[Net], Awaitable[Any]], deadline_s: float = 5.0) -> str:
    with pytest.raises(Unread) as caught:
        do(of, body, deadline_s)
    return str(caught.value)


def test_equal_gets_are_sent_once(server: Server) -> None:
    async def body(net: Net) -> list[Answer]:
        same = [net.get(f"{server.url}/a", params={"x": 1, "y": 2}) for _ in range(5)]
        other = [net.get(f"{server.url}/a", params={"x": 2}), net.get(f"{server.url}/b")]
        first = await asyncio.gather(*same, *other)
        return [*first, await net.get(f"{server.url}/a", params={"y": 2, "x": 1})]

    answers = do(subject(local=server.url), body)
    assert {answer.status for answer in answers} == {200}
    assert answers[0].data == {"ok": True}
    assert sorted(path for _, path, _, _ in server.seen) == ["/a?x=1&y=2", "/a?x=2", "/b"]


def test_posts_and_heads_are_sent_each_time(server: Server) -> None:
    async def body(net: Net) -> list[Answer]:
        return [
            await net.post(f"{server.url}/p", json={"permissions": ["a"]}),
            await net.post(f"{server.url}/p", json={"permissions": ["b"]}),
            await net.head(f"{server.url}/h", headers={"accept": "x/y"}),
            await net.head(f"{server.url}/h"),
        ]

    answers = do(subject(local=server.url), body)
    assert [(method, path) for method, path, _, _ in server.seen] == [
        ("POST", "/p"),
        ("POST", "/p"),
        ("HEAD", "/h"),
        ("HEAD", "/h"),
    ]
    assert [json.loads(content) for method, _, _, content in server.seen if method == "POST"] == [
        {"permissions": ["a"]},
        {"permissions": ["b"]},
    ]
    assert server.seen[2][2]["accept"] == "x/y"
    assert answers[2].data is None
    assert answers[2].headers["content-type"] == "application/json"


def test_a_check_that_gives_up_does_not_take_the_shared_answer_away(server: Server) -> None:
    server.delay_s = 0.3

    async def body(net: Net) -> int:
        async def impatient() -> None:
            async with asyncio.timeout(0.05):
                await net.get(f"{server.url}/a")

        other = asyncio.ensure_future(net.get(f"{server.url}/a"))
        with pytest.raises(TimeoutError):
            await impatient()
        return (await other).status

    assert do(subject(local=server.url), body) == 200
    assert len(server.seen) == 1


def test_403_404_and_400_are_answers_with_google_s_words(server: Server) -> None:
    server.replies["/off"] = (
        403,
        "application/json",
        b'{"error": {"code": 403, "message": "API has not been used\\n in project 1", "details":'
        b' [{"@type": "x", "reason": "SERVICE_DISABLED"}]}}',
    )
    server.replies["/bucket"] = (
        404,
        "application/json",
        b'{"error": {"code": 404, "message": "Not Found", "errors": [{"reason": "notFound"}]}}',
    )
    server.replies["/odd"] = (400, "application/json", b'["no error"]')

    async def body(net: Net) -> list[Answer]:
        return [await net.get(server.url + path) for path in ("/off", "/bucket", "/odd")]

    off, bucket, odd = do(subject(local=server.url), body)
    assert (off.status, off.ok, off.reason, off.message) == (
        403,
        False,
        "SERVICE_DISABLED",
        "API has not been used in project 1",
    )
    assert (bucket.status, bucket.reason) == (404, "notFound")
    assert (odd.status, odd.reason, odd.message) == (400, "", "")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ((401, "application/json", b"{}"), "127.0.0.1 answers 401 Unauthorized"),
        ((407, "application/json", b"{}"), "127.0.0.1 answers 407 Proxy Authentication Required"),
        ((429, "application/json", b"{}"), "127.0.0.1 answers 429 Too Many Requests"),
        ((500, "application/json", b"{}"), "127.0.0.1 answers 500 Internal Server Error"),
        ((503, "text/html", b"<html>"), "127.0.0.1 answers 503 Service Unavailable"),
        ((302, "text/html", b"<html>"), "127.0.0.1 answers 302 Found"),
        (
            (200, "text/html; charset=utf-8", b"<html>Sign in</html>"),
            "127.0.0.1 answers 200 with a web page instead of JSON (a proxy or a sign-in page?)",
        ),
        (
            (403, "text/html", b"<html>Blocked</html>"),
            "127.0.0.1 answers 403 with a web page instead of JSON (a proxy or a sign-in page?)",
        ),
        ((200, "application/json", b'{"a": [1, 2'), "127.0.0.1 answers 200 with 11 bytes that are not JSON"),
        ((404, "text/plain", b"Not Found"), "127.0.0.1 answers 404 with 9 bytes that are not JSON"),
        (
            (403, "application/json", b'{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}'),
            "127.0.0.1 answers 403 rateLimitExceeded",
        ),
    ],
)
def test_what_says_nothing_is_unread(server: Server, reply: Reply, words: str) -> None:
    server.replies["/x"] = reply
    assert reason(subject(local=server.url), lambda net: net.get(f"{server.url}/x")) == words


def test_credentials_that_are_refused_come_with_the_way_to_new_ones(server: Server) -> None:
    server.replies["/x"] = (401, "application/json", b"{}")
    of = subject(local=server.url, login=Login(token="secret-1"))
    assert reason(of, lambda net: net.get(f"{server.url}/x")) == (
        "127.0.0.1 answers 401 Unauthorized to your Google access token (expired or revoked?): take a new one"
    )


def test_what_had_no_time_left_was_not_asked(server: Server) -> None:
    server.replies["/x"] = (200, "application/json", b"{}")
    text = reason(subject(local=server.url), lambda net: net.get(f"{server.url}/x"), 0.0)
    assert text == "no time was left to ask 127.0.0.1"


def test_a_status_that_is_expected_is_an_answer(server: Server) -> None:
    server.replies["/v2/"] = (401, "application/json", b"{}")
    answer = do(subject(local=server.url), lambda net: net.get(f"{server.url}/v2/", expect=(401,)))
    assert answer.status == 401


def test_too_much_is_unread(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 2**20)
    server.replies["/x"] = (200, "application/json", b"[" + b" " * 2**20 + b"]")
    assert "more than 1 MiB" in reason(subject(local=server.url), lambda net: net.get(f"{server.url}/x"))


def test_the_deadline_is_that_of_the_run(server: Server) -> None:
    server.delay_s = 2

    async def body(net: Net) -> None:
        await asyncio.sleep(0.2)
        await net.get(f"{server.url}/x")

    started = time.monotonic()
    text = reason(subject(local=server.url), body, 0.5)
    assert text in {f"127.0.0.1 did not answer within {left} s" for left in ("0.1", "0.2", "0.3")}
    assert time.monotonic() - started < 1.5


def test_nobody_listens() -> None:
    text = reason(subject(local="http://127.0.0.1:9"), lambda net: net.get("http://127.0.0.1:9/x"))
    assert text.startswith("127.0.0.1 cannot be reached: ")


def test_of_a_local_run_nothing_leaves_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    text = reason(
        subject(local="http://127.0.0.1:9"), lambda net: net.get("https://storage.googleapis.com/x")
    )
    assert text == "storage.googleapis.com is not on this machine, and the Google Cloud of this stack is"


def test_loopback_is_never_asked_through_a_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    assert do(subject(local=server.url), lambda net: net.get(f"{server.url}/x")).status == 200


# Credentials


def test_a_token_goes_to_google_s_addresses_and_no_other(server: Server) -> None:
    other = Server()
    threading.Thread(target=other.http.serve_forever, daemon=True).start()
    of = subject(local=server.url, login=Login(token="ya29.secret"))

    async def body(net: Net) -> None:
        await net.get(f"{server.url}/v1/x")
        await net.get(f"{other.url}/v2/")
        await net.get(f"{other.url}/mine", google=True)
        await net.get(f"{server.url}/not", google=False)

    do(of, body)
    other.http.shutdown()
    other.http.server_close()
    sent = {path: headers.get("authorization") for _, path, headers, _ in (*server.seen, *other.seen)}
    assert sent == {
        "/v1/x": "Bearer ya29.secret",
        "/v2/": None,
        "/mine": "Bearer ya29.secret",
        "/not": None,
    }


def test_a_local_cloud_without_a_token_gets_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_default_headers", lambda *_: pytest.fail("asked for credentials"))
    do(subject(local=server.url), lambda net: net.get(f"{server.url}/v1/x"))
    assert "authorization" not in server.seen[0][2]


def test_default_credentials_are_fetched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(_: Login, project: str) -> dict[str, str]:
        asked.append(project)
        return {"authorization": "Bearer x"}

    monkeypatch.setattr(module, "_default_headers", fetch)

    async def body(net: Net) -> list[Any]:
        return await asyncio.gather(*(net.google_headers() for _ in range(4)))

    assert do(subject(), body) == [{"authorization": "Bearer x"}] * 4
    assert asked == ["local-project"]


def test_no_credentials_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> dict[str, str]:
        raise RuntimeError("Your default credentials were not found. To set up ADC, see https://x/y.")

    monkeypatch.setattr(module, "_default_headers", fetch)
    text = reason(subject(), lambda net: net.get("https://storage.googleapis.com/storage/v1/b/x"))
    assert text == (
        "there are no Google credentials that work (Your default credentials were not found): "
        "gcloud auth application-default login"
    )


def test_credentials_that_take_too_long_are_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_default_headers", lambda *_: time.sleep(1))
    text = reason(subject(), lambda net: net.google_headers(), 0.2)
    assert text == "no Google credentials were found in time (try: gcloud auth application-default login)"


def test_a_key_that_is_no_key_is_a_reason() -> None:
    of = subject(login=Login(credentials='{"type": "service_account", "private_key": "s3cret"}'))
    text = reason(of, lambda net: net.google_headers())
    assert text.startswith("there are no Google credentials that work (")
    assert "s3cret" not in text


# Where


def test_hosts_are_google_s() -> None:
    found = hosts({}, {}, region="europe-west4")
    assert found.vertex == "https://europe-west4-aiplatform.googleapis.com/v1"
    assert found.service_usage == "https://serviceusage.googleapis.com/v1"
    assert found.cloud_quotas == "https://cloudquotas.googleapis.com/v1"
    assert found.monitoring == "https://monitoring.googleapis.com/v3"
    assert found.storage == "https://storage.googleapis.com/storage/v1"
    assert found.iam == "https://iam.googleapis.com/v1"
    assert found.resource_manager == "https://cloudresourcemanager.googleapis.com/v1"
    assert not found.local


def test_a_vertex_ai_on_this_machine_takes_every_service_with_it() -> None:
    environ = {
        "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": "http://127.0.0.1:8099/v1beta1/",
        "GOOGLE_STORAGE_CUSTOM_ENDPOINT": "http://127.0.0.1:7000/storage/v1/",
        "GOOGLE_MONITORING_CUSTOM_ENDPOINT": "https://monitoring.example.com/",
    }
    found = hosts({}, environ, region="us-central1")
    assert found.local
    assert found.storage == "http://127.0.0.1:7000/storage/v1"
    assert {each for each in found.google if "7000" not in each} == {
        "http://127.0.0.1:8099/v1",
        "http://127.0.0.1:8099/v3",
    }


def test_the_configuration_comes_before_the_environment() -> None:
    config = {"gcp:storageCustomEndpoint": "https://one.example.com/storage/v1/", "gcp:accessToken": "a"}
    environ = {
        "GOOGLE_STORAGE_CUSTOM_ENDPOINT": "https://two.example.com/storage/v1/",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "b",
        "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT": "x@y.iam.gserviceaccount.com",
    }
    assert hosts(config, environ, region="us-central1").storage == "https://one.example.com/storage/v1"
    found = login(config, environ)
    assert (found.token, found.impersonate) == ("a", "x@y.iam.gserviceaccount.com")
    assert "'a'" not in repr(found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), ("", False), ("0", False), ("False", False), ("true", True), ("1", True)],
)
def test_a_workflow_says_that_it_only_previews(value: str | None, expected: bool) -> None:
    environ = {} if value is None else {"VERTEX_VLLM_PREVIEW_ONLY": value}
    assert login({}, environ).previews_only is expected


@pytest.mark.parametrize(
    ("environ", "local", "expected"),
    [
        ({}, False, "https://huggingface.co"),
        ({"HF_ENDPOINT": "https://hub.example.com/"}, False, "https://hub.example.com"),
        ({}, True, ""),
        ({"HF_ENDPOINT": "https://hub.example.com"}, True, ""),
        ({"HF_ENDPOINT": "http://127.0.0.1:5000"}, True, "http://127.0.0.1:5000"),
    ],
)
def test_the_hub_of_a_local_run_is_on_this_machine(
    environ: dict[str, str], local: bool, expected: str
) -> None:
    assert hub(environ, local=local) == expected

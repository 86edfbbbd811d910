"""Every live check against every bad answer: never a crash, never a pass, a no only where the service itself says it.

One server on loopback is Google Cloud, hub and registry at once. First it gives one bad answer to everything; then it
is a good one (the local Google Cloud, a hub, a registry) of which one answer is bad; then one answer has one value
that does not belong there.
"""

from __future__ import annotations

import json
import logging
import random
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from huggingface_hub import constants

from infra.local.cloud.testing import PROJECT, LocalCloud, cloud_in_thread
from infra.preflight import adapters, google, huggingface, image, weights
from infra.preflight.finding import Finding, Status
from infra.preflight.run import Check, run
from infra.preflight.subject import Login, Subject
from tests import hub, loopback
from tests.adapters import config
from tests.hub import Hub
from tests.loopback import Answer, Request
from tests.preflight import registry
from tests.preflight.subjects import LLAMA, REGION, TOKEN, planned, subject

LIVE: Mapping[str, Sequence[Check]] = {
    "google": google.CHECKS,
    "huggingface": huggingface.CHECKS,
    "weights": weights.CHECKS,
    "adapters": adapters.CHECKS,
    "image": image.CHECKS,
}
CHECKS = tuple(check for checks in LIVE.values() for check in checks)

BUCKET = "weights-of-mine"
ADAPTERS = {"sql": f"gs://{BUCKET}/sql", "hub": "me/adapter"}
ACCOUNT = f"server@{PROJECT}.iam.gserviceaccount.com"
IMAGE = planned().container.image_uri.partition("/")[2]
PORTAL = b"<!DOCTYPE html><html><title>Sign in</title><form action='/login'>Please sign in</form></html>"
JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the server is direct, and the hub's client has what it needs."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def subjects(url: str, token: str = "local") -> tuple[Subject, Subject]:
    """What the checks tell apart: all made by the stack, weights of the hub; all existing, weights of a bucket."""
    plan = planned(lora=ADAPTERS)
    made = subject(plan, local=url, hf_endpoint=url, hf_token=TOKEN, login=Login(token=token))
    made = replace(made, hosts=replace(made.hosts, registry=url))
    existing = replace(
        made,
        plan=planned(weights=f"gs://{BUCKET}/llama", lora=ADAPTERS),
        bucket=BUCKET,
        service_account=ACCOUNT,
        grants="guide",
        hf_token=None,
    )
    return made, existing


def asked(
    url: str,
    caplog: pytest.LogCaptureFixture,
    checks: Sequence[Check] = CHECKS,
    *,
    of: Sequence[Subject] = (),
    deadline_s: float = 4.0,
) -> list[Finding]:
    """What the checks find; none of them may crash, which `run` would make a SKIP of."""
    found: list[Finding] = []
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for each in of or subjects(url):
            report = run(each, checks, deadline_s=deadline_s)
            assert report.took_s < deadline_s + 0.6
            found += report.findings
    crashed = [record.getMessage() for record in caplog.records if record.exc_info]
    assert not crashed, caplog.text
    assert not [finding for finding in found if "the check itself failed" in finding.evidence.lower()]
    assert all(finding.evidence.strip() for finding in found)
    return found


def of_status(found: Sequence[Finding], *statuses: Status) -> list[str]:
    return [f"{finding.check}: {finding.evidence}" for finding in found if finding.status in statuses]


@cache
def without_network() -> frozenset[Finding]:
    """What the checks say without asking anybody, such as of a bucket that the stack makes."""
    with refused() as url:
        found = [finding for of in subjects(url) for finding in run(of, CHECKS, deadline_s=4.0).findings]
    return frozenset(finding for finding in found if finding.status is not Status.SKIP)


@contextmanager
def refused() -> Iterator[str]:
    """An address where nobody listens: the port is taken and not open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


# One bad answer to everything


def document(content: Any, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(status, json.dumps(content).encode(), {**JSON, **named})


BAD: dict[str, Answer] = {
    "reset": Answer(0),
    "reset in the middle": Answer(200, b'{"kind": "' + b"x" * 5000, JSON, sent=200),
    "401": document({"error": "who are you"}, 401),
    "401 for a realm": document({}, 401, WWW_Authenticate='Basic realm="proxy"'),
    "403 of a proxy": Answer(403, b"Forbidden by policy", {"Content-Type": "text/plain"}),
    "403 of another API": document({"message": "no"}, 403),
    "404 of a proxy": Answer(404, b"<h1>404</h1>", HTML),
    "404 of another API": document({"detail": "Not Found"}, 404),
    "404 without a body": Answer(404),
    "407": Answer(407, b"", {"Proxy-Authenticate": "Basic"}),
    "429": Answer(429, b"slow down"),
    "429 with Retry-After": document({"error": {"code": 429, "message": "quota"}}, 429, Retry_After="30"),
    "500": document({"error": {"code": 500, "message": "internal", "status": "INTERNAL"}}, 500),
    "502": Answer(502, PORTAL, HTML),
    "503": Answer(503),
    "503 with Retry-After": document({"error": {"code": 503}}, 503, Retry_After="Fri, 27 Nov 2026 10:00:00 GMT"),
    "truncated JSON": Answer(200, b'{"kind": "storage#bucket", "name": ["a", {"b"', JSON),
    "a list": document([{"name": "a"}]),
    "a list of texts": document(["a", "b"]),
    "a text": document("ok"),
    "a number": document(7),
    "null": document(None),
    "no fields": document({}),
    "an error with 200": document({"error": {"code": 403, "message": "denied"}}),
    "a captive portal": Answer(200, PORTAL, HTML),
    "a captive portal that says JSON": Answer(200, PORTAL, JSON),
    "a captive portal that says nothing": Answer(200, PORTAL),
    "a redirect to a portal": Answer(302, b"", {"Location": "/portal"}),
    "a redirect to another host": Answer(302, b"", {"Location": "http://portal.invalid/"}),
    "a redirect to nowhere": Answer(302),
    "a redirect to itself": Answer(307, b"", {"Location": "?again"}),
    "nothing": Answer(200),
    "nothing that says JSON": Answer(200, b"", JSON),
    "204": Answer(204),
    "not UTF-8": Answer(200, b'{"a": "\xff\xfe"}', JSON),
    "not what Content-Encoding says": Answer(200, b"{}", {**JSON, "Content-Encoding": "gzip"}),
    "too deep": Answer(200, b"[" * 100_000, JSON),
    "numbers that are none": Answer(200, b'{"a": NaN, "b": 1e999}', JSON),
}  # fmt: skip

NONE_HELD = frozenset({"permissions", "service-account-act-as"})


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_to_everything(name: str, caplog: pytest.LogCaptureFixture) -> None:
    def answer(given: Request) -> Answer:
        return Answer(200, PORTAL, HTML) if given.path == "/portal" else BAD[name]

    with loopback.serving(answer) as url:
        found = asked(url, caplog)
    found = [finding for finding in found if finding not in without_network()]
    if name == "no fields":
        # With an empty object Google says that one has none of the permissions that were asked for.
        found = [finding for finding in found if finding.check not in NONE_HELD]
    assert found
    assert not of_status(found, Status.PASS, Status.FAIL, Status.WARN)


def test_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    with refused() as url:
        found = asked(url, caplog)
    assert not of_status(found, Status.FAIL)
    assert of_status(found, Status.SKIP)


def test_no_answer_in_time(caplog: pytest.LogCaptureFixture) -> None:
    with loopback.serving(lambda given: Answer(200, b"{}", JSON, delay=5.0)) as url:
        found = asked(url, caplog, deadline_s=0.3)
    found = [finding for finding in found if finding not in without_network()]
    assert not of_status(found, Status.PASS, Status.FAIL, Status.WARN)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
def test_each_check_says_why_it_could_not_ask(check: Check, caplog: pytest.LogCaptureFixture) -> None:
    with loopback.serving(lambda given: Answer(503)) as url:
        found = asked(url, caplog, [check])
    skipped = of_status(found, Status.SKIP)
    assert skipped
    assert any("503" in said for said in skipped), skipped


def own_error(given: Request, status: int) -> Answer:
    """The error with which the real service says no."""
    if given.path.startswith("/v2/"):
        return registry.error(status, "MANIFEST_UNKNOWN" if status == 404 else "DENIED")
    if given.path.startswith(("/api/models/", f"/{LLAMA}/", "/me/adapter/")):
        code = "RepoNotFound" if status == 404 else "GatedRepo"
        return hub.refusal(
            status, code, "Repository not found" if status == 404 else "not in the authorized list"
        )
    text = "NOT_FOUND" if status == 404 else "PERMISSION_DENIED"
    reason = "notFound" if status == 404 else "forbidden"
    error = {"code": status, "message": "no", "status": text, "errors": [{"reason": reason, "message": "no"}]}
    return document({"error": error}, status)


@pytest.mark.parametrize("status", [403, 404])
def test_the_services_own_no_is_never_a_pass(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with loopback.serving(lambda given: own_error(given, status)) as url:
        found = asked(url, caplog)
    found = [finding for finding in found if finding not in without_network()]
    assert not of_status(found, Status.PASS)
    conclusive = {finding.check for finding in found if finding.status is Status.FAIL}
    if status == 404:
        assert {"huggingface-repository", "weights-bucket", "image"} <= conclusive
    else:
        assert "huggingface-access" in conclusive


# One bad answer among good ones


@dataclass
class World:
    """Google Cloud, two repositories of the hub, and registry.

    ``token`` is the caller's, ``fault`` may answer something else instead.
    """

    cloud: LocalCloud
    adapter: Hub
    hub: Hub
    registry: registry.Registry
    token: str = "local"
    fault: Callable[[Request, Answer], Answer] = lambda given, answer: answer
    client: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False, timeout=20))

    def answer(self, given: Request) -> Answer:
        return self.fault(given, self._good(given))

    def _good(self, given: Request) -> Answer:
        if given.path.startswith("/v2/"):
            return self.registry.answer(given)
        if given.path.startswith(("/api/models/me/adapter", "/me/adapter/")):
            return self.adapter.answer(given.path, given.query)
        if given.path.startswith(("/api/models/", f"/{LLAMA}/")):
            return self.hub.answer(given.path, given.query)
        kept = ("authorization", "content-type")
        headers = {name: text for name, text in given.headers.items() if name in kept}
        url = f"{self.cloud.url}{given.path}{'?' if given.query else ''}{given.query}"
        said = self.client.request(given.method, url, headers=headers, content=given.body)
        return Answer(said.status_code, said.content, {"Content-Type": said.headers.get("content-type", "")})


@contextmanager
def furnished(cloud: LocalCloud, location: str = REGION, files: Sequence[str] = ()) -> Iterator[World]:
    """A world in which every check passes, with its bucket in a region and only some of the files of the weights."""
    size = planned().model.weights.bytes
    assert size is not None
    repository = hub.Hub(
        LLAMA, {"config.json": b'{"model_type": "llama"}'}, sizes={"model.safetensors": size}
    )
    saved = {"adapter_config.json": config(), "adapter_model.safetensors": b"x"}
    images = registry.Registry(IMAGE.partition(":")[0])
    images.push(IMAGE.partition(":")[2], "amd64")
    cloud.admin.enable("aiplatform.googleapis.com", "cloudquotas.googleapis.com", "monitoring.googleapis.com")
    body = {"name": BUCKET, "location": location.upper()}
    cloud.http.post(f"/storage/v1/b?project={PROJECT}", json=body).raise_for_status()
    index = json.dumps({"weight_map": {"a": "model-1-of-1.safetensors"}}).encode()
    contents = {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model-1-of-1.safetensors": b"x" * 1000,
        "model.safetensors.index.json": index,
    }
    for name in files or contents:
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote('llama/' + name, safe='')}"
        cloud.http.post(path, content=contents[name]).raise_for_status()
    for name, content in saved.items():
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote('sql/' + name, safe='')}"
        cloud.http.post(path, content=content).raise_for_status()
    world = World(cloud, hub.Hub("me/adapter", saved), repository, images)
    with world.client:
        yield world


@pytest.fixture(scope="module")
def good() -> Iterator[World]:
    """Everything is as it should be."""
    with cloud_in_thread() as running, furnished(running) as world:
        account(running, "server")
        yield world


@pytest.fixture(scope="module")
def hopeless() -> Iterator[World]:
    """No quota, no right, no file, the wrong region, the wrong processor."""
    with cloud_in_thread() as running, furnished(running, "europe-west4", ["config.json"]) as world:
        reader = account(running, "reader")
        project = f"/v1/projects/{PROJECT}"
        policy = running.http.post(f"{project}:getIamPolicy", json={}).raise_for_status().json()
        policy["bindings"].append({"role": "roles/viewer", "members": [f"serviceAccount:{reader}"]})
        running.http.post(f"{project}:setIamPolicy", json={"policy": policy}).raise_for_status()
        running.admin.advance_clock(3600)  # grants take a while
        for use in planned().quota:
            running.admin.quota(use.quota.quota_id, REGION, 0)
        refusal = hub.refusal(403, "GatedRepo", "you are not in the authorized list")
        world.hub.fault = lambda path: refusal if "/resolve/" in path else None
        world.registry.push(IMAGE.partition(":")[2], "arm64")
        world.token = f"sa:{reader}"
        yield world


def account(cloud: LocalCloud, name: str) -> str:
    """A new service account; its email."""
    body = {"accountId": name, "serviceAccount": {}}
    cloud.http.post(f"/v1/projects/{PROJECT}/serviceAccounts", json=body).raise_for_status()
    return f"{name}@{PROJECT}.iam.gserviceaccount.com"


@dataclass
class Asked:
    """What one check says of one subject when nothing is wrong with the network, and which answers it read."""

    check: Check
    of: Subject
    findings: dict[str, Finding]
    bodies: dict[str, bytes]


def surveyed(world: World, url: str, caplog: pytest.LogCaptureFixture) -> list[Asked]:
    """Every check with every subject, alone."""
    world.registry.url = url
    all_of_them = []
    for of in subjects(url, world.token):
        for check in CHECKS:
            bodies: dict[str, bytes] = {}

            def note(given: Request, answer: Answer, bodies: dict[str, bytes] = bodies) -> Answer:
                bodies[f"{given.method} {given.path}"] = answer.body
                return answer

            world.fault = note
            found = {finding.check: finding for finding in asked(url, caplog, [check], of=[of])}
            if bodies:
                all_of_them.append(Asked(check, of, found, bodies))
    return all_of_them


SOME = ["reset in the middle", "503", "404 of a proxy", "a captive portal", "a list", "no fields"]


def each_bad_answer(
    world: World, url: str, name: str, caplog: pytest.LogCaptureFixture
) -> Iterator[tuple[str, Asked, dict[str, Finding]]]:
    """Each answer that a check reads is bad once: which, what was said before, what is said now."""
    for each in surveyed(world, url, caplog):
        for bad in each.bodies:

            def fault(given: Request, answer: Answer, bad: str = bad) -> Answer:
                return BAD[name] if f"{given.method} {given.path}" == bad else answer

            world.fault = fault
            found = asked(url, caplog, [each.check], of=[each.of])
            yield f"{name} for {bad}", each, {finding.check: finding for finding in found}


@pytest.mark.parametrize("name", SOME)
def test_one_bad_answer_makes_no_no(name: str, good: World, caplog: pytest.LogCaptureFixture) -> None:
    seen: set[str] = set()
    with loopback.serving(good.answer) as url:
        for bad, before, found in each_bad_answer(good, url, name, caplog):
            seen |= before.findings.keys()
            assert not of_status(list(before.findings.values()), Status.FAIL), "the good world is not good"
            failed = {check for check, finding in found.items() if finding.status is Status.FAIL}
            assert failed <= (NONE_HELD if name == "no fields" else frozenset()), bad
    assert {"quota-gpu", "permissions", "bucket", "huggingface-access", "weights-objects", "image"} <= seen
    assert {"lora-sql", "lora-hub"} <= seen


@pytest.mark.parametrize("name", SOME)
def test_one_bad_answer_makes_no_pass(name: str, hopeless: World, caplog: pytest.LogCaptureFixture) -> None:
    failing: set[str] = set()
    with loopback.serving(hopeless.answer) as url:
        for bad, before, found in each_bad_answer(hopeless, url, name, caplog):
            for check, finding in before.findings.items():
                if finding.status is Status.FAIL:
                    failing.add(check)
                    now = found.get(check)
                    assert now is None or now.status is not Status.PASS, (bad, now)
    assert failing >= {
        "quota-gpu",
        "quota-vcpu",
        "bucket",
        "permissions",
        "bucket-permissions",
        "service-account",
        "huggingface-access",
        "weights-objects",
        "image-architecture",
    }


# One value that does not belong


WRONG: tuple[Any, ...] = (
    "text", "", 7, -1, 2.5, None, True, [], {}, ["text"], [None], [[]], {"a": []}, "9" * 30
)  # fmt: skip


def places(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where in a document a value stands; of a list the first only."""
    if at:
        yield at
    if isinstance(content, dict):
        for key in content:
            yield from places(content[key], (*at, key))
    elif isinstance(content, list) and content:
        yield from places(content[0], (*at, 0))


def changed(content: Any, at: tuple[Any, ...], value: Any) -> Any:
    """A document with another value in one place, or without it where the value is ``...``."""
    copy = json.loads(json.dumps(content))
    part = copy
    for key in at[:-1]:
        part = part[key]
    if value is ...:
        del part[at[-1]]
    else:
        part[at[-1]] = value
    return copy


@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_value_crashes_nothing(seed: int, good: World, caplog: pytest.LogCaptureFixture) -> None:
    some = random.Random(seed)
    with loopback.serving(good.answer) as url:
        for each in surveyed(good, url, caplog):
            documents = {path: json.loads(body) for path, body in each.bodies.items() if body[:1] == b"{"}
            for path, content in documents.items():
                spots = list(places(content))
                for spot in some.sample(spots, min(4, len(spots))):
                    wrong = json.dumps(changed(content, spot, some.choice((*WRONG, ..., ...)))).encode()

                    def fault(
                        given: Request, answer: Answer, path: str = path, wrong: bytes = wrong
                    ) -> Answer:
                        return (
                            replace(answer, body=wrong) if f"{given.method} {given.path}" == path else answer
                        )

                    good.fault = fault
                    asked(url, caplog, [each.check], of=[each.of])

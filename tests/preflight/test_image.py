"""The check of the container image, against a registry on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from infra.preflight.finding import Finding
from infra.preflight.image import CHECKS, Reference, reference
from infra.preflight.net import Answer as NetAnswer
from infra.preflight.net import Net
from infra.preflight.subject import Login, Subject
from tests.loopback import Answer
from tests.preflight.registry import Registry, error, said, serving
from tests.preflight.subjects import ask, planned, subject

NAME = "vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"
TAG = "20241001_0916_RC00"
URI = f"us-docker.pkg.dev/{NAME}:{TAG}"  # the guide's, which the plan of these tests has


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving(Registry(NAME)) as running:
        running.push(TAG, "amd64")
        yield running


def at(registry: Registry, **changes: Any) -> Subject:
    of = subject(local=registry.url, login=Login(token="local"), **changes)
    return replace(of, hosts=replace(of.hosts, registry=registry.url))


def found(registry: Registry, **changes: Any) -> dict[str, Finding]:
    return ask(CHECKS, at(registry, **changes))


def statuses(findings: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.status.value for check, finding in findings.items()}


def imaged(uri: str) -> Any:
    serving = planned()
    return replace(serving, container=replace(serving.container, image_uri=uri))


GOOD = {"image": "PASS", "image-architecture": "PASS"}


def test_a_public_image_for_one_processor(registry: Registry) -> None:
    findings = found(registry)
    assert statuses(findings) == GOOD
    assert f"us-docker.pkg.dev has {NAME} {TAG} (sha256:" in findings["image"].evidence
    assert findings["image"].by_hand == f"gcloud artifacts docker images describe {URI}"
    assert findings["image-architecture"].evidence == (
        "The image is for amd64; g2-standard-12 is an amd64 machine."
    )
    assert {sent for _, sent in registry.seen} == {None, "Bearer anybody"}


def test_a_challenge_for_people(registry: Registry) -> None:
    def challenge(path: str) -> Answer | None:
        if "token" in path or registry.seen[-1][1]:
            return None
        realm = f'Bearer realm="{registry.url}/v2/token"'
        return Answer(401, b"<p>Unauthorized</p>", {"WWW-Authenticate": realm, "Content-Type": "text/html"})

    registry.fault = challenge
    assert statuses(found(registry)) == GOOD


def test_no_token_is_fetched_where_none_is_needed(registry: Registry) -> None:
    registry.challenged = False
    assert statuses(found(registry)) == GOOD
    assert [path for path, _ in registry.seen if "token" in path] == []


def test_an_image_for_several_processors(registry: Registry) -> None:
    registry.push_index(TAG, "amd64", "arm64")
    findings = found(registry)
    assert statuses(findings) == GOOD
    assert findings["image-architecture"].evidence.startswith("The image is for amd64, arm64; ")


def test_blobs_that_are_elsewhere(registry: Registry) -> None:
    registry.elsewhere = True
    assert statuses(found(registry)) == GOOD


@pytest.mark.parametrize("several", [False, True])
def test_an_image_for_another_processor(registry: Registry, several: bool) -> None:
    (registry.push_index if several else registry.push)(TAG, "arm64")
    findings = found(registry)
    assert statuses(findings) == {"image": "PASS", "image-architecture": "FAIL"}
    assert "is for arm64; g2-standard-12 is an amd64 machine" in findings["image-architecture"].evidence
    assert "name an image for amd64 in container.image_uri" in findings["image-architecture"].remedy


def test_an_image_for_arm_on_an_arm_machine(registry: Registry) -> None:
    registry.push(TAG, "arm64")
    arm = replace(planned(), accelerator=replace(planned().accelerator, cpu_arch="arm"))
    assert statuses(found(registry, plan=arm)) == GOOD


def test_a_tag_that_there_is_not(registry: Registry) -> None:
    registry.manifests.clear()
    findings = found(registry)
    assert statuses(findings) == {"image": "FAIL"}
    assert findings["image"].evidence == f"us-docker.pkg.dev has no tag {TAG} of {NAME}."


def test_a_digest(registry: Registry) -> None:
    digest = registry.push("other", "amd64")
    assert statuses(found(registry, plan=imaged(f"{URI}@{digest}"))) == GOOD
    assert registry.seen[0][0].endswith(f"/manifests/{digest}")
    missing = f"{URI}@sha256:{'0' * 64}"
    assert "has no digest sha256:000" in found(registry, plan=imaged(missing))["image"].evidence


# Who asks


def test_a_private_image_is_asked_for_as_the_caller(registry: Registry) -> None:
    registry.public = False
    registry.elsewhere = True
    assert statuses(found(registry)) == GOOD
    assert registry.seen[-1][1] is None  # the last, where the blob is


def test_a_private_image_of_somebody_else(registry: Registry) -> None:
    registry.public, registry.login = False, "Bearer somebody else's"
    findings = found(registry)
    assert statuses(findings) == {"image": "SKIP"}
    assert "us-docker.pkg.dev answers 401" in findings["image"].evidence


def test_googles_token_goes_to_google_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool | None]] = []

    async def get(self: Net, url: str, *, google: bool | None = None, **_: Any) -> NetAnswer:
        asked.append((url, google))
        return NetAnswer(401, {"errors": [{"code": "UNAUTHORIZED"}]}, {})

    monkeypatch.setattr(Net, "get", get)
    for uri in (
        "us-docker.pkg.dev/p/r/i:t",
        "ghcr.io/o/i:t",
        "vllm/vllm-openai:v0.9.2",
        "pkg.dev.evil.org/i:t",
    ):
        assert statuses(ask(CHECKS, subject(imaged(uri)))) == {"image": "SKIP"}
    assert {url.split("/")[2] for url, google in asked if google} == {"us-docker.pkg.dev"}
    assert {google for _, google in asked} == {True, False}  # never left to the address


@pytest.mark.parametrize(
    "challenge",
    ["", "Basic realm=x", 'Bearer realm="http://example.org/token"', 'Bearer realm="http://[::1"', "Bearer"],
)
def test_challenges_that_are_not_followed(registry: Registry, challenge: str) -> None:
    refusal = error(401, "UNAUTHORIZED")
    refusal.headers = {**refusal.headers, "WWW-Authenticate": challenge}
    registry.fault = lambda path: refusal
    assert statuses(found(registry)) == {"image": "SKIP"}
    assert {path.split("/")[-2] for path, _ in registry.seen} == {"manifests"}


# What is not an answer


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"schemaVersion": 1, "config": {}},
        {"schemaVersion": 2},
        {"schemaVersion": 2, "manifests": {}},
        {"schemaVersion": "2", "manifests": []},
        None,
        7,
    ],
)
def test_manifests_that_are_none(registry: Registry, document: Any) -> None:
    registry.fault = lambda path: said(200, document) if "/manifests/" in path else None
    assert statuses(found(registry)) == {"image": "SKIP"}


@pytest.mark.parametrize(
    "document",
    [
        {"schemaVersion": 2, "config": {}},
        {"schemaVersion": 2, "config": {"digest": "sha256:../../token"}},
        {"schemaVersion": 2, "manifests": []},
        {"schemaVersion": 2, "manifests": [7, {}, {"platform": "linux"}, {"platform": {"os": "linux"}}]},
    ],
)
def test_manifests_that_name_no_processor(registry: Registry, document: Any) -> None:
    registry.fault = lambda path: said(200, document) if "/manifests/" in path else None
    assert statuses(found(registry)) == {"image": "PASS", "image-architecture": "SKIP"}


@pytest.mark.parametrize(
    "answer",
    [
        said(200, []),
        said(200, {"architecture": "amd64"}),
        said(200, {"architecture": 7, "rootfs": {}}),
        error(404, "BLOB_UNKNOWN"),
        Answer(307, b"", {"Location": "http://example.org/login"}),
        Answer(307, b"", {"Location": "http://[::1"}),
        Answer(307, b"", {}),
    ],
)
def test_configurations_that_are_none(registry: Registry, answer: Answer) -> None:
    registry.fault = lambda path: answer if "/blobs/" in path else None
    assert statuses(found(registry)) == {"image": "PASS", "image-architecture": "SKIP"}


# Without a registry


def test_the_local_cloud_has_no_registry() -> None:
    findings = ask(CHECKS, subject(local="http://127.0.0.1:1"))
    assert statuses(findings) == {"image": "SKIP", "image-architecture": "PASS"}
    assert f"which has no registry; the catalogue has {URI}" in findings["image"].evidence
    assert findings["image-architecture"].evidence.startswith("By the catalogue the image is for amd64; ")
    own = ask(CHECKS, subject(imaged("example.org/mine:1"), local="http://127.0.0.1:1"))
    assert statuses(own) == {"image": "SKIP"}
    assert own["image"].evidence.endswith("the catalogue does not have it either.")


# Addresses


@pytest.mark.parametrize(
    ("uri", "host", "name", "version"),
    [
        (URI, "us-docker.pkg.dev", NAME, TAG),
        ("gcr.io/p/i", "gcr.io", "p/i", "latest"),
        ("vllm/vllm-openai:v0.9.2", "registry-1.docker.io", "vllm/vllm-openai", "v0.9.2"),
        ("busybox", "registry-1.docker.io", "library/busybox", "latest"),
        ("localhost:5000/i:1", "localhost:5000", "i", "1"),
        ("localhost/i", "localhost", "i", "latest"),
        (f"eu.gcr.io/p/i:t@sha256:{'a' * 64}", "eu.gcr.io", "p/i", f"sha256:{'a' * 64}"),
    ],
)
def test_addresses(uri: str, host: str, name: str, version: str) -> None:
    assert reference(uri) == Reference(host, name, version, uri)


@pytest.mark.parametrize(
    ("host", "google"),
    [
        ("us-docker.pkg.dev", True),
        ("gcr.io", True),
        ("eu.gcr.io", True),
        ("ghcr.io", False),
        ("pkg.dev.example.org", False),
        ("notgcr.io", False),
        ("evilpkg.dev", False),
    ],
)
def test_whose_registry(host: str, google: bool) -> None:
    assert reference(f"{host}/p/i:t").google is google

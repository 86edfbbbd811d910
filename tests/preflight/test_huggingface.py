"""The hub's checks, with the real huggingface_hub against a hub on loopback."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from infra.preflight import checkpoint
from infra.preflight.finding import Finding, Status
from infra.preflight.huggingface import CHECKS
from infra.recipes import catalog
from tests.hub import COMMIT, Answer, Hub, refusal, serving
from tests.preflight.subjects import LLAMA, TOKEN, ask, planned, subject

BYTES = 16_060_522_496  # of Llama 3.1 8B in the catalogue
SHARDS = {f"model-0000{n}-of-00004.safetensors": BYTES // 4 + 8000 for n in (1, 2, 3, 4)}
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors.index.json": b"{}",
}
NOT_LISTED = f"Access to model {LLAMA} is restricted and you are not in the authorized list. Visit the page."
LOG_IN = (
    f"Access to model {LLAMA} is restricted. You must have access to it and be authenticated to access it."
)
PENDING = f"Your request to access model {LLAMA} is awaiting a review from the repo authors."
REJECTED = f"Your request to access model {LLAMA} has been rejected by the repo's authors."
FINE_GRAINED = "Please enable access to public gated repositories in your fine-grained token settings."


@pytest.fixture(autouse=True)
def no_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is logged in on this machine; the container is not them."""
    stored = tmp_path / "token"
    stored.write_text("hf_of_whoever_works_here")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(stored))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Llama 3.1 8B, open to everybody."""
    with serving(Hub(LLAMA, FILES, sizes=SHARDS)) as running:
        yield running


def found(hub: Hub, token: str | None = TOKEN, **changes: Any) -> dict[str, Finding]:
    return ask(CHECKS, subject(hf_endpoint=hub.url, hf_token=token, **changes))


def statuses(findings: dict[str, Finding]) -> dict[str, str]:
    return {check.removeprefix("huggingface-"): finding.status.value for check, finding in findings.items()}


def on_file(answer: Answer) -> Any:
    """A fault of every file, with the listing as it is."""
    return lambda path: answer if "/resolve/" in path else None


def test_everything_is_as_it_should_be(hub: Hub) -> None:
    findings = found(hub)
    assert statuses(findings) == {"repository": "PASS", "access": "PASS", "size": "PASS"}
    assert f"7 files; without a revision its newest commit is served, now {COMMIT[:12]}" in (
        findings["huggingface-repository"].evidence
    )
    assert "config.json" in findings["huggingface-access"].evidence
    assert "(23 bytes) can be read with the token" in findings["huggingface-access"].evidence
    assert "4 weight files of 16.06 GB (16,060,554,496 bytes)" in findings["huggingface-size"].evidence
    assert "the catalogue 16.06 GB (16,060,522,496 bytes)" in findings["huggingface-size"].evidence
    assert {authorization for _, authorization, _ in hub.seen} == {f"Bearer {TOKEN}"}


def test_without_a_token_nobody_elses_is_used(hub: Hub) -> None:
    findings = found(hub, None)
    assert statuses(findings) == {"repository": "PASS", "access": "PASS", "size": "PASS"}
    assert "can be read without a token" in findings["huggingface-access"].evidence
    assert {authorization for _, authorization, _ in hub.seen} == {None}
    assert "Authorization" not in findings["huggingface-access"].by_hand


def test_a_gated_repository_that_the_token_may_read(hub: Hub) -> None:
    hub.gated = "manual"
    access = found(hub)["huggingface-access"]
    assert access.status is Status.PASS
    assert "the repository is gated (manual)" in access.evidence
    assert access.by_hand == (
        f'curl -sSLi -H "Authorization: Bearer $HF_TOKEN" {hub.url}/{LLAMA}/resolve/main/config.json'
    )


@pytest.mark.parametrize(
    ("token", "answer", "evidence", "remedy"),
    [
        (None, refusal(401, "GatedRepo", LOG_IN), "is gated, and there is no token", "accept its terms at https"),
        (TOKEN, refusal(403, "GatedRepo", NOT_LISTED), "not among those that may", "with the token's account"),
        (TOKEN, refusal(403, "GatedRepo", PENDING), "has asked for access", "wait for their answer"),
        (TOKEN, refusal(403, "GatedRepo", REJECTED), "have refused access", "an account that has access"),
        (TOKEN, refusal(403, "", FINE_GRAINED), "fine-grained and lacks the right", "Read access to contents of all"),
        (TOKEN, refusal(403, "", "No."), f"answers 403 for {LLAMA}: No.", "give the token read access"),
        (
            TOKEN,
            refusal(401, "", "Invalid credentials in Authorization header"),
            "is not valid (wrong, revoked or expired)",
            "with a new token",
        ),
    ],
)  # fmt: skip
def test_a_file_that_may_not_be_read(
    hub: Hub, token: str | None, answer: Answer, evidence: str, remedy: str
) -> None:
    hub.gated = "manual"
    hub.fault = on_file(answer)
    findings = found(hub, token)
    assert statuses(findings) == {"repository": "PASS", "access": "FAIL", "size": "PASS"}
    assert evidence in findings["huggingface-access"].evidence
    assert remedy in findings["huggingface-access"].remedy


def test_a_wrong_token_is_refused_even_for_the_listing(hub: Hub) -> None:
    hub.fault = lambda path: refusal(401, "", "Invalid credentials in Authorization header")
    findings = found(hub)
    assert statuses(findings) == {"access": "FAIL"}
    assert "is not valid" in findings["huggingface-access"].evidence


@pytest.mark.parametrize(
    ("token", "answer", "evidence"),
    [
        (None, refusal(401, "", "Invalid username or password."), "there is no token (it answers 401)"),
        (TOKEN, refusal(404, "RepoNotFound", "Repository not found"), "the token may not read it (it answers 404)"),
    ],
)  # fmt: skip
def test_a_repository_that_is_not_there_or_private(
    hub: Hub, token: str | None, answer: Answer, evidence: str
) -> None:
    hub.fault = lambda path: answer
    findings = found(hub, token)
    assert statuses(findings) == {"repository": "FAIL"}
    assert evidence in findings["huggingface-repository"].evidence
    assert f"compare the id with https://huggingface.co/{LLAMA}" in findings["huggingface-repository"].remedy


def test_a_renamed_repository(hub: Hub) -> None:
    hub.id = "meta-llama/Llama-3.1-8B-Instruct"
    hub.fault = lambda path: hub._info("blobs=True") if path == f"/api/models/{LLAMA}" else None
    repository = found(hub)["huggingface-repository"]
    assert repository.status is Status.PASS  # the hub leads from the old name to the new one
    assert "which is called meta-llama/Llama-3.1-8B-Instruct now" in repository.evidence


# Revisions


def revised(revision: str) -> Any:
    serving = planned()
    container = serving.container
    changed = replace(container, args=(*container.args, f"--revision={revision}"))
    return replace(serving, container=changed)


@pytest.mark.parametrize("revision", ["main", COMMIT])
def test_a_revision_that_there_is(hub: Hub, revision: str) -> None:
    findings = found(hub, plan=revised(revision))
    assert statuses(findings) == {"repository": "PASS", "revision": "PASS", "access": "PASS", "size": "PASS"}
    assert f"at revision {revision} is commit {COMMIT[:12]}" in findings["huggingface-revision"].evidence
    assert f"/resolve/{revision}/config.json" in findings["huggingface-access"].by_hand


def test_a_revision_that_there_is_not(hub: Hub) -> None:
    findings = found(hub, plan=revised("v9"))
    assert statuses(findings) == {"revision": "FAIL"}
    assert "at revision v9: the repository has no such revision" in findings["huggingface-revision"].evidence
    assert "--revision of vllm.extra_args" in findings["huggingface-revision"].remedy


# Files


def test_another_size_than_the_catalogue_says(hub: Hub) -> None:
    hub.sizes = {"model.safetensors": BYTES // 2}
    size = found(hub)["huggingface-size"]
    assert size.status is Status.WARN
    assert "1 weight file of 8.03 GB (8,030,261,248 bytes), the catalogue 16.06 GB" in size.evidence
    assert size.evidence.endswith("50% less.")


def test_a_repository_without_a_config(hub: Hub) -> None:
    hub.files = {"README.md": b"hello"}
    access = found(hub)["huggingface-access"]
    assert access.status is Status.FAIL
    assert "no config.json and no params.json among its 5 files" in access.evidence


def test_files_whose_sizes_the_hub_does_not_say(hub: Hub) -> None:
    hub.fault = lambda path: hub._info() if path.startswith("/api/") else None
    findings = found(hub)
    assert statuses(findings) == {"repository": "PASS", "access": "PASS", "size": "SKIP"}


@pytest.mark.parametrize(
    ("sizes", "loaded"),
    [
        ({"model.safetensors": 5, "consolidated.safetensors": 5}, {"model.safetensors"}),
        ({"consolidated.safetensors": 5, "params.json": 1}, {"consolidated.safetensors"}),
        (
            {"model-00001-of-00002.safetensors": 5, "model-00002-of-00002.safetensors": 5, "model.safetensors": 9,
             "model.safetensors.index.json": 1},
            {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"},
        ),
        ({"model-00001-of-00001.safetensors": 5, "adapter_model.safetensors": 1}, {"model-00001-of-00001.safetensors"}),
        ({"pytorch_model.bin": 5, "training_args.bin": 1, "config.json": 1}, {"pytorch_model.bin"}),
        ({"model.safetensors": 5, "pytorch_model.bin": 5}, {"model.safetensors"}),
        ({"original/consolidated.00.pth": 5, "config.json": 1}, set()),
    ],
)  # fmt: skip
def test_which_files_are_loaded(sizes: dict[str, int], loaded: set[str]) -> None:
    assert set(checkpoint.weight_files(sizes)) == loaded


def test_a_tied_table_may_be_stored_twice() -> None:
    card = catalog().model("Qwen/Qwen3-0.6B")
    shape = card.architecture
    assert card.weights.bytes is not None
    tied = shape.vocab_size * shape.hidden_size * 2
    assert tied > checkpoint.TOLERANCE * card.weights.bytes
    for size in (card.weights.bytes, card.weights.bytes + tied):
        assert checkpoint.size("s", "it", {"m": size}, card, by_hand="").status is Status.PASS
    assert checkpoint.size("s", "it", {"m": card.weights.bytes * 2}, card, by_hand="").status is Status.WARN


# Where the hub is not asked


def test_weights_of_a_bucket_need_no_hub(hub: Hub) -> None:
    assert found(hub, plan=planned(weights="gs://weights-of-mine/llama")) == {}
    assert hub.seen == []


def test_the_local_cloud_has_a_hub_of_its_own(hub: Hub) -> None:
    findings = ask(CHECKS, subject(local="http://127.0.0.1:1", hf_token="hf_local"))
    assert statuses(findings) == {"repository": "SKIP"}
    assert "a simulated hub; huggingface.co is not asked" in findings["huggingface-repository"].evidence
    here = subject(local="http://127.0.0.1:1", hf_token="hf_local", hf_endpoint=hub.url)
    assert statuses(ask(CHECKS, here)) == {"repository": "PASS", "access": "PASS", "size": "PASS"}


# What must not be seen


@pytest.mark.parametrize(
    "token",
    [TOKEN, "hf_with\nline's end", "hf_ünïcode"],
    ids=["good", "newline", "unicode"],
)
def test_the_token_is_never_shown(
    hub: Hub, token: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    hub.fault = lambda path: refusal(403, "", f"the token {TOKEN} may not")
    findings = found(hub, token)
    assert statuses(findings) == {"access": "FAIL"}
    shown = f"{[finding.as_dict() for finding in findings.values()]}{caplog.text}{capfd.readouterr()}"
    for part in (token, TOKEN, "line's end", "ünïcode"):
        assert part not in shown

"""The checks of LoRA adapters: beside the stack file, in a bucket of the local cloud, on a hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from huggingface_hub import constants

from infra.local.cloud.testing import PROJECT, LocalCloud, cloud
from infra.preflight.adapters import CHECKS
from infra.preflight.finding import Finding, Status
from infra.preflight.google.permissions import needed_on_bucket
from infra.preflight.subject import Login
from infra.recipes import plan
from infra.recipes.stackfile import parse_stack
from tests.adapters import LLAMA, config, write_adapter
from tests.hub import COMMIT, Answer, Hub, refusal, serving
from tests.preflight.subjects import TOKEN, ask, planned, subject

__all__ = ["cloud"]

GATED = refusal(403, "GatedRepo", "not in the authorized list")
WEIGHTS = {"adapter_model.safetensors": b"x"}
MINE = "me/adapter"


@pytest.fixture(autouse=True)
def straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the hub is direct."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def in_bucket(cloud: LocalCloud, files: dict[str, bytes], **changes: Any) -> Finding:
    """What is said of an adapter of these files."""
    cloud.http.post(
        f"/storage/v1/b?project={PROJECT}", json={"name": "mine-of-adapters", "location": "US-CENTRAL1"}
    )
    for name, content in files.items():
        path = (
            f"/upload/storage/v1/b/mine-of-adapters/o?uploadType=media&name={quote('a/sql/' + name, safe='')}"
        )
        cloud.http.post(
            path, content=content, headers={"content-type": "application/json"}
        ).raise_for_status()
    of = subject(planned(lora={"sql": "gs://mine-of-adapters/a/sql"}), local=cloud.url, **changes)
    (found,) = ask(CHECKS, of).values()
    assert found.check == "lora-sql"
    assert found.by_hand == "gcloud storage ls --long gs://mine-of-adapters/a/sql/"
    return found


def test_no_adapters() -> None:
    assert ask(CHECKS, subject()) == {}


def test_one_in_a_bucket(cloud: LocalCloud) -> None:
    found = in_bucket(cloud, {"adapter_config.json": config(), **WEIGHTS})
    assert found.status is Status.PASS
    assert found.evidence == (
        f"gs://mine-of-adapters/a/sql is a LoRA adapter of rank 8, trained on {LLAMA}; the container takes ranks up to"
        " 16."
    )


@pytest.mark.parametrize(
    ("files", "status", "evidence", "remedy"),
    [
        ({}, "WARN", "has 0 files and no adapter_config.json: requests that name it fail until", "save_pretrained"),
        ({"README.md": b"a"}, "WARN", "has 1 file and no adapter_config.json", "upload the adapter"),
        ({"adapter_config.json": config()}, "WARN", "and no adapter_model.safetensors", "upload the adapter"),
        ({"adapter_config.json": b"{}", **WEIGHTS}, "WARN", "has no r and no lora_alpha", "save_pretrained"),
        ({"adapter_config.json": b"<html>", **WEIGHTS}, "SKIP", "6 bytes that are not JSON", ""),
        (
            {"adapter_config.json": config(r=64, use_dora=True), **WEIGHTS},
            "FAIL",
            "gs://mine-of-adapters/a/sql: it is a DoRA adapter (use_dora), which vLLM does not load; its rank is 64",
            '- "--max-lora-rank=64"',
        ),
        (
            {"adapter_config.json": config(base_model_name_or_path="me/other"), **WEIGHTS},
            "WARN",
            f"it was trained on me/other, and {LLAMA} is served.",
            "serve me/other",
        ),
        ({"adapter_config.json": config(peft_type="LOHA"), **WEIGHTS}, "FAIL", "its peft_type is LOHA", "merge it"),
    ],
)  # fmt: skip
def test_others_in_a_bucket(
    cloud: LocalCloud, files: dict[str, bytes], status: str, evidence: str, remedy: str
) -> None:
    found = in_bucket(cloud, files)
    assert found.status.value == status
    assert evidence in found.evidence
    assert remedy in found.remedy


def test_no_such_bucket(cloud: LocalCloud) -> None:
    of = subject(planned(lora={"sql": "gs://nobodys-bucket/sql"}), local=cloud.url)
    (found,) = ask(CHECKS, of).values()
    assert found.status is Status.FAIL
    assert (
        "There is no bucket gs://nobodys-bucket, which pulumi up is to let the container read"
        in found.evidence
    )


def test_a_bucket_that_the_caller_may_not_list(cloud: LocalCloud) -> None:
    cloud.http.post(
        f"/v1/projects/{PROJECT}/serviceAccounts", json={"accountId": "stranger-1", "serviceAccount": {}}
    )
    login = Login(token=f"sa:stranger-1@{PROJECT}.iam.gserviceaccount.com")
    found = in_bucket(cloud, {"adapter_config.json": config(), **WEIGHTS}, login=login)
    assert found.status is Status.SKIP
    assert "cannot be looked at: Cloud Storage answers 403" in found.evidence
    assert found.remedy == "Have roles/storage.objectViewer granted."


def test_the_rank_that_the_stack_file_allows(cloud: LocalCloud) -> None:
    in_bucket(cloud, {"adapter_config.json": config(r=64), **WEIGHTS})
    vllm = {"enable_lora": True, "max_num_seqs": 64, "extra_args": ["--max-lora-rank=64"]}
    of = subject(planned(lora={"sql": "gs://mine-of-adapters/a/sql"}, vllm=vllm), local=cloud.url)
    assert ask(CHECKS, of)["lora-sql"].status is Status.PASS


# On the hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    """An adapter that anybody may read."""
    with serving(Hub(MINE, {"adapter_config.json": config(), **WEIGHTS})) as running:
        yield running


def on_hub(hub: Hub, place: str = MINE, token: str | None = TOKEN) -> Finding:
    of = subject(planned(lora={"sql": place}), hf_endpoint=hub.url, hf_token=token)
    (found,) = ask(CHECKS, of).values()
    assert found.check == "lora-sql"
    assert TOKEN not in str(found.as_dict())
    return found


def test_one_on_the_hub(hub: Hub) -> None:
    found = on_hub(hub)
    assert found.status is Status.PASS
    assert found.evidence.startswith(f"{MINE} is a LoRA adapter of rank 8")
    assert [path for path, _, _ in hub.seen] == [
        f"/api/models/{MINE}",
        f"/{MINE}/resolve/{COMMIT}/adapter_config.json",
    ]
    assert {authorization for _, authorization, _ in hub.seen} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("changes", "status", "evidence"),
    [
        ({"files": {"config.json": b"{}"}}, "WARN", f"{MINE} has 1 file and no adapter_config.json"),
        ({"files": {"adapter_config.json": config(r=32), **WEIGHTS}}, "FAIL", "its rank is 32"),
        (
            {"fault": lambda path: GATED if "/resolve/" in path else None},
            "FAIL",
            f"{MINE} is gated, and the token's account is not among those that may read it",
        ),
        ({"fault": lambda path: refusal(401, "RepoNotFound", "")}, "WARN", f"has no adapter {MINE}, or the token"),
        ({"fault": lambda path: Answer(503)}, "SKIP", f"cannot be asked for {MINE}: it answers 503"),
        ({"fault": lambda path: Answer(body=b"<html>") if "/resolve/" in path else None}, "SKIP", "a web page"),
    ],
)  # fmt: skip
def test_others_on_the_hub(hub: Hub, changes: dict[str, Any], status: str, evidence: str) -> None:
    for key, value in changes.items():
        setattr(hub, key, value)
    found = on_hub(hub)
    assert found.status.value == status
    assert evidence in found.evidence
    assert found.remedy or status == "SKIP"


def test_a_local_stack_asks_no_hub(cloud: LocalCloud) -> None:
    of = subject(planned(lora={"sql": MINE}), local=cloud.url)
    (found,) = ask(CHECKS, of).values()
    assert found.status is Status.SKIP
    assert "huggingface.co is not asked" in found.evidence


# Beside the stack file


def test_one_beside_the_stack_file(tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql")
    source = str(tmp_path / "a.yaml")
    stack = parse_stack(
        yaml.safe_load(f"model: {LLAMA}\nlora: {{sql: ./sql, hub: {MINE}}}\n"), file=source, lines={}
    )
    of = subject(plan(stack, region="us-central1", source=source), hf_endpoint="", bucket="mine")
    found = ask(CHECKS, of)
    assert found["lora-sql"].status is Status.PASS
    assert found["lora-sql"].evidence.startswith("./sql has 2 files of 0.2 MB, which pulumi up uploads")
    assert found["lora-hub"].status is Status.SKIP
    names = {each.name for each in needed_on_bucket(of, "mine")}
    assert names >= {"storage.objects.create", "storage.objects.get", "storage.objects.delete"}
    assert "storage.objects.create" not in {
        each.name for each in needed_on_bucket(subject(bucket="mine"), "mine")
    }

"""The checks of weights in a bucket, against the local Google Cloud."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from infra.local.cloud.testing import PROJECT, LocalCloud, cloud
from infra.preflight.finding import Finding, Status
from infra.preflight.subject import Login
from infra.preflight.weights import CHECKS, _email, _granted
from infra.recipes import ServingPlan
from tests.preflight.subjects import ask, planned, subject

__all__ = ["cloud"]

BUCKET = "weights-of-mine"
SHARDS = {f"model-0000{n}-of-00003.safetensors": b"x" * 1000 for n in (1, 2, 3)}
INDEX = {"weight_map": {f"layer.{name}": name for name in SHARDS}}
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{}",
    "model.safetensors.index.json": json.dumps(INDEX).encode(),
    **SHARDS,
}
ACCOUNT = f"server@{PROJECT}.iam.gserviceaccount.com"
MEMBER = f"serviceAccount:{ACCOUNT}"
READER = "roles/storage.objectViewer"


@pytest.fixture(autouse=True)
def bucket(cloud: LocalCloud) -> None:
    """The checkpoint in a bucket of the region that serves."""
    make(cloud)
    upload(cloud, FILES)


def make(cloud: LocalCloud, name: str = BUCKET, **settings: Any) -> None:
    body = {"name": name, "location": "US-CENTRAL1", **settings}
    cloud.http.post(f"/storage/v1/b?project={PROJECT}", json=body).raise_for_status()


def upload(cloud: LocalCloud, files: dict[str, bytes], prefix: str = "llama/", bucket: str = BUCKET) -> None:
    for name, content in files.items():
        path = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(prefix + name, safe='')}"
        cloud.http.post(path, content=content).raise_for_status()


def remove(cloud: LocalCloud, name: str) -> None:
    cloud.http.delete(f"/storage/v1/b/{BUCKET}/o/{quote('llama/' + name, safe='')}").raise_for_status()


def grant(cloud: LocalCloud, member: str, role: str, **more: Any) -> None:
    path = f"/storage/v1/b/{BUCKET}/iam?optionsRequestedPolicyVersion=3"
    policy = cloud.http.get(path).raise_for_status().json()
    policy["bindings"].append({"role": role, "members": [member], **more})
    cloud.http.put(path, json={**policy, "version": 3}).raise_for_status()
    cloud.admin.advance_clock(3600)  # grants take a while


def small(uri: str = f"gs://{BUCKET}/llama", size: int | None = 3000) -> ServingPlan:
    """A plan whose model is as small as the objects here."""
    serving = planned(weights=uri)
    sized = serving.model.weights.model_copy(update={"bytes": size, "parameters": None})
    return replace(serving, model=serving.model.model_copy(update={"weights": sized}))


def found(cloud: LocalCloud, plan: ServingPlan | None = None, **changes: Any) -> dict[str, Finding]:
    return ask(CHECKS, subject(plan or small(), local=cloud.url, **changes))


def statuses(findings: dict[str, Finding]) -> dict[str, str]:
    return {check.removeprefix("weights-"): finding.status.value for check, finding in findings.items()}


GOOD = {"bucket": "PASS", "region": "PASS", "objects": "PASS", "size": "PASS", "access": "PASS"}


def test_a_whole_checkpoint(cloud: LocalCloud) -> None:
    findings = found(cloud)
    assert statuses(findings) == GOOD
    assert findings["weights-region"].evidence.endswith("is in us-central1, the region that serves.")
    assert findings["weights-objects"].evidence == (
        f"gs://{BUCKET}/llama/ has config.json and 3 weight files, all 3 that model.safetensors.index.json names, "
        "and a tokenizer."
    )
    assert "3 weight files of 0.00 GB (3,000 bytes), the catalogue 0.00 GB (3,000 bytes)" in (
        findings["weights-size"].evidence
    )
    assert findings["weights-objects"].by_hand == f"gcloud storage ls --long gs://{BUCKET}/llama/"


def test_weights_from_the_hub_have_no_bucket(cloud: LocalCloud) -> None:
    assert found(cloud, planned()) == {}
    assert [path for path in cloud.admin.requests("llama") if path["method"] == "GET"] == []


def test_a_whole_bucket(cloud: LocalCloud) -> None:
    make(cloud, "another-of-mine")
    upload(cloud, FILES, prefix="", bucket="another-of-mine")
    assert statuses(found(cloud, small("gs://another-of-mine"))) == GOOD


def test_one_file_needs_no_index(cloud: LocalCloud) -> None:
    upload(cloud, {"config.json": b"{}", "tokenizer.model": b"x", "model.safetensors": b"x" * 3000}, "one/")
    findings = found(cloud, small(f"gs://{BUCKET}/one"))
    assert statuses(findings) == GOOD
    assert (
        "1 weight file, no index that names others, and a tokenizer" in findings["weights-objects"].evidence
    )


def test_mistrals_own_format(cloud: LocalCloud) -> None:
    upload(
        cloud, {"params.json": b"{}", "tekken.json": b"x", "consolidated.safetensors": b"x" * 3000}, "own/"
    )
    assert statuses(found(cloud, small(f"gs://{BUCKET}/own"))) == GOOD


def test_more_objects_than_a_page_holds(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.preflight.objects._PAGE", 2)
    assert statuses(found(cloud)) == GOOD
    monkeypatch.setattr("infra.preflight.objects._PAGES", 2)
    objects = found(cloud)["weights-objects"]
    assert objects.status is Status.SKIP
    assert "there are more than 4 objects" in objects.evidence


# The bucket


def test_no_such_bucket(cloud: LocalCloud) -> None:
    findings = found(cloud, small("gs://nobodys-bucket/llama"))
    assert statuses(findings) == {"bucket": "FAIL"}
    assert findings["weights-bucket"].evidence == "There is no bucket gs://nobodys-bucket."


def test_a_bucket_that_the_caller_may_not_see(cloud: LocalCloud) -> None:
    cloud.http.post(
        f"/v1/projects/{PROJECT}/serviceAccounts", json={"accountId": "stranger-1", "serviceAccount": {}}
    )
    login = Login(token=f"sa:stranger-1@{PROJECT}.iam.gserviceaccount.com")
    findings = found(cloud, login=login)
    assert statuses(findings) == {"bucket": "SKIP", "objects": "SKIP", "access": "SKIP"}
    assert "Cloud Storage answers 403 stranger-1@" in findings["weights-bucket"].evidence
    assert findings["weights-bucket"].remedy == "Have roles/storage.bucketViewer granted."
    assert findings["weights-objects"].remedy == "Have roles/storage.objectViewer granted."
    assert "cannot be seen: Cloud Storage answers 403" in findings["weights-access"].evidence


@pytest.mark.parametrize(
    ("location", "status", "says"),
    [
        ("US", "PASS", "US (multi-region), which holds us-central1"),
        ("NAM4", "PASS", "NAM4 (us-central1, us-east1), which holds us-central1"),
        ("EU", "WARN", "EU (multi-region), the model is served in us-central1"),
        ("EUROPE-WEST4", "WARN", "europe-west4, the model is served in us-central1: every start of a replica loads"),
    ],
)  # fmt: skip
def test_where_the_bucket_is(cloud: LocalCloud, location: str, status: str, says: str) -> None:
    make(cloud, "another-of-mine", location=location)
    upload(cloud, FILES, prefix="", bucket="another-of-mine")
    region = found(cloud, small("gs://another-of-mine"))["weights-region"]
    assert region.status.value == status
    assert says in region.evidence
    if location == "EUROPE-WEST4":
        assert "pulumi config set gcp:region europe-west4" in region.remedy


# The objects


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("config.json", "no config.json and no params.json"),
        ("model-00002-of-00003.safetensors", "not model-00002-of-00003.safetensors, which model.safetensors"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_is_not_whole(cloud: LocalCloud, gone: str, says: str) -> None:
    remove(cloud, gone)
    findings = found(cloud)
    assert statuses(findings) == {"bucket": "PASS", "region": "PASS", "objects": "FAIL", "access": "PASS"}
    assert says in findings["weights-objects"].evidence
    assert f"gcloud storage cp -r . gs://{BUCKET}/llama/" in findings["weights-objects"].remedy


def test_an_empty_shard(cloud: LocalCloud) -> None:
    upload(cloud, {"model-00001-of-00003.safetensors": b""})
    objects = found(cloud)["weights-objects"]
    assert objects.status is Status.FAIL
    assert "model-00001-of-00003.safetensors is empty" in objects.evidence


def test_nothing_below_the_prefix(cloud: LocalCloud) -> None:
    objects = found(cloud, small(f"gs://{BUCKET}/lama"))["weights-objects"]
    assert objects.status is Status.FAIL
    assert "has 0 objects, and no config.json and no params.json; no weights" in objects.evidence


def test_a_prefix_one_folder_too_high(cloud: LocalCloud) -> None:
    objects = found(cloud, small(f"gs://{BUCKET}"))["weights-objects"]
    assert objects.status is Status.FAIL
    assert objects.remedy.endswith(f"or name the folder that has them: weights: gs://{BUCKET}/llama/")


def test_a_prefix_is_a_folder_and_not_the_beginning_of_a_name(cloud: LocalCloud) -> None:
    upload(cloud, {"adapter_config.json": b"{}"}, "llama-lora/")
    assert statuses(found(cloud)) == GOOD


def test_no_tokenizer(cloud: LocalCloud) -> None:
    remove(cloud, "tokenizer.json")
    objects = found(cloud)["weights-objects"]
    assert objects.status is Status.WARN
    assert objects.evidence.endswith("but no tokenizer.")


def test_an_index_that_is_none(cloud: LocalCloud) -> None:
    upload(cloud, {"model.safetensors.index.json": b'{"weight_map": []}'})
    findings = found(cloud)
    assert statuses(findings) == {"bucket": "PASS", "region": "PASS", "objects": "SKIP", "access": "PASS"}


def test_another_size_than_the_catalogues(cloud: LocalCloud) -> None:
    size = found(cloud, small(size=6000))["weights-size"]
    assert size.status is Status.WARN
    assert "(3,000 bytes), the catalogue 0.00 GB (6,000 bytes): 50% less." in size.evidence
    assert found(cloud, small(size=3100))["weights-size"].status is Status.PASS
    assert found(cloud, small(size=None))["weights-size"].status is Status.SKIP


# Who may read


def test_the_stack_grants_it(cloud: LocalCloud) -> None:
    access = found(cloud)["weights-access"]
    assert access.status is Status.PASS
    assert access.evidence == (
        f"None of the 4 grants on gs://{BUCKET} lets vertex-vllm-test@{PROJECT}.iam.gserviceaccount.com (made by this "
        "stack) read it yet; the stack adds one."
    )


def test_granted_already(cloud: LocalCloud) -> None:
    account = {"accountId": "server", "serviceAccount": {}}
    cloud.http.post(f"/v1/projects/{PROJECT}/serviceAccounts", json=account).raise_for_status()
    grant(cloud, f"serviceAccount:{ACCOUNT}", READER)
    access = found(cloud, service_account=ACCOUNT)["weights-access"]
    assert access.status is Status.PASS
    assert access.evidence == f"{ACCOUNT} has {READER} on gs://{BUCKET}."


@pytest.mark.parametrize(
    ("binding", "role"),
    [
        ({"role": READER, "members": [MEMBER]}, READER),
        ({"role": READER, "members": ["allUsers"]}, READER),
        ({"role": "roles/storage.objectAdmin", "members": ["user:a@b.c", MEMBER]}, "roles/storage.objectAdmin"),
        ({"role": READER, "members": [MEMBER], "condition": {"expression": "false"}}, None),
        ({"role": "roles/storage.legacyObjectReader", "members": [MEMBER]}, None),  # which cannot list
        ({"role": READER, "members": ["user:a@b.c"]}, None),
        ({"role": READER, "members": [7]}, None),
        ({"role": READER}, None),
        (7, None),
    ],
)  # fmt: skip
def test_grants(binding: Any, role: str | None) -> None:
    assert _granted([binding], MEMBER) == role


def test_the_account_of_a_project_of_a_domain() -> None:
    of = subject(project="example.com:my-project")
    assert _email(of) == "vertex-vllm-test@my-project.example.com.iam.gserviceaccount.com"

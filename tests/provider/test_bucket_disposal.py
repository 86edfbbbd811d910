"""The resource BucketDisposal: what happens to a bucket on destroy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.provider.harness import Existing, Harness, Refused
from tests.provider.samples import PROJECT

BUCKET = "weights-of-a-stack"
INPUTS = {"project": PROJECT}
LABELS = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "test"}


@pytest.fixture
def bucket(provider: Harness) -> str:
    """An empty bucket of the stack."""
    make(provider, BUCKET, LABELS)
    return BUCKET


def make(provider: Harness, name: str, labels: dict[str, str]) -> None:
    body = {"name": name, "location": "US-CENTRAL1", "labels": {"owner": "me", **labels}}
    provider.cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=body).raise_for_status()


def exists(provider: Harness, name: str = BUCKET) -> bool:
    return provider.cloud.http.get(f"/storage/v1/b/{name}").status_code == 200


def put(provider: Harness, name: str) -> None:
    answer = provider.cloud.http.post(
        f"/upload/storage/v1/b/{BUCKET}/o", params={"uploadType": "media", "name": name}, content=b"x"
    )
    answer.raise_for_status()


def disposal(provider: Harness, **changes: Any) -> Existing:
    return provider.create("BucketDisposal", {**INPUTS, **changes})


def test_an_empty_bucket_goes(provider: Harness, bucket: str) -> None:
    provider.delete("BucketDisposal", disposal(provider))
    assert not exists(provider)
    assert provider.texts("INFO") == [f"bucket gs://{bucket} was empty and is deleted"]
    assert not provider.texts("WARNING")


@pytest.mark.parametrize(("count", "words"), [(1, "1 object"), (3, "3 objects")])
def test_a_bucket_with_objects_stays(provider: Harness, bucket: str, count: int, words: str) -> None:
    for number in range(count):
        put(provider, f"models/{number}")
    provider.delete("BucketDisposal", disposal(provider))
    assert exists(provider)
    assert provider.texts("WARNING") == [
        f"Bucket gs://{bucket} is kept: it holds {words}. "
        f"`gcloud storage rm --recursive gs://{bucket}` removes it with all it holds."
    ]


def test_keep_keeps_an_empty_bucket(provider: Harness, bucket: str) -> None:
    provider.delete("BucketDisposal", disposal(provider, policy="keep"))
    assert exists(provider)
    assert provider.texts("INFO")[0].startswith(f"Bucket gs://{bucket} is kept, as asked for")


def test_delete_leaves_what_holds_anything_to_the_buckets_own_resource(
    provider: Harness, bucket: str
) -> None:
    make(provider, "of-a-killed-run", LABELS)
    put(provider, "models/1")
    provider.delete("BucketDisposal", disposal(provider, policy="delete"))
    assert exists(provider)
    assert not exists(provider, "of-a-killed-run")


def test_every_bucket_of_the_stack_is_found_and_no_other(provider: Harness) -> None:
    ours = [f"of-a-killed-run-{number:04}" for number in range(3)]
    others = {
        "of-nobody": {},
        "of-another-stack": {**LABELS, "vertex-vllm-stack": "prod"},
        "of-another-project": {**LABELS, "vertex-vllm-project": "other"},
    }
    for name in ours:
        make(provider, name, LABELS)
    for name, labels in others.items():
        make(provider, name, labels)
    provider.delete("BucketDisposal", disposal(provider))
    assert not any(exists(provider, name) for name in ours)
    assert all(exists(provider, name) for name in others)


def test_a_bucket_that_is_gone_is_fine(provider: Harness) -> None:
    provider.delete("BucketDisposal", disposal(provider))
    assert not exists(provider)
    assert not provider.texts("WARNING")


def test_an_object_that_comes_at_the_last_moment_saves_the_bucket(provider: Harness, bucket: str) -> None:
    status = {"code": "ALREADY_EXISTS", "message": "The bucket you tried to delete is not empty."}
    provider.admin.fault(f"/b/{bucket}", method="DELETE", status=status)
    provider.delete("BucketDisposal", disposal(provider))
    assert exists(provider)
    (warning,) = provider.texts("WARNING")
    assert warning.startswith(f"Bucket gs://{bucket} is kept: it holds objects.")


def test_a_refusal_is_explained(provider: Harness, bucket: str) -> None:
    message = "Permission 'storage.objects.list' denied on resource (or it may not exist)."
    provider.admin.fault(f"/b/{bucket}/o", status={"code": "PERMISSION_DENIED", "message": message})
    with pytest.raises(Refused) as refused:
        provider.delete("BucketDisposal", disposal(provider))
    assert refused.value.text.startswith(f"Could not dispose of bucket gs://{bucket}: permission is missing.")
    assert "Grant the caller the permission storage.objects.list" in refused.value.text


def test_life_without_calls(provider: Harness) -> None:
    made = disposal(provider)
    assert made.id == f"bucket-disposal/{PROJECT}"
    assert made.outputs == {**INPUTS, "policy": "if_empty"}
    assert provider.read("BucketDisposal", made.id, made) == made
    same = provider.diff("BucketDisposal", made, INPUTS)
    assert same.changes == same.DIFF_NONE
    policy = provider.diff("BucketDisposal", made, {**INPUTS, "policy": "keep"})
    assert (list(policy.diffs), list(policy.replaces)) == (["policy"], [])
    other = provider.diff("BucketDisposal", made, {**INPUTS, "project": "another"})
    assert list(other.replaces) == ["project"]
    assert provider.update("BucketDisposal", made, {**INPUTS, "policy": "keep"}).outputs["policy"] == "keep"
    assert not provider.sent("", "/storage/")

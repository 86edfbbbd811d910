"""Google's own storage client against the local cloud."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions

from infra.local.cloud.testing import LocalCloud


@pytest.fixture
def bucket(storage: Any) -> Any:
    return storage.create_bucket("client-bucket", location="us-central1")


def test_bucket_life(storage: Any) -> None:
    bucket = storage.bucket("client-bucket")
    bucket.labels = {"stack": "local"}
    bucket.iam_configuration.uniform_bucket_level_access_enabled = True
    bucket = storage.create_bucket(bucket, location="us-central1")
    assert (bucket.location, bucket.location_type, bucket.storage_class) == (
        "US-CENTRAL1",
        "region",
        "STANDARD",
    )
    assert bucket.project_number == 123456789012
    assert bucket.iam_configuration.uniform_bucket_level_access_enabled
    assert [found.name for found in storage.list_buckets(prefix="client")] == ["client-bucket"]
    with pytest.raises(exceptions.Conflict, match="you already own it"):
        storage.create_bucket("client-bucket", location="us-central1")
    bucket.labels = {"stack": "local", "other": "x"}
    bucket.patch()
    bucket.reload()
    assert bucket.labels == {"stack": "local", "other": "x"}
    assert bucket.metageneration == 2
    bucket.delete()
    assert storage.lookup_bucket("client-bucket") is None
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        bucket.delete()


def test_small_objects(bucket: Any) -> None:
    blob = bucket.blob("models/a b+c/ü.txt")
    blob.metadata = {"k": "v"}
    blob.upload_from_string("hello", content_type="text/plain")
    assert blob.download_as_bytes(start=1, end=3) == b"ell"
    again = bucket.get_blob(blob.name)
    assert (again.size, again.content_type, again.metadata) == (5, "text/plain", {"k": "v"})
    assert again.md5_hash == "XUFAKrxLKna5cZ2REBfFkg=="
    assert again.crc32c == "mnG7TA=="
    assert again.download_as_text() == "hello"
    again.metadata = {"k": None, "n": "w"}
    again.patch()
    again.reload()
    assert (again.metadata, again.metageneration) == ({"n": "w"}, 2)
    generation = again.generation
    blob.upload_from_string("world")
    assert blob.generation > generation
    with pytest.raises(exceptions.NotFound):
        again.download_as_bytes()
    blob.delete()
    assert not blob.exists()
    with pytest.raises(exceptions.NotFound, match="No such object: client-bucket/models"):
        blob.delete()


def test_large_objects_go_resumable_and_come_back(bucket: Any, tmp_path: Path) -> None:
    data = os.urandom(9 * 2**20 + 17)
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(data)
    for name, chunk in (("one", None), ("many", 2**20)):
        blob = bucket.blob(name, chunk_size=chunk)
        blob.upload_from_filename(str(source), checksum="crc32c")
        bucket.blob(name).download_to_filename(str(target), checksum="md5")
        assert target.read_bytes() == data


def test_listing(storage: Any, bucket: Any) -> None:
    for name in ("a", "dir/a", "dir/b", "dir/sub/c", "dir2/d", "z.txt"):
        bucket.blob(name).upload_from_string(name)

    def names(**options: Any) -> list[str]:
        return [blob.name for blob in storage.list_blobs("client-bucket", **options)]

    assert names() == ["a", "dir/a", "dir/b", "dir/sub/c", "dir2/d", "z.txt"]
    assert names(page_size=2) == names()
    assert names(max_results=3) == ["a", "dir/a", "dir/b"]
    assert names(prefix="dir/") == ["dir/a", "dir/b", "dir/sub/c"]
    assert names(start_offset="dir/b", end_offset="z") == ["dir/b", "dir/sub/c", "dir2/d"]
    assert names(match_glob="**/*.txt") == []
    assert names(match_glob="*.txt") == ["z.txt"]
    assert names(match_glob="dir/[!a]") == ["dir/b"]
    for size in (1, 2, 50):
        pages = storage.list_blobs("client-bucket", delimiter="/", page_size=size)
        assert [blob.name for blob in pages] == ["a", "z.txt"]
        assert pages.prefixes == {"dir/", "dir2/"}
    bucket.blob("dir/").upload_from_string("")
    for size in (1, 2, 50):
        pages = storage.list_blobs(
            "client-bucket", delimiter="/", page_size=size, include_trailing_delimiter=True
        )
        assert [blob.name for blob in pages] == ["a", "dir/", "z.txt"]
        assert pages.prefixes == {"dir/", "dir2/"}
    bucket.blob("dir/").delete()
    folder = storage.list_blobs("client-bucket", prefix="dir/", delimiter="/")
    assert [blob.name for blob in folder] == ["dir/a", "dir/b"]
    assert folder.prefixes == {"dir/sub/"}


def test_preconditions(bucket: Any) -> None:
    blob = bucket.blob("x")
    blob.upload_from_string("1", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed, match="At least one of the pre-conditions"):
        blob.upload_from_string("2", if_generation_match=0)
    blob.upload_from_string("2", if_generation_match=blob.generation)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=1)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.download_as_bytes(if_metageneration_match=9)
    blob.delete(if_generation_match=blob.generation)


def test_copy_compose_and_delete_all(bucket: Any) -> None:
    first, second = bucket.blob("1"), bucket.blob("2")
    first.upload_from_string("one ", content_type="text/x")
    second.upload_from_string("two")
    whole = bucket.blob("whole")
    whole.compose([first, second])
    assert whole.download_as_bytes() == b"one two"
    assert whole.component_count == 2
    copied = bucket.copy_blob(whole, bucket, "dir/copied")
    assert copied.md5_hash == whole.md5_hash
    token, done, total = bucket.blob("again").rewrite(copied)
    assert (token, done, total) == (None, 7, 7)
    assert bucket.rename_blob(copied, "moved").download_as_bytes() == b"one two"
    with pytest.raises(exceptions.Conflict, match="The bucket you tried to delete is not empty"):
        bucket.delete()
    bucket.delete(force=True)


def test_policy_with_etag(storage: Any, bucket: Any) -> None:
    policy = bucket.get_iam_policy(requested_policy_version=3)
    policy.bindings.append({"role": "roles/storage.objectViewer", "members": {"allAuthenticatedUsers"}})
    written = bucket.set_iam_policy(policy)
    assert written.etag != policy.etag
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.set_iam_policy(policy)
    assert bucket.test_iam_permissions(["storage.objects.get", "storage.buckets.delete"]) == [
        "storage.objects.get",
        "storage.buckets.delete",
    ]
    assert storage.get_service_account_email().startswith("service-123456789012@")


def test_a_lost_answer_of_an_upload_is_repeated_safely(cloud: LocalCloud, bucket: Any) -> None:
    from google.cloud.storage.retry import DEFAULT_RETRY  # type: ignore[import-untyped]

    cloud.admin.fault("/upload/storage/v1/b/client-bucket/o", method="POST", reset="after")
    blob = bucket.blob("x")
    # Repeated after the lost answer, the precondition says that the first one had arrived.
    with pytest.raises(exceptions.PreconditionFailed):
        blob.upload_from_string("data", if_generation_match=0, retry=DEFAULT_RETRY.with_delay(initial=0.01))
    assert blob.download_as_bytes() == b"data"
    assert not cloud.admin.unmet_faults()


def test_compose_without_generations(bucket: Any) -> None:
    # The client sends "generation": null for blobs that it has not read.
    for name in ("one", "two"):
        bucket.blob(name).upload_from_string(name)
    joined = bucket.blob("joined")
    joined.compose([bucket.blob("one"), bucket.blob("two")])
    assert joined.download_as_bytes() == b"onetwo"

"""Objects: uploads of files and texts, in chunks and through faults, drift of their bytes, replacements, deletes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.local.gcp_plugin import rest, uploads
from infra.plugin import UNKNOWN, Asset
from tests.local.gcp_plugin.conftest import Failed, Made, Plugin
from tests.local.gcp_plugin.test_types import BUCKET

OBJECT = "gcp:storage/bucketObject:BucketObject"
UNIT = 256 * 1024
LARGE = bytes(range(256)) * (5 * UNIT // 256) + b"the rest"
UPLOAD = "/upload/storage/v1/b/adapters/o"


@pytest.fixture(autouse=True)
def every_fault_strikes(cloud: LocalCloud) -> Iterator[None]:
    """Each test's planned faults must have been met."""
    yield
    assert cloud.admin.unmet_faults() == []


@pytest.fixture(autouse=True)
def bucket(plugin: Plugin) -> Made:
    """Where the objects go."""
    return plugin.create(BUCKET, name="adapters", location="us-central1")


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks so small that `LARGE` has six."""
    monkeypatch.setattr(uploads, "CHUNK_BYTES", UNIT)


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def file(folder: Path, data: bytes, name: str = "adapter_model.safetensors") -> Asset:
    """A file as the engine hands it to a plugin: with the hash of what it held."""
    path = folder / name
    path.write_bytes(data)
    return Asset(path=str(path), hash=hashlib.sha256(data).hexdigest())


def stored(cloud: LocalCloud, name: str) -> bytes:
    return cloud.http.get(f"/storage/v1/b/adapters/o/{quote(name, safe='')}", params={"alt": "media"}).content


def make(
    plugin: Plugin, source: Asset, name: str = "lora/sql/adapter_model.safetensors", **more: Any
) -> Made:
    return plugin.create(OBJECT, bucket="adapters", name=name, source=source, **more)


def test_a_file_is_uploaded(plugin: Plugin, cloud: LocalCloud, tmp_path: Path) -> None:
    source = file(tmp_path, b"\x00\x01 weights")

    made = make(plugin, source)

    assert made.id == "adapters-lora/sql/adapter_model.safetensors"
    assert stored(cloud, "lora/sql/adapter_model.safetensors") == b"\x00\x01 weights"
    live = cloud.http.get("/storage/v1/b/adapters/o/lora%2Fsql%2Fadapter_model.safetensors").json()
    assert made.outputs["source"] == source
    assert made.outputs["md5hash"] == made.outputs["detectMd5hash"] == md5(b"\x00\x01 weights")
    assert base64.b64decode(made.outputs["md5hash"]).hex() == made.outputs["md5hexhash"]
    assert (made.outputs["crc32c"], str(made.outputs["generation"])) == (live["crc32c"], live["generation"])
    assert made.outputs["contentType"] == live["contentType"] == "application/octet-stream"
    assert made.outputs["outputName"] == made.outputs["name"]
    refreshed = plugin.refresh(made)
    assert refreshed is not None
    assert (refreshed.inputs, refreshed.outputs) == (made.inputs, made.outputs)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"{}", "text/plain; charset=utf-8"),
        (b"", "text/plain; charset=utf-8"),
        ("caf\u00e9".encode() * 200, "text/plain; charset=utf-8"),
        (b"\xff\xfe\xfa" * 40, "application/octet-stream"),
    ],
)
def test_the_content_type_follows_from_the_bytes_unless_it_is_given(
    plugin: Plugin, tmp_path: Path, data: bytes, kind: str
) -> None:
    assert make(plugin, file(tmp_path, data)).outputs["contentType"] == kind
    given = make(plugin, file(tmp_path, data), "other", contentType="application/json")
    assert given.outputs["contentType"] == "application/json"


@pytest.mark.usefixtures("chunked")
def test_a_large_file_goes_in_chunks(plugin: Plugin, cloud: LocalCloud, tmp_path: Path) -> None:
    made = make(plugin, file(tmp_path, LARGE))

    assert stored(cloud, "lora/sql/adapter_model.safetensors") == LARGE
    assert made.outputs["md5hash"] == md5(LARGE)
    assert len(cloud.admin.requests(UPLOAD, "PUT")) == 6


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize(
    "fault",
    [
        {"status": {"code": "UNAVAILABLE", "message": "busy"}},
        {"reset": "before"},
        {"reset": "after"},
    ],
    ids=["busy", "reset before", "reset after"],
)
@pytest.mark.parametrize("nth", [3, 6], ids=["in the middle", "at the end"])
def test_an_upload_goes_on_after_a_fault(
    plugin: Plugin, cloud: LocalCloud, tmp_path: Path, fault: dict[str, Any], nth: int
) -> None:
    cloud.admin.fault(UPLOAD, method="PUT", nth=nth, **fault)

    make(plugin, file(tmp_path, LARGE))

    assert stored(cloud, "lora/sql/adapter_model.safetensors") == LARGE
    assert len(cloud.admin.requests(UPLOAD, "PUT")) == 7


@pytest.mark.usefixtures("chunked")
def test_an_upload_that_fails_leaves_nothing(
    plugin: Plugin, cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "BUSY_SECONDS", 0.3)
    busy = {"code": "UNAVAILABLE", "message": "busy"}
    cloud.admin.fault(UPLOAD, method="PUT", nth=2, status=busy)

    with pytest.raises(Failed, match="answered 503") as error:
        make(plugin, file(tmp_path, LARGE))

    assert error.value.saved is None
    assert cloud.http.get("/storage/v1/b/adapters/o").json().get("items") is None


def test_a_text_is_uploaded_and_changed_in_place(plugin: Plugin, cloud: LocalCloud) -> None:
    made = plugin.create(OBJECT, bucket="adapters", name="note", content="one")

    assert stored(cloud, "note") == b"one"
    assert plugin.diff(made, content="two") == (["content"], [], False)
    changed = plugin.update(made, content="two")
    assert stored(cloud, "note") == b"two"
    assert changed.outputs["md5hash"] == md5(b"two")
    assert changed.outputs["generation"] > made.outputs["generation"]


def test_a_string_asset_is_uploaded(plugin: Plugin, cloud: LocalCloud) -> None:
    made = plugin.create(OBJECT, bucket="adapters", name="note", source=Asset(text="hello", hash="ab"))

    assert stored(cloud, "note") == b"hello"
    # A state keeps the hash and may leave the text out.
    assert plugin.diff(made, source=Asset(hash="ab")) == ([], [], False)


def test_other_bytes_replace_and_other_paths_do_not(plugin: Plugin, tmp_path: Path) -> None:
    made = make(plugin, file(tmp_path, b"one"))

    moved = file(tmp_path, b"one", "moved")
    assert plugin.diff(made, source=moved) == ([], [], False)
    assert plugin.diff(made, source=file(tmp_path, b"two")) == (["source"], ["source"], True)
    both = {"source": file(tmp_path, b"two"), "name": "elsewhere"}
    assert plugin.diff(made, **both) == (["name", "source"], ["name", "source"], False)
    assert plugin.diff(made, bucket="other") == (["bucket"], ["bucket"], True)


def test_bytes_that_somebody_changed_are_seen_and_put_right(
    plugin: Plugin, cloud: LocalCloud, tmp_path: Path
) -> None:
    made = make(plugin, file(tmp_path, b"mine"), "one")
    query = {"uploadType": "media", "name": "one"}
    cloud.http.post(UPLOAD, params=query, content=b"theirs").raise_for_status()

    drifted = plugin.refresh(made)
    assert drifted is not None
    assert drifted.outputs["md5hash"] == md5(b"theirs")
    assert drifted.inputs["detectMd5hash"] == md5(b"theirs")
    again = plugin.refresh(drifted)
    assert again is not None
    assert again.inputs == drifted.inputs
    assert plugin.diff(again, detectMd5hash=None) == (["detectMd5hash"], [], False)
    right = plugin.update(again, detectMd5hash=None)

    assert stored(cloud, "one") == b"mine"
    assert right.outputs["md5hash"] == md5(b"mine")
    assert "detectMd5hash" not in right.inputs


def test_an_object_that_is_as_it_should_be_is_not_uploaded_again(
    plugin: Plugin, cloud: LocalCloud, tmp_path: Path
) -> None:
    made = make(plugin, file(tmp_path, b"mine"), "one")
    before = len(cloud.admin.requests(UPLOAD))

    plugin.update(made, deletionPolicy="ABANDON")

    assert len(cloud.admin.requests(UPLOAD)) == before


def test_a_deleted_object_is_seen_and_deleting_it_again_is_fine(
    plugin: Plugin, cloud: LocalCloud, tmp_path: Path
) -> None:
    made = make(plugin, file(tmp_path, b"mine"), "a/b c")
    (tmp_path / "adapter_model.safetensors").unlink()  # a delete needs no file

    plugin.delete(made)

    assert cloud.http.get("/storage/v1/b/adapters/o/a%2Fb%20c").status_code == 404
    assert plugin.refresh(made) is None
    plugin.delete(made)


def test_what_an_update_outputs_is_open_in_a_preview(plugin: Plugin, tmp_path: Path) -> None:
    planned = plugin.preview(OBJECT, bucket="adapters", name="one", source=file(tmp_path, b"one"))
    assert planned["name"] == "one"
    assert "md5hash" not in planned  # left out: not known yet
    unknown = plugin.preview(OBJECT, bucket=UNKNOWN, name="one", content="one")
    assert unknown["bucket"] is UNKNOWN


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({}, "exactly one of source and content has to be given, neither is."),
        ({"content": "a", "source": Asset(text="b")}, "has to be given, not both."),
        ({"source": Asset(uri="https://x/y")}, "'https://x/y' is a RemoteAsset"),
        ({"source": "path/of/a/file"}, "it must be a pulumi.FileAsset or a pulumi.StringAsset"),
        ({"content": "a", "kmsKeyName": "k"}, "does not support it on gcp:storage/bucketObject:BucketObject"),
    ],
)
def test_what_cannot_be(plugin: Plugin, inputs: dict[str, Any], reason: str) -> None:
    _, failures = plugin.check(OBJECT, {"bucket": "adapters", "name": "one", **inputs})
    assert len(failures) == 1
    assert reason in failures[0]


def test_failures_say_what_to_do(plugin: Plugin, cloud: LocalCloud, tmp_path: Path) -> None:
    source = file(tmp_path, b"mine")
    with pytest.raises(Failed, match="404"):
        plugin.create(OBJECT, bucket="nobodys-bucket", name="one", source=source)
    Path(source.path).unlink()
    with pytest.raises(Failed, match="cannot be read: No such file or directory"):
        make(plugin, source)
    with pytest.raises(Failed, match="objects cannot be imported"):
        plugin.read(OBJECT, "adapters-one")


@pytest.mark.usefixtures("chunked")
def test_an_interrupt_ends_an_upload(plugin: Plugin, cloud: LocalCloud, tmp_path: Path) -> None:
    plugin.cancel()
    with pytest.raises(Failed, match="0 of 1310728 bytes; nothing is stored"):
        make(plugin, file(tmp_path, LARGE))
    assert cloud.http.get("/storage/v1/b/adapters/o").json().get("items") is None

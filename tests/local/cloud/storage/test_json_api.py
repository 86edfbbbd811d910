"""Cloud Storage over plain HTTP: envelopes, names, uploads byte by byte, rights."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from infra.local.cloud.testing import LocalCloud

_BUCKETS = "/storage/v1/b?project=local-project"
_UPLOAD = "/upload/storage/v1/b/rest-bucket/o"


@pytest.fixture
def bucket(cloud: LocalCloud) -> dict[str, Any]:
    body = {"name": "rest-bucket", "location": "us-central1"}
    made: dict[str, Any] = cloud.http.post(_BUCKETS, json=body).raise_for_status().json()
    return made


def _error(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    assert error["code"] == answer.status_code
    assert error["errors"][0]["message"] == error["message"]
    assert error["errors"][0]["domain"] in {"global", "usageLimits"}
    return answer.status_code, error["errors"][0]["reason"], error["message"]


def test_a_new_bucket_has_what_the_real_one_has(bucket: dict[str, Any]) -> None:
    assert bucket["kind"] == "storage#bucket"
    assert bucket["projectNumber"] == "123456789012"
    assert bucket["etag"] == "CAE="
    assert bucket["iamConfiguration"]["uniformBucketLevelAccess"] == {"enabled": False}
    assert bucket["iamConfiguration"]["publicAccessPrevention"] == "inherited"
    assert bucket["softDeletePolicy"]["retentionDurationSeconds"] == "604800"
    assert {"id", "selfLink", "timeCreated", "updated", "generation"} <= set(bucket)
    assert "lifecycle" not in bucket
    assert "rpo" not in bucket


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "A-bucket",
        "-bucket",
        "bucket-",
        "goog-bucket",
        "my-google-x",
        "a" * 64,
        "192.168.5.4",
        "b..c",
        "ü-bucket",
    ],
)
def test_bad_bucket_names(cloud: LocalCloud, name: str) -> None:
    answer = cloud.http.post(_BUCKETS, json={"name": name})
    assert _error(answer) == (400, "invalid", f"Invalid bucket name: '{name}'")


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        (
            _BUCKETS,
            {"name": "x-bucket", "location": "mars"},
            (400, "invalid", "location constraint is not valid"),
        ),
        (
            _BUCKETS,
            {"name": "x-bucket", "storageClass": "HOT"},
            (400, "invalidStorageClass", "storage class"),
        ),
        (
            _BUCKETS,
            {"name": "x-bucket", "labels": {"Bad": "x"}},
            (400, "invalid", "Invalid label key: 'Bad'"),
        ),
        (_BUCKETS, {"name": "x-bucket", "colour": "red"}, (400, "invalid", 'Unknown name "colour"')),
        (_BUCKETS, {}, (400, "required", "Required parameter: name")),
        ("/storage/v1/b", {"name": "x-bucket"}, (400, "required", "Required parameter: project")),
        ("/storage/v1/b?project=nope", {"name": "x-bucket"}, (400, "invalid", "Unknown project id: nope")),
        (_BUCKETS, {"name": "my.domain.com"}, (403, "forbidden", "owned by another user")),
    ],
)
def test_bad_buckets(cloud: LocalCloud, path: str, body: Any, expected: tuple[int, str, str]) -> None:
    status, reason, message = _error(cloud.http.post(path, json=body))
    assert (status, reason) == expected[:2]
    assert expected[2] in message


def test_locations_have_types(cloud: LocalCloud) -> None:
    for number, (location, kind) in enumerate(
        [("", "multi-region"), ("nam4", "dual-region"), ("Us-East4", "region")]
    ):
        made = cloud.http.post(_BUCKETS, json={"name": f"place-{number}", "location": location}).json()
        assert (made["location"], made["locationType"]) == (location.upper() or "US", kind)


@pytest.mark.usefixtures("bucket")
def test_object_names(cloud: LocalCloud) -> None:
    for name in ("a/b c", "%2F", "ü/日本.txt", "x" * 1024, "a:b@c", "q?x=1#f"):
        put = cloud.http.post(_UPLOAD, params={"uploadType": "media", "name": name}, content=b"1")
        assert put.json()["name"] == name
        quoted = httpx.URL(put.json()["selfLink"]).raw_path.decode()
        assert cloud.http.get(quoted).json()["name"] == name
        assert cloud.http.get(httpx.URL(put.json()["mediaLink"]).raw_path.decode()).content == b"1"
        assert cloud.http.delete(quoted).status_code == 204
    for name in ("", "x" * 1025, "a\nb", ".", ".."):
        put = cloud.http.post(_UPLOAD, params={"uploadType": "media", "name": name}, content=b"1")
        assert put.status_code == 400


@pytest.mark.usefixtures("bucket")
def test_resumable_upload_step_by_step(cloud: LocalCloud) -> None:
    unit = 256 * 1024
    start = cloud.http.post(f"{_UPLOAD}?uploadType=resumable", json={"name": "big", "contentType": "x/y"})
    session = start.headers["location"]
    assert start.status_code == 200

    def put(content: bytes, span: str) -> httpx.Response:
        return cloud.http.put(session, content=content, headers={"content-range": span})

    assert put(b"", "bytes */*").status_code == 308
    assert "range" not in put(b"", "bytes */*").headers
    first = put(b"a" * unit, f"bytes 0-{unit - 1}/*")
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{unit - 1}")
    # A chunk that is sent again is taken once.
    assert put(b"a" * unit, f"bytes 0-{unit - 1}/*").headers["range"] == f"bytes=0-{unit - 1}"
    assert put(b"b", f"bytes {2 * unit}-{2 * unit}/*").status_code == 503
    last = put(b"bc", f"bytes {unit}-{unit + 1}/{unit + 2}")
    assert last.status_code == 200
    assert (last.json()["size"], last.json()["contentType"]) == (str(unit + 2), "x/y")
    # The client that lost that answer asks, and gets it.
    assert put(b"", f"bytes */{unit + 2}").json()["generation"] == last.json()["generation"]
    data = cloud.http.get("/storage/v1/b/rest-bucket/o/big?alt=media").content
    assert data == b"a" * unit + b"bc"


@pytest.mark.usefixtures("bucket")
def test_a_resumable_upload_can_be_cancelled_and_has_rules(cloud: LocalCloud) -> None:
    start = cloud.http.post(f"{_UPLOAD}?uploadType=resumable&name=big", content=b"")
    session = start.headers["location"]
    odd = cloud.http.put(session, content=b"12345", headers={"content-range": "bytes 0-4/*"})
    assert odd.status_code == 400
    assert "262144" in odd.json()["error"]["message"]
    bad = cloud.http.put(session, content=b"", headers={"content-range": "chunks 1"})
    assert "Failed to parse Content-Range header" in bad.json()["error"]["message"]
    assert cloud.http.delete(session).status_code == 499
    assert cloud.http.put(session, content=b"x").status_code == 404


@pytest.mark.usefixtures("bucket")
def test_multipart_upload_and_wrong_hashes(cloud: LocalCloud) -> None:
    def send(metadata: dict[str, Any], media: bytes, boundary: str = "==b==") -> httpx.Response:
        body = (
            f"--{boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n{json.dumps(metadata)}\r\n"
            f"--{boundary}\r\ncontent-type: text/plain\r\n\r\n"
        ).encode() + media
        return cloud.http.post(
            f"{_UPLOAD}?uploadType=multipart",
            content=body + f"\r\n--{boundary}--".encode(),
            headers={"content-type": f'multipart/related; boundary="{boundary}"'},
        )

    good = send({"name": "m"}, b"line\r\n--other\r\n")
    assert (good.json()["contentType"], good.json()["size"]) == ("text/plain", "15")
    assert cloud.http.get("/storage/v1/b/rest-bucket/o/m?alt=media").content == b"line\r\n--other\r\n"
    wrong = send({"name": "m2", "md5Hash": "AAAA"}, b"x")
    assert _error(wrong)[2].startswith('Provided MD5 hash "AAAA" doesn\'t match calculated MD5 hash')
    assert _error(send({"name": "m3", "crc32c": "AAAAAA=="}, b"x"))[0] == 400
    assert _error(send({"name": "m4", "zzz": 1}, b"x"))[2].startswith("Invalid JSON payload received")
    items = cloud.http.get("/storage/v1/b/rest-bucket/o").json()["items"]
    assert [item["name"] for item in items] == ["m"]


@pytest.mark.usefixtures("bucket")
def test_multipart_bodies_with_bare_line_feeds(cloud: LocalCloud) -> None:
    # As googleapiclient writes them.
    body = (
        b'--==b==\nContent-Type: application/json\nMIME-Version: 1.0\n\n{"metadata": {"k": "v"}}\n'
        b"--==b==\nContent-Type: text/plain\n\none\r\n\r\ntwo\n--x\n--==b==--\n"
    )
    headers = {"content-type": 'multipart/related; boundary="==b=="'}
    made = cloud.http.post(f"{_UPLOAD}?uploadType=multipart&name=lf", content=body, headers=headers).json()
    assert (made["metadata"], made["contentType"]) == ({"k": "v"}, "text/plain")
    got = cloud.http.get("/storage/v1/b/rest-bucket/o/lf?alt=media")
    assert got.content == b"one\r\n\r\ntwo\n--x"


@pytest.mark.usefixtures("bucket")
def test_an_empty_object_has_no_range(cloud: LocalCloud) -> None:
    cloud.http.post(f"{_UPLOAD}?uploadType=media&name=empty", content=b"")
    answer = cloud.http.get("/storage/v1/b/rest-bucket/o/empty?alt=media", headers={"range": "bytes=0-99"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.usefixtures("bucket")
def test_a_stream_of_unknown_length_in_one_request(cloud: LocalCloud) -> None:
    begun = cloud.http.post(f"{_UPLOAD}?uploadType=resumable&name=s", json={})
    where = httpx.URL(begun.headers["location"]).raw_path.decode()
    first = cloud.http.put(where, content=b"a" * 2**18, headers={"content-range": "bytes 0-*/*"})
    assert (first.status_code, first.headers["range"]) == (308, f"bytes=0-{2**18 - 1}")
    last = cloud.http.put(where, content=b"b", headers={"content-range": f"bytes {2**18}-*/{2**18 + 1}"})
    assert last.json()["size"] == str(2**18 + 1)


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize("glob", ["[z-a]", "{a", "[]", "[!]"])
def test_globs_that_are_none(cloud: LocalCloud, glob: str) -> None:
    answer = cloud.http.get("/storage/v1/b/rest-bucket/o", params={"matchGlob": glob})
    assert _error(answer) == (400, "invalid", f"Invalid matchGlob: '{glob}'.")


@pytest.mark.usefixtures("bucket")
def test_ranges_and_headers_of_a_download(cloud: LocalCloud) -> None:
    cloud.http.post(
        f"{_UPLOAD}?uploadType=media&name=r", content=b"0123456789", headers={"content-type": "text/html"}
    )
    path = "/download/storage/v1/b/rest-bucket/o/r?alt=media"

    def get(span: str) -> tuple[int, bytes, str]:
        answer = cloud.http.get(path, headers={"range": span})
        return answer.status_code, answer.content, answer.headers.get("content-range", "")

    assert get("bytes=2-4") == (206, b"234", "bytes 2-4/10")
    assert get("bytes=7-") == (206, b"789", "bytes 7-9/10")
    assert get("bytes=-3") == (206, b"789", "bytes 7-9/10")
    assert get("bytes=5-100") == (206, b"56789", "bytes 5-9/10")
    assert get("bytes=10-")[::2] == (416, "bytes */10")
    assert get("lines=1")[:2] == (200, b"0123456789")
    headers = cloud.http.get(path).headers
    assert headers["content-type"] == "text/html"
    assert headers["x-goog-hash"] == "crc32c=KAwGng==,md5=eB5eJF1ptWaXm4bijSPyxw=="
    assert headers["x-goog-stored-content-length"] == "10"
    missing = cloud.http.get("/download/storage/v1/b/rest-bucket/o/none?alt=media")
    assert (missing.status_code, missing.text) == (404, "No such object: rest-bucket/none")


def test_rights_and_their_wording(
    cloud: LocalCloud, bucket: dict[str, Any], account: Callable[..., Any]
) -> None:
    nobody, reader = account("nobody"), account("reader")
    email = "reader@local-project.iam.gserviceaccount.com"
    cloud.http.post(f"{_UPLOAD}?uploadType=media&name=o", content=b"1")
    policy = cloud.http.get("/storage/v1/b/rest-bucket/iam?optionsRequestedPolicyVersion=3").json()
    assert policy["kind"] == "storage#policy"
    policy["bindings"].append({"role": "roles/storage.objectViewer", "members": [f"serviceAccount:{email}"]})
    put = cloud.http.put("/storage/v1/b/rest-bucket/iam", json=policy)
    assert put.status_code == 200

    path = "/storage/v1/b/rest-bucket/o/o"
    assert reader.get(f"{path}?alt=media").content == b"1"
    status, reason, message = _error(nobody.get(path))
    assert (status, reason) == (403, "forbidden")
    assert message == (
        "nobody@local-project.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud "
        "Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist)."
    )
    assert "storage.objects.create access" in _error(reader.post(f"{_UPLOAD}?uploadType=media&name=p"))[2]
    assert (
        "storage.buckets.get access to the Google Cloud Storage bucket"
        in _error(reader.get("/storage/v1/b/rest-bucket"))[2]
    )
    assert (
        "storage.buckets.create access to the Google Cloud project"
        in _error(reader.post(_BUCKETS, json={"name": "x-bucket"}))[2]
    )
    held = reader.get(
        "/storage/v1/b/rest-bucket/iam/testPermissions?permissions=storage.objects.get&permissions=storage.objects.delete"
    )
    assert held.json()["permissions"] == ["storage.objects.get"]
    # Somebody who may not list must not learn what isn't there.
    assert reader.get("/storage/v1/b/rest-bucket/o/none").status_code == 404
    assert nobody.get("/storage/v1/b/rest-bucket/o/none").status_code == 403
    creator = account("creator", "roles/storage.objectCreator")
    assert creator.post(f"{_UPLOAD}?uploadType=media&name=new", content=b"1").status_code == 200
    overwrite = creator.post(f"{_UPLOAD}?uploadType=media&name=new", content=b"2")
    assert "storage.objects.delete access" in _error(overwrite)[2]


def test_roles_of_other_services_are_refused_on_a_bucket(cloud: LocalCloud, bucket: dict[str, Any]) -> None:
    body = {"bindings": [{"role": "roles/aiplatform.user", "members": ["allUsers"]}]}
    answer = cloud.http.put("/storage/v1/b/rest-bucket/iam", json=body)
    assert _error(answer)[2] == "Role roles/aiplatform.user is not supported for this resource."


def test_basic_roles_reach_buckets_through_their_project(
    cloud: LocalCloud, bucket: dict[str, Any], account: Callable[..., Any]
) -> None:
    cloud.http.post(f"{_UPLOAD}?uploadType=media&name=o", content=b"1")
    viewer = account("viewer-sa", "roles/viewer")
    assert viewer.get("/storage/v1/b/rest-bucket").status_code == 200
    assert viewer.get("/storage/v1/b/rest-bucket/o/o").status_code == 200
    assert viewer.delete("/storage/v1/b/rest-bucket/o/o").status_code == 403
    editor = account("editor-sa", "roles/editor")
    assert editor.delete("/storage/v1/b/rest-bucket/o/o").status_code == 204


def test_bucket_settings_that_change_and_that_do_not(cloud: LocalCloud, bucket: dict[str, Any]) -> None:
    path = "/storage/v1/b/rest-bucket"
    lifecycle = {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 1}}]}
    changed = cloud.http.patch(path, json={"lifecycle": lifecycle, "labels": {"a": "1", "b": "2"}}).json()
    assert changed["lifecycle"] == lifecycle
    changed = cloud.http.patch(path, json={"lifecycle": None, "labels": {"a": None}}).json()
    assert "lifecycle" not in changed
    assert changed["labels"] == {"b": "2"}
    uniform = {"iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}}}
    state = cloud.http.patch(path, json=uniform).json()["iamConfiguration"]["uniformBucketLevelAccess"]
    assert state["enabled"]
    assert state["lockedTime"]
    assert "location cannot be changed" in _error(cloud.http.patch(path, json={"location": "EU"}))[2]
    replaced = cloud.http.put(path, json={"labels": {"c": "3"}}).json()
    assert replaced["labels"] == {"c": "3"}
    assert not replaced["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]
    assert cloud.http.patch(f"{path}?ifMetagenerationMatch=1", json={}).status_code == 412
    assert cloud.http.get(f"{path}?ifMetagenerationNotMatch={replaced['metageneration']}").status_code == 304


def test_where_a_bucket_is(cloud: LocalCloud, bucket: dict[str, Any]) -> None:
    layout = cloud.http.get("/storage/v1/b/rest-bucket/storageLayout").json()
    assert (layout["location"], layout["locationType"]) == (bucket["location"], "region")


def test_credentials_and_a_disabled_api(cloud: LocalCloud) -> None:
    answer = cloud.http.get(_BUCKETS, headers={"authorization": "Bearer expired"})
    assert _error(answer)[:2] == (401, "authError")
    cloud.http.post("/v1/projects/local-project/services/storage.googleapis.com:disable", json={})
    answer = cloud.http.get(_BUCKETS)
    assert _error(answer)[:2] == (403, "accessNotConfigured")


def test_other_parts_read_objects_with_somebodys_rights(tmp_path: Any) -> None:
    from infra.local.cloud.core import Cloud, CloudConfig

    cloud = Cloud(CloudConfig(tmp_path))
    cloud.objects.put_bucket({"name": "b", "projectNumber": "123456789012"})
    blob = cloud.objects.new_blob()
    blob.write(b"{}")
    cloud.objects.commit(blob, "b", "m/config.json", {"contentType": "x", "storageClass": "STANDARD"})
    reader = cloud.reader(None)
    assert reader.exists("gs://b/m")
    assert reader.exists("gs://b/m/config.json")
    assert not reader.exists("gs://b/m/conf")
    assert reader.read("gs://b/m/config.json") == b"{}"
    assert reader.list("gs://b/m/") == ["gs://b/m/config.json"]
    with pytest.raises(FileNotFoundError, match="No such object"):
        reader.read("gs://b/none")
    with pytest.raises(FileNotFoundError, match="bucket does not exist"):
        reader.read("gs://c/none")
    with pytest.raises(PermissionError, match=r"storage\.objects\.get access"):
        cloud.reader("x@local-project.iam.gserviceaccount.com").read("gs://b/m/config.json")
    with pytest.raises(ValueError, match="gs://BUCKET/OBJECT"):
        reader.read("/tmp/x")


def test_crc32c_without_googles_library() -> None:
    import google_crc32c

    from infra.local.cloud.storage.crc32c import Crc32c

    for data in (b"", b"a", b"hello", bytes(range(256)) * 3):
        crc = Crc32c()
        crc.update(data[:7])
        crc.update(data[7:])
        assert int.from_bytes(crc.digest(), "big") == google_crc32c.value(data)

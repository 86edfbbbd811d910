"""Buckets and their policies."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from infra.local.cloud import strict
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError
from infra.local.cloud.rest import Call
from infra.local.cloud.storage import rules
from infra.local.cloud.storage.access import Access
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]
#: Uniform access can be switched off again for 90 days. Source: cloud.google.com/storage/docs,
#: uniform-bucket-level-access.
_LOCK_SECONDS = 90 * 24 * 3600
_SOFT_DELETE_SECONDS = 7 * 24 * 3600
#: Fields that only the service writes, or that cannot change after creation.
_FIXED = (
    "acl", "defaultObjectAcl", "etag", "generation", "id", "kind", "location", "locationType", "metageneration", "name",
    "owner", "projectNumber", "satisfiesPZI", "satisfiesPZS", "selfLink", "timeCreated", "updated",
)  # fmt: skip


class Buckets:
    """Handlers of buckets."""

    def __init__(self, cloud: Cloud, access: Access) -> None:
        self.cloud, self.access, self.objects = cloud, access, cloud.objects

    def create(self, call: Call) -> Json:
        """POST b?project=."""
        body = call.body
        project = self.access.project(call.principal, call.query.get("project", ""), "storage.buckets.create")
        name = body.get("name") or ""
        if not name:
            raise rules.required("name")
        rules.check_bucket_name(name)
        rules.check_labels(body.get("labels") or {})
        location, kind = rules.location(body.get("location", ""))
        storage_class = rules.check_storage_class(body.get("storageClass", ""))
        existing = self.objects.bucket(name)
        if existing is not None:
            raise GoogleError(
                "ALREADY_EXISTS",
                "Your previous request to create the named bucket succeeded and you already own it."
                if existing["projectNumber"] == project.number
                else "The requested bucket name is not available. The bucket namespace is shared by all users of the "
                "system. Please select a different name and try again.",
            )
        now = self.cloud.clock.now()
        document: Json = {
            **_settings(body),
            "name": name,
            "projectNumber": project.number,
            "generation": str(self.objects.generation()),
            "metageneration": "1",
            "location": location,
            "locationType": kind,
            "storageClass": storage_class,
            "timeCreated": self.cloud.clock.millis(now),
            "updated": self.cloud.clock.millis(now),
        }
        if kind != "region":
            document.setdefault("rpo", "DEFAULT")
        document.setdefault(
            "softDeletePolicy",
            {
                "retentionDurationSeconds": str(_SOFT_DELETE_SECONDS),
                "effectiveTime": self.cloud.clock.millis(now),
            },
        )
        document["iamConfiguration"] = self._iam_configuration(body.get("iamConfiguration") or {}, now)
        with self.cloud.store.transaction():
            self.objects.put_bucket(document)
            self._default_policy(name, project.id)
        return view(document, call)

    def list(self, call: Call) -> Json:
        """GET b?project=."""
        project = self.access.project(call.principal, call.query.get("project", ""), "storage.buckets.list")
        after = decode_token(call.query.get("pageToken", ""))
        prefix = call.query.get("prefix", "")
        found = [
            bucket
            for bucket in self.objects.buckets()
            if bucket["projectNumber"] == project.number
            and bucket["name"] > after
            and bucket["name"].startswith(prefix)
        ]
        size = strict.page_size(call.query, "maxResults")
        answer: Json = {"kind": "storage#buckets"}
        if found and call.query.get("softDeleted") != "true":
            answer["items"] = [view(bucket, call) for bucket in found[:size]]
        if len(found) > size:
            answer["nextPageToken"] = encode_token(found[size - 1]["name"])
        return answer

    def get(self, call: Call) -> Json:
        """GET one bucket."""
        bucket = self.access.bucket(call.principal, call.path["bucket"], "storage.buckets.get")
        rules.check_preconditions(call.query, bucket, reading=True)
        return view(bucket, call)

    def patch(self, call: Call) -> Json:
        """PATCH: given fields change, null removes one; labels are merged key by key."""
        return self._change(call, whole=False)

    def update(self, call: Call) -> Json:
        """PUT: all settings that aren't given go."""
        return self._change(call, whole=True)

    def delete(self, call: Call) -> Response:
        """DELETE an empty bucket."""
        bucket = self.access.bucket(call.principal, call.path["bucket"], "storage.buckets.delete")
        rules.check_preconditions(call.query, bucket)
        if next(self.objects.objects(bucket["name"]), None) is not None:
            raise GoogleError(
                "ALREADY_EXISTS", "The bucket you tried to delete is not empty.", reason="conflict"
            )
        with self.cloud.store.transaction():
            self.objects.delete_bucket(bucket["name"])
            self.cloud.policies.drop(f"buckets/{bucket['name']}")
        return Response(status_code=204)

    def get_policy(self, call: Call) -> Json:
        """GET iam."""
        bucket = self.access.bucket(call.principal, call.path["bucket"], "storage.buckets.getIamPolicy")
        version = call.query.get("optionsRequestedPolicyVersion", "1")
        if version not in {"0", "1", "2", "3"}:
            raise rules.invalid(f"Invalid unsigned integer value: '{version}'.", "invalidParameter")
        return self._policy(bucket["name"], self.cloud.policies.get(f"buckets/{bucket['name']}"))

    def set_policy(self, call: Call) -> Json:
        """PUT iam; a stale etag is refused with 412, as this service does."""
        bucket = self.access.bucket(call.principal, call.path["bucket"], "storage.buckets.setIamPolicy")
        policy = {key: value for key, value in call.body.items() if key in {"bindings", "etag", "version"}}
        written = self.cloud.policies.set(
            f"buckets/{bucket['name']}",
            policy,
            allowed_roles="roles/storage.",
            conflict=rules.condition_not_met(),
        )
        return self._policy(bucket["name"], written)

    def test_permissions(self, call: Call) -> Json:
        """GET iam/testPermissions."""
        bucket = self.objects.bucket(call.path["bucket"])
        if bucket is None:
            raise rules.no_bucket()
        wanted = call.repeated("permissions")
        if not wanted:
            raise rules.required("permissions")
        for permission in wanted:
            if not permission.startswith("storage."):
                raise rules.invalid(f"Permission {permission} is not valid for this resource.")
        held = [name for name in wanted if self.access.holds(call.principal, bucket, name)]
        return {"kind": "storage#testIamPermissionsResponse"} | ({"permissions": held} if held else {})

    def no_caches(self, call: Call) -> Json:
        """GET anywhereCaches: none."""
        self.access.bucket(call.principal, call.path["bucket"], "storage.buckets.get")
        return {"kind": "storage#anywhereCaches"}

    def layout(self, call: Call) -> Json:
        """GET storageLayout: where the bucket is, for readers of objects."""
        bucket = self.access.bucket(call.principal, call.path["bucket"], "storage.objects.list")
        return {
            "kind": "storage#storageLayout",
            "bucket": bucket["name"],
            "location": bucket["location"],
            "locationType": bucket["locationType"],
            "hierarchicalNamespace": {"enabled": False},
        }

    def service_account(self, call: Call) -> Json:
        """GET the address of the project's storage service agent."""
        project = self.access.project(call.principal, call.path["project"], "resourcemanager.projects.get")
        return {
            "kind": "storage#serviceAccount",
            "email_address": f"service-{project.number}@gs-project-accounts.iam.gserviceaccount.com",
        }

    def summary(self) -> Sequence[str]:
        """Buckets with the number of their objects."""
        return [
            f"gs://{bucket['name']} ({sum(1 for _ in self.objects.objects(bucket['name']))} objects)"
            for bucket in self.objects.buckets()
        ]

    def _change(self, call: Call, *, whole: bool) -> Json:
        bucket = self.access.bucket(call.principal, call.path["bucket"], "storage.buckets.update")
        rules.check_preconditions(call.query, bucket)
        body = call.body
        if body.get("name", bucket["name"]) != bucket["name"]:
            raise rules.invalid("The bucket's name cannot be changed.")
        if (body.get("location") or bucket["location"]).upper() != bucket["location"]:
            raise rules.invalid("The bucket's location cannot be changed.")
        labels = body.get("labels")
        rules.check_labels({key: value for key, value in (labels or {}).items() if value is not None})
        changed = {key: value for key, value in bucket.items() if not whole or key in _FIXED}
        for key, value in body.items():
            if key in _FIXED or key == "labels":
                continue
            if value is None:
                changed.pop(key, None)
            else:
                changed[key] = value
        changed["storageClass"] = rules.check_storage_class(changed.get("storageClass", ""))
        if "labels" in body:
            merged = {} if whole or labels is None else dict(bucket.get("labels") or {})
            merged |= labels or {}
            changed["labels"] = {key: value for key, value in merged.items() if value is not None}
        if "iamConfiguration" in body or whole:
            given = {**({} if whole else bucket["iamConfiguration"]), **(body.get("iamConfiguration") or {})}
            changed["iamConfiguration"] = self._iam_configuration(given, self.cloud.clock.now())
        changed = {key: value for key, value in changed.items() if value not in ({}, None)}
        changed |= {
            "metageneration": str(int(bucket["metageneration"]) + 1),
            "updated": self.cloud.clock.millis(),
        }
        self.objects.put_bucket(_normal(changed))
        return view(_normal(changed), call)

    def _iam_configuration(self, given: Json, now: float) -> Json:
        uniform = given.get("uniformBucketLevelAccess") or given.get("bucketPolicyOnly") or {}
        prevention = given.get("publicAccessPrevention") or "inherited"
        if prevention not in {"inherited", "enforced", "unspecified"}:
            raise rules.invalid(f"Invalid value for publicAccessPrevention: '{prevention}'.")
        state: Json = {"enabled": bool(uniform.get("enabled"))}
        if state["enabled"]:
            state["lockedTime"] = uniform.get("lockedTime") or self.cloud.clock.millis(now + _LOCK_SECONDS)
        return {
            "bucketPolicyOnly": dict(state),
            "uniformBucketLevelAccess": dict(state),
            "publicAccessPrevention": prevention,
        }

    def _default_policy(self, name: str, project: str) -> None:
        owners = [f"projectEditor:{project}", f"projectOwner:{project}"]
        viewers = [f"projectViewer:{project}"]
        key = f"buckets/{name}"
        self.cloud.policies.drop(key)
        self.cloud.policies.set(
            key,
            {
                "bindings": [
                    {"role": "roles/storage.legacyBucketOwner", "members": owners},
                    {"role": "roles/storage.legacyBucketReader", "members": viewers},
                    {"role": "roles/storage.legacyObjectOwner", "members": owners},
                    {"role": "roles/storage.legacyObjectReader", "members": viewers},
                ]
            },
            at_once=True,
        )

    def _policy(self, name: str, policy: Json) -> Json:
        return {"kind": "storage#policy", "resourceId": f"projects/_/buckets/{name}", **policy}


def view(bucket: Json, call: Call) -> Json:
    """The bucket as clients see it."""
    name = bucket["name"]
    return {
        "kind": "storage#bucket",
        "selfLink": f"{base_url(call)}/storage/v1/b/{name}",
        "id": name,
        **bucket,
        "etag": etag(bucket),
    }


def etag(document: Json) -> str:
    """The etag of a bucket or object: its metageneration, wrapped as Google wraps it."""
    number = int(document["metageneration"])
    varint = b""
    while True:
        number, low = number >> 7, number & 0x7F
        varint += bytes([low | (0x80 if number else 0)])
        if not number:
            return base64.b64encode(b"\x08" + varint).decode()


def base_url(call: Call) -> str:
    """The address the client used, for links in answers."""
    return str(call.request.base_url).rstrip("/")


def _settings(body: Json) -> Json:
    kept = {key: value for key, value in body.items() if key not in _FIXED and value is not None}
    return _normal(kept)


def _normal(document: Json) -> Json:
    """Without settings that mean their absence, as the real service answers them."""
    empty_lifecycle = document.get("lifecycle") in ({}, {"rule": []})
    return {
        key: value
        for key, value in document.items()
        if not (key == "lifecycle" and empty_lifecycle) and not (key == "labels" and not value)
    }

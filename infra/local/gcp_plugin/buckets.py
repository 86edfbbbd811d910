"""gcp:storage/bucket:Bucket, and the functions that look a bucket up and read an object."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import quote

from infra.local.gcp_plugin import lifecycle
from infra.local.gcp_plugin.base import Gcp, GcpResource
from infra.local.gcp_plugin.properties import (
    DELETION_POLICY,
    LABELS,
    PROJECT,
    Property,
    ignoring_case,
    problems,
)
from infra.local.gcp_plugin.rest import ApiError, Json
from infra.plugin import Context, Function, ResourceError, State
from infra.plugin.resource import Properties
from infra.plugin.values import contains_unknown

API = "Cloud Storage"


class Bucket(GcpResource):
    """A bucket."""

    token = "gcp:storage/bucket:Bucket"
    auto_name = True
    replace_deletes_first = True
    properties = (
        Property(
            "name",
            replaces=True,
            pattern=r"[a-z0-9][a-z0-9_.-]{1,220}[a-z0-9]",
            hint="3 to 63 lower-case letters, digits, hyphens, underscores and dots; "
            "first and last a letter or digit.",
        ),
        Property("location", required=True, replaces=True, same=ignoring_case),
        PROJECT,
        LABELS,
        Property("storageClass", default="STANDARD"),
        Property("uniformBucketLevelAccess", kind="boolean", computed=True),
        Property("publicAccessPrevention", computed=True, choices=("inherited", "enforced")),
        Property("forceDestroy", kind="boolean", default=False),
        Property("versioning", kind="object", computed=True),
        Property(
            "softDeletePolicy",
            kind="object",
            computed=True,
            same=lambda old, new: old.get("retentionDurationSeconds") == new.get("retentionDurationSeconds"),
        ),
        Property("lifecycleRules", kind="array", same=lifecycle.same),
        DELETION_POLICY,
    )
    computed: ClassVar[Mapping[str, str]] = {
        "effectiveLabels": "object",
        "projectNumber": "integer",
        "pulumiLabels": "object",
        "selfLink": "string",
        "timeCreated": "string",
        "updated": "string",
        "url": "string",
    }
    absent = (
        "autoclass",
        "cors",
        "customPlacementConfig",
        "defaultEventBasedHold",
        "enableObjectRetention",
        "encryption",
        "hierarchicalNamespace",
        "ipFilter",
        "logging",
        "requesterPays",
        "retentionPolicy",
        "rpo",
        "website",
    )
    _NESTED: ClassVar[Mapping[str, tuple[Property, ...]]] = {
        "versioning": (Property("enabled", kind="boolean", required=True),),
        "softDeletePolicy": (Property("retentionDurationSeconds", kind="integer"),),
    }

    def validate(self, inputs: Properties) -> list[tuple[str, str]]:
        found = []
        for name, nested in self._NESTED.items():
            value = inputs.get(name)
            if value is not None and not contains_unknown(value):
                found += problems(self.token, nested, value, where=f"{name}.")
        return found + lifecycle.check(self.token, inputs.get("lifecycleRules") or [])

    def create(self, ctx: Context, inputs: Properties) -> State:
        name, project = inputs["name"], inputs["project"]
        body = {
            "name": name,
            "location": inputs["location"],
            "storageClass": inputs.get("storageClass") or "STANDARD",
            "lifecycle": {"rule": lifecycle.to_api(inputs.get("lifecycleRules") or [])},
            **_settings(inputs),
        }
        if labels := self.labels_wanted(inputs):
            body["labels"] = labels
        try:
            self.api(ctx, API, "POST", "b", params={"project": project}, body=body)
        except ApiError as e:
            if e.status != 409:
                raise
            # As for accounts and endpoints: an earlier run made it, and could not say or save so.
            if not (e.repeated or self._ours(ctx, name, body)):
                raise e.because(
                    "Bucket names are unique in the world: choose another name, or, if the bucket is "
                    f"yours, take it over with `pulumi import {self.token} {ctx.name} {name}`."
                ) from e
        with self.exists(name, inputs):
            bucket = get_bucket(self.gcp, ctx, name)
        return State(name, self._outputs(inputs, bucket))

    def _ours(self, ctx: Context, name: str, wanted: Json) -> bool:
        """Whether a bucket that is there is the one that is wanted, with the same labels and in the same place."""
        try:
            bucket = get_bucket(self.gcp, ctx, name)
        except ApiError:
            return False  # somebody else's: names are unique in the world
        same_place = str(bucket.get("location", "")).upper() == str(wanted["location"]).upper()
        return same_place and bool(wanted.get("labels")) and bucket.get("labels") == wanted["labels"]

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        name = id.rpartition("/")[2]  # an import may say PROJECT/NAME
        project = state.get("project") or id.rpartition("/")[0] or self.gcp.settings.project
        try:
            bucket = get_bucket(self.gcp, ctx, name)
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        values = {"project": project, "name": name, **_values(bucket)}
        known_inputs = {key: value for key, value in inputs.items() if key not in values}
        given = {**known_inputs, "labels": inputs.get("labels"), "project": project}
        return name, self._outputs(given, bucket), values

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        bucket = get_bucket(self.gcp, ctx, id)
        body: Json = {
            "storageClass": news.get("storageClass") or "STANDARD",
            "lifecycle": {"rule": lifecycle.to_api(news.get("lifecycleRules") or [])},
            **_settings(news),
        }
        wanted = self.labels_wanted(news)
        managed = {*(old_inputs.get("labels") or {}), *(state.get("pulumiLabels") or {})}
        gone = [key for key in bucket.get("labels", {}) if key in managed and key not in wanted]
        body["labels"] = {**wanted, **dict.fromkeys(gone)}  # in a PATCH, null removes a label
        self.api(ctx, API, "PATCH", f"b/{id}", body=body)
        return State(id, self._outputs(news, get_bucket(self.gcp, ctx, id)))

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        try:
            caches = self.api(ctx, API, "GET", f"b/{id}/anywhereCaches/")
        except ApiError as e:
            if e.status not in (403, 404):
                raise
            caches = {}
        if caches.get("items"):
            raise ResourceError(f"The bucket {id} has Anywhere Caches; disable them, then delete the bucket.")
        try:
            self._empty(ctx, id, bool(state.get("forceDestroy")))
            self.api(ctx, API, "DELETE", f"b/{id}")
        except ApiError as e:
            if e.status == 409:
                raise e.because("Objects were added meanwhile: delete them and try again.") from e
            if e.status != 404:
                raise

    def _empty(self, ctx: Context, name: str, force: bool) -> None:
        while items := self.api(ctx, API, "GET", f"b/{name}/o", params={"versions": "true"}).get("items", []):
            if not force:
                raise ResourceError(
                    f"The bucket {name} still has objects, such as {items[0]['name']!r}, and is kept. "
                    f"Delete them (`gcloud storage rm -r gs://{name}/**`), or set force_destroy=True and "
                    "run `pulumi up` first, which lets a destroy delete them."
                )
            ctx.status(f"deleting {len(items)} objects")
            for item in items:
                if ctx.cancelled.is_set():
                    raise ResourceError(
                        f"Interrupted while deleting the objects of {name}; the bucket is kept."
                    )
                self._delete_object(ctx, name, item)

    def _delete_object(self, ctx: Context, name: str, item: Json) -> None:
        params = {"generation": str(item["generation"])} if "generation" in item else {}
        try:
            self.api(ctx, API, "DELETE", f"b/{name}/o/{quote(item['name'], safe='')}", params=params)
        except ApiError as e:
            if e.status != 404:
                raise

    def _outputs(self, inputs: Properties, bucket: Json) -> Properties:
        labels = self.label_outputs(inputs, bucket.get("labels") or {})
        soft_delete = {"softDeletePolicy": _soft_delete(bucket)}
        return self.all_outputs({**inputs, **_values(bucket), **labels, **soft_delete, **_facts(bucket)})


class GetBucket(Function):
    """Looks up a bucket by its name."""

    token = "gcp:storage/getBucket:getBucket"

    def __init__(self, gcp: Gcp) -> None:
        self.gcp = gcp

    def call(self, ctx: Context, args: Properties) -> Properties:
        wrong = problems(self.token, (Property("name", required=True), PROJECT), args)
        if wrong:
            raise ResourceError("; ".join(f"{name}: {why}" for name, why in wrong))
        name = args["name"]
        try:
            bucket = get_bucket(self.gcp, ctx, name)
        except ApiError as e:
            if e.status == 404:
                raise e.because(
                    f"There is no bucket {name!r}: name an existing one, or leave the name out to have one "
                    "made."
                ) from e
            raise
        values, labels = _values(bucket), bucket.get("labels") or {}
        return {
            "id": name,
            "name": name,
            "project": args.get("project") or self.gcp.settings.project or "",
            "location": bucket["location"],
            "storageClass": values["storageClass"],
            "uniformBucketLevelAccess": values["uniformBucketLevelAccess"],
            "publicAccessPrevention": values["publicAccessPrevention"],
            "labels": labels,
            "pulumiLabels": labels,
            "effectiveLabels": labels,
            "forceDestroy": False,
            "deletionPolicy": "",
            "defaultEventBasedHold": bool(bucket.get("defaultEventBasedHold")),
            "enableObjectRetention": bucket.get("objectRetention", {}).get("mode") == "Enabled",
            "requesterPays": bool(bucket.get("billing", {}).get("requesterPays")),
            "rpo": bucket.get("rpo", ""),
            "versionings": [values["versioning"]],
            "softDeletePolicies": [each for each in [_soft_delete(bucket)] if each],
            "lifecycleRules": values["lifecycleRules"],
            **{key: [] for key in _LISTS_WITHOUT_ENTRIES},
            **_facts(bucket),
        }


class GetBucketObjectContent(Function):
    """Reads a small text object."""

    token = "gcp:storage/getBucketObjectContent:getBucketObjectContent"

    def __init__(self, gcp: Gcp) -> None:
        self.gcp = gcp

    def call(self, ctx: Context, args: Properties) -> Properties:
        inputs = (Property("bucket", required=True), Property("name", required=True))
        wrong = problems(self.token, inputs, args)
        if wrong:
            raise ResourceError("; ".join(f"{name}: {why}" for name, why in wrong))
        bucket, name = args["bucket"], args["name"]
        path = f"b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
        try:
            found = self.gcp.rest.call(ctx, API, "GET", path)
            content = self.gcp.rest.content(ctx, API, path)
        except ApiError as e:
            if e.status == 404:
                raise e.because(
                    f"There is no object {name!r} in the bucket {bucket!r}: name one that exists."
                ) from e
            raise
        digest = hashlib.sha512(content)
        return {
            **{key: "" for key in _TEXTS_WITHOUT_CONTENT},
            **{key: [] for key in ("contexts", "customerEncryptions", "retentions")},
            "id": f"{bucket}-{name}",
            "bucket": bucket,
            "name": name,
            "outputName": name,
            "content": content.decode("utf-8", "replace"),
            "contentBase64": base64.b64encode(content).decode(),
            "contentHexsha512": digest.hexdigest(),
            "contentBase64sha512": base64.b64encode(digest.digest()).decode(),
            "contentType": found.get("contentType", ""),
            "crc32c": found.get("crc32c", ""),
            "md5hash": found.get("md5Hash", ""),
            "md5hexhash": base64.b64decode(found.get("md5Hash", "")).hex(),
            "generation": int(found.get("generation", 0)),
            "mediaLink": found.get("mediaLink", ""),
            "selfLink": found.get("selfLink", ""),
            "storageClass": found.get("storageClass", ""),
            "metadata": found.get("metadata", {}),
            "eventBasedHold": bool(found.get("eventBasedHold")),
            "temporaryHold": bool(found.get("temporaryHold")),
            "forceEmptyContentType": False,
        }


_TEXTS_WITHOUT_CONTENT = (
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "deletionPolicy",
    "detectMd5hash",
    "kmsKeyName",
    "source",
    "sourceMd5hash",
)

_LISTS_WITHOUT_ENTRIES = (
    "autoclasses",
    "cors",
    "customPlacementConfigs",
    "encryptions",
    "hierarchicalNamespaces",
    "ipFilters",
    "loggings",
    "retentionPolicies",
    "websites",
)


def get_bucket(gcp: Gcp, ctx: Context, name: str) -> Json:
    """The live bucket; ApiError 404 when there is none."""
    return gcp.rest.call(ctx, API, "GET", f"b/{quote(name, safe='')}")


def _settings(inputs: Properties) -> Json:
    """The parts of a request's body that are sent only when they are given."""
    body: Json = {}
    iam: Json = {}
    if inputs.get("uniformBucketLevelAccess") is not None:
        iam["uniformBucketLevelAccess"] = {"enabled": inputs["uniformBucketLevelAccess"]}
    if inputs.get("publicAccessPrevention"):
        iam["publicAccessPrevention"] = inputs["publicAccessPrevention"]
    if iam:
        body["iamConfiguration"] = iam
    if inputs.get("versioning"):
        body["versioning"] = {"enabled": inputs["versioning"]["enabled"]}
    seconds = (inputs.get("softDeletePolicy") or {}).get("retentionDurationSeconds")
    if seconds is not None:
        body["softDeletePolicy"] = {"retentionDurationSeconds": str(seconds)}
    return body


def _values(bucket: Json) -> Properties:
    """The input properties that the service keeps, as the live bucket has them."""
    iam = bucket.get("iamConfiguration") or {}
    soft_delete = _soft_delete(bucket)
    return {
        "name": bucket["name"],
        "location": bucket["location"],
        "storageClass": bucket.get("storageClass", "STANDARD"),
        "labels": bucket.get("labels") or None,
        "uniformBucketLevelAccess": bool((iam.get("uniformBucketLevelAccess") or {}).get("enabled")),
        "publicAccessPrevention": iam.get("publicAccessPrevention", "inherited"),
        "versioning": {"enabled": bool((bucket.get("versioning") or {}).get("enabled"))},
        "softDeletePolicy": {"retentionDurationSeconds": soft_delete["retentionDurationSeconds"]}
        if soft_delete
        else None,
        "lifecycleRules": lifecycle.from_api((bucket.get("lifecycle") or {}).get("rule") or []),
    }


def _soft_delete(bucket: Json) -> Properties | None:
    policy = bucket.get("softDeletePolicy")
    if not policy:
        return None
    result: Properties = {"retentionDurationSeconds": int(policy.get("retentionDurationSeconds", 0))}
    if policy.get("effectiveTime"):
        result["effectiveTime"] = policy["effectiveTime"]
    return result


def _facts(bucket: Json) -> dict[str, Any]:
    """Outputs that only the service knows."""
    return {
        "projectNumber": int(bucket["projectNumber"]),
        "selfLink": bucket.get("selfLink", ""),
        "timeCreated": bucket.get("timeCreated", ""),
        "updated": bucket.get("updated", ""),
        "url": f"gs://{bucket['name']}",
    }

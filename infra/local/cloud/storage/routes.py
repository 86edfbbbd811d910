"""Paths of storage.googleapis.com: JSON API v1, with its upload and download hosts' prefixes; the XML API's read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from starlette.routing import BaseRoute

from infra.local.cloud.core import Cloud
from infra.local.cloud.rest import ErrorStyle, Handler, Method
from infra.local.cloud.storage import schema
from infra.local.cloud.storage.access import Access
from infra.local.cloud.storage.buckets import Buckets
from infra.local.cloud.storage.errors import media_error, storage_error
from infra.local.cloud.storage.objects import Objects
from infra.local.cloud.storage.transfer import Transfer
from infra.local.cloud.storage.xml import ReadObject

_GENERATION = (
    "generation",
    "ifGenerationMatch",
    "ifGenerationNotMatch",
    "ifMetagenerationMatch",
    "ifMetagenerationNotMatch",
    "projection",
)
_ACL = ("predefinedAcl", "predefinedDefaultObjectAcl", "projection", "enableObjectRetention")
_LIST = (
    "prefix", "delimiter", "maxResults", "pageToken", "projection", "startOffset", "endOffset",
    "includeTrailingDelimiter", "includeFoldersAsPrefixes", "matchGlob", "versions", "softDeleted", "filter",
)  # fmt: skip


def routes(cloud: Cloud) -> list[BaseRoute]:
    """All routes of the service."""
    access = Access(cloud)
    buckets, objects, transfer = Buckets(cloud, access), Objects(cloud, access), Transfer(cloud, access)
    cloud.on_summary("buckets", buckets.summary)

    def method(
        verb: str,
        path: str,
        handler: Handler,
        query: Collection[str] = (),
        body: Mapping[str, Any] | None = None,
        json_body: bool = True,
        style: ErrorStyle = storage_error,
    ) -> Method:
        return Method(
            cloud, verb, path, handler, query=query, body=body, json_body=json_body, error_style=style
        )

    bucket = "/storage/v1/b/{bucket}"
    object_ = bucket + "/o/{object+}"
    upload = "/storage/v1/b/{bucket}/o"
    copy = ("sourceGeneration", "rewriteToken", "maxBytesRewrittenPerCall", "destinationKmsKeyName",
            "destinationPredefinedAcl", "ifSourceGenerationMatch", "ifSourceGenerationNotMatch",
            "ifSourceMetagenerationMatch", "ifSourceMetagenerationNotMatch", *_GENERATION)  # fmt: skip
    sending = ("name", "contentEncoding", "kmsKeyName", "predefinedAcl", "upload_id", *_GENERATION)
    policy = ("optionsRequestedPolicyVersion",)
    found: list[BaseRoute] = [
        method("GET", "/storage/v1/projects/{project}/serviceAccount", buckets.service_account),
        method("POST", "/storage/v1/b", buckets.create, ("project", *_ACL), schema.BUCKET),
        method(
            "GET",
            "/storage/v1/b",
            buckets.list,
            (
                "project",
                "prefix",
                "maxResults",
                "pageToken",
                "projection",
                "softDeleted",
                "returnPartialSuccess",
            ),
        ),
        method("GET", bucket, buckets.get, (*_GENERATION, "softDeleted")),
        method("PATCH", bucket, buckets.patch, (*_GENERATION, *_ACL), schema.BUCKET),
        method("PUT", bucket, buckets.update, (*_GENERATION, *_ACL), schema.BUCKET),
        method("DELETE", bucket, buckets.delete, _GENERATION),
        method("GET", bucket + "/iam", buckets.get_policy, policy),
        method("PUT", bucket + "/iam", buckets.set_policy, policy, schema.POLICY),
        method("GET", bucket + "/iam/testPermissions", buckets.test_permissions, ("permissions",)),
        # The provider asks before it deletes a bucket; there never are any here.
        method("GET", bucket + "/anywhereCaches", buckets.no_caches, ("pageSize", "pageToken")),
        method("GET", bucket + "/anywhereCaches/", buckets.no_caches, ("pageSize", "pageToken")),
        method("GET", bucket + "/storageLayout", buckets.layout, ("prefix",)),
        method("GET", bucket + "/o", objects.list, _LIST),
        method("GET", object_, transfer.get, (*_GENERATION, "softDeleted"), json_body=False),
        method("PATCH", object_, objects.patch, (*_GENERATION, "predefinedAcl"), schema.OBJECT),
        method("PUT", object_, objects.update, (*_GENERATION, "predefinedAcl"), schema.OBJECT),
        method("DELETE", object_, objects.delete, _GENERATION),
        method(
            "POST",
            object_ + "/compose",
            objects.compose,
            (*_GENERATION, "destinationPredefinedAcl", "kmsKeyName", "deleteSourceObjects"),
            schema.COMPOSE,
        ),
        method(
            "POST", object_ + "/rewriteTo/b/{to_bucket}/o/{to_object+}", objects.rewrite, copy, schema.OBJECT
        ),
        method("POST", object_ + "/copyTo/b/{to_bucket}/o/{to_object+}", objects.copy, copy, schema.OBJECT),
        method(
            "GET", "/download" + object_, transfer.download, _GENERATION, json_body=False, style=media_error
        ),
    ]
    for prefix in ("/upload", "/resumable/upload"):
        found += [
            method("POST", prefix + upload, transfer.begin, sending, json_body=False),
            method("PUT", prefix + upload, transfer.resume, sending, json_body=False),
            method("DELETE", prefix + upload, transfer.cancel, sending, json_body=False),
        ]
    return [*found, ReadObject(cloud, transfer.download)]

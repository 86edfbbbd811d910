"""Fields that requests may have. Source: discovery document storage/v1, schemas Bucket, Object and Policy."""

from __future__ import annotations

from typing import Any

from infra.local.cloud.strict import ANY

Json = dict[str, Any]

_CONFIG: Json = {
    "uniformBucketLevelAccess": {"enabled": bool, "lockedTime": str},
    "bucketPolicyOnly": {"enabled": bool, "lockedTime": str},
    "publicAccessPrevention": str,
}

BUCKET: Json = {
    name: ANY
    for name in (
        "acl", "autoclass", "billing", "cors", "customPlacementConfig", "defaultEventBasedHold",
        "defaultObjectAcl", "encryption", "etag", "generation", "hierarchicalNamespace", "id", "ipFilter", "kind",
        "lifecycle", "locationType", "logging", "metageneration", "objectRetention", "owner", "projectNumber",
        "retentionPolicy", "satisfiesPZI", "satisfiesPZS", "selfLink", "softDeletePolicy", "timeCreated", "updated",
        "versioning", "website",
    )
} | {
    "name": str,
    "location": str,
    "storageClass": str,
    "labels": {"*": str},
    "iamConfiguration": _CONFIG,
    "rpo": str,
}  # fmt: skip

OBJECT: Json = {
    name: ANY
    for name in (
        "acl", "bucket", "componentCount", "contexts", "crc32c", "customTime", "customerEncryption", "etag",
        "eventBasedHold", "generation", "id", "kind", "kmsKeyName", "md5Hash", "mediaLink", "metageneration", "owner",
        "retention", "retentionExpirationTime", "selfLink", "size", "temporaryHold", "timeCreated", "timeDeleted",
        "timeFinalized", "timeStorageClassUpdated", "updated",
    )
} | {
    "name": str,
    "cacheControl": str,
    "contentDisposition": str,
    "contentEncoding": str,
    "contentLanguage": str,
    "contentType": str,
    "metadata": {"*": str},
    "storageClass": str,
}  # fmt: skip

#: Fields of an object that its owner may change.
WRITABLE = (
    "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "customTime",
    "eventBasedHold", "metadata", "storageClass", "temporaryHold",
)  # fmt: skip

COMPOSE: Json = {
    "kind": str,
    "destination": OBJECT,
    "sourceObjects": [
        {"name": str, "generation": int, "objectPreconditions": {"ifGenerationMatch": int}},
    ],
    "deleteSourceObjects": bool,
}

POLICY: Json = {
    "kind": str,
    "resourceId": str,
    "version": int,
    "etag": str,
    "bindings": [
        {"role": str, "members": [str], "condition": {"title": str, "description": str, "expression": str}}
    ],
}

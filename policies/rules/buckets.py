"""Buckets are never public.

Satisfied by: `publicAccessPrevention: enforced` with `uniformBucketLevelAccess: true`, and grants to named members.
Violated by: either one missing or otherwise, or a grant to `allUsers` or `allAuthenticatedUsers`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.rule import UNKNOWN, Resource, Rule

BUCKET = "gcp:storage/bucket:Bucket"
BUCKET_GRANTS = frozenset(f"gcp:storage/bucketIAM{kind}:BucketIAM{kind}" for kind in ("Member", "Binding"))
PUBLIC = frozenset({"allUsers", "allAuthenticatedUsers"})


def check(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type == BUCKET:
        prevention = resource.get("publicAccessPrevention", default="inherited")
        if prevention is not UNKNOWN and prevention != "enforced":
            yield f'publicAccessPrevention is "{prevention}"; set it to "enforced"'
        uniform = resource.get("uniformBucketLevelAccess", default=False)
        if uniform is not UNKNOWN and uniform is not True:
            yield "uniformBucketLevelAccess is off, so single objects can be made public; set it to true"
    elif resource.type in BUCKET_GRANTS:
        for member in [resource.get("member"), *resource.items("members")]:
            if isinstance(member, str) and member in PUBLIC:
                yield f"{member} is everybody on the internet; grant to a named service account, group or user"


BUCKET_NOT_PUBLIC = Rule(
    name="bucket-not-public",
    description="Buckets prevent public access and are never granted to everybody.",
    check=check,
)

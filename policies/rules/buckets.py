"""Buckets are never public.

`bucket-not-public`. Satisfied by: `publicAccessPrevention: enforced` with `uniformBucketLevelAccess: true`, and grants
to named members. Violated by: either one missing or otherwise; a grant to `allUsers` or `allAuthenticatedUsers`, be it
a member, a binding, a whole policy or an entry of an access control list; a predefined list that is public, such as
`publicRead`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.roles import grants
from rules.rule import UNKNOWN, Resource, Rule

BUCKET = "gcp:storage/bucket:Bucket"
STORAGE = "gcp:storage/"
PUBLIC = frozenset({"allUsers", "allAuthenticatedUsers"})
_PUBLIC_LISTS = frozenset({"publicRead", "publicReadWrite", "authenticatedRead"})
_INSTEAD = "grant to a named service account, group or user"


def check(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type == BUCKET:
        prevention = resource.get("publicAccessPrevention", default="inherited")
        if prevention is not UNKNOWN and prevention != "enforced":
            yield f'publicAccessPrevention is "{prevention}"; set it to "enforced"'
        uniform = resource.get("uniformBucketLevelAccess", default=False)
        if uniform is not UNKNOWN and uniform is not True:
            yield "uniformBucketLevelAccess is off, so single objects can be made public; set it to true"
    elif resource.type.startswith(STORAGE):
        for who in dict.fromkeys(_granted(resource)):
            if who in PUBLIC:
                yield f"{who} is everybody on the internet; {_INSTEAD}"
        for key in ("predefinedAcl", "defaultAcl"):
            listed = resource.get(key)
            if isinstance(listed, str) and listed in _PUBLIC_LISTS:
                yield f"{key} {listed} lets everybody on the internet read; {_INSTEAD}"


def _granted(resource: Resource) -> Iterator[str]:
    """Whom a grant or a list of grants names, of all kinds that Cloud Storage has."""
    for member in [resource.get("member"), *resource.items("members")]:  # a role need not be known
        if isinstance(member, str):
            yield member
    for _, members in grants(resource):
        yield from (member for member in members if isinstance(member, str))
    for entity in [resource.get("entity"), *resource.items("roleEntities")]:
        if isinstance(entity, str):
            yield entity.rpartition(":")[2]  # a list has READER:allUsers


BUCKET_NOT_PUBLIC = Rule(
    name="bucket-not-public",
    description="Buckets prevent public access and are never granted to everybody.",
    check=check,
)

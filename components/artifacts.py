"""The bucket that weights, LoRA adapters and staged files of a served model live in, and who may read it.

Owns the bucket (unless an existing one is named) and the grants on it; a further bucket that the weights come from gets
its own read grant here, because a grant belongs to the thing it protects. Objects are never created, changed or
deleted here. An existing bucket itself is never changed or deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pulumi
import pulumi_gcp as gcp

from components.identity import Grants, role_slug
from infra.provider.resources import BucketDisposal

TOKEN = "vertex-vllm:artifacts:ArtifactBucket"

OnDestroy = Literal["if_empty", "keep", "delete"]

STAGING_PREFIX = "staging"
MODEL_PREFIX = "models"

READ_ROLE = "roles/storage.objectViewer"
BUCKET_ROLES: dict[Grants, str] = {"least": READ_ROLE, "guide": "roles/storage.admin"}
"""Role on the stack's bucket. A foreign bucket is only ever read, whatever the set."""

OWN_READ_ROLE = "roles/storage.legacyObjectReader"
"""For weights that lie in the stack's own bucket. `READ_ROLE` is granted there already, and two resources holding one
and the same binding would each revoke it for the other; this role is a part of it, so nothing is added."""


@dataclass(frozen=True, kw_only=True)
class ArtifactBucketArgs:
    """Which bucket, who reads it and what happens to it in the end.

    Attributes:
        project: Project id.
        region: Region of a bucket made here; the region that serves, so that no byte crosses regions.
        member: Who reads, as IAM writes it (`serviceAccount:EMAIL`).
        existing_bucket: Name of a bucket to use instead of making one.
        weights_buckets: Other buckets that the container reads (weights, chat templates), by name.
        grants: Name of a set in `BUCKET_ROLES`.
        on_destroy: `if_empty` deletes our bucket when it has no object, `keep` never, `delete` with its objects.
        labels: Labels of a bucket made here; the stack's two, by which it is disposed of, among them.
    """

    project: str
    region: str
    member: pulumi.Input[str]
    existing_bucket: str | None = None
    weights_buckets: tuple[str, ...] = ()
    grants: Grants = "least"
    on_destroy: OnDestroy = "if_empty"
    labels: Mapping[str, str]


class ArtifactBucket(pulumi.ComponentResource):
    """A bucket with its grants; depend on this component to run after the grants.

    Attributes:
        bucket: Name of the bucket, without `gs://`.
        staging_uri: `gs://` prefix for staged files.
        model_uri: `gs://` prefix for weights and adapters.
    """

    bucket: pulumi.Output[str]
    staging_uri: pulumi.Output[str]
    model_uri: pulumi.Output[str]

    def __init__(
        self, name: str, args: ArtifactBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(TOKEN, name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        if args.existing_bucket is None:
            # Before the bucket, so that it also knows one whose creation was killed; there whatever the policy is, for
            # leaving it out later would be a destroy of it, and so of the bucket.
            disposal = BucketDisposal(
                f"{name}-disposal", project=args.project, policy=args.on_destroy, opts=child
            )
            bucket = gcp.storage.Bucket(
                # No `name`: the engine makes one that is unique in the world and ends in seven random digits. A name
                # derived from the project would collide with the bucket that an earlier destroy has kept.
                name,
                project=args.project,
                location=args.region.upper(),
                storage_class="STANDARD",
                uniform_bucket_level_access=True,
                public_access_prevention="enforced",
                versioning={"enabled": False},
                # Weights can be fetched again; soft-deleted ones would be billed for another week.
                soft_delete_policy={"retention_duration_seconds": 0},
                force_destroy=args.on_destroy == "delete",
                labels=dict(args.labels),
                opts=pulumi.ResourceOptions.merge(
                    child,
                    pulumi.ResourceOptions(
                        depends_on=[disposal], retain_on_delete=args.on_destroy != "delete"
                    ),
                ),
            )
            self.bucket = bucket.name
        else:
            self.bucket = pulumi.Output.from_input(args.existing_bucket)
        role = BUCKET_ROLES[args.grants]
        gcp.storage.BucketIAMMember(
            f"{name}-{role_slug(role)}", bucket=self.bucket, role=role, member=args.member, opts=child
        )
        for weights_bucket in sorted(set(args.weights_buckets) - {args.existing_bucket}):
            gcp.storage.BucketIAMMember(
                f"{name}-{weights_bucket}-{role_slug(READ_ROLE)}",
                bucket=weights_bucket,
                role=self.bucket.apply(partial(_role_for_weights, weights_bucket)),
                member=args.member,
                opts=child,
            )
        self.staging_uri = pulumi.Output.concat("gs://", self.bucket, "/", STAGING_PREFIX)
        self.model_uri = pulumi.Output.concat("gs://", self.bucket, "/", MODEL_PREFIX)
        self.register_outputs(
            {"bucket": self.bucket, "staging_uri": self.staging_uri, "model_uri": self.model_uri}
        )


def _role_for_weights(weights_bucket: str, own_bucket: str) -> str:
    return OWN_READ_ROLE if own_bucket == weights_bucket else READ_ROLE

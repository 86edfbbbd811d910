"""Who may do what to buckets and objects, with this service's wording of a refusal."""

from __future__ import annotations

from typing import Any

from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import service_disabled
from infra.local.cloud.identity import Principal
from infra.local.cloud.projects import Project
from infra.local.cloud.storage import rules

Json = dict[str, Any]
SERVICE = "storage.googleapis.com"


class Access:
    """Checks of project, bucket and object rights."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def project(self, principal: Principal, reference: str, permission: str) -> Project:
        """The project, if the API is enabled in it and the caller may.

        Raises:
            GoogleError: 400 for an unknown project, 403 without the right.
        """
        if not reference:
            raise rules.required("project")
        project = self.cloud.projects.find(reference)
        if project is None:
            raise rules.invalid(f"Unknown project id: {reference}")
        if not self.cloud.services.enabled(project.number, SERVICE):
            raise service_disabled(SERVICE, project.number)
        if not self.cloud.policies.allows(principal, permission, [f"projects/{project.id}"]):
            raise rules.denied(principal.email, permission, "project")
        return project

    def bucket(self, principal: Principal, name: str, permission: str, kind: str = "bucket") -> Json:
        """The bucket, if the caller holds the permission on it.

        Raises:
            GoogleError: 404 for an unknown bucket, 403 without the right.
        """
        bucket = self.cloud.objects.bucket(name)
        if bucket is None:
            raise rules.no_bucket()
        if not self.holds(principal, bucket, permission):
            raise rules.denied(principal.email, permission, kind)
        return bucket

    def holds(self, principal: Principal, bucket: Json, permission: str) -> bool:
        """Whether the caller holds the permission through the bucket's or its project's policy."""
        project = self.cloud.projects.find(bucket["projectNumber"])
        keys = [f"projects/{project.id}"] if project else []
        return self.cloud.policies.allows(principal, permission, [*keys, f"buckets/{bucket['name']}"])

    def object(self, principal: Principal, bucket_name: str, name: str, permission: str) -> Json:
        """The object, if the caller holds the permission on it.

        Raises:
            GoogleError: 404 for one that isn't there (403 for a caller who may not list the bucket, who would
                otherwise learn that), 403 without the right.
        """
        bucket = self.bucket(principal, bucket_name, permission, "object")
        document = self.cloud.objects.get(bucket_name, name)
        if document is None:
            if not self.holds(principal, bucket, "storage.objects.list"):
                raise rules.denied(principal.email, "storage.objects.list", "bucket")
            raise rules.no_object(bucket_name, name)
        return document

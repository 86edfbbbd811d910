"""Reading gs:// objects with somebody's rights, for services that read on a customer's behalf."""

from __future__ import annotations

from infra.local.cloud.iam.policies import Policies
from infra.local.cloud.identity import Principal
from infra.local.cloud.projects import Projects
from infra.local.cloud.storage.store import ObjectStore, split_uri


class Reader:
    """Objects as one principal may see them."""

    def __init__(
        self, objects: ObjectStore, policies: Policies, projects: Projects, principal: Principal
    ) -> None:
        self._objects, self._policies, self._projects, self._principal = (
            objects,
            policies,
            projects,
            principal,
        )

    def exists(self, uri: str) -> bool:
        """Whether there is such an object, or any object below this prefix.

        Raises:
            PermissionError: the principal may not list the bucket's objects.
        """
        self._require(uri, "storage.objects.list")
        return self._objects.exists(uri)

    def read(self, uri: str) -> bytes:
        """The object's bytes.

        Raises:
            PermissionError: the principal may not read it.
            FileNotFoundError: there is no such object.
        """
        self._require(uri, "storage.objects.get")
        return self._objects.read(uri)

    def list(self, uri: str) -> list[str]:
        """gs:// addresses of every object that starts with the prefix, sorted.

        Raises:
            PermissionError: the principal may not list the bucket's objects.
        """
        self._require(uri, "storage.objects.list")
        return self._objects.list(uri)

    def _require(self, uri: str, permission: str) -> None:
        name, _ = split_uri(uri)
        bucket = self._objects.bucket(name)
        if bucket is None:
            raise FileNotFoundError("The specified bucket does not exist.")
        project = self._projects.find(bucket["projectNumber"])
        keys = [f"buckets/{name}"] + ([f"projects/{project.id}"] if project else [])
        if not self._policies.allows(self._principal, permission, keys):
            kind = "bucket" if permission.endswith(".list") else "object"
            raise PermissionError(
                f"{self._principal.email} does not have {permission} access to the Google Cloud Storage {kind}. "
                f"Permission '{permission}' denied on resource (or it may not exist)."
            )

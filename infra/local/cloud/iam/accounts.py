"""Service accounts as documents, by e-mail address."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from infra.local.cloud.iam.policies import Policies
from infra.local.cloud.projects import COLLECTION as PROJECTS
from infra.local.cloud.projects import Project, Projects
from infra.local.cloud.serviceusage.store import EnabledServices
from infra.local.cloud.store import Store

Json = dict[str, Any]
COLLECTION = "service_accounts"
COMPUTE = "compute.googleapis.com"
#: A constant that the real service answers for every account ("1" and a time, in base64).
ETAG = "MDEwMjE5MjA="


class ServiceAccounts:
    """Every service account of every project."""

    def __init__(
        self, store: Store, policies: Policies, projects: Callable[[], Projects], services: EnabledServices
    ) -> None:
        self._store, self._policies, self._projects, self._services = store, policies, projects, services

    def find(self, reference: str) -> Json | None:
        """By e-mail address or by unique id."""
        document = self._store.get(COLLECTION, reference)
        if document is None:
            document = next((item for item in self._defaults() if item["email"] == reference), None)
        if document is None and reference.isdigit():
            document = next((item for item in self.all() if item["uniqueId"] == reference), None)
        return document

    def all(self) -> list[Json]:
        """Every account, by address; those that Google makes itself first."""
        return [*self._defaults(), *(document for _, document in self._store.items(COLLECTION))]

    def known(self, email: str) -> bool:
        """Whether a policy may name the account: ours must exist, Google's own and other projects' may."""
        project = self._default_of(email)
        if project is not None:
            return self._services.enabled(project.number, COMPUTE)
        found = re.fullmatch(r"[^@]+@([a-z][a-z0-9-]+)\.iam\.gserviceaccount\.com", email)
        if found is None or self._store.get(PROJECTS, found[1]) is None:
            return True
        return self._store.get(COLLECTION, email) is not None

    def create(self, project: Project, account_id: str, display_name: str, description: str) -> Json:
        """Makes an account; its address must be free."""
        email = f"{account_id}@{project.id}.iam.gserviceaccount.com"
        # 21 digits, as the real ones.
        unique_id = str(10**20 + self._store.next_number("service_accounts") * 7919 + int(project.number))
        document: Json = {
            "name": f"projects/{project.id}/serviceAccounts/{email}",
            "projectId": project.id,
            "uniqueId": unique_id,
            "email": email,
            "etag": ETAG,
            "oauth2ClientId": unique_id,
        }
        if display_name:
            document["displayName"] = display_name
        if description:
            document["description"] = description
        self.put(document)
        return document

    def put(self, document: Json) -> None:
        """Stores an account."""
        self._store.put(COLLECTION, document["email"], document)

    def delete(self, document: Json) -> None:
        """Removes it with its policy; its memberships become those of a deleted account."""
        with self._store.transaction():
            self._store.delete(COLLECTION, document["email"])
            self._policies.drop(f"serviceAccounts/{document['email']}")
            self._policies.account_deleted(document["email"], document["uniqueId"])

    def summary(self) -> list[str]:
        """Addresses of all accounts that somebody made."""
        return [document["email"] for _, document in self._store.items(COLLECTION)]

    def _default_of(self, email: str) -> Project | None:
        number = email.removesuffix("-compute@developer.gserviceaccount.com")
        return self._projects().find(number) if number != email and number.isdigit() else None

    def _defaults(self) -> list[Json]:
        """The default service account of Compute Engine, in every project that has that API enabled."""
        return [
            {
                "name": f"projects/{project.id}/serviceAccounts/{project.number}-compute@developer.gserviceaccount.com",
                "projectId": project.id,
                "uniqueId": f"1{int(project.number):020d}",
                "email": f"{project.number}-compute@developer.gserviceaccount.com",
                "displayName": "Compute Engine default service account",
                "etag": ETAG,
                "oauth2ClientId": f"1{int(project.number):020d}",
            }
            for project in self._projects().all()
            if self._services.enabled(project.number, COMPUTE)
        ]

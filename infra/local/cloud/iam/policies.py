"""Allow policies of projects, buckets, service accounts and Vertex AI resources: stored, changed by etag, evaluated.

A policy key is a resource name: "projects/ID", "buckets/NAME", "serviceAccounts/EMAIL", or any other relative name.
A grant may be told to take effect only some seconds after it was written (Google: typically two minutes).
"""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from infra.local.cloud.clock import Clock
from infra.local.cloud.errors import GoogleError, aborted, invalid
from infra.local.cloud.iam import roles
from infra.local.cloud.identity import Principal
from infra.local.cloud.operations import Timing
from infra.local.cloud.store import Store

Json = dict[str, Any]
COLLECTION = "iam_policies"
POLICY_SCHEMA: Json = {
    "version": int,
    "etag": str,
    "kind": str,
    "resourceId": str,
    "bindings": [
        {
            "role": str,
            "members": [str],
            "condition": {"title": str, "description": str, "expression": str, "location": str},
        }
    ],
    "auditConfigs": [
        {
            "service": str,
            "auditLogConfigs": [{"logType": str, "exemptedMembers": [str]}],
        }
    ],
}
_MEMBER = re.compile(
    r"(allUsers|allAuthenticatedUsers"
    r"|(user|serviceAccount|group):[^@\s]+@[^@\s]+|domain:\S+"
    r"|deleted:(user|serviceAccount|group):[^@\s]+@[^@\s?]+\?uid=\d+"
    r"|(projectOwner|projectEditor|projectViewer):\S+|(principal|principalSet)://\S+)"
)


class Policies:
    """Every allow policy of the local cloud."""

    def __init__(self, store: Store, clock: Clock, timing: Timing) -> None:
        self._store, self._clock, self._timing = store, clock, timing
        #: Says whether a service account exists; set by the iam service.
        self.account_exists: Callable[[str], bool] = lambda _email: True

    def exists(self, key: str) -> bool:
        """Whether the policy was ever written."""
        return self._store.get(COLLECTION, key) is not None

    def get(self, key: str) -> Json:
        """The policy as last written ({"version": 1, "etag": …} when nobody wrote one), with its etag."""
        document = self._store.get(COLLECTION, key)
        if document is None:
            return {"version": 1, "etag": etag(0)}
        policy: Json = copy.deepcopy(document["policy"])
        policy["etag"] = etag(document["revision"])
        return policy

    def set(
        self,
        key: str,
        policy: Json,
        *,
        allowed_roles: str = "",
        conflict: GoogleError | None = None,
        at_once: bool = False,
    ) -> Json:
        """Replaces the policy and answers it.

        Args:
            key: whose policy.
            policy: the new one; its etag, if any, must be the current one.
            allowed_roles: prefix of the roles the resource takes ("" for all).
            conflict: what a stale etag gets; Google's ABORTED text by default.
            at_once: in effect at once, whatever the propagation delay (what a new resource is born with).

        Raises:
            GoogleError: INVALID_ARGUMENT for an unknown role or member, ABORTED for a stale etag.
        """
        stored = self._store.get(COLLECTION, key) or {"revision": 0, "steps": []}
        given = policy.get("etag")
        if given and given != etag(stored["revision"]):
            raise conflict or aborted(
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential "
                "backoff. The request's ETag "
                f"'{given}' did not match the current policy's ETag '{etag(stored['revision'])}'."
            )
        bindings = self._bindings(policy.get("bindings") or [], allowed_roles)
        kept: Json = {"version": 3 if any("condition" in binding for binding in bindings) else 1}
        if bindings:
            kept["bindings"] = bindings
        if policy.get("auditConfigs"):
            kept["auditConfigs"] = policy["auditConfigs"]
        now = self._clock.now()
        delay = 0.0 if at_once else self._timing.iam_propagation_seconds
        steps = [step for step in stored["steps"] if step["at"] > now][-20:]
        current = self._effective(stored)
        steps = [{"at": 0.0, "bindings": current}, *steps, {"at": now + delay, "bindings": bindings}]
        self._store.put(COLLECTION, key, {"revision": stored["revision"] + 1, "policy": kept, "steps": steps})
        return self.get(key)

    def add(self, key: str, role: str, member: str) -> None:
        """Adds one binding, whatever the etag (for what Google itself grants)."""
        policy = self.get(key)
        policy.pop("etag")
        for binding in policy.setdefault("bindings", []):
            if binding["role"] == role and "condition" not in binding:
                if member not in binding["members"]:
                    binding["members"].append(member)
                break
        else:
            policy["bindings"].append({"role": role, "members": [member]})
        self.set(key, policy)

    def drop(self, key: str) -> None:
        """Forgets the policy of a resource that was deleted."""
        self._store.delete(COLLECTION, key)

    def account_deleted(self, email: str, unique_id: str) -> None:
        """Renames a deleted service account's memberships, as Google does ("deleted:serviceAccount:…?uid=…")."""
        old, new = f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={unique_id}"
        for key, document in self._store.items(COLLECTION):
            lists = [document["policy"].get("bindings", [])] + [
                step["bindings"] for step in document["steps"]
            ]
            changed = False
            for binding in (binding for bindings in lists for binding in bindings):
                if old in binding["members"]:
                    binding["members"] = [new if member == old else member for member in binding["members"]]
                    changed = True
            if changed:
                document["revision"] += 1
                self._store.put(COLLECTION, key, document)

    def roles_of(self, principal: Principal, keys: Iterable[str]) -> AbstractSet[str]:
        """Roles in effect now for the principal in any of these policies; conditional bindings don't count.

        A project's owners, editors and viewers are members "projectOwner:ID" (…) in the policies of its buckets.
        """
        keys = list(keys)
        members = {principal.member, "allUsers", "allAuthenticatedUsers"}
        for project in (key.removeprefix("projects/") for key in keys if key.startswith("projects/")):
            held = self._roles(members, [f"projects/{project}"])
            members = members | {
                f"project{basic.capitalize()}:{project}"
                for basic in ("owner", "editor", "viewer")
                if f"roles/{basic}" in held
            }
        return self._roles(members, keys)

    def _roles(self, members: AbstractSet[str], keys: Iterable[str]) -> AbstractSet[str]:
        return {
            binding["role"]
            for key in keys
            for binding in self._effective(self._store.get(COLLECTION, key))
            if "condition" not in binding and members & set(binding["members"])
        }

    def allows(self, principal: Principal, permission: str, keys: Sequence[str]) -> bool:
        """Whether the principal holds the permission through one of these policies; the owner holds all."""
        return principal.is_owner or roles.any_holds(self.roles_of(principal, keys), permission)

    def _effective(self, document: Json | None) -> list[Json]:
        now = self._clock.now()
        bindings: list[Json] = []
        for step in (document or {"steps": []})["steps"]:
            if step["at"] <= now:
                bindings = step["bindings"]
        return bindings

    def _bindings(self, given: list[Json], allowed_roles: str) -> list[Json]:
        merged: dict[tuple[str, str], Json] = {}
        for binding in given:
            role = binding.get("role", "")
            members = binding.get("members") or []
            if not roles.exists(role) and not re.fullmatch(
                r"(projects|organizations)/[^/]+/roles/[\w.]+", role
            ):
                raise invalid(f"Role {role} is not supported for this resource.")
            if allowed_roles and not role.startswith(allowed_roles):
                raise invalid(f"Role {role} is not supported for this resource.")
            for member in members:
                self._check_member(member)
            if not members:
                continue
            condition = binding.get("condition")
            if condition and not (condition.get("expression") and condition.get("title")):
                raise invalid("Condition title and expression must be set.")
            entry = merged.setdefault((role, repr(condition)), {"role": role, "members": []})
            if condition:
                entry["condition"] = condition
            entry["members"] = sorted({*entry["members"], *members})
        return [merged[key] for key in sorted(merged)]

    def _check_member(self, member: str) -> None:
        if not _MEMBER.fullmatch(member):
            if ":" not in member:
                raise invalid(
                    f"The member {member} is of an unknown type. Please set a valid type prefix for the member."
                )
            raise invalid(f"Invalid value for member: {member}.")
        kind, _, email = member.partition(":")
        if kind == "serviceAccount" and not self.account_exists(email):
            raise invalid(f"Service account {email} does not exist.")


def etag(revision: int) -> str:
    """The etag of a policy's nth revision; 0 is Google's "ACAB", a policy nobody wrote."""
    return "ACAB" if revision == 0 else base64.b64encode(b"\x07\x06" + revision.to_bytes(6, "big")).decode()

"""gcp:projects/iAMMember:IAMMember and gcp:storage/bucketIAMMember:BucketIAMMember: one member in one role.

A grant is an edit of the policy of the thing that is granted on. The policy is read, changed and written with
the etag that was read; when somebody else wrote in between, the service refuses the stale etag and the edit
starts again.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import ClassVar

from infra.local.gcp_plugin.base import Gcp, GcpResource
from infra.local.gcp_plugin.properties import PROJECT, Property, problems
from infra.local.gcp_plugin.rest import ApiError, Json
from infra.plugin import Context, ResourceError, State
from infra.plugin.resource import Properties
from infra.plugin.values import contains_unknown

STALE = frozenset({409, 412})
ATTEMPTS = 20
FIRST_DELAY_SECONDS = 0.05
LONGEST_DELAY_SECONDS = 2.0
POLICY_VERSION = 3

ROLE = Property(
    "role",
    required=True,
    replaces=True,
    pattern=r"(roles|projects/[^/]+/roles|organizations/[^/]+/roles)/[A-Za-z0-9_.]+",
    hint="a role is meant, such as roles/aiplatform.user or projects/PROJECT/roles/ROLE.",
)
MEMBER = Property(
    "member",
    required=True,
    replaces=True,
    pattern=r"(allUsers|allAuthenticatedUsers|[A-Za-z]+:.+)",
    hint="a member is meant, such as serviceAccount:EMAIL, user:EMAIL or allUsers.",
)
CONDITION = Property("condition", kind="object", replaces=True)
CONDITION_PROPERTIES = (
    Property("title", required=True),
    Property("expression", required=True),
    Property("description"),
)


class Grant(GcpResource):
    """What both types of grant share."""

    computed: ClassVar[Mapping[str, str]] = {"etag": "string"}
    target_property: ClassVar[str]
    """The property that names what is granted on."""

    # One lock for each target: within this process, concurrent edits of one policy only make each other's
    # etags stale.
    _locks: ClassVar[defaultdict[str, threading.Lock]] = defaultdict(threading.Lock)

    def validate(self, inputs: Properties) -> list[tuple[str, str]]:
        condition = inputs.get("condition")
        if condition is None or contains_unknown(condition):
            return []
        return problems(self.token, CONDITION_PROPERTIES, condition, where="condition.")

    def create(self, ctx: Context, inputs: Properties) -> State:
        role, member, condition = inputs["role"], inputs["member"], inputs.get("condition")
        target = self.target(inputs[self.target_property])
        self._edit(ctx, target, lambda policy: _add(policy, role, member, condition))
        id = _id(target, role, member, condition)
        with self.exists(id, inputs):
            policy = self._until(ctx, target, lambda policy: _holds(policy, role, member, condition))
        return State(id, self._outputs(inputs, target, policy))

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        return self.create(ctx, news)  # only to finish an interrupted create: every property replaces

    def find(
        self, ctx: Context, id: str, state: Properties, inputs: Properties
    ) -> tuple[str, Properties, Properties] | None:
        given = state or self.parse_import(id)
        target = self.target(given[self.target_property])
        role, member, condition = given["role"], given["member"], given.get("condition")
        try:
            policy = self.get_policy(ctx, target)
        except ApiError as e:
            if e.status == 404:
                return None
            raise
        if not _holds(policy, role, member, condition):
            return None
        values = {
            self.target_property: inputs.get(self.target_property) or given[self.target_property],
            "role": role,
            "member": member,
        }
        outputs = self._outputs({**given, **values}, target, policy)
        return _id(target, role, member, condition), outputs, values

    def remove(self, ctx: Context, id: str, state: Properties) -> None:
        role, member, condition = state["role"], state["member"], state.get("condition")
        target = self.target(state[self.target_property])
        try:
            self._edit(ctx, target, lambda policy: _remove(policy, role, member, condition))
            self._until(ctx, target, lambda policy: not _holds(policy, role, member, condition))
        except ApiError as e:
            if e.status != 404:
                raise

    @abstractmethod
    def target(self, value: str) -> str:
        """The resource name of what is granted on, from the property's value."""

    @abstractmethod
    def get_policy(self, ctx: Context, target: str) -> Json:
        """The policy of `target`."""

    @abstractmethod
    def set_policy(self, ctx: Context, target: str, policy: Json) -> None:
        """Write the policy, with the etag it has."""

    @abstractmethod
    def parse_import(self, id: str) -> Properties:
        """The inputs in the id of an import, fields separated by spaces."""

    def output_target(self, target: str, value: str) -> str:
        """What the output that names the target says."""
        return value

    def _edit(self, ctx: Context, target: str, change: Callable[[Json], bool]) -> None:
        delay = FIRST_DELAY_SECONDS
        with self._locks[target]:
            for attempt in range(ATTEMPTS):
                policy = self.get_policy(ctx, target)
                if not change(policy):
                    return
                policy["version"] = POLICY_VERSION
                if not policy.get("bindings"):
                    policy.pop("bindings", None)
                try:
                    return self.set_policy(ctx, target, policy)
                except ApiError as e:
                    if e.status not in STALE or attempt == ATTEMPTS - 1:
                        raise
                if ctx.cancelled.wait(delay):
                    raise ResourceError(f"The grant on {target} was interrupted; nothing was changed.")
                delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    def _until(self, ctx: Context, target: str, seen: Callable[[Json], bool]) -> Json:
        # Policies are eventually consistent; what comes next may need the grant.
        delay = FIRST_DELAY_SECONDS
        for _ in range(ATTEMPTS):
            policy = self.get_policy(ctx, target)
            if seen(policy):
                return policy
            if ctx.cancelled.wait(delay):
                raise ResourceError(
                    f"Interrupted while waiting for a change of the policy of {target} to be seen."
                )
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
        raise ResourceError(
            f"The policy of {target} was written, but the change was not seen in {ATTEMPTS} reads. Somebody "
            "else may be writing the same policy (an authoritative IAM policy or binding?); stop that and "
            "try again."
        )

    def _outputs(self, inputs: Properties, target: str, policy: Json) -> Properties:
        value = inputs[self.target_property]
        return self.all_outputs(
            {
                **inputs,
                self.target_property: self.output_target(target, value),
                "etag": policy.get("etag", ""),
            }
        )


class IAMMember(Grant):
    """A role on a project."""

    token = "gcp:projects/iAMMember:IAMMember"
    properties = (PROJECT, ROLE, MEMBER, CONDITION)
    target_property = "project"

    def target(self, value: str) -> str:
        return value.removeprefix("projects/")

    def get_policy(self, ctx: Context, target: str) -> Json:
        body = {"options": {"requestedPolicyVersion": POLICY_VERSION}}
        return self.api(ctx, "Resource Manager", "POST", f"projects/{target}:getIamPolicy", body=body)

    def set_policy(self, ctx: Context, target: str, policy: Json) -> None:
        body = {"policy": policy, "updateMask": "bindings,etag,auditConfigs"}
        self.api(ctx, "Resource Manager", "POST", f"projects/{target}:setIamPolicy", body=body)

    def parse_import(self, id: str) -> Properties:
        return _parse(id, "project", "PROJECT roles/aiplatform.user serviceAccount:EMAIL")


class BucketIAMMember(Grant):
    """A role on a bucket."""

    token = "gcp:storage/bucketIAMMember:BucketIAMMember"
    properties = (
        Property(
            "bucket",
            required=True,
            replaces=True,
            same=lambda old, new: old.removeprefix("b/") == new.removeprefix("b/"),
        ),
        ROLE,
        MEMBER,
        CONDITION,
    )
    target_property = "bucket"

    def __init__(self, gcp: Gcp) -> None:
        super().__init__(gcp)

    def target(self, value: str) -> str:
        return f"b/{value.removeprefix('b/')}"

    def output_target(self, target: str, value: str) -> str:
        return target  # the official plugin's output has the prefix, whatever the input has

    def get_policy(self, ctx: Context, target: str) -> Json:
        params = {"optionsRequestedPolicyVersion": str(POLICY_VERSION)}
        return self.api(ctx, "Cloud Storage", "GET", f"{target}/iam", params=params)

    def set_policy(self, ctx: Context, target: str, policy: Json) -> None:
        self.api(ctx, "Cloud Storage", "PUT", f"{target}/iam", body=policy)

    def parse_import(self, id: str) -> Properties:
        return _parse(id, "bucket", "b/BUCKET roles/storage.objectViewer serviceAccount:EMAIL")


def _parse(id: str, target_property: str, example: str) -> Properties:
    parts = id.split(" ")
    if len(parts) != 3:
        raise ResourceError(f"The id {id!r} has {len(parts)} fields; three are needed, such as {example!r}.")
    return {target_property: parts[0], "role": parts[1], "member": parts[2]}


def _id(target: str, role: str, member: str, condition: Json | None) -> str:
    title = f"/{condition['title']}" if condition else ""
    return f"{target}/{role}/{member}{title}"


def _same_condition(binding: Json, condition: Json | None) -> bool:
    has = binding.get("condition") or {}
    wants = condition or {}
    return all(
        (has.get(key) or "") == (wants.get(key) or "") for key in ("title", "expression", "description")
    )


def _holds(policy: Json, role: str, member: str, condition: Json | None) -> bool:
    return any(
        each["role"] == role and _same_condition(each, condition) and member in each.get("members", [])
        for each in policy.get("bindings", [])
    )


def _add(policy: Json, role: str, member: str, condition: Json | None) -> bool:
    """Add the member to the policy; whether that changes it."""
    if _holds(policy, role, member, condition):
        return False
    bindings = policy.setdefault("bindings", [])
    for each in bindings:
        if each["role"] == role and _same_condition(each, condition):
            each.setdefault("members", []).append(member)
            return True
    bindings.append({"role": role, "members": [member], **({"condition": condition} if condition else {})})
    return True


def _remove(policy: Json, role: str, member: str, condition: Json | None) -> bool:
    """Take the member out of the policy; whether that changes it."""
    if not _holds(policy, role, member, condition):
        return False
    for each in policy["bindings"]:
        if each["role"] == role and _same_condition(each, condition):
            each["members"] = [other for other in each["members"] if other != member]
    policy["bindings"] = [each for each in policy["bindings"] if each["members"]]
    return True

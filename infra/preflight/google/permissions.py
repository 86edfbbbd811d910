"""The caller's permissions for what the plan does, each with what it is for and a predefined role that has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from infra.preflight.finding import Finding, Status
from infra.preflight.google.answers import attempt, curl, held
from infra.preflight.google.services import ENABLE, not_enabled
from infra.preflight.google.usage import read_usage
from infra.preflight.net import Net, Unread
from infra.preflight.subject import PREVIEW_ONLY, Subject

__all__ = ["Permission", "needed", "needed_on_bucket", "permissions"]

_PROJECT: Final = "permissions"
_BUCKET: Final = "bucket-permissions"
_MEMBER: Final = "user:YOU@EXAMPLE.COM"
_NOT_WHO_DEPLOYS: Final = (
    f" You only preview ({PREVIEW_ONLY} is set): whether who runs pulumi up has them cannot be seen."
)


@dataclass(frozen=True)
class Permission:
    """One permission.

    Attributes:
        name: As IAM names it.
        why: What the plan does with it.
        role: The predefined role to ask for.
        when: Whether a plan needs it.
        once: Only making the stack needs it: a stack that serves can change its model without.
    """

    name: str
    why: str
    role: str
    when: Callable[[Subject], bool] = lambda _: True
    once: bool = False


def _makes_account(subject: Subject) -> bool:
    return subject.service_account is None


def _makes_bucket(subject: Subject) -> bool:
    return subject.bucket is None


def _makes_endpoint(subject: Subject) -> bool:
    return subject.endpoint is None


def _asks(subject: Subject) -> bool:
    return subject.plan.stack.rollout.smoke


def _telemetry(subject: Subject) -> bool:
    return subject.telemetry


_USAGE: Final = "roles/serviceusage.serviceUsageViewer"
_IAM: Final = "roles/resourcemanager.projectIamAdmin"
_ACCOUNTS: Final = "roles/iam.serviceAccountAdmin"
_VERTEX: Final = "roles/aiplatform.user"
_STORAGE: Final = "roles/storage.admin"
_OBJECTS: Final = "roles/storage.objectUser"
_MONITORING: Final = "roles/monitoring.editor"
ACT_AS: Final = Permission(
    "iam.serviceAccounts.actAs", "deploy with the service account", "roles/iam.serviceAccountUser"
)

ON_PROJECT: Final = (
    Permission("resourcemanager.projects.get", "look up the project", "roles/browser"),
    Permission("serviceusage.services.list", "see which APIs are enabled", _USAGE),
    Permission(ENABLE, "enable the APIs that are not", "roles/serviceusage.serviceUsageAdmin", once=True),
    Permission("resourcemanager.projects.getIamPolicy", "read the project's grants", _IAM),
    Permission(
        "resourcemanager.projects.setIamPolicy", "grant the service account its roles", _IAM, once=True
    ),
    Permission(
        "iam.serviceAccounts.create", "make the service account", _ACCOUNTS, _makes_account, once=True
    ),
    Permission("iam.serviceAccounts.get", "look up the service account", _ACCOUNTS, _makes_account),
    # An existing account may be granted on itself: `service_account` asks it.
    Permission(ACT_AS.name, ACT_AS.why, ACT_AS.role, _makes_account),
    # What is done to a new bucket is not asked: owners and editors of a project have those rights on the bucket alone.
    Permission("storage.buckets.create", "make the bucket", _STORAGE, _makes_bucket, once=True),
    Permission("aiplatform.models.upload", "upload the model", _VERTEX),
    Permission("aiplatform.models.get", "look up the model", _VERTEX),
    Permission("aiplatform.models.delete", "delete the model that a changed one replaces", _VERTEX),
    Permission("aiplatform.endpoints.create", "make the endpoint", _VERTEX, _makes_endpoint, once=True),
    Permission("aiplatform.endpoints.get", "look up the endpoint", _VERTEX),
    Permission("aiplatform.endpoints.update", "move traffic between deployments", _VERTEX),
    Permission("aiplatform.endpoints.deploy", "deploy the model", _VERTEX),
    Permission(
        "aiplatform.endpoints.predict", "ask what was deployed, before it has the traffic", _VERTEX, _asks
    ),
    Permission("aiplatform.endpoints.undeploy", "undeploy what a rolling change replaces", _VERTEX),
    Permission("monitoring.dashboards.create", "make the dashboard", _MONITORING, _telemetry, once=True),
    Permission("monitoring.dashboards.get", "look up the dashboard", _MONITORING, _telemetry),
    Permission("monitoring.alertPolicies.create", "make the alerts", _MONITORING, _telemetry, once=True),
    Permission("monitoring.alertPolicies.get", "look up the alerts", _MONITORING, _telemetry),
)
"""What `pulumi up` does in the project."""

ON_BUCKET: Final = (
    Permission("storage.buckets.getIamPolicy", "read the bucket's grants", _STORAGE),
    Permission(
        "storage.buckets.setIamPolicy", "let the service account read the bucket", _STORAGE, once=True
    ),
)
"""What `pulumi up` does to a bucket that it has not made: the stack's own, and that of the weights."""

ON_OBJECTS: Final = (
    Permission("storage.objects.create", "upload the adapters", _OBJECTS),
    Permission("storage.objects.get", "look up the adapters", _OBJECTS),
    Permission("storage.objects.delete", "remove adapters that are no longer named", _OBJECTS),
)
"""What it does besides in the stack's own, where adapters beside the stack file are uploaded."""


async def permissions(subject: Subject, net: Net) -> Sequence[Finding]:
    """The caller holds what the plan needs on the project and on the buckets that exist."""
    return await asyncio.gather(
        _project(subject, net), *(_bucket(subject, net, name) for name in _buckets(subject))
    )


def needed(subject: Subject, *, enables: bool) -> tuple[Permission, ...]:
    """What the plan needs on the project; `enables`: it has to enable an API."""
    return tuple(each for each in ON_PROJECT if each.when(subject) and (enables or each.name != ENABLE))


async def _project(subject: Subject, net: Net) -> Finding:
    url = f"{subject.hosts.resource_manager}/projects/{subject.project}:testIamPermissions"
    names = [each.name for each in needed(subject, enables=True)]
    # Both at once: what is enabled decides only whether one of the permissions counts.
    closed, answer = await asyncio.gather(
        attempt(not_enabled(subject, net)), attempt(net.post(url, json={"permissions": names}))
    )
    asked = needed(subject, enables=isinstance(closed, Unread) or bool(closed))
    by_hand = curl(subject, url, ask=[each.name for each in asked])
    try:
        if isinstance(answer, Unread):
            raise answer
        have = held(answer)
    except Unread as reason:
        evidence = f"Your permissions in project {subject.project} cannot be read: {reason}."
        return Finding(check=_PROJECT, status=Status.SKIP, evidence=evidence, by_hand=by_hand)
    missing = [each for each in asked if each.name not in have]
    place = f"project {subject.project}"
    if not missing:
        evidence = f"You have all {len(asked)} permissions that the plan needs in {place}."
        return Finding(check=_PROJECT, status=Status.PASS, evidence=evidence, by_hand=by_hand)
    if isinstance(closed, Unread) and ENABLE not in have:
        if [each.name for each in missing] == [ENABLE]:
            evidence = f"You lack {ENABLE} in {place}; whether the plan needs it cannot be read: {closed}."
            return Finding(check=_PROJECT, status=Status.SKIP, evidence=evidence, by_hand=by_hand)
        asked, missing = needed(subject, enables=False), [each for each in missing if each.name != ENABLE]
    if len(missing) == len(asked):
        evidence = f"You have none of the {len(asked)} permissions that the plan needs in {place}; is it the right one?"
    else:
        evidence = _lacks(missing, len(asked), place)
    status, why = await _weight(subject, net, missing)
    return Finding(
        check=_PROJECT,
        status=status,
        evidence=evidence + why,
        remedy=_grants(missing, f"gcloud projects add-iam-policy-binding {subject.project}"),
        by_hand=by_hand,
    )


def _buckets(subject: Subject) -> tuple[str, ...]:
    places = (subject.plan.weights_uri or "", *subject.plan.stack.lora.values())
    read = [place.removeprefix("gs://").partition("/")[0] for place in places if place.startswith("gs://")]
    return tuple(dict.fromkeys(name for name in (subject.bucket, *read) if name))


def needed_on_bucket(subject: Subject, name: str) -> tuple[Permission, ...]:
    """What the plan needs on a bucket that exists."""
    look = Permission("storage.buckets.get", "look up the bucket", _STORAGE)
    if name != subject.bucket:
        return ON_BUCKET
    return (look, *ON_BUCKET, *(ON_OBJECTS if subject.plan.adapters else ()))


async def _bucket(subject: Subject, net: Net, name: str) -> Finding:
    asked = needed_on_bucket(subject, name)
    weights = (subject.plan.weights_uri or "").removeprefix("gs://").partition("/")[0]
    read = "weights-bucket-permissions" if name == weights else f"lora-bucket-permissions-{name}"
    check = _BUCKET if name == subject.bucket else read
    url = f"{subject.hosts.storage}/b/{quote(name, safe='')}/iam/testPermissions"
    names = [each.name for each in asked]
    by_hand = curl(subject, f"{url}?{'&'.join(f'permissions={each}' for each in names)}")
    try:
        answer = await net.get(url, params={"permissions": names})
        have = held(answer, kind="storage#testIamPermissionsResponse")
    except Unread as reason:
        evidence = f"Your permissions on bucket gs://{name} cannot be read: {reason}."
        return Finding(check=check, status=Status.SKIP, evidence=evidence, by_hand=by_hand)
    missing = [each for each in asked if each.name not in have]
    place = f"bucket gs://{name}"
    if not missing:
        evidence = f"You have all {len(asked)} permissions that the plan needs on {place}."
        return Finding(check=check, status=Status.PASS, evidence=evidence, by_hand=by_hand)
    status, why = await _weight(subject, net, missing)
    return Finding(
        check=check,
        status=status,
        evidence=_lacks(missing, len(asked), place) + why,
        remedy=_grants(missing, f"gcloud storage buckets add-iam-policy-binding gs://{name}"),
        by_hand=by_hand,
    )


async def _weight(subject: Subject, net: Net, missing: Sequence[Permission]) -> tuple[Status, str]:
    """How much missing permissions weigh.

    A warning where this stack serves and only making it would need them; nothing where the caller only previews.
    """
    if subject.login.previews_only:
        return Status.SKIP, _NOT_WHO_DEPLOYS
    if not all(each.once for each in missing):
        return Status.FAIL, ""
    usage = await read_usage(subject, net)
    if not usage.own:
        return Status.FAIL, ""
    return Status.WARN, " This stack serves already: only a change that makes something new needs them."


def _lacks(missing: Sequence[Permission], asked: int, place: str) -> str:
    named = ", ".join(f"{each.name} (to {each.why})" for each in missing)
    return f"You lack {len(missing)} of {asked} permissions that the plan needs on {place}: {named}."


def _grants(missing: Iterable[Permission], command: str) -> str:
    """The lines that grant the roles, one a role."""
    roles = dict.fromkeys(each.role for each in missing)
    return "Have granted: " + "; ".join(f"{command} --member={_MEMBER} --role={role}" for role in roles)

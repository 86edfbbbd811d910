"""The APIs that the stack calls: enabled, or enabled by the stack where the caller may."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from infra.preflight.finding import Finding, Status
from infra.preflight.google.answers import body, held, objects, opens, text
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Subject

__all__ = ["ENABLE", "REQUIRED", "not_enabled", "required", "services"]

_CHECK: Final = "services"

REQUIRED: Final = (
    "aiplatform.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "iam.googleapis.com",
    "storage.googleapis.com",
)
"""What `components.services` enables; that module cannot be read here, for it imports Pulumi."""

_TELEMETRY: Final = ("monitoring.googleapis.com",)

ENABLE: Final = "serviceusage.services.enable"


def required(subject: Subject) -> tuple[str, ...]:
    """The APIs that the stack enables."""
    return (*REQUIRED, *(_TELEMETRY if subject.telemetry else ()))


async def services(subject: Subject, net: Net) -> Sequence[Finding]:
    """Every API is enabled, or the caller may enable it."""
    project = subject.project
    by_hand = f"gcloud services list --enabled --project={project}"

    def finding(status: Status, evidence: str, remedy: str = "") -> Sequence[Finding]:
        return (Finding(check=_CHECK, status=status, evidence=evidence, remedy=remedy, by_hand=by_hand),)

    try:
        missing = await not_enabled(subject, net)
    except Unread as reason:
        evidence = f"Which APIs are enabled in {project} cannot be read: {reason}."
        return finding(Status.SKIP, evidence, opens("roles/serviceusage.serviceUsageViewer", reason))
    wanted = len(required(subject))
    enabled = f"{wanted - len(missing)} of {wanted} APIs are enabled in {project}"
    if not missing:
        return finding(Status.PASS, f"{enabled}.")
    names = ", ".join(missing)
    enable = f"gcloud services enable {' '.join(missing)} --project={project}"
    url = f"{subject.hosts.resource_manager}/projects/{project}:testIamPermissions"
    try:
        have = held(await net.post(url, json={"permissions": [ENABLE]}))
    except Unread as reason:
        return finding(
            Status.WARN,
            f"{enabled}, {names} not yet; whether you may enable them cannot be read: {reason}.",
            enable,
        )
    if ENABLE in have:
        return finding(Status.PASS, f"{enabled}; the stack will enable {names}.")
    return finding(
        Status.WARN,
        f"{enabled}, and you may not enable the others: {names}.",
        f"Have somebody with roles/serviceusage.serviceUsageAdmin run: {enable}",
    )


async def not_enabled(subject: Subject, net: Net) -> tuple[str, ...]:
    """The APIs of `required` that are not enabled in the project.

    Raises:
        Unread: Service Usage does not say it.
    """
    parent = f"projects/{subject.project}"
    wanted = required(subject)
    names = [f"{parent}/services/{name}" for name in wanted]
    answer = await net.get(
        f"{subject.hosts.service_usage}/{parent}/services:batchGet", params={"names": names}
    )
    # Names come back with the project's number.
    states = {
        text(each, "name").rpartition("/")[2]: text(each, "state")
        for each in objects(body(answer), "services")
    }
    if not states.keys() >= set(wanted):
        raise Unread(f"the answer leaves out {', '.join(sorted(set(wanted) - states.keys()))}")
    return tuple(name for name in wanted if states[name] != "ENABLED")

"""An existing service account: there, enabled, and one that the caller may deploy with."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from infra.preflight.finding import Finding, Status
from infra.preflight.google.answers import attempt, body, curl, held, opens
from infra.preflight.google.permissions import ACT_AS
from infra.preflight.net import Answer, Net, Unread
from infra.preflight.subject import PREVIEW_ONLY, Subject

__all__ = ["service_account"]

_EXISTS: Final = "service-account"
_ACT_AS: Final = "service-account-act-as"
_UNSET: Final = "pulumi config rm vertex-vllm:serviceAccount to have one made"


async def service_account(subject: Subject, net: Net) -> Sequence[Finding]:
    """An existing account exists and is enabled, and the caller may act as it; nothing where one is made."""
    email = subject.service_account
    if email is None:
        return ()
    domain = email.partition("@")[2]
    # Accounts that Google makes do not name their project; IAM finds it.
    project = (
        domain.removesuffix(".iam.gserviceaccount.com")
        if domain.endswith(".iam.gserviceaccount.com")
        else "-"
    )
    url = f"{subject.hosts.iam}/projects/{project}/serviceAccounts/{quote(email, safe='@')}"
    account, allowed = await asyncio.gather(
        attempt(net.get(url)),
        attempt(net.post(f"{url}:testIamPermissions", json={"permissions": [ACT_AS.name]})),
    )
    found = _exists(email, account)
    if found.status is Status.FAIL:
        return (found,)
    return found, _act_as(subject, email, url, allowed)


def _exists(email: str, answer: Answer | Unread) -> Finding:
    by_hand = f"gcloud iam service-accounts describe {email}"

    def finding(status: Status, evidence: str, remedy: str = "") -> Finding:
        return Finding(check=_EXISTS, status=status, evidence=evidence, remedy=remedy, by_hand=by_hand)

    if isinstance(answer, Unread):
        return finding(Status.SKIP, f"Service account {email} cannot be looked up: {answer}.")
    if answer.gone:
        evidence = f"There is no service account {email} (vertex-vllm:serviceAccount)."
        return finding(Status.FAIL, evidence, f"Name an account that exists, or {_UNSET}.")
    try:
        data = body(answer)
    except Unread as reason:
        evidence = f"Service account {email} cannot be looked up: {reason}."
        return finding(Status.SKIP, evidence, opens("roles/iam.serviceAccountViewer", reason))
    if data.get("email") != email:
        return finding(Status.SKIP, f"Asked for service account {email}, IAM answers something else.")
    if data.get("disabled"):
        return finding(
            Status.FAIL,
            f"Service account {email} is disabled.",
            f"gcloud iam service-accounts enable {email}",
        )
    return finding(Status.PASS, f"Service account {email} exists and is enabled.")


def _act_as(subject: Subject, email: str, url: str, answer: Answer | Unread) -> Finding:
    by_hand = curl(subject, f"{url}:testIamPermissions", ask=[ACT_AS.name])

    def finding(status: Status, evidence: str, remedy: str = "") -> Finding:
        return Finding(check=_ACT_AS, status=status, evidence=evidence, remedy=remedy, by_hand=by_hand)

    try:
        if isinstance(answer, Unread):
            raise answer
        have = held(answer)
    except Unread as reason:
        return finding(Status.SKIP, f"Whether you may deploy with {email} cannot be read: {reason}.")
    if ACT_AS.name in have:
        return finding(Status.PASS, f"You may deploy with {email} ({ACT_AS.name}).")
    previews, whose = subject.login.previews_only, ""
    if previews:
        whose = (
            f" You only preview ({PREVIEW_ONLY} is set): whether who runs pulumi up has it cannot be seen."
        )
    return finding(
        Status.SKIP if previews else Status.FAIL,
        f"You may not deploy with {email}: you lack {ACT_AS.name} on it.{whose}",
        f"Have granted: gcloud iam service-accounts add-iam-policy-binding {email} --member=user:YOU@EXAMPLE.COM "
        f"--role={ACT_AS.role}",
    )

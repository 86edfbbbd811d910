"""The existing bucket of a stack: there, in the region that serves, and closed to the public.

A bucket that the stack makes has nothing to check: the engine gives it a name with seven random digits, and region,
uniform access and public access prevention are set when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from infra.preflight.finding import Finding, Status
from infra.preflight.google.answers import body, object_, refusal, text
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Subject
from infra.recipes import catalog

__all__ = ["bucket"]

_PLACE: Final = "bucket"
_ACCESS: Final = "bucket-access"
_UNSET: Final = "pulumi config rm vertex-vllm:bucket to have one made"


async def bucket(subject: Subject, net: Net) -> Sequence[Finding]:
    """An existing bucket is there and in the region; whether anything in it can be public."""
    name = subject.bucket
    if name is None:
        return ()
    by_hand = f"gcloud storage buckets describe gs://{name}"
    try:
        answer = await net.get(f"{subject.hosts.storage}/b/{quote(name, safe='')}")
        if answer.gone:
            return (
                Finding(
                    check=_PLACE,
                    status=Status.FAIL,
                    evidence=f"There is no bucket gs://{name} (vertex-vllm:bucket).",
                    remedy=f"Name a bucket that exists, or {_UNSET}.",
                    by_hand=by_hand,
                ),
            )
        if answer.status == 403:
            return (
                Finding(
                    check=_PLACE,
                    status=Status.SKIP,
                    evidence=f"Bucket gs://{name} cannot be read: {refusal(answer)}.",
                    remedy="Have roles/storage.bucketViewer granted on it.",
                    by_hand=by_hand,
                ),
            )
        data = body(answer)
        location = text(data, "location").lower()
        settings = object_(data, "iamConfiguration")
        uniform = object_(settings, "uniformBucketLevelAccess").get("enabled") is True
        prevention = text(settings, "publicAccessPrevention") or "inherited"
        if not location:
            raise Unread("the answer does not say where it is")
    except Unread as reason:
        evidence = f"Bucket gs://{name} cannot be looked up: {reason}."
        return (Finding(check=_PLACE, status=Status.SKIP, evidence=evidence, by_hand=by_hand),)
    return (
        _place(subject, name, location, by_hand),
        _access(name, uniform=uniform, enforced=prevention == "enforced", by_hand=by_hand),
    )


def _place(subject: Subject, name: str, location: str, by_hand: str) -> Finding:
    if location == subject.region:
        evidence = f"Bucket gs://{name} is in {location}, the region that serves."
        return Finding(check=_PLACE, status=Status.PASS, evidence=evidence, by_hand=by_hand)
    move = f", or pulumi config set gcp:region {location}" if location in catalog().regions() else ""
    return Finding(
        check=_PLACE,
        status=Status.FAIL,
        evidence=f"Bucket gs://{name} is in {location}, the model is served in {subject.region}.",
        remedy=f"Name a bucket in {subject.region}, or {_UNSET}{move}.",
        by_hand=by_hand,
    )


def _access(name: str, *, uniform: bool, enforced: bool, by_hand: str) -> Finding:
    facts = (
        f"Uniform bucket-level access of gs://{name} is {'on' if uniform else 'off'}, public access prevention is "
        f"{'enforced' if enforced else 'not enforced'}"
    )
    flags = [
        *(() if uniform else ("--uniform-bucket-level-access",)),
        *(() if enforced else ("--public-access-prevention",)),
    ]
    if not flags:
        return Finding(check=_ACCESS, status=Status.PASS, evidence=f"{facts}.", by_hand=by_hand)
    danger = "its objects can have rights of their own" if not uniform else "a grant can make it public"
    return Finding(
        check=_ACCESS,
        status=Status.WARN,
        evidence=f"{facts}: {danger}.",
        remedy=f"gcloud storage buckets update gs://{name} {' '.join(flags)}",
        by_hand=by_hand,
    )

"""Weights in a bucket: the bucket, its region, a whole checkpoint under the prefix, and that the container may read it.

Asks the JSON API of Cloud Storage as the caller; the container reads as the serving account. Nothing here is about
weights from Hugging Face.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from infra import naming
from infra.preflight import checkpoint
from infra.preflight.finding import Finding, Status
from infra.preflight.google.answers import opens
from infra.preflight.net import Net, Unread
from infra.preflight.objects import Folder, Gone, base_of, list_folder, list_of, read_document, split
from infra.preflight.subject import Subject
from infra.recipes import catalog

__all__ = ["CHECKS", "weights"]

_BUCKET: Final = "weights-bucket"
_REGION: Final = "weights-region"
_OBJECTS: Final = "weights-objects"
_SIZE: Final = "weights-size"
_ACCESS: Final = "weights-access"

_READ_ROLES: Final = frozenset(
    {
        "roles/storage.objectViewer",
        "roles/storage.objectUser",
        "roles/storage.objectAdmin",
        "roles/storage.admin",
    }
)
"""Predefined roles with storage.objects.get and storage.objects.list: cloud.google.com/storage/docs/access-control."""

_DUAL_REGIONS: Final[Mapping[str, frozenset[str]]] = {
    "nam4": frozenset({"us-central1", "us-east1"}),
    "eur4": frozenset({"europe-north1", "europe-west4"}),
    "eur5": frozenset({"europe-west1", "europe-west2"}),
    "eur7": frozenset({"europe-west2", "europe-west3"}),
    "eur8": frozenset({"europe-west3", "europe-west6"}),
    "asia1": frozenset({"asia-northeast1", "asia-northeast2"}),
}
_MULTI_REGIONS: Final[Mapping[str, str]] = {"us": "us-", "eu": "europe-", "asia": "asia-"}
_NOT_OF_EU: Final = frozenset({"europe-west2", "europe-west6"})  # London and Zurich
"""Locations of buckets: cloud.google.com/storage/docs/locations."""


async def weights(subject: Subject, net: Net) -> Sequence[Finding]:
    """The weights in a bucket can be loaded; nothing to say where they come from Hugging Face."""
    uri = subject.plan.weights_uri
    if uri is None:
        return ()
    bucket, prefix = split(uri)
    base = base_of(subject, bucket)
    placed, held, readable = await asyncio.gather(
        _bucket(subject, net, bucket, base),
        _objects(subject, net, bucket, prefix, base),
        _access(subject, net, bucket, base),
    )
    if any(finding.check == _BUCKET and finding.status is Status.FAIL for finding in placed):
        return placed  # the rest would say the same again
    found = (*placed, *held, readable)
    reasons = {finding.evidence.partition(": ")[2] for finding in found if finding.status is Status.SKIP}
    if len(reasons) == 1 and all(finding.status is Status.SKIP for finding in found):
        return placed
    return found


CHECKS: Final = (weights,)


# The bucket and its region


async def _bucket(subject: Subject, net: Net, bucket: str, base: str) -> tuple[Finding, ...]:
    by_hand = f"gcloud storage buckets describe gs://{bucket} --format='value(location)'"
    try:
        answer = await net.get(base)
        found = read_document(answer, "storage#bucket")
    except Gone:
        return (
            Finding(
                check=_BUCKET,
                status=Status.FAIL,
                evidence=f"There is no bucket gs://{bucket}.",
                remedy="write the bucket and prefix that hold the weights in weights: gs://BUCKET/PREFIX",
                by_hand=by_hand,
            ),
        )
    except Unread as reason:
        why = f"Bucket gs://{bucket} cannot be looked up: {reason}"
        return (_skip(_BUCKET, why, by_hand, opens("roles/storage.bucketViewer", reason)),)
    location = found.get("location")
    if found.get("name") != bucket or not isinstance(location, str) or not location:
        return (
            _skip(_BUCKET, f"Bucket gs://{bucket} cannot be looked up: the answer is of no bucket", by_hand),
        )
    regions, where = _regions(location, found)
    there = Finding(
        check=_BUCKET, status=Status.PASS, evidence=f"gs://{bucket} is there, in {where}.", by_hand=by_hand
    )
    if subject.region in regions:
        evidence = f"gs://{bucket} is in {where}, which holds {subject.region}, the region that serves."
        if where == subject.region:
            evidence = f"gs://{bucket} is in {where}, the region that serves."
        return there, Finding(check=_REGION, status=Status.PASS, evidence=evidence, by_hand=by_hand)
    size = subject.plan.model.weights.bytes
    load = f"every start of a replica loads {checkpoint.gb(size) if size else 'the weights'} across regions"
    choices = sorted(regions.intersection(catalog().regions()))
    return there, Finding(
        check=_REGION,
        status=Status.WARN,
        evidence=f"gs://{bucket} is in {where}, the model is served in {subject.region}: {load}, which is slower and "
        "charged as network transfer.",
        remedy=f"copy the weights to a bucket in {subject.region} (gcloud storage cp -r)"
        + (f", or pulumi config set gcp:region {choices[0]}" if len(choices) == 1 else ""),
        by_hand=by_hand,
    )


def _regions(location: str, bucket: Mapping[str, Any]) -> tuple[frozenset[str], str]:
    """The regions that a bucket's location holds, and how it is called."""
    name = location.lower()
    custom = bucket.get("customPlacementConfig")
    parts = custom.get("dataLocations") if isinstance(custom, Mapping) else None
    if isinstance(parts, list) and all(isinstance(part, str) for part in parts) and parts:
        held = frozenset(part.lower() for part in parts)
        return held, f"{location} ({', '.join(sorted(held))})"
    if name in _DUAL_REGIONS:
        return _DUAL_REGIONS[name], f"{location} ({', '.join(sorted(_DUAL_REGIONS[name]))})"
    if name in _MULTI_REGIONS:
        start = _MULTI_REGIONS[name]
        inside = frozenset(region for region in catalog().regions() if region.startswith(start))
        return (inside - _NOT_OF_EU if name == "eu" else inside), f"{location} (multi-region)"
    return frozenset({name}), name


# The objects


async def _objects(subject: Subject, net: Net, bucket: str, prefix: str, base: str) -> tuple[Finding, ...]:
    where = f"gs://{bucket}/{prefix}"
    by_hand = f"gcloud storage ls --long {where}"
    try:
        folder = await list_folder(net, prefix, base)
        index_name = next((name for name in checkpoint.INDEXES if name in folder.sizes), None)
        named = await _index(net, f"{prefix}{index_name}", base) if index_name else frozenset()
    except Gone:
        return (
            _skip(
                _OBJECTS,
                f"Objects below {where} cannot be listed: the bucket or an object is not there",
                by_hand,
            ),
        )
    except Unread as reason:
        why = f"Objects below {where} cannot be listed: {reason}"
        return (_skip(_OBJECTS, why, by_hand, opens("roles/storage.objectViewer", reason)),)
    sizes = folder.sizes
    files = {name: sizes[name] for name in named if name in sizes} or checkpoint.weight_files(sizes)
    problems = _problems(folder, files, named, index_name)
    if problems:
        below = sorted(folder.folders)[:3]
        lower = f", or name the folder that has them: weights: {where}{below[0]}" if below else ""
        return (
            Finding(
                check=_OBJECTS,
                status=Status.FAIL,
                evidence=f"{where} has {_count(len(sizes), 'object')}, and {'; '.join(problems)}.",
                remedy=f"upload the whole repository (gcloud storage cp -r . {where}){lower}",
                by_hand=by_hand,
            ),
        )
    config = next(name for name in checkpoint.CONFIGS if name in sizes)
    tokenizer = checkpoint.has_tokenizer(sizes)
    complete = f"all {len(named)} that {index_name} names" if named else "no index that names others"
    evidence = f"{where} has {config} and {_count(len(files), 'weight file')}, {complete}"
    objects = Finding(
        check=_OBJECTS,
        status=Status.PASS if tokenizer else Status.WARN,
        evidence=f"{evidence}{', and a tokenizer' if tokenizer else ', but no tokenizer'}.",
        remedy="" if tokenizer else "upload the tokenizer's files too, such as tokenizer.json",
        by_hand=by_hand,
    )
    return objects, checkpoint.size(_SIZE, where, files, subject.plan.model, by_hand=by_hand)


def _problems(
    folder: Folder, files: Mapping[str, int], named: frozenset[str], index_name: str | None
) -> list[str]:
    found = []
    if not any(name in folder.sizes for name in checkpoint.CONFIGS):
        found.append(f"no {' and no '.join(checkpoint.CONFIGS)}")
    missing = sorted(named - folder.sizes.keys())
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        found.append(f"not {', '.join(missing[:3])}{more}, which {index_name} names ({len(named)} files)")
    elif not files:
        found.append("no weights (*.safetensors)")
    empty = sorted(name for name, size in files.items() if size == 0)
    if empty:
        found.append(f"{empty[0]} is empty")
    return found


async def _index(net: Net, name: str, base: str) -> frozenset[str]:
    """The files that an index in the bucket names.

    Raises:
        Unread: Not readable, or no index.
        Gone: No such object.
    """
    answer = await net.get(f"{base}/o/{quote(name, safe='')}", params={"alt": "media"})
    if answer.status == 404:
        raise Gone
    if not answer.ok:
        raise Unread(f"{name} answers {answer.status} {answer.message}".rstrip())
    files = checkpoint.shards_of(answer.data)
    if files is None:
        raise Unread(f"{name} is no index of safetensors files")
    return files


# Who may read


async def _access(subject: Subject, net: Net, bucket: str, base: str) -> Finding:
    """Whether the serving account reads the bucket; whether the caller may grant it, `permissions` finds out."""
    by_hand = f"gcloud storage buckets get-iam-policy gs://{bucket}"
    made = subject.service_account is None
    email = subject.service_account or _email(subject)
    who = f"{email} (made by this stack)" if made else email
    try:
        answer = await net.get(f"{base}/iam", params={"optionsRequestedPolicyVersion": "3"})
        bindings = list_of(read_document(answer, "storage#policy"), "bindings")
    except Gone:
        return _skip(_ACCESS, f"Who may read gs://{bucket} cannot be seen: it is not there", by_hand)
    except Unread as reason:
        return _skip(_ACCESS, f"Who may read gs://{bucket} cannot be seen: {reason}", by_hand)
    role = _granted(bindings, f"serviceAccount:{email}")
    if role is None:
        evidence = (
            f"None of the {len(bindings)} grants on gs://{bucket} lets {who} read it yet; the stack adds one."
        )
    else:
        evidence = f"{who} has {role} on gs://{bucket}."
    return Finding(check=_ACCESS, status=Status.PASS, evidence=evidence, by_hand=by_hand)


def _granted(bindings: Sequence[Any], member: str) -> str | None:
    """The role by which a member, or anybody, reads objects; None for none. Conditions are not judged."""
    anybody = {member, "allUsers", "allAuthenticatedUsers"}
    for binding in bindings:
        if not isinstance(binding, Mapping) or binding.get("condition"):
            continue
        role, members = binding.get("role"), binding.get("members")
        reads = isinstance(role, str) and role in _READ_ROLES
        if reads and isinstance(members, list) and anybody & _texts(members):
            return str(role)
    return None


def _texts(values: Sequence[Any]) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str))


def _email(subject: Subject) -> str:
    """The email of the account that the stack makes."""
    domain, _, project = subject.project.rpartition(":")
    host = f"{project}.{domain}" if domain else project
    return f"{naming.account_id(subject.pulumi_project, subject.stack)}@{host}.iam.gserviceaccount.com"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _skip(check: str, why: str, by_hand: str, remedy: str = "") -> Finding:
    return Finding(
        check=check, status=Status.SKIP, evidence=f"{why.rstrip('.')}.", remedy=remedy, by_hand=by_hand
    )

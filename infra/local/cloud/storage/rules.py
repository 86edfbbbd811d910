"""What Cloud Storage accepts: names, locations, classes, preconditions; and its texts when it does not."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from infra.local.cloud.errors import GoogleError

Json = dict[str, Any]
STORAGE_CLASSES = frozenset(
    {
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    }
)
MULTI_REGIONS = frozenset({"US", "EU", "ASIA"})
DUAL_REGIONS = frozenset({"NAM4", "EUR4", "EUR5", "EUR7", "EUR8", "ASIA1"})
#: Bucket locations of one region. Source: cloud.google.com/storage/docs/locations.
REGIONS = frozenset(
    {
        "AFRICA-SOUTH1", "ASIA-EAST1", "ASIA-EAST2", "ASIA-NORTHEAST1", "ASIA-NORTHEAST2", "ASIA-NORTHEAST3",
        "ASIA-SOUTH1", "ASIA-SOUTH2", "ASIA-SOUTHEAST1", "ASIA-SOUTHEAST2", "ASIA-SOUTHEAST3",
        "AUSTRALIA-SOUTHEAST1", "AUSTRALIA-SOUTHEAST2", "EUROPE-CENTRAL2", "EUROPE-NORTH1", "EUROPE-NORTH2",
        "EUROPE-SOUTHWEST1", "EUROPE-WEST1", "EUROPE-WEST2", "EUROPE-WEST3", "EUROPE-WEST4", "EUROPE-WEST6",
        "EUROPE-WEST8", "EUROPE-WEST9", "EUROPE-WEST10", "EUROPE-WEST12", "ME-CENTRAL1", "ME-CENTRAL2", "ME-WEST1",
        "NORTHAMERICA-NORTHEAST1", "NORTHAMERICA-NORTHEAST2", "NORTHAMERICA-SOUTH1", "SOUTHAMERICA-EAST1",
        "SOUTHAMERICA-WEST1", "US-CENTRAL1", "US-EAST1", "US-EAST4", "US-EAST5", "US-SOUTH1", "US-WEST1",
        "US-WEST2", "US-WEST3", "US-WEST4",
    }
)  # fmt: skip


def invalid(message: str, reason: str = "invalid") -> GoogleError:
    """400 with a reason."""
    return GoogleError("INVALID_ARGUMENT", message, reason=reason)


def required(parameter: str) -> GoogleError:
    """400 for a parameter that is missing."""
    return GoogleError(
        "INVALID_ARGUMENT",
        f"Required parameter: {parameter}",
        reason="required",
        location=("parameter", parameter),
    )


def no_bucket() -> GoogleError:
    """404 for a bucket."""
    return GoogleError("NOT_FOUND", "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> GoogleError:
    """404 for an object."""
    return GoogleError("NOT_FOUND", f"No such object: {bucket}/{name}")


def condition_not_met(location: str = "If-Match") -> GoogleError:
    """412 for a precondition that doesn't hold."""
    return GoogleError(
        "FAILED_PRECONDITION",
        "At least one of the pre-conditions you specified did not hold.",
        http_status=412,
        location=("header", location),
    )


def not_modified() -> GoogleError:
    """304: the caller has this very version."""
    return GoogleError("FAILED_PRECONDITION", "Not Modified", http_status=304)


def denied(email: str, permission: str, kind: str) -> GoogleError:
    """403 in this service's own wording; `kind` is bucket, object or project."""
    what = "Google Cloud project" if kind == "project" else f"Google Cloud Storage {kind}"
    return GoogleError(
        "PERMISSION_DENIED",
        f"{email} does not have {permission} access to the {what}. Permission '{permission}' denied on resource "
        "(or it may not exist).",
    )


def check_bucket_name(name: str) -> None:
    """The naming rules of buckets. Source: cloud.google.com/storage/docs/buckets#naming.

    Raises:
        GoogleError: 400 "Invalid bucket name".
    """
    parts = name.split(".")
    fits = (
        re.fullmatch(r"[a-z0-9][a-z0-9._-]*[a-z0-9]", name) is not None
        and 3 <= len(name) <= (222 if len(parts) > 1 else 63)
        and all(1 <= len(part) <= 63 for part in parts)
        and not _is_address(name)
        and not name.startswith("goog")
        and "google" not in name
        and not any(f in name for f in ("g00gle", "go0gle", "g0ogle"))
        and ".-" not in name
        and "-." not in name
    )
    if not fits:
        raise invalid(f"Invalid bucket name: '{name}'")
    if len(parts) > 1:
        raise GoogleError(
            "PERMISSION_DENIED",
            "The bucket you tried to create is a domain name owned by another user.",
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_object_name(name: str) -> None:
    """The naming rules of objects: 1 to 1024 bytes of UTF-8, no line breaks, not "." or "..".

    Raises:
        GoogleError: 400.
    """
    if not name:
        raise required("name")
    size = len(name.encode())
    if size > 1024:
        raise invalid(f"The maximum object length is 1024 characters, but got a name with {size} characters.")
    if "\n" in name or "\r" in name or name in {".", ".."} or name.startswith(".well-known/acme-challenge/"):
        raise invalid(f"Disallowed unicode characters present in object name '{name}'")


def location(text: str) -> tuple[str, str]:
    """(location in capitals, its type) of a bucket's location.

    Raises:
        GoogleError: 400 for a place that isn't one.
    """
    name = (text or "US").upper()
    for kind, names in (("multi-region", MULTI_REGIONS), ("dual-region", DUAL_REGIONS), ("region", REGIONS)):
        if name in names:
            return name, kind
    raise invalid("The specified location constraint is not valid.")


def check_storage_class(text: str) -> str:
    """The storage class; STANDARD where none is given.

    Raises:
        GoogleError: 400.
    """
    name = text or "STANDARD"
    if name not in STORAGE_CLASSES:
        raise invalid("The storage class you specified is not valid.", "invalidStorageClass")
    return name


def check_labels(labels: Mapping[str, str | None]) -> None:
    """Label rules: at most 64, keys 1-63 characters that begin with a letter, values 0-63.

    Raises:
        GoogleError: 400.
    """
    if len(labels) > 64:
        raise invalid(f"Number of labels ({len(labels)}) exceeds the maximum of 64.")
    for key, value in labels.items():
        if not re.fullmatch(r"[^\W\d_A-Z][\w-]{0,62}", key) or key != key.lower():
            raise invalid(f"Invalid label key: '{key}'.")
        if value and (not re.fullmatch(r"[\w-]{0,63}", value) or value != value.lower()):
            raise invalid(f"Invalid label value: '{value}'.")


def check_preconditions(query: Mapping[str, str], current: Json | None, *, reading: bool = False) -> None:
    """ifGenerationMatch and its relations, against the current object or bucket.

    Raises:
        GoogleError: 412, or 304 when only a "NotMatch" of a read fails; 400 for a value that isn't a number.
    """
    generation = int(current["generation"]) if current and "generation" in current else 0
    metageneration = int(current["metageneration"]) if current else 0
    for name, actual, negative in (
        ("ifGenerationMatch", generation, False),
        ("ifGenerationNotMatch", generation, True),
        ("ifMetagenerationMatch", metageneration, False),
        ("ifMetagenerationNotMatch", metageneration, True),
    ):
        if name not in query:
            continue
        try:
            wanted = int(query[name])
        except ValueError as error:
            raise GoogleError(
                "INVALID_ARGUMENT",
                f"Invalid unsigned integer value: '{query[name]}'.",
                reason="invalidParameter",
                location=("parameter", name),
            ) from error
        if negative and wanted == actual:
            raise not_modified() if reading else condition_not_met("If-None-Match")
        if not negative and wanted != actual:
            raise condition_not_met()

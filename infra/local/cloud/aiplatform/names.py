"""Resource names and the ids a caller may choose.

Patterns: field comments of model_service.proto, endpoint_service.proto, endpoint.proto, model.proto.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.cloud.errors import GoogleError, invalid
from infra.local.cloud.projects import Project

Json = dict[str, Any]
#: (field path in snake_case, message).
Fault = tuple[str, str]

SERVICE = "aiplatform.googleapis.com"
MODEL_ID = re.compile(r"[a-z_][a-z0-9_-]{0,62}")
ENDPOINT_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?|[1-9][0-9]{0,8}")
DEPLOYED_MODEL_ID = re.compile(r"[0-9]{1,10}")
VERSION_ALIAS = re.compile(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]")
#: Lower-case letters and letters of scripts without case, digits, dashes and underscores.
_LABEL = re.compile(r"[\w-]*")
MAX_LABELS = 64

_random = random.SystemRandom()


def new_number() -> str:
    """A 19-digit id, as the service makes them."""
    return str(_random.randrange(10**18, 9 * 10**18))


@dataclass(frozen=True)
class Scope:
    """Where a request works: API version, project and location."""

    version: str
    project: Project
    location: str

    @property
    def parent(self) -> str:
        """The location's name, with the project's number as in every answer."""
        return f"projects/{self.project.number}/locations/{self.location}"

    def model(self, model_id: str) -> str:
        """A model's full name."""
        return f"{self.parent}/models/{model_id}"

    def endpoint(self, endpoint_id: str) -> str:
        """An endpoint's full name."""
        return f"{self.parent}/endpoints/{endpoint_id}"


def found_errors(faults: list[Fault]) -> GoogleError:
    """INVALID_ARGUMENT in the words of the service: "List of found errors:", tab separated, snake_case paths."""
    listed = "".join(
        f"\t{number}.Field: {field}; Message: {message}" for number, (field, message) in enumerate(faults, 1)
    )
    return invalid(f"List of found errors:{listed}\t", faults)


def display_name_faults(value: Mapping[str, Any], at: str) -> list[Fault]:
    """`displayName` may have 128 characters."""
    if len(value.get("displayName", "")) > 128:
        return [(f"{at}.display_name", "The display name must be less than or equal to 128 characters.")]
    return []


def label_faults(value: Mapping[str, Any], at: str) -> list[Fault]:
    """Labels: at most 64 of them, keys and values of at most 64 characters, no upper case, keys not empty."""
    labels: Mapping[str, str] = value.get("labels", {})
    faults: list[Fault] = []
    if len(labels) > MAX_LABELS:
        faults.append((f"{at}.labels", f"A resource can have at most {MAX_LABELS} labels."))
    good = all(
        key and len(text) <= 64 and _LABEL.fullmatch(text) and text == text.lower()
        for key, item in labels.items()
        for text in (key, item)
    )
    if not good:
        faults.append(
            (
                f"{at}.labels",
                "Label keys and values can only contain lowercase letters, numbers, dashes and underscores. "
                "Label keys must not be empty, and keys and values can be at most 64 characters long.",
            )
        )
    return faults


@dataclass(frozen=True)
class ModelReference:
    """`projects/P/locations/L/models/ID`, with a version id or alias after "@" if there is one."""

    project: str
    location: str
    model_id: str
    version: str


_MODEL_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/models/([^/@]+)(?:@([^/@]+))?")


def parse_model(name: str, field: str) -> ModelReference:
    """The parts of a model's name.

    Raises:
        GoogleError: INVALID_ARGUMENT when it is not one.
    """
    match = _MODEL_NAME.fullmatch(name)
    if match is None:
        raise found_errors(
            [(field, f"Invalid resource name {name!r}; expected projects/P/locations/L/models/MODEL.")]
        )
    return ModelReference(match[1], match[2], match[3], match[4] or "")


def split_version(model_id: str) -> tuple[str, str]:
    """("ID", "version or alias") of "ID@version"; the version is "" where none is named."""
    base, _, version = model_id.partition("@")
    return base, version

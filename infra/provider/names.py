"""Names of Vertex AI resources and labels: taking them apart, comparing them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.naming import label_value

_MODEL = re.compile(r"projects/([^/]+)/locations/([^/]+)/models/([^/@]+)(?:@([^/]+))?")
_ENDPOINT = re.compile(r"projects/([^/]+)/locations/([^/]+)/endpoints/([^/]+)")
_DEPLOYED = re.compile(r"(projects/[^/]+/locations/[^/]+/endpoints/[^/]+)/deployedModels/([0-9]{1,32})")

PROJECT_LABEL = "vertex-vllm-project"
STACK_LABEL = "vertex-vllm-stack"
TRAFFIC_LABEL = "vertex-vllm-traffic"
"""The label of a model whose stack declares its share of the endpoint's traffic, in percent."""


@dataclass(frozen=True)
class Name:
    """A resource name in parts. `project` is an id or a number: requests may use either, answers use the number."""

    project: str
    location: str
    id: str
    version: str = ""

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"


def model_name(text: str) -> Name | None:
    """The parts of a model's full name, with or without `@version`; None if `text` is not one."""
    match = _MODEL.fullmatch(text)
    return Name(match[1], match[2], match[3], match[4] or "") if match else None


def endpoint_name(text: str, project: str = "", location: str = "") -> Name | None:
    """The parts of an endpoint's full name, or of a bare endpoint id in the given project and location."""
    match = _ENDPOINT.fullmatch(text)
    if match:
        return Name(match[1], match[2], match[3])
    return Name(project, location, text) if text and "/" not in text else None


def deployed_model_name(text: str) -> tuple[str, str] | None:
    """Endpoint name and deployed model id of `{endpoint}/deployedModels/{id}`; None if `text` is not one."""
    match = _DEPLOYED.fullmatch(text)
    return (match[1], match[2]) if match else None


def same_project(a: str, b: str) -> bool:
    """Whether two names of a project may mean the same one: an id and a number cannot be told apart offline."""
    return a == b or a.isdigit() != b.isdigit()


def still_in_project(wanted: Any, recorded: Any, named: str) -> bool:
    """Whether a resource is in the project that its inputs now name, perhaps spelled another way than before.

    Args:
        wanted: The project in the new inputs.
        recorded: The one in the inputs that it was made or imported with.
        named: The one in its own name, where Google writes the number.
    """
    if wanted == recorded:
        return True
    if not isinstance(wanted, str) or not isinstance(recorded, str) or not same_project(wanted, recorded):
        return False
    return wanted == named if wanted.isdigit() and named.isdigit() else True


def same(a: Name | None, b: Name | None) -> bool:
    """Whether two names mean the same resource, one possibly with a project id and one with its number."""
    if a is None or b is None:
        return False
    return (a.location, a.id, a.version) == (b.location, b.id, b.version) and same_project(
        a.project, b.project
    )


def labels_as_text(labels: Mapping[str, str]) -> str | None:
    """The two labels of a stack for what has a description and no labels, a service account; None without them."""
    if PROJECT_LABEL not in labels or STACK_LABEL not in labels:
        return None
    return " ".join(f"{name}={labels[name]}" for name in (PROJECT_LABEL, STACK_LABEL))


def stack_labels(project: str, stack: str) -> dict[str, str]:
    """The two labels that everything made by a stack carries, by which a sweep finds what a lost state left."""
    return {PROJECT_LABEL: label_value(project), STACK_LABEL: label_value(stack)}

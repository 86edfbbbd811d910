"""Reads answers of Google's APIs: refusals in words, JSON only in the shape that the API documents."""

from __future__ import annotations

import json
import shlex
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from infra.preflight.net import Answer, Forbidden, Unread
from infra.preflight.subject import Place

__all__ = [
    "Json",
    "attempt",
    "beta",
    "body",
    "curl",
    "disabled",
    "object_",
    "objects",
    "opens",
    "refusal",
    "text",
    "texts",
    "whole",
]

T = TypeVar("T")
Json = Mapping[str, Any]

_LONGEST = 220


async def attempt(ask: Awaitable[T]) -> T | Unread:
    """What is asked for, or the reason why it cannot be read."""
    try:
        return await ask
    except Unread as reason:
        return reason


def body(answer: Answer) -> Json:
    """The JSON object of a successful answer.

    Raises:
        Unread: A refusal, or something else than a JSON object.
    """
    if not answer.ok:
        kind = Forbidden if answer.status == 403 and answer.message and not disabled(answer) else Unread
        raise kind(refusal(answer))
    if not isinstance(answer.data, dict):
        raise Unread("the answer is not a JSON object")
    return answer.data


def objects(data: Json, key: str) -> Sequence[Json]:
    """A repeated message; empty where the field is left out, as JSON from protos leaves it out.

    Raises:
        Unread: The field is something else.
    """
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise Unread(f"the answer's field {key} is not a list of JSON objects")
    return found


def object_(data: Json, key: str) -> Json:
    """A message; empty where the field is left out.

    Raises:
        Unread: The field is something else.
    """
    found = data.get(key) or {}
    if not isinstance(found, dict):
        raise Unread(f"the answer's field {key} is not a JSON object")
    return found


def text(data: Json, key: str) -> str:
    """A string; empty where the field is left out.

    Raises:
        Unread: The field is something else.
    """
    found = data.get(key) or ""
    if not isinstance(found, str):
        raise Unread(f"the answer's field {key} is not a text")
    return found


def texts(data: Json, key: str) -> frozenset[str]:
    """A repeated string; empty where the field is left out.

    Raises:
        Unread: The field is something else.
    """
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Unread(f"the answer's field {key} is not a list of texts")
    return frozenset(found)


def held(answer: Answer, *, kind: str = "") -> frozenset[str]:
    """The permissions of a testIamPermissions answer; an empty object is none of them.

    Args:
        answer: The answer.
        kind: What the answer calls itself, of an API whose answers do.

    Raises:
        Unread: A refusal, or something else than such an answer.
    """
    data = body(answer)
    if not data.keys() <= {"permissions", "kind"} or data.get("kind", "") != kind:
        raise Unread("the answer is not one of testIamPermissions")
    return texts(data, "permissions")


def whole(value: Any) -> int:
    """An integer of JSON from protos, which writes int64 as text and leaves out 0.

    Raises:
        Unread: It is something else.
    """
    if value is None:
        return 0
    try:
        if isinstance(value, str | int) and not isinstance(value, bool):
            return int(value)
    except ValueError:
        pass
    raise Unread(f"the answer has {str(value)[:40]!r} where a whole number belongs")


def opens(role: str, *reasons: object) -> str:
    """The remedy of a SKIP: the role to ask for where one of the reasons is that the caller may not read."""
    return f"Have {role} granted." if any(isinstance(reason, Forbidden) for reason in reasons) else ""


def refusal(answer: Answer) -> str:
    """Half a sentence that says why an answer is none."""
    if disabled(answer):
        facts = _metadata(answer)
        title = facts.get("serviceTitle") or facts.get("service") or "the API"
        return f"{title} is not enabled in {facts.get('consumer') or 'the project'}"
    said = f"{answer.status} {answer.message}".strip()
    return (said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…").rstrip(".")


def disabled(answer: Answer) -> bool:
    """Whether an API refuses because it is not enabled in the project."""
    return answer.status == 403 and answer.reason in ("SERVICE_DISABLED", "accessNotConfigured")


def beta(base: str) -> str:
    """The address of the v1beta1 of an API that has v1 at `base`."""
    return base.removesuffix("/v1") + "/v1beta1"


def curl(subject: Place, url: str, *, ask: Iterable[str] = ()) -> str:
    """The line that asks the same by hand; with `ask`, the permissions of a testIamPermissions."""
    words = ["curl", "-s"]
    if not subject.hosts.local:
        words += ["-H", '"Authorization: Bearer $(gcloud auth print-access-token)"']
    if permissions := list(ask):
        words += ["-H", '"Content-Type: application/json"']
        words += ["-d", shlex.quote(json.dumps({"permissions": permissions}))]
    return " ".join([*words, shlex.quote(url)])


def _metadata(answer: Answer) -> Mapping[str, str]:
    error = answer.data.get("error") if isinstance(answer.data, dict) else None
    for detail in error.get("details") or () if isinstance(error, dict) else ():
        if isinstance(detail, dict) and isinstance(detail.get("metadata"), dict):
            return {str(name): str(value) for name, value in detail["metadata"].items()}
    return {}

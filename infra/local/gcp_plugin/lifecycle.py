"""A bucket's lifecycle rules between the properties of pulumi-gcp and Cloud Storage's JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from infra.local.gcp_plugin.properties import Property, problems
from infra.local.gcp_plugin.rest import Json
from infra.plugin.values import contains_unknown

_RULE: Final = (
    Property("action", kind="object", required=True),
    Property("condition", kind="object", required=True),
)
_ACTION: Final = (
    Property("type", required=True, choices=("Delete", "SetStorageClass", "AbortIncompleteMultipartUpload")),
    Property("storageClass"),
)
# (property, field of the API, kind)
_CONDITION_FIELDS: Final = (
    ("age", "age", "integer"),
    ("createdBefore", "createdBefore", "string"),
    ("daysSinceNoncurrentTime", "daysSinceNoncurrentTime", "integer"),
    ("matchesPrefixes", "matchesPrefix", "array"),
    ("matchesStorageClasses", "matchesStorageClass", "array"),
    ("matchesSuffixes", "matchesSuffix", "array"),
    ("numNewerVersions", "numNewerVersions", "integer"),
)
_IS_LIVE: Final = {"LIVE": True, "ARCHIVED": False}
_CONDITION: Final = (
    *(Property(name, kind=kind) for name, _, kind in _CONDITION_FIELDS),
    Property("withState", choices=("LIVE", "ARCHIVED", "ANY")),
)


def check(token: str, rules: Sequence[Any]) -> list[tuple[str, str]]:
    """Everything wrong with the rules, as (property, reason)."""
    found: list[tuple[str, str]] = []
    for number, rule in enumerate(rules):
        if contains_unknown(rule):
            continue
        where = f"lifecycleRules[{number}]."
        if not isinstance(rule, dict):
            found.append((where[:-1], f"it must be a map with action and condition, not {rule!r}."))
            continue
        wrong = problems(token, _RULE, rule, where)
        if not wrong:
            wrong = problems(token, _ACTION, rule["action"], f"{where}action.")
            wrong += problems(token, _CONDITION, rule["condition"], f"{where}condition.")
        found += wrong
    return found


def to_api(rules: Sequence[Json]) -> list[Json]:
    """The rules as the API takes them."""
    return [
        {
            "action": {key: value for key, value in rule["action"].items() if value},
            "condition": _condition_to_api(rule["condition"]),
        }
        for rule in rules
    ]


def from_api(rules: Sequence[Json]) -> list[Json]:
    """The rules as properties."""
    return [
        {"action": dict(rule["action"]), "condition": _condition_from_api(rule.get("condition") or {})}
        for rule in rules
    ]


def same(old: Sequence[Json], new: Sequence[Json]) -> bool:
    """Whether two lists of rules mean the same."""
    return to_api(old) == to_api(new)


def _condition_to_api(condition: Json) -> Json:
    result = {
        field: condition[name] for name, field, _ in _CONDITION_FIELDS if condition.get(name) is not None
    }
    if condition.get("withState") in _IS_LIVE:
        result["isLive"] = _IS_LIVE[condition["withState"]]
    return result


def _condition_from_api(condition: Json) -> Json:
    result = {name: condition[field] for name, field, _ in _CONDITION_FIELDS if field in condition}
    if "isLive" in condition:
        result["withState"] = "LIVE" if condition["isLive"] else "ARCHIVED"
    return result

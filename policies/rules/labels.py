"""Everything that costs money says whose it is, what for, and until when.

`required-labels`. Satisfied by: every label of option `labels` (`owner`, `environment`, `expiry`), with a value, on
buckets, endpoints and models; `expiry` a day that has not passed (`2027-03-31`), a time after the deployment (`8h`,
`3d`: `expires_after` of the stack file) or `never`, unless option `allowNever`
is false; `environment` production where the stack is, and only there (option `production`: `prod`, `production`).
Violated by: one missing or empty; a day that has passed or is none; a label `environment: prod` in a stack that the
other policies do not take for production, or a stack `prod` that says it is something else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from infra.expiry import NEVER, Expiry
from rules.rule import ENVIRONMENTS, PRODUCTION, UNKNOWN, Resource, Rule

LABELLED = frozenset(
    {"gcp:storage/bucket:Bucket", "gcp:vertex/aiEndpoint:AiEndpoint", "vertexserving:index:Model"}
)
_SET = "pulumi config set --path vertex-vllm:labels."


def today() -> date:
    """The day in UTC, so that a preview says the same everywhere."""
    return datetime.now(UTC).date()


def check(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type not in LABELLED or resource.get("labels") is UNKNOWN:
        return
    missing = [name for name in config["labels"] if resource.get("labels", name) in (None, "")]
    if missing:
        yield f"labels missing: {', '.join(missing)}; {' && '.join(f'{_SET}{name} VALUE' for name in missing)}"
    for name, problem in (("environment", _environment), ("expiry", _expiry)):
        value = resource.get("labels", name)
        if name in config["labels"] and isinstance(value, str) and value:
            yield from problem(value, resource, config)


def _environment(value: str, resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    own = resource.environment(config)
    if (value in config["production"]) != (own in config["production"]):
        yield (
            f"label environment is {value}, but stack {resource.stack} is held to the policies of {own}; "
            f"{_SET}environment {own}, or option environments of the policies: "
            f'{{"{resource.stack}": "{value}"}}'
        )


def _expiry(value: str, resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if value == NEVER:
        if not config["allowNever"]:
            yield f"label expiry is never, which is not allowed; {_SET}expiry YYYY-MM-DD"
        return
    expiry = Expiry.of(value)
    if not expiry.known:
        never = f" or {NEVER}" if config["allowNever"] else ""
        yield (
            f"label expiry is {value}, which is no day and no duration; {_SET}expiry YYYY-MM-DD{never}, or "
            "expires_after: 8h in the stack file"
        )
    elif expiry.day is not None and expiry.day < today():
        yield f"the stack expired on {value}; pulumi destroy, or {_SET}expiry with a later day"


REQUIRED_LABELS = Rule(
    name="required-labels",
    description="Buckets, endpoints and models carry the labels that say whose they are, what for and until when.",
    check=check,
    config={
        "labels": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["owner", "environment", "expiry"],
        },
        "allowNever": {"type": "boolean", "default": True},
        "production": PRODUCTION,
        "environments": ENVIRONMENTS,
    },
)

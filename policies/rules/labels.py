"""Everything that costs money says whose it is.

Satisfied by: every label of option `labels` (`owner` by default), with a value, on buckets, endpoints and models.
Violated by: one missing or empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.rule import UNKNOWN, Resource, Rule

LABELLED = frozenset(
    {"gcp:storage/bucket:Bucket", "gcp:vertex/aiEndpoint:AiEndpoint", "vertexserving:index:Model"}
)


def check(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type not in LABELLED or resource.get("labels") is UNKNOWN:
        return
    missing = [name for name in config["labels"] if resource.get("labels", name) in (None, "")]
    if missing:
        yield (
            f"labels missing: {', '.join(missing)}; "
            f"pulumi config set --path vertex-vllm:labels.{missing[0]} VALUE"
        )


REQUIRED_LABELS = Rule(
    name="required-labels",
    description="Buckets, endpoints and models carry the labels that say whose they are.",
    check=check,
    config={"labels": {"type": "array", "items": {"type": "string"}, "default": ["owner"]}},
)

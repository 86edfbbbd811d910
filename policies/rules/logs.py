"""A server that fails says why.

`deployment-logs`. Satisfied by: the container's output in Cloud Logging, which is so unless it is turned off, with the
lines of vLLM's start. Violated by: `disableContainerLogging: true`, `enableContainerLogging: false` (its opposite in
version v1beta1 of the API); in a model's container, `VLLM_LOGGING_LEVEL` of option `silentLevels` (`WARNING`, `ERROR`,
`CRITICAL`), or `VLLM_CONFIGURE_LOGGING` of 0: without those lines nobody can say why it failed after thirty minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rules.capacity import DEPLOYMENT
from rules.containers import MODEL
from rules.rule import Resource, Rule


def check(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type == DEPLOYMENT:
        if resource.get("disableContainerLogging") is True:
            yield "disableContainerLogging is true, so a failure leaves no line behind; remove it"
        if resource.get("enableContainerLogging") is False:
            yield "enableContainerLogging is false, so a failure leaves no line behind; set it to true"
    elif resource.type == MODEL:
        level = resource.get("containerSpec", "env", "VLLM_LOGGING_LEVEL")
        if isinstance(level, str) and level.upper() in config["silentLevels"]:
            yield (
                f"containerSpec.env.VLLM_LOGGING_LEVEL is {level}, so vLLM does not say how it starts; "
                "set it to INFO or remove it"
            )
        if resource.get("containerSpec", "env", "VLLM_CONFIGURE_LOGGING") == "0":
            yield "containerSpec.env.VLLM_CONFIGURE_LOGGING is 0, so vLLM does not say how it starts; remove it"


DEPLOYMENT_LOGS = Rule(
    name="deployment-logs",
    description="What a container prints reaches Cloud Logging.",
    check=check,
    config={
        "silentLevels": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["WARNING", "ERROR", "CRITICAL"],
        }
    },
)

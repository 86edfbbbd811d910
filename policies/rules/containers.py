"""What may stand in a container specification.

`container-image-pinned`. Satisfied by: `…/pytorch-vllm-serve:20241001_0916_RC00`, `…@sha256:DIGEST`; with option
`requireDigest` only by the latter. Violated by: no tag, or a tag that moves (`latest`, `nightly`, `stable`, …; option
`movingTags`).

`no-token-in-clear`. Satisfied by: the Hugging Face token given as `vertex-vllm:hfToken`, which travels as a secret; in
production (option `production`: `prod`, `production`) by no token at all: weights in a bucket, or of a model that is
not gated. Violated by: an environment variable of a container that is named like a credential, or any value or argument
that looks like a Hugging Face token: both are readable by everybody who may read the model. In production also by
`vertex-vllm:hfToken`, since it becomes such a variable when the model is uploaded: a container specification of Vertex
AI takes no reference to Secret Manager in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rules.rule import ENVIRONMENTS, PRODUCTION, UNKNOWN, Resource, Rule

MODEL = "vertexserving:index:Model"

_DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
_CREDENTIAL_NAME = re.compile(
    r"(^|_)(TOKEN|API_?KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?|PRIVATE_?KEY)$", re.IGNORECASE
)
_TOKEN_VALUE = re.compile(r"\bhf_[A-Za-z0-9]{8,}")


def check_pinned(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != MODEL:
        return
    image = resource.get("containerSpec", "imageUri")
    if not isinstance(image, str) or _DIGEST.search(image):
        return
    if config["requireDigest"]:
        yield f"{image} is no digest; write it as {image}@sha256:DIGEST, which the registry shows beside the tag"
        return
    # A colon before the last slash belongs to the registry's port.
    _, colon, tag = image.rpartition("/")[2].partition(":")
    if not colon or not tag:
        yield f"{image} has no tag, so it is a different image tomorrow; pin one: {image.rstrip(':')}:TAG"
    elif tag in config["movingTags"]:
        yield f"{image}: the tag {tag} moves, so it is a different image tomorrow; pin a dated tag or a digest"


def check_clear(resource: Resource, config: Mapping[str, Any]) -> Iterator[str]:
    if resource.type != MODEL:
        return
    env = resource.get("containerSpec", "env", default={})
    for name in [] if env is UNKNOWN else list(env):
        value = resource.get("containerSpec", "env", name)
        named = _CREDENTIAL_NAME.search(name) and value != ""
        if named or (isinstance(value, str) and _TOKEN_VALUE.search(value)):
            yield (
                f"containerSpec.env.{name} holds a credential in clear; "
                "pulumi config set --secret vertex-vllm:hfToken and remove the variable"
            )
    for key in ("command", "args"):
        for position, argument in enumerate(resource.items("containerSpec", key)):
            if isinstance(argument, str) and _TOKEN_VALUE.search(argument):
                yield (
                    f"containerSpec.{key}[{position}] holds a token in clear; "
                    "pulumi config set --secret vertex-vllm:hfToken and remove the argument"
                )
    if resource.in_production(config) and resource.get("hfToken", default=UNKNOWN) is not UNKNOWN:
        yield (
            "hfToken becomes the variable HF_TOKEN of the model, in clear for everybody who may read it; "
            f"in {resource.environment(config)} put the weights of a gated model into a bucket (weights: "
            "gs://BUCKET/PREFIX in the stack file) and pulumi config rm vertex-vllm:hfToken"
        )


CONTAINER_IMAGE_PINNED = Rule(
    name="container-image-pinned",
    description="Container images are pinned to a tag that does not move, or to a digest.",
    check=check_pinned,
    config={
        "movingTags": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["latest", "nightly", "stable", "main", "master", "dev", "edge"],
        },
        "requireDigest": {"type": "boolean", "default": False},
    },
)
NO_TOKEN_IN_CLEAR = Rule(
    name="no-token-in-clear",
    description="No credential stands in clear in a container's environment or arguments; no token in production.",
    check=check_clear,
    config={"production": PRODUCTION, "environments": ENVIRONMENTS},
)

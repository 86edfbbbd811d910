"""A model's content: the one form in which inputs and Google's answers are compared, and the id made from it. Pure."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from infra.ids import content_hash, model_id

TOKEN_VARIABLE = "HF_TOKEN"
TOKEN_VARIABLES = (TOKEN_VARIABLE, "HUGGING_FACE_HUB_TOKEN")
"""Where huggingface_hub looks for a token, in its order (huggingface_hub/utils/_auth.py)."""
SOURCE_VARIABLE = "DEPLOY_SOURCE"

_HIDDEN = "(hidden)"
_HF_TOKEN = re.compile(r"hf_[A-Za-z0-9]{20,}")
#: What an argument or a variable with a secret is called. Not every token: --max-prompt-adapter-token is a number.
_SECRET_NAME = re.compile(
    r"(api|access|secret|private)[_-]?key|password|passwd|passphrase|secret|(hf|hub|auth|bearer|access)[_-]token",
    re.IGNORECASE,
)


def container_of(spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """A container spec of the inputs without what is empty, so that leaving out equals giving nothing."""
    return {key: value for key, value in (spec or {}).items() if value not in (None, "", [], {})}


def same_container(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two container specs start the same: who uploaded it (DEPLOY_SOURCE) is read by nothing in it."""
    return _started(one) == _started(other)


def _started(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = container_of(spec)
    if isinstance(kept.get("env"), Mapping):
        kept["env"] = {name: value for name, value in kept["env"].items() if name != SOURCE_VARIABLE}
    return container_of(kept)


def container_to_api(spec: Mapping[str, Any], token: str | None) -> dict[str, Any]:
    """A container spec as the API takes it. The token becomes an environment variable here and nowhere else."""
    environment = {**spec.get("env", {}), **({TOKEN_VARIABLE: token} if token else {})}
    api: dict[str, Any] = {
        "imageUri": spec["imageUri"],
        "command": list(spec.get("command", ())),
        "args": list(spec.get("args", ())),
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "ports": [{"containerPort": port} for port in spec.get("ports", ())],
        "predictRoute": spec.get("predictRoute"),
        "healthRoute": spec.get("healthRoute"),
        "sharedMemorySizeMb": str(spec["sharedMemorySizeMb"]) if spec.get("sharedMemorySizeMb") else None,
        "deploymentTimeout": f"{spec['deploymentTimeoutSeconds']}s"
        if spec.get("deploymentTimeoutSeconds")
        else None,
    }
    return container_of(api)


def container_from_api(api: Mapping[str, Any]) -> tuple[dict[str, Any], str | None]:
    """A container spec as the inputs have it, and the token that was among its environment variables."""
    environment = {str(each["name"]): str(each.get("value", "")) for each in api.get("env", ())}
    given = [environment.pop(name, "") for name in TOKEN_VARIABLES]
    token = next((each for each in given if each), None)
    timeout = str(api.get("deploymentTimeout", "")).removesuffix("s")
    spec = {
        "imageUri": api.get("imageUri"),
        "command": list(api.get("command", ())),
        "args": list(api.get("args", ())),
        "env": environment,
        "ports": [int(port["containerPort"]) for port in api.get("ports", ()) if "containerPort" in port],
        "predictRoute": api.get("predictRoute"),
        "healthRoute": api.get("healthRoute"),
        "sharedMemorySizeMb": int(api["sharedMemorySizeMb"]) if api.get("sharedMemorySizeMb") else None,
        "deploymentTimeoutSeconds": int(float(timeout)) if timeout else None,
    }
    return container_of(spec), token


def without_secrets(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A container spec that this project did not write, for the state: tokens, keys and passwords are hidden.

    Where something is hidden, it is no longer the same container: the program never asks for a hidden value.
    """
    args: list[str] = []
    for word in spec.get("args", ()):
        flag, _equals, value = word.partition("=")
        if _SECRET_NAME.search(flag) and value and not value.isdecimal():
            word = f"{flag}={_HIDDEN}"
        elif args and "=" not in args[-1] and _SECRET_NAME.search(args[-1]) and not word.startswith("-"):
            word = _HIDDEN
        args.append(_HF_TOKEN.sub(_HIDDEN, word))
    env = {
        name: _HIDDEN if _SECRET_NAME.search(name) else _HF_TOKEN.sub(_HIDDEN, value)
        for name, value in spec.get("env", {}).items()
    }
    return container_of({**spec, "args": args, "env": env})


def digest(token: str | None, key: str) -> str | None:
    """A one-way digest of a token, different for every key: tells whether a token changed without telling it."""
    return hmac.new(key.encode(), token.encode(), hashlib.sha256).hexdigest() if token else None


def derived_model_id(project: str, stack: str, name: str, inputs: Mapping[str, Any]) -> str:
    """The model id for these inputs: the same content in the same stack always gives the same id.

    Args:
        project: The Pulumi project; two stacks must never share a model, or one would delete the other's.
        stack: The stack.
        name: The resource's name, which begins the id where the container does not name its model.
        inputs: The inputs, all known.
    """
    spec = container_of(inputs.get("containerSpec"))
    owner = f"{project}/{stack}"
    content = {
        "owner": owner,
        "containerSpec": spec,
        "artifactUri": inputs.get("artifactUri") or None,
        "token": digest(inputs.get("hfToken"), owner),
    }
    served = str(spec.get("env", {}).get("MODEL_ID", "")).rstrip("/").rpartition("/")[2]
    return model_id(served or name, content)


def stable_model_id(project: str, stack: str, name: str) -> str:
    """The id of the one model whose versions a resource uploads: it does not change with the content."""
    return model_id(f"{project}-{stack}", {"owner": f"{project}/{stack}", "name": name, "versions": True})


def version_alias(owner: str, inputs: Mapping[str, Any]) -> str:
    """The alias of the version with this content, by which a repeated upload finds its own earlier work.

    Args:
        owner: What the token's digest is made with, so that equal tokens of two stacks do not look equal.
        inputs: The inputs, all known.
    """
    content = {
        "containerSpec": container_of(inputs.get("containerSpec")),
        "artifactUri": inputs.get("artifactUri") or None,
        "token": digest(inputs.get("hfToken"), owner),
    }
    return f"content-{content_hash(content)[:12]}"


def difference(wanted: Any, found: Any, path: str = "") -> str:
    """Where two values differ first, in words; empty if they are equal."""
    if wanted == found:
        return ""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        for key in sorted({*wanted, *found}):
            text = difference(wanted.get(key), found.get(key), f"{path}.{key}" if path else str(key))
            if text:
                return text
    if isinstance(wanted, list) and isinstance(found, list):
        for number in range(max(len(wanted), len(found))):
            one, other = (side[number] if number < len(side) else None for side in (wanted, found))
            text = difference(one, other, f"{path}[{number}]")
            if text:
                return text
    return f"{path} is {found!r} there and {wanted!r} here"

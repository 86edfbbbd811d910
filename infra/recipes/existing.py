"""A stack file for what is deployed already: the container's arguments read back into options. Pure.

The reverse of `infra.recipes.arguments`, as far as there is one: what no option says becomes an extra argument, and
what the plan of the new stack file would start otherwise is said, for that would be another model and another GPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from infra.recipes.arguments import CHAT_TEMPLATE, ENTRYPOINT, KEY_OF_FLAG
from infra.recipes.catalog import catalog
from infra.recipes.checks.secrets import secret_in
from infra.recipes.errors import PlanError, UnknownModel, hide_secrets
from infra.recipes.stackfile import VllmOptions
from infra.recipes.templates import NO_CHAT

__all__ = ["arguments_of", "container_differences", "needs_token", "stack_file_of"]

Json = dict[str, Any]
MODEL: Final = "--model"
_MODEL_ID: Final = "MODEL_ID"
_TOKENS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
"""Where the container finds a token that the stack gives as `vertex-vllm:hfToken` (huggingface_hub/utils/_auth.py)."""
_SECRET: Final = re.compile(r"KEY|TOKEN|SECRET|PASS", re.IGNORECASE)
_SWITCHES: Final = frozenset(
    flag
    for flag, key in KEY_OF_FLAG.items()
    if key.startswith("vllm.") and VllmOptions.model_fields[key.removeprefix("vllm.")].annotation is bool
)
_DEFAULT_OFF: Final = {"disable_log_stats": False}
"""Switches whose absence is not the option's default."""


def arguments_of(container: Mapping[str, Any]) -> dict[str, str | None]:
    """The arguments of a container of Vertex AI: flag (dashes) to value, None for a switch.

    ``--flag value`` and ``--flag=value`` are the same.

    Raises:
        PlanError: the container does not start vLLM's server for Vertex AI.
    """
    words = [str(word) for word in (*container.get("command", ()), *container.get("args", ()))]
    if tuple(words[: len(ENTRYPOINT)]) != ENTRYPOINT:
        raise PlanError(
            f"the container starts {' '.join(words[:4]) or 'its image alone'}, not {' '.join(ENTRYPOINT)}.",
            remedy="only containers that are started as Google's guide starts them can become a stack file",
        )
    found: dict[str, str | None] = {}
    flag = ""
    for word in words[len(ENTRYPOINT) :]:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            flag = flag.replace("_", "-")
            found[flag] = value if equals else None
        elif flag and found[flag] is None:
            found[flag] = word
    return found


def stack_file_of(container: Mapping[str, Any], deployed: Mapping[str, Any], *, dedicated: bool) -> Json:
    """The content of a stack file that starts this container on this hardware.

    Args:
        container: ``containerSpec`` of the model, as the REST API writes it.
        deployed: The deployed model, likewise.
        dedicated: Whether the endpoint has a host of its own.

    Raises:
        PlanError: the container is no vLLM server, names no model, or does not run on machines of its own.
    """
    arguments = arguments_of(container)
    environment = {str(each["name"]): str(each.get("value", "")) for each in container.get("env", ())}
    weights = arguments.get(MODEL) or ""
    model = environment.get(_MODEL_ID) or weights
    if not model or model.startswith("gs://"):
        raise PlanError(
            f"the container names no model: {_MODEL_ID} is {environment.get(_MODEL_ID)!r}, {MODEL} is {weights!r}.",
            remedy="write the stack file by hand (README.md, Choose and write a stack file)",
        )
    resources = deployed.get("dedicatedResources")
    if not resources:
        raise PlanError(
            "the model runs on no machines of its own (dedicatedResources).", remedy="deploy it anew"
        )
    machine = resources.get("machineSpec") or {}
    least = int(resources.get("minReplicaCount") or 1)
    replicas: Json = {
        "min_replica_count": least,
        "max_replica_count": int(resources.get("maxReplicaCount") or least),
    }
    metrics = resources.get("autoscalingMetricSpecs") or ()
    if metrics:
        replicas["autoscaling"] = [
            {"metric_name": each["metricName"], "target": int(each["target"])} for each in metrics
        ]
    options, extra = _options(arguments)
    if CHAT_TEMPLATE not in arguments and _has_no_template(model):
        options["chat_template"] = NO_CHAT  # the stack file has to say it
    container_options: Json = {"image_uri": container.get("imageUri", "")}
    if container.get("sharedMemorySizeMb"):
        container_options["shared_memory_size_mb"] = int(container["sharedMemorySizeMb"])
    if container.get("deploymentTimeout"):
        container_options["deployment_timeout"] = int(
            float(str(container["deploymentTimeout"]).removesuffix("s"))
        )
    return {
        "model": model,
        **({"weights": weights} if weights.startswith("gs://") else {}),
        "hardware": {
            "machine_type": machine.get("machineType", ""),
            "accelerator_type": machine.get("acceleratorType", ""),
            "accelerator_count": int(machine.get("acceleratorCount") or 0),
            **({"spot": True} if resources.get("spot") else {}),
        },
        "replicas": replicas,
        "vllm": {**options, **({"extra_args": extra} if extra else {})},
        "container": container_options,
        "endpoint": {"dedicated": dedicated},
    }


def container_differences(planned: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    """What a planned container would start otherwise than the one that runs, a line each.

    Args:
        planned: `ContainerSpec.inputs()`.
        container: ``containerSpec`` of the model, as the REST API writes it.
    """
    environment = {str(each["name"]): str(each.get("value", "")) for each in container.get("env", ())}
    found: list[str] = []

    def compare(what: str, runs: Any, plans: Any) -> None:
        if (runs or None) != (plans or None):
            found.append(f"{what}: {_shown(runs)} runs, {_shown(plans)} is planned")

    compare("image", container.get("imageUri"), planned["imageUri"])
    compare("command", list(container.get("command", ())), planned["command"])
    runs, plans = list(container.get("args", ())), list(planned["args"])
    if runs != plans:
        for word in _shown_words([each for each in runs if each not in plans]):
            found.append(f"argument {word} runs and is not planned")
        for word in [each for each in plans if each not in runs]:
            found.append(f"argument {word} is planned and does not run")
        if sorted(runs) == sorted(plans):
            found.append("the arguments are the same in another order")
    for name in sorted({*environment, *planned["env"]} - {*_TOKENS, "DEPLOY_SOURCE"}):
        value = environment.get(name)
        shown = "a value that is not shown" if value and _SECRET.search(name) else hide_secrets(value)
        compare(f"environment variable {name}", shown, planned["env"].get(name))
    compare("ports", [int(each["containerPort"]) for each in container.get("ports", ())], planned["ports"])
    compare("predict route", container.get("predictRoute"), planned["predictRoute"])
    compare("health route", container.get("healthRoute"), planned["healthRoute"])
    compare("shared memory, MB", int(container.get("sharedMemorySizeMb") or 0), planned["sharedMemorySizeMb"])
    seconds = int(float(str(container.get("deploymentTimeout") or "0").removesuffix("s")))
    compare("deployment time-out, s", seconds, planned["deploymentTimeoutSeconds"])
    return found


def needs_token(container: Mapping[str, Any]) -> bool:
    """Whether a container was uploaded with a Hugging Face token."""
    return any(each.get("name") in _TOKENS and each.get("value") for each in container.get("env", ()))


def _has_no_template(model: str) -> bool:
    try:
        return not catalog().model(model).chat_template
    except UnknownModel:
        return False


def _shown_words(words: Sequence[str]) -> list[str]:
    """Arguments without the secrets among them."""
    secrets = [secret_in(words, number) for number in range(len(words))]
    return [secret.shown if secret else word for secret, word in zip(secrets, words, strict=True)]


def _options(arguments: Mapping[str, str | None]) -> tuple[Json, list[str]]:
    """The options of vLLM, and the arguments that none of them says."""
    options: Json = {name: value for name, value in _DEFAULT_OFF.items()}
    extra: list[str] = []
    for flag, value in arguments.items():
        key = KEY_OF_FLAG.get(flag)
        if key is None:
            word = flag if value is None else f"{flag}={value}"
            if secret_in([word], 0) is None:  # it would be refused, and stand in the file until then
                extra.append(word)
        elif key.startswith("vllm."):
            options[key.removeprefix("vllm.")] = True if flag in _SWITCHES else _typed(key, value or "")
    return options, extra


def _typed(key: str, value: str) -> int | float | str:
    kinds = str(VllmOptions.model_fields[key.removeprefix("vllm.")].annotation)
    try:
        if "float" in kinds:
            return float(value)
        return int(value) if "int" in kinds and "str" not in kinds else value
    except ValueError:
        return value


def _shown(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value)) or "none"
    return str(value) if value not in (None, "", 0) else "none"

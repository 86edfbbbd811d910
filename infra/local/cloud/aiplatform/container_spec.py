"""What a model's container specification may say, and what the container gets: arguments, environment, routes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.local.cloud.aiplatform.names import Fault

Json = dict[str, Any]
#: Limit of `deploymentTimeout` (field comment of ModelContainerSpec), and what is taken when it isn't set, in seconds.
MAX_DEPLOYMENT_TIMEOUT, DEFAULT_DEPLOYMENT_TIMEOUT = 7200.0, 1800.0
DEFAULT_PORT = 8080
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Registries that the service pulls from: Artifact Registry and Container Registry.
_IMAGE = re.compile(r"(?:[a-z0-9-]+-docker\.pkg\.dev/[^/\s]+/[^/\s]+/\S+|(?:[a-z]+\.)?gcr\.io/[^/\s]+/\S+)")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def faults(model: Mapping[str, Any]) -> list[Fault]:
    """Everything wrong with `containerSpec` and `artifactUri`, as (field path, message)."""
    found: list[Fault] = []
    artifact = model.get("artifactUri", "")
    if artifact and not re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]+(/.*)?", artifact):
        found.append(
            (
                "model.artifact_uri",
                f"Invalid Cloud Storage path {artifact!r}: it must start with gs://BUCKET.",
            )
        )
    spec = model.get("containerSpec")
    if spec is None:
        return [*found, ("model.container_spec", "Required field is not set.")]
    at = "model.container_spec"
    if not _IMAGE.fullmatch(spec["imageUri"]):
        found.append(
            (
                f"{at}.image_uri",
                f"Invalid image URI {spec['imageUri']!r}: the image must be in Artifact Registry "
                "(REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE) or Container Registry.",
            )
        )
    for index, variable in enumerate(spec.get("env", [])):
        name = variable["name"]
        if not _ENV_NAME.fullmatch(name):
            found.append(
                (f"{at}.env[{index}].name", f"Invalid name {name!r}: it must be a valid C identifier.")
            )
        elif name.startswith("AIP_"):
            found.append((f"{at}.env[{index}].name", f"Invalid name {name!r}: the prefix AIP_ is reserved."))
    for field, json_name in (("ports", "ports"), ("grpc_ports", "grpcPorts")):
        for index, port in enumerate(spec.get(json_name, [])):
            number = port.get("containerPort", 0)
            if not 1 <= number <= 65535:
                found.append(
                    (
                        f"{at}.{field}[{index}].container_port",
                        f"Invalid port {number}: it must be between 1 and 65535.",
                    )
                )
    for field, json_name in (("predict_route", "predictRoute"), ("health_route", "healthRoute")):
        route = spec.get(json_name, "/")
        if not route.startswith("/"):
            found.append((f"{at}.{field}", f"Invalid route {route!r}: it must start with a slash."))
    prefix = spec.get("invokeRoutePrefix")
    if prefix is not None and prefix != "/*":
        found.append(
            (f"{at}.invoke_route_prefix", f'Invalid prefix {prefix!r}: "/*" is the only supported value.')
        )
    if prefix is not None and "predictRoute" in spec:
        found.append(
            (f"{at}.invoke_route_prefix", "Only one of predict_route and invoke_route_prefix can be set.")
        )
    timeout = seconds(spec.get("deploymentTimeout", "")) if spec.get("deploymentTimeout") else 1.0
    if not 0 < timeout <= MAX_DEPLOYMENT_TIMEOUT:
        found.append(
            (
                f"{at}.deployment_timeout",
                f"Invalid timeout {timeout:g}s: it must be more than 0s and at most 7200s.",
            )
        )
    if int(spec.get("sharedMemorySizeMb", 0)) < 0:
        found.append((f"{at}.shared_memory_size_mb", "The value must not be negative."))
    return found


def seconds(duration: str) -> float:
    """Seconds of a JSON duration such as "7200s"; 0 for an empty one."""
    return float(duration.removesuffix("s") or 0)


def deployment_timeout(spec: Mapping[str, Any]) -> float:
    """Seconds that the container has until it must be healthy."""
    return seconds(spec.get("deploymentTimeout", "")) or DEFAULT_DEPLOYMENT_TIMEOUT


def port(spec: Mapping[str, Any]) -> int:
    """The port that gets requests: the first one."""
    ports = spec.get("ports") or [{}]
    return int(ports[0].get("containerPort", DEFAULT_PORT))


def predict_route(spec: Mapping[str, Any], endpoint_id: str, deployed_model_id: str) -> str:
    """Where predictions go in the container."""
    default = f"/v1/endpoints/{endpoint_id}/deployedModels/{deployed_model_id}:predict"
    return str(spec.get("predictRoute") or default)


def health_route(spec: Mapping[str, Any], endpoint_id: str, deployed_model_id: str) -> str:
    """Where the container says that it is healthy."""
    default = f"/v1/endpoints/{endpoint_id}/deployedModels/{deployed_model_id}"
    return str(spec.get("healthRoute") or default)


def environment(
    model: Mapping[str, Any], deployed: Mapping[str, Any], endpoint_id: str, project_number: str
) -> dict[str, str]:
    """The container's environment: the model's variables (with references expanded) and the AIP_* ones.

    Names and values of AIP_*: documentation, custom container requirements. AIP_STORAGE_URI is the artifact path
    itself; the real service makes a copy in a bucket of its own.
    """
    spec = model["containerSpec"]
    machine = deployed.get("dedicatedResources", {}).get("machineSpec", {})
    result = {
        "AIP_ACCELERATOR_TYPE": machine.get("acceleratorType", ""),
        "AIP_DEPLOYED_MODEL_ID": deployed["id"],
        "AIP_ENDPOINT_ID": endpoint_id,
        "AIP_FRAMEWORK": "CUSTOM_CONTAINER",
        "AIP_HEALTH_ROUTE": health_route(spec, endpoint_id, deployed["id"]),
        "AIP_HTTP_PORT": str(port(spec)),
        "AIP_MACHINE_TYPE": machine.get("machineType", ""),
        "AIP_MODE": "PREDICTION",
        "AIP_MODE_VERSION": "1.0.0",
        "AIP_MODEL_NAME": str(model["name"]).rpartition("/")[2].partition("@")[0],
        "AIP_PREDICT_ROUTE": predict_route(spec, endpoint_id, deployed["id"]),
        "AIP_PROJECT_NUMBER": project_number,
        "AIP_STORAGE_URI": model.get("artifactUri", ""),
        "AIP_VERSION_NAME": str(model.get("versionId", "")),
    }
    for variable in spec.get("env", []):
        result[variable["name"]] = expand(variable["value"], result)
    return result


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes the variable's value; unknown names stay, `$$(NAME)` is an escaped `$(NAME)`."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)

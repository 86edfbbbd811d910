"""Which endpoint and stack file the settings of a stack choose: a deployment that failed has no outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Chosen", "by_settings", "environment_of", "local_environment"]

_ADDRESS: Final = "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What `Pulumi.STACK.yaml` and the program make of a stack, whether or not it exists.

    Attributes:
        stack_file: The stack file.
        endpoint: ``projects/P/locations/REGION/endpoints/ID``, with the id that the program chooses.
        region: Region that serves.
        environ: The environment, with the address of Vertex AI that the settings name.
    """

    stack_file: Path
    endpoint: str
    region: str
    environ: Mapping[str, str]


def by_settings(stack: str, root: Path) -> Chosen:
    """What the settings of a stack choose.

    Args:
        stack: Name of the stack.
        root: Folder of `Pulumi.yaml`.

    Raises:
        StackError: The settings or the stack file are missing, or a preview would refuse them.
    """
    from infra import settings
    from infra.program import stack_endpoint_id
    from infra.settings.environment import STACK_FILE_VARIABLE
    from infra.settings.file import read_file

    environ = environment_of(stack, root)
    raw, _ = read_file(root, stack, environ)
    checked = settings.parse(raw, root)
    local = raw.config.get("vertex-vllm:localCloud") == "true"
    named = (local and environ.get(STACK_FILE_VARIABLE, "").strip()) or raw.config["vertex-vllm:stackFile"]
    if checked.api_endpoint:
        environ = {**environ, _ADDRESS: checked.api_endpoint}
    return Chosen(
        stack_file=root / named,
        endpoint=f"projects/{checked.project}/locations/{checked.region}/endpoints/{stack_endpoint_id(checked)}",
        region=checked.region,
        environ=environ,
    )


def environment_of(stack: str, root: Path) -> Mapping[str, str]:
    """The environment; for the stack `local` of `make up` with the addresses that .local/env exports.

    Args:
        stack: Name of the stack.
        root: Folder of `Pulumi.yaml`.
    """
    return os.environ if os.environ.get(_ADDRESS) else local_environment(stack, root)


def local_environment(stack: str, root: Path) -> Mapping[str, str]:
    """The environment; for the stack `local` of `make up` with everything that .local/env exports."""
    import subprocess

    exports = root / ".local" / "env"
    if stack != "local" or not exports.is_file():
        return os.environ
    done = subprocess.run(
        ["/bin/sh", "-c", '. "$1" && env -0', "sh", str(exports)], cwd=root, capture_output=True, text=True
    )
    pairs = [pair.partition("=") for pair in done.stdout.split("\0") if "=" in pair]
    return {name: value for name, _, value in pairs} or os.environ

"""Reads `Pulumi.<stack>.yaml` without an engine, for commands that run beside Pulumi.

An encrypted value stays encrypted, unless the Pulumi command of this shell can be asked for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from infra.recipes.errors import SettingsError, nearest, show_file
from infra.recipes.yamlfile import parse_yaml, read_text
from infra.settings.values import RawSettings

__all__ = ["TOKEN_KEY", "read_file"]

TOKEN_KEY: Final = "vertex-vllm:hfToken"
_TOKEN_VARIABLE: Final = "HF_TOKEN"
_ASK_S: Final = 10.0
_UNREAD: Final = "hf_unread"
"""Stands for a token that is set and cannot be decrypted: settings check that there is one, nobody else sees it."""


def read_file(
    root: Path, stack: str, environment: Mapping[str, str] = os.environ
) -> tuple[RawSettings, bool]:
    """The configuration of a stack as its file has it.

    The Hugging Face token comes from `pulumi config get` where there is a `pulumi` that can decrypt it, else from
    ``HF_TOKEN``.

    Args:
        root: Folder of `Pulumi.yaml`.
        stack: Name of the stack.
        environment: Environment variables.

    Returns:
        The raw settings, and whether the token is known (or not set); if not, the settings hold something in its place
        that opens nothing.

    Raises:
        StackError: A file is missing or is not what Pulumi writes.
    """
    project = _mapping(root / "Pulumi.yaml").get("name")
    path = root / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        stacks = [file.name[len("Pulumi.") : -len(".yaml")] for file in sorted(root.glob("Pulumi.*.yaml"))]
        near = nearest(stack, stacks)
        raise SettingsError(
            "there is no such file.",
            file=show_file(path),
            choices=near,
            remedy=f"--stack {near[0]}" if near else f"pulumi stack init {stack}",
        )
    values = _mapping(path).get("config") or {}
    if not isinstance(values, dict):
        raise SettingsError("is not a map of keys to values.", file=show_file(path), key="config")
    secret = frozenset(key for key, value in values.items() if _is_secret(value))
    config = {key: _text(value) for key, value in values.items() if key not in secret}
    known = True
    if TOKEN_KEY in secret:
        token = _decrypted(root, stack, environment) or environment.get(_TOKEN_VARIABLE, "").strip()
        known = bool(token)
        config[TOKEN_KEY] = token or _UNREAD
    raw = RawSettings(
        pulumi_project=str(project or ""),
        stack=stack,
        config=config,
        secret_keys=secret,
        environment=environment,
    )
    return raw, known


def _mapping(path: Path) -> dict[str, Any]:
    file = show_file(path)
    value, _ = parse_yaml(read_text(path), file)
    if not isinstance(value, dict):
        raise SettingsError("is not a map of keys to values.", file=file)
    return value


def _is_secret(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"secure"}


def _text(value: object) -> str:
    """A value as the engine hands it to a program: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _decrypted(root: Path, stack: str, environment: Mapping[str, str]) -> str:
    """The token, by the Pulumi command; empty where there is none, or it cannot say."""
    command = shutil.which("pulumi", path=environment.get("PATH"))
    if command is None:
        return ""
    asked = [command, "config", "get", TOKEN_KEY, "--stack", stack, "--non-interactive"]
    try:
        done = subprocess.run(
            asked,
            cwd=root,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ASK_S,
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""

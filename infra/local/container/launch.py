"""From a container's command and args to the program that would run, or to why it would not.

Vertex AI starts a container as Kubernetes does: ``command`` replaces the image's entry point, ``args`` its default
arguments, ``$(NAME)`` is replaced from the environment. The Model Garden vLLM images have no entry point of their
own, so their args must begin with a program; the upstream ``vllm-openai`` image has one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from infra.local.container.contract import ContainerRequest

API_SERVER: Final = "vllm.entrypoints.api_server"
OPENAI_SERVER: Final = "vllm.entrypoints.openai.api_server"
# The fork's multi-host launcher (docs use-multihost-gpu) and its shells run the rest of the line.
_WRAPPERS: Final = frozenset({"/vllm-workspace/ray_launcher.sh", "env", "nice", "exec"})
_SHELLS: Final = frozenset({"sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/bash"})
_PYTHON: Final = re.compile(r"^(/usr(/local)?/bin/)?python3?(\.\d+)?$")
_VARIABLE: Final = re.compile(r"\$\$\(|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class LaunchFailed(Exception):
    """The program cannot run; ``lines`` is what the runtime or the interpreter writes."""

    def __init__(self, *lines: str) -> None:
        super().__init__(lines[-1])
        self.lines = lines


@dataclass(frozen=True)
class Launch:
    """A vLLM server and its arguments.

    ``server`` is ``api_server`` (the plain server, or the Vertex fork's) or ``openai``; ``program`` the name that
    argparse prints; ``fork`` True on Google's images.
    """

    server: str
    program: str
    arguments: tuple[str, ...]
    fork: bool
    model_tag: str | None = None


def is_fork(image_uri: str) -> bool:
    """Say whether an image is Google's vLLM (its api_server speaks Vertex AI and has more flags)."""
    return "vllm-openai" not in image_uri


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as Kubernetes does: unknown names stay, ``$$(NAME)`` is an escaped ``$(NAME)``."""
    return _VARIABLE.sub(lambda m: "$(" if m.group(1) is None else env.get(m.group(1), m.group(0)), text)


def plan_launch(request: ContainerRequest) -> Launch:
    """Work out which server runs.

    Raises:
        LaunchFailed: no program, a program that the image does not have, a module that does not exist.
    """
    fork = is_fork(request.image_uri)
    words = [expand(word, request.env) for word in (*request.command, *request.args)]
    if not request.command and not fork:
        words = ["vllm", "serve", *words] if words[:1] != ["vllm"] else words
    if not words:
        raise LaunchFailed(
            "failed to create containerd task: no command specified: the image has no entry point, so "
            "containerSpec.args must begin with a program such as python -m vllm.entrypoints.api_server"
        )
    return _program(words, fork)


def _program(words: Sequence[str], fork: bool) -> Launch:
    head, rest = words[0], list(words[1:])
    if head in _WRAPPERS:
        while head == "env" and rest and "=" in rest[0]:
            rest.pop(0)
        if not rest:
            raise LaunchFailed(f"{head}: missing operand")
        return _program(rest, fork)
    if head in _SHELLS:
        if rest[:1] in (["-c"], ["-lc"], ["-ec"]) and len(rest) > 1:
            line = rest[1].removeprefix("exec ")
            return _program(shlex.split(line), fork)
        raise LaunchFailed(f"{head}: {rest[0] if rest else ''}: No such file or directory")
    if _PYTHON.match(head):
        return _python(head, rest, fork)
    if PurePosixPath(head).name == "vllm":
        return _vllm_command(rest, fork)
    raise LaunchFailed(
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
        f'unable to start container process: exec: "{head}": '
        + (
            "stat " + head + ": no such file or directory"
            if "/" in head
            else "executable file not found in $PATH"
        )
    )


def _python(head: str, rest: list[str], fork: bool) -> Launch:
    while rest and rest[0] in ("-u", "-O", "-B"):
        rest.pop(0)
    executable = head if head.startswith("/") else f"/usr/bin/{head}"
    if not rest:
        raise LaunchFailed(
            "python was started without a program and ended: containerSpec.args names no module"
        )
    if rest[0] != "-m":
        raise LaunchFailed(f"{executable}: can't open file '{rest[0]}': [Errno 2] No such file or directory")
    if len(rest) < 2:
        raise LaunchFailed("Argument expected for the -m option")
    module, arguments = rest[1], tuple(rest[2:])
    if module == API_SERVER:
        return Launch("api_server", "api_server.py", arguments, fork)
    if module == OPENAI_SERVER:
        return Launch("openai", "api_server.py", arguments, fork)
    raise LaunchFailed(f"{executable}: No module named {module}")


def _vllm_command(rest: list[str], fork: bool) -> Launch:
    if not rest or rest[0] != "serve":
        given = rest[0] if rest else ""
        raise LaunchFailed(
            "usage: vllm [-h] [-v] {serve,complete,chat} ...",
            f"vllm: error: argument subparser: invalid choice: '{given}' (choose from 'serve', 'complete', 'chat')",
        )
    arguments = rest[1:]
    tag = arguments.pop(0) if arguments and not arguments[0].startswith("-") else None
    return Launch("openai", "vllm serve", tuple(arguments), fork, tag)

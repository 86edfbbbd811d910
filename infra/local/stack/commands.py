"""The commands of the local stack: up, down, env, status, stop."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import shlex
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape

from infra.local.container.real import environment as vllm
from infra.local.engine.environment import PYTHON
from infra.local.engine.pulumi import Engine, installed_engine
from infra.local.engine.steps import LOCAL, ROOT, Problem, only_one
from infra.local.gcp_plugin.install import install as install_gcp_plugin
from infra.local.stack import environment, report, server
from infra.local.stack.report import out, say
from infra.local.stack.runs import Interrupted, Stack


def main() -> int:
    """Runs one command; 0 when it did what it says, 1 when it has said what is in the way."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.stack", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "env", "status", "stop"))
    command = parser.parse_args().command
    try:
        if command in ("up", "down", "env"):
            waiting = f"Another make up, down or env works in {ROOT}; waiting for it to finish."
            with only_one(LOCAL / "stack.lock", waiting):
                {"up": up, "down": down, "env": env}[command]()
        else:
            {"status": status, "stop": stop}[command]()
    except Problem as problem:
        out.print(f"\n[red]{escape(str(problem))}[/]")
        return 1
    except Interrupted:
        raise KeyboardInterrupt from None
    return 0


def up() -> None:
    """Deploys the local stack and asks the model one question."""
    begun = time.monotonic()
    every_route = wanted("SMOKE", os.environ.get("SMOKE") or "")
    stack_file = chosen_stack_file(os.environ.get("STACK_FILE") or "")
    stack, cloud = _prepare(stack_file, os.environ.get("CONTAINER") or "simulated")
    _recover(stack)
    refresh = False
    if stack.resources() and not report.billable(cloud.state()):
        say("the local cloud has lost what the stack made: the stack is refreshed first")
        refresh = True
    changes = stack.up(refresh=refresh)
    outputs = stack.outputs()
    if outputs.get("stopped"):
        out.print(
            "The local stack is stopped: nothing is deployed. vertex-vllm start --stack local deploys it."
        )
        return
    from infra.local.stack.question import ask  # 1 s to import

    answer = ask(outputs, say)
    report.after_up(answer, outputs, changes, time.monotonic() - begun)
    if cloud.container == "vllm":
        say("The weights are random: the answer means nothing, but everything around it is a real vLLM's.")
    if every_route:
        smoke(outputs)


def smoke(outputs: Mapping[str, Any]) -> None:
    """Asks each enabled route of the endpoint of these stack outputs once.

    Raises:
        Problem: A route did not answer; why is shown.
    """
    from infra.cli.smoke import row
    from infra.client import ClientError, find
    from infra.client.smoke import FAIL
    from infra.client.smoke import smoke as results

    out.print()
    failed = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(outputs, file)
        file.flush()
        try:
            endpoint = find(outputs=file.name)
            for result in results(endpoint, endpoint.token()):
                out.print(row(result))
                failed += [result.route] if result.status == FAIL else []
        except ClientError as error:
            raise Problem(str(error)) from error
    if failed:
        raise Problem(f"SMOKE: the model is deployed, but it did not answer on {', '.join(failed)}.")


def wanted(name: str, given: str) -> bool:
    """Whether a variable of make asks for something.

    Raises:
        Problem: It says neither yes nor no.
    """
    if given.lower() in ("", "0", "no", "false", "off"):
        return False
    if given.lower() in ("1", "yes", "true", "on"):
        return True
    raise Problem(f"{name}={given}: 1 or 0")


def down() -> None:
    """Destroys the local stack and shows what is left in the local cloud, then stops the cloud."""
    if not environment.BACKEND.exists() and not server.STATE.exists():
        out.print("There is nothing: no local stack and no local cloud. make up makes both.")
        return
    running = server.find()
    stack, cloud = _prepare(None, running.container if running else "simulated")
    _recover(stack)
    if stack.resources():
        stack.destroy()
    else:
        out.print("The local stack has no resources.")
    report.after_down(cloud.state())
    server.stop()
    out.print("It is stopped; make up starts it again.")


def env() -> None:
    """Starts the local cloud and writes `.local/env`, without deploying anything."""
    _prepare(
        chosen_stack_file(os.environ.get("STACK_FILE") or ""), os.environ.get("CONTAINER") or "simulated"
    )
    out.print(f"Written. Type:  . {escape(report.shell_path(environment.SHELL_FILE))} && pulumi preview")


def status() -> None:
    """Shows what runs and what exists."""
    engine = _engine()
    out.print(f"engine       Pulumi {engine.version} ({engine.folder})")
    cloud = server.find()
    if not cloud:
        out.print("local cloud  not running; make up or make env starts it")
        return
    out.print(f"local cloud  {cloud.url} (process {cloud.pid}, containers: {cloud.container})")
    report.inventory(cloud.state())


def stop() -> None:
    """Stops the local cloud; what exists in it stays."""
    out.print("The local cloud is stopped." if server.stop() else "The local cloud does not run.")


def chosen_stack_file(given: str) -> str | None:
    """The stack file of `make up STACK_FILE=...`, relative to the root; None for the one in Pulumi.local.yaml.

    Raises:
        Problem: There is no such file in this project.
    """
    if not given:
        return None
    for path in (Path(given), ROOT / given, ROOT / "stacks" / given, ROOT / "stacks" / f"{given}.yaml"):
        if path.is_file() and path.resolve().is_relative_to(ROOT):
            return path.resolve().relative_to(ROOT).as_posix()
    if Path(given).is_file():
        raise Problem(
            f"STACK_FILE={given} is outside the project: a stack file lies below {ROOT}.\n"
            f"  cp {shlex.quote(given)} {report.shell_path(ROOT / 'stacks')}/"
        )
    shipped = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("stacks/*.yaml"))
    near = difflib.get_close_matches(f"stacks/{Path(given).name}", shipped, n=len(shipped), cutoff=0.0)
    listed = "".join(f"\n  {name}" for name in near)
    raise Problem(
        f"STACK_FILE={given}: there is no such file in {ROOT}. There are, the most similar first:{listed}"
    )


def _prepare(stack_file: str | None, container: str) -> tuple[Stack, server.Server]:
    """Everything that a run of the engine needs, each step skipped where it is done."""
    engine = _engine()
    if container not in ("simulated", "vllm") and not container.startswith(("http://", "https://")):
        raise Problem(
            f"CONTAINER={container}: one of simulated, vllm, or the address of an OpenAI-compatible server "
            "(CONTAINER=http://127.0.0.1:8000)"
        )
    if container == "vllm":
        try:
            vllm.ensure(say)
        except vllm.EnvironmentFailed as failed:
            raise Problem(str(failed)) from failed
    cloud = server.ensure(container, say)
    variables = environment.variables(cloud.url, stack_file=stack_file)
    environment.write_shell_file(engine, variables)
    env = environment.child_environment(engine, variables)
    install_gcp_plugin(environment.PULUMI_HOME, PYTHON)
    model = stack_file or "the stack file of Pulumi.local.yaml"
    say(f"Pulumi {engine.version} · local Google Cloud at {cloud.url} · {model}")
    stack = Stack(engine, env, environment.BACKEND, say)
    stack.select()
    return stack, cloud


def _recover(stack: Stack) -> None:
    """Makes the stack whole after a killed run."""
    from infra.recovery.cloud import Google  # httpx
    from infra.settings.file import read_file

    raw, _ = read_file(ROOT, environment.STACK, {})  # decrypts nothing
    stack.recover(raw.config, lambda: Google({}, stack.env))


def _engine() -> Engine:
    engine = installed_engine()
    if not engine:
        raise Problem("The Pulumi engine is not installed; make setup installs it.")
    return engine

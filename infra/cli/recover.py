"""``vertex-vllm recover``: what to run after a killed `pulumi up` or `pulumi destroy`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from infra.cli.common import Exit, fail, print_json
from infra.cli.completion import stack_names

__all__ = ["recover"]

ROOT: Final = Path(__file__).resolve().parents[2]
BACKUPS: Final = ROOT / ".local" / "recover"


def recover(
    stack: Annotated[
        str,
        typer.Option(
            metavar="STACK",
            help="The stack whose run was killed.",
            autocompletion=stack_names,
        ),
    ],
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", help="Take away a lock whose process cannot be watched from here without asking."
        ),
    ] = False,
    delete_strays: Annotated[
        bool,
        typer.Option("--delete-strays", help="Delete what the stack made and no state knows without asking."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="What was done as JSON; the lines go to standard error.")
    ] = False,
) -> None:
    """After a crash: take away the stale lock, and bring what the killed run made into the state.

    A `pulumi` that was killed (kill -9, a lost machine) leaves a lock, and operations of which Pulumi does not know
    whether they happened. This says whose lock it is, looks each operation up in Google Cloud, and writes a state
    without the lock and with everything that exists: then `pulumi up` goes on, and `pulumi destroy` removes all of it.

    Of what a plugin made that died alone, Pulumi keeps no trace: alert policies, dashboards, empty buckets and
    endpoints with the stack's labels that are in no state are listed, and deleted if you say so.

    A lock is stale by itself only if its process would be on this machine, and is not. It asks (--yes answers) where
    that cannot be seen: a lock of another machine, a process of another user that is hidden, a Cloud Storage bucket,
    whose users' machines may have one name.

    It refuses while a run is alive, keeps the state as it was in .local/recover, and can be repeated and killed. Any
    backend of Pulumi will do; whose lock it is can be read in a folder and in a Cloud Storage bucket.

    \b
    Examples:
      vertex-vllm recover --stack dev
      vertex-vllm recover --stack prod --yes      # the machine that held the lock is gone

    \b
    Exit status:
      0  the stack is whole: recovered, or nothing was wrong
      2  wrong usage, no such stack, or bad settings
      8  Pulumi or Google Cloud does not answer, or refuses
      9  another run works on the stack, or may: nothing was changed
    """
    from infra.client import NoAnswer
    from infra.recipes import StackError
    from infra.recovery import EngineFailed, InUse, StackEngine
    from infra.recovery import recover as run
    from infra.recovery.cloud import Google
    from infra.settings.file import read_file

    try:
        raw, _ = read_file(ROOT, stack.rpartition("/")[2], {})  # decrypts nothing
    except StackError as error:
        fail(error)
    env = _environment(stack)
    command = shutil.which("pulumi", path=env.get("PATH"))
    if command is None:
        typer.echo("There is no pulumi on PATH, which keeps the state.", err=True)
        raise typer.Exit(Exit.NO_ANSWER)
    # a secret of the configuration is no address and no region
    plain = {key: value for key, value in raw.config.items() if key not in raw.secret_keys}
    try:
        done = run(
            StackEngine(command, stack, ROOT, env),
            project=raw.pulumi_project,
            config=plain,
            cloud=lambda: Google(plain, env),
            backups=BACKUPS,
            say=lambda text: typer.echo(text, err=as_json),
            may=lambda question: yes or _asked(question),
            may_delete=lambda question: delete_strays or _asked(question),
        )
    except InUse as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.IN_USE) from None
    except EngineFailed as error:
        if "no stack named" in str(error):
            fail(f"There is no stack {stack}. pulumi stack ls shows the stacks.")
        typer.echo(str(error), err=True)
        raise typer.Exit(Exit.NO_ANSWER) from None
    except NoAnswer as error:
        again = f"vertex-vllm recover --stack {stack}"
        typer.echo(
            f"{error}\n  The state is as it was. Then run {again} again, before pulumi destroy: it would forget what "
            "the killed run was making.",
            err=True,
        )
        raise typer.Exit(Exit.NO_ANSWER) from None
    if as_json:
        backup = None if done.backup is None else str(done.backup)
        print_json({"stack": stack, **asdict(done), "backup": backup})
        return
    if done.operations or done.lock or done.strays:
        typer.echo(f"\nNext: {_next(stack)}")
    else:
        typer.echo(f"Nothing to recover: the stack {stack} has no stale lock and no pending operation.")


def _next(stack: str) -> str:
    if stack == "local":
        return "make up goes on, make down removes everything."
    return f"pulumi up --stack {stack} goes on, pulumi destroy --stack {stack} removes everything."


def _asked(question: str) -> bool:
    return sys.stdin.isatty() and typer.confirm(question)


def _environment(stack: str) -> Mapping[str, str]:
    """The environment of Pulumi; for the stack `local` of `make up` that of .local/env, unless a backend is set."""
    from infra.cli.chosen import local_environment

    return os.environ if os.environ.get("PULUMI_BACKEND_URL") else local_environment(stack, ROOT)

"""``vertex-vllm sweep``: what exists in the cloud and is in no state, what it has cost, and its removal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.cli.common import Exit, fail, print_json
from infra.cli.completion import stack_names

if TYPE_CHECKING:
    from infra.client.pulumi import Pulumi
    from infra.sweep.found import Thing
    from infra.sweep.judge import Case
    from infra.sweep.look import Look, Place
    from infra.sweep.remove import Done
    from infra.sweep.states import States

__all__ = ["sweep"]

_PROJECTS: Final = ("GOOGLE_CLOUD_PROJECT", "GOOGLE_PROJECT", "CLOUDSDK_CORE_PROJECT")
_REFRESH_S: Final = 300.0


def sweep(
    stack: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STACK",
            help="Only what carries this stack's labels; its settings name the project. Repeatable.",
            autocompletion=stack_names,
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            metavar="PROJECT", help="Google Cloud project; else the stack's, else GOOGLE_CLOUD_PROJECT."
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="REGION", help="Only this region; else every region that serves. Repeatable."),
    ] = None,
    gone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STACK",
            help="Nothing has this stack's state any more: what carries its labels is in no state. Repeatable.",
        ),
    ] = None,
    expired_only: Annotated[
        bool, typer.Option("--expired-only", help="Only deployments whose expiry has passed.")
    ] = False,
    show_all: Annotated[
        bool,
        typer.Option("--all", help="List also what is in a state, and deployments without labels of ours."),
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove what is listed, after a question.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove it without a question.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list, which is the default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """List what carries a stack's labels and is in no state, with its cost so far; remove it on request.

    Endpoints, deployments (also those that Google is making), models, buckets, service accounts, alerts, dashboards.
    The states are read through pulumi, with the backend of this shell. What is not known is kept: a stack whose state
    cannot be read, what was made after its last run here, a stack that a run works on, a model or an endpoint of
    somebody else's.

    \b
    Of an expired stack the deployment goes, which is what bills; its state is read back, so that the next preview says
    so. A bucket goes only if it is empty.

    \b
    Examples:
      vertex-vllm sweep --project my-project
      vertex-vllm sweep --stack dev --remove
      vertex-vllm sweep --project my-project --expired-only --yes --json
      vertex-vllm sweep --project my-project --gone old-experiment --remove

    \b
    Exit status:
      0  nothing is in no state or has expired, or all of it was removed
      2  wrong usage
      3  something of a stack is there whose state cannot be read from here
      8  a region, a service or the credentials did not answer, and nothing else was found
      10  something is in no state or has expired
    """
    if dry_run and (remove or yes):
        fail("--dry-run only lists; leave it out, or leave out --remove and --yes.")
    if remove and not yes and not sys.stdin.isatty():
        fail("There is nobody to ask: --yes removes without a question.")
    from infra.cli.sweep_page import document, show
    from infra.cli.target import give_up
    from infra.client import ClientError
    from infra.client.pulumi import ROOT, Pulumi
    from infra.sweep import look as looking
    from infra.sweep.google import Google, place_of
    from infra.sweep.states import read_states

    stacks = [name.rpartition("/")[2] for name in stack or ()]
    config, environ = _settings(stacks)
    place = place_of(_project(project, config, environ), _regions(region), config, environ)
    pulumi = Pulumi(None, ROOT, environ)
    google = Google(place, environ)
    try:
        # The cloud first: what a run makes between the two looks is in its state by the second one.
        seen = looking.everything(google, place)
        states = read_states(pulumi, place.project, gone=gone or (), remote=_objects(google, place))
        _check_gone(seen, states, gone or ())
        cases = _cases(seen, states, stacks, expired_only=expired_only)
        going = [case for case in cases if case.goes]
        done: list[Done] = []
        if not as_json:
            show(
                place,
                seen,
                cases,
                states,
                stacks=stacks,
                expired_only=expired_only,
                show_all=show_all,
                local=google.local,
            )
        _tell_unknown(stacks, states, cases)
        if going and (yes or (remove and _wanted(going, listed=not as_json))):
            done = _remove(google, place, pulumi, states, cases, quiet=as_json)
    except ClientError as error:
        give_up(error)
    finally:
        google.close()
    if as_json:
        print_json(document(place, seen, cases, states, done, show_all=show_all))
    raise typer.Exit(_status(seen, cases, done))


# Which project, which stacks ---------------------------------------------------------------------------------------


def _settings(stacks: Sequence[str]) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Configuration of the first stack that is named, and the environment that it is reached with.

    Where another one names another project, the program ends: it would be looked for where it is not.
    """
    import os

    from infra.cli.chosen import environment_of
    from infra.client.pulumi import ROOT
    from infra.recipes import StackError
    from infra.settings.file import read_file

    if not stacks:
        return {}, os.environ
    environ = environment_of(stacks[0], ROOT)
    try:
        raw, _ = read_file(ROOT, stacks[0], {**environ, "PATH": ""})  # the token is not wanted
    except StackError:
        return {}, environ
    if raw.config.get("vertex-vllm:localCloud") == "true" and not environ.get(
        "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT"
    ):
        fail(f"The stack {stacks[0]} is for the local Google Cloud: run `. .local/env` in this shell first.")
    for name in stacks[1:]:
        try:
            other = read_file(ROOT, name, {**environ, "PATH": ""})[0].config.get("gcp:project")
        except StackError:
            continue
        if other != raw.config.get("gcp:project"):
            fail(
                f"--stack {stacks[0]} is of {raw.config.get('gcp:project')}, --stack {name} of {other}: a sweep looks "
                "at one project. Sweep each by itself."
            )
    return raw.config, environ


def _project(given: str | None, config: Mapping[str, str], environ: Mapping[str, str]) -> str:
    from infra import naming

    named = (given, config.get("gcp:project"), *(environ.get(name) for name in _PROJECTS))
    found = next((name.strip() for name in named if name and name.strip()), "")
    if not found:
        fail("Which project? --project PROJECT, or --stack STACK whose settings name one.")
    if found.isdigit():
        fail(
            f"{found} is a project's number; the states of the stacks have its id. Give --project ID "
            "(gcloud projects describe NUMBER shows it)."
        )
    if not naming.is_project_id(found):
        fail(f"--project {found}: this is no name of a project.")
    return found


def _regions(given: Sequence[str] | None) -> list[str]:
    from infra.recipes import catalog
    from infra.recipes.errors import nearest

    known = sorted(catalog().regions())
    for name in given or ():
        if name not in known:
            fail(
                f"--region {name}: no region where Vertex AI serves models on GPUs; {', '.join(nearest(name, known))}"
            )
    return list(given or known)


def _objects(google: Any, place: Place) -> Callable[[str], list[str]]:
    """Names of the objects below ``bucket/prefix``: the locks of a backend in Cloud Storage."""

    def names(where: str) -> list[str]:
        bucket, _, prefix = where.partition("/")
        query = {"prefix": prefix, "fields": "items/name"}
        found = google("GET", f"{place.storage}/b/{bucket}/o", query, None)
        return [str(each.get("name")) for each in found.get("items") or ()]

    return names


def _check_gone(seen: Look, states: States, gone: Sequence[str]) -> None:
    """Refuse --gone of a stack whose state is read, and leaves nothing in doubt."""
    from infra.naming import label_value
    from infra.sweep.judge import judge_all

    without = judge_all(seen.things, replace(states, gone=frozenset()), seen.at)
    doubtful = {case.thing.stack_label for case in without if case.doubtful}
    for name in gone:
        known = any(not each.unread for each in states.of(states.project_label, label_value(name)))
        if known and label_value(name) not in doubtful:
            fail(f"--gone {name}: the state of this stack can be read; leave the option out.")


# What is found -----------------------------------------------------------------------------------------------------


def _cases(seen: Look, states: States, stacks: Sequence[str], *, expired_only: bool) -> list[Case]:
    """The verdicts, those that bill and go first."""
    from infra.naming import label_value
    from infra.sweep.found import KINDS
    from infra.sweep.judge import Verdict, expired, judge_all

    wanted = {label_value(name) for name in stacks}
    order = list(Verdict)
    things = [
        thing
        for thing in seen.things
        if not wanted or (thing.stack_label in wanted and thing.project_label == states.project_label)
    ]
    cases = judge_all(things, states, seen.at)
    if expired_only:  # those that are kept are told all the same; what is in no state is another affair
        cases = [
            case for case in cases if expired(case.thing, seen.at) and case.verdict is not Verdict.NO_STATE
        ]
    return sorted(
        cases,
        key=lambda case: (
            not case.goes,
            -order.index(case.verdict) if case.goes else order.index(case.verdict),
            KINDS.index(case.thing.kind),
            case.thing.name,
        ),
    )


def _tell_unknown(stacks: Sequence[str], states: States, cases: Sequence[Case]) -> None:
    """Say which of the stacks that were named is none that anybody knows: a typing error finds nothing, too."""
    from infra.naming import label_value

    labels = {each.label for each in states.stacks} | {case.thing.stack_label for case in cases}
    for name in stacks:
        if not states.unread and label_value(name) not in labels:
            typer.echo(
                f"--stack {name}: this backend has no such stack, and nothing was found with its label. "
                "pulumi stack ls shows the stacks.",
                err=True,
            )


# Its removal -------------------------------------------------------------------------------------------------------


def _wanted(going: Sequence[Case], *, listed: bool) -> bool:
    from infra.sweep.found import words

    for case in () if listed else going:
        typer.echo(f"{case.verdict.value}: {words(case.thing)} (stack {case.thing.stack_label})", err=True)
    try:
        return typer.confirm(f"Remove {'it' if len(going) == 1 else f'these {len(going)}'}?", err=True)
    except typer.Abort:
        raise typer.Exit(Exit.INTERRUPTED) from None


def _remove(
    google: Any, place: Place, pulumi: Pulumi, states: States, cases: Sequence[Case], *, quiet: bool
) -> list[Done]:
    """Remove what goes; say what became of each."""
    from infra.cli.sweep_page import what
    from infra.client.pulumi import Pulumi as Command
    from infra.sweep.judge import Verdict, judge
    from infra.sweep.remove import Outcome, Remover
    from infra.sweep.states import read_states

    def again(thing: Thing) -> Case:
        fresh = read_states(pulumi, place.project, remote=_objects(google, place))
        return judge(thing, replace(fresh, gone=states.gone), datetime.now(UTC))

    def say(text: str) -> None:
        typer.echo(f"{text} …", err=True)

    done = []
    for each in Remover(google, place, again, say).remove(cases):
        done.append(each)
        if not quiet or each.outcome in (Outcome.FAILED, Outcome.KEPT):
            typer.echo(
                f"{each.outcome}: {what(each.case.thing)}{f': {each.why}' if each.why else ''}", err=quiet
            )
    for case in [each.case for each in done if each.outcome in (Outcome.REMOVED, Outcome.GONE)]:
        if case.verdict is not Verdict.EXPIRED or not case.urn:
            continue
        say(f"reading back the state of {case.stack}")
        try:
            Command(case.stack, pulumi.root, pulumi.environ).ask(
                "refresh", "--yes", "--skip-preview", "--target", case.urn, seconds=_REFRESH_S
            )
        except Exception as error:
            typer.echo(
                f"The state of {case.stack} still has it: pulumi refresh --stack {case.stack} ({error})",
                err=True,
            )
    return done


def _status(seen: Look, cases: Sequence[Case], done: Sequence[Done]) -> Exit:
    from infra.sweep.judge import Verdict
    from infra.sweep.remove import Outcome

    ended = {id(each.case) for each in done if each.outcome in (Outcome.REMOVED, Outcome.GONE)}
    # A bucket that holds something is nobody's mistake: a destroy keeps it on purpose.
    kept = {
        id(each.case) for each in done if each.outcome == Outcome.KEPT and each.case.thing.kind == "bucket"
    }
    if any(case.goes and id(case) not in ended | kept for case in cases):
        return Exit.LEFT_OVER
    if seen.unanswered:
        return Exit.NO_ANSWER
    if any(case.verdict is Verdict.UNREADABLE for case in cases):
        return Exit.NO_VERDICT
    return Exit.FINE

"""What the states of a project's stacks hold, read through `pulumi` itself, so that every backend works.

A stack that cannot be read is no empty one: what carries its labels is then not known to be in no state. Nor is one of
the same name that was never deployed, or that is of another Google Cloud project: labels have neither the backend nor
the project, and what a colleague's stack has would look like nobody's. For the same reason a state says when it was
written last, and since when it has each thing: what was made later, or was there before, no run of its own has made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from infra.client.errors import ClientError, NoAnswer
from infra.client.pulumi import Pulumi
from infra.naming import label_value
from infra.recovery import locks
from infra.rfc3339 import parse_time
from infra.sweep.found import key_of

__all__ = ["StackState", "States", "project_name", "read_stack", "read_states"]

Json = dict[str, Any]
_LOCKS: Final = ".pulumi/locks"
_AT_ONCE: Final = 4


@dataclass(frozen=True, kw_only=True)
class StackState:
    """One stack's state at one time.

    Attributes:
        name: The stack.
        urns: Key (`found.key_of` of the id) to URN, of every resource; those still to be deleted too.
        run: What is known of a run that works on it now, in words; empty for none.
        run_known: Whether the backend tells of runs; where not, an unfinished operation may be one's.
        pending: Operations that a run had begun and not ended.
        written: When a run wrote it last; None where it does not say.
        since: Key to the time at which a resource came into it: made then, or imported.
        uses: Keys of what it does not have, and what its resources are on or run as.
        unread: Why it cannot be read; empty where it was.
        failed: Whether nothing is known of what it has: the question itself failed.
    """

    name: str
    urns: Mapping[str, str] = field(default_factory=dict)
    run: str = ""
    run_known: bool = True
    pending: int = 0
    written: datetime | None = None
    since: Mapping[str, datetime] = field(default_factory=dict)
    uses: frozenset[str] = frozenset()
    unread: str = ""
    failed: bool = False

    @property
    def label(self) -> str:
        """Its name as a label has it; two stacks may have one."""
        return label_value(self.name)


@dataclass(frozen=True, kw_only=True)
class States:
    """The states of the stacks of one Pulumi project.

    Attributes:
        project_label: The project's label.
        stacks: The stacks that the backend has, readable or not.
        unread: Why the backend cannot be asked; empty where it was.
        gone: Labels of stacks that the user says have no state any more.
        backend: Address of the backend.
    """

    project_label: str
    backend: str = ""
    stacks: tuple[StackState, ...] = ()
    unread: str = ""
    gone: frozenset[str] = frozenset()

    def of(self, project_label: str, stack_label: str) -> tuple[StackState, ...]:
        """The stacks that labels may mean; none where no state of theirs is known here."""
        if project_label != self.project_label:
            return ()
        return tuple(each for each in self.stacks if each.label == stack_label)


def project_name(root: Path) -> str:
    """Name of the Pulumi project.

    Raises:
        NoAnswer: There is none.
    """
    import yaml

    try:
        return str(yaml.safe_load((root / "Pulumi.yaml").read_text(encoding="utf-8"))["name"])
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise NoAnswer(f"{root / 'Pulumi.yaml'} cannot be read: {error}") from None


def read_states(
    pulumi: Pulumi,
    cloud_project: str,
    *,
    gone: Sequence[str] = (),
    remote: Callable[[str], list[str]] | None = None,
) -> States:
    """The state of every stack that the backend of this shell has for the project.

    Args:
        pulumi: The command, for no stack in particular.
        cloud_project: Id of the Google Cloud project that is looked at.
        gone: Stacks of which the user says that nothing has their state.
        remote: Names of the objects of a ``gs://`` place; None: runs are not known there.
    """
    project = project_name(pulumi.root)
    label = label_value(project)
    lost = frozenset(label_value(name) for name in gone)
    try:
        listed = pulumi.ask_json("stack", "ls", "--json")
        backend = str(pulumi.ask_json("whoami", "--json").get("url") or "")
        names = {str(each["name"]): each for each in listed}
    except (ClientError, AttributeError, KeyError, TypeError) as error:
        return States(project_label=label, unread=str(error), gone=lost)

    def one(name: str) -> StackState:
        # While a run works on it, Pulumi Cloud's list has no time of the last one.
        busy = bool(names[name].get("updateInProgress"))
        if not busy and not names[name].get("lastUpdate"):
            return StackState(
                name=name.rpartition("/")[2], unread=f"stack {name} of this backend was never deployed"
            )
        stack = Pulumi(name, pulumi.root, pulumi.environ)
        return read_stack(stack, project, backend, cloud_project, in_progress=busy, remote=remote)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return States(project_label=label, backend=backend, stacks=tuple(pool.map(one, names)), gone=lost)


def read_stack(
    pulumi: Pulumi,
    project: str,
    backend: str,
    cloud_project: str,
    *,
    in_progress: bool = False,
    remote: Callable[[str], list[str]] | None = None,
) -> StackState:
    """The state of one stack, and whether a run works on it.

    Args:
        pulumi: The command, for this stack.
        project: Name of the Pulumi project.
        backend: Its address.
        cloud_project: Id of the Google Cloud project that is looked at.
        in_progress: What Pulumi Cloud says of it.
        remote: As of :func:`read_states`.
    """
    name = (pulumi.stack or "").rpartition("/")[2]
    try:
        # The run first: one that ends between the two looks has written what the second one sees.
        run, known = _run(backend, pulumi.root, project, name, in_progress, remote)
        deployment = pulumi.ask_json("stack", "export").get("deployment") or {}
        resources = deployment.get("resources") or []
        # What a program only reads (the endpoint that a stopped canary is behind) is in another state, or in none.
        owned = [each for each in resources if each.get("id") and not each.get("external")]
        urns = {key_of(str(each["id"])): str(each["urn"]) for each in owned}
        since = {key_of(str(each["id"])): parse_time(str(each.get("created") or "")) for each in owned}
        written = parse_time(str((deployment.get("manifest") or {}).get("time") or ""))
        uses = frozenset(key for each in resources for key in _used(each)) - set(urns)
        # A deployment whose wait was interrupted is known by its operation too.
        for each in resources:
            operation = (each.get("outputs") or {}).get("operation")
            if isinstance(operation, str) and operation:
                urns[key_of(operation)] = str(each["urn"])
        projects = {(each.get("inputs") or {}).get("project") for each in resources} - {None}
        if not projects:  # after a destroy only the settings say it
            projects = {(pulumi.ask_json("config", "--json").get("gcp:project") or {}).get("value")} - {None}
    except (ClientError, AttributeError, KeyError, TypeError) as error:
        return StackState(name=name, unread=str(error), failed=True)
    if cloud_project not in projects:
        other = ", ".join(sorted(map(str, projects))) or "no project that is known here"
        return StackState(
            name=name, unread=f"stack {name} of this backend is of {other}, not of {cloud_project}"
        )
    pending = len(deployment.get("pending_operations") or [])
    return StackState(
        name=name,
        urns=urns,
        run=run,
        run_known=known,
        pending=pending,
        written=written,
        since={key: at for key, at in since.items() if at is not None},
        uses=uses,
    )


def _used(resource: Mapping[str, Any]) -> list[str]:
    """Keys of what a resource needs: itself where the program only reads it, and the account that it is for."""
    inputs = resource.get("inputs") or {}
    named = [str(inputs.get(name) or "").rpartition(":")[2] for name in ("member", "serviceAccount")]
    accounts = [f"serviceAccounts/{each}" for each in named if each.endswith(".gserviceaccount.com")]
    read = [str(resource["id"])] if resource.get("external") and resource.get("id") else []
    return [key_of(each) for each in (*read, *accounts)]


def _run(
    backend: str,
    root: Path,
    project: str,
    stack: str,
    in_progress: bool,
    remote: Callable[[str], list[str]] | None,
) -> tuple[str, bool]:
    """What is known of a run, and whether that is all there is to know."""
    parts = urlsplit(backend)
    if in_progress or parts.scheme in ("http", "https"):
        return ("an update is in progress" if in_progress else ""), True
    place = locks.folder_of(backend, root)
    if place is not None:
        held = [each for each in locks.in_folder(place, project, stack) if not each.gone]
        return (f"a run works on it ({held[0]})" if held else ""), True
    if parts.scheme == "gs" and remote is not None:
        try:
            folder = f"{_LOCKS}/organization/{project}/{stack}"
            found = remote(f"{parts.netloc}{parts.path.rstrip('/')}/{folder}/".lstrip("/"))
        except ClientError:
            return "", False
        return (f"a lock is there ({found[0].rpartition('/')[2]})" if found else ""), True
    return "", False

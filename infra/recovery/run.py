"""The recovery of one stack, step by step: nothing is changed before all of it is known, and each step can be repeated.

Killed before the state is written, everything is as it was. Killed after it, the state names all that exists, and the
next recovery reads back what this one did not.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from infra.client.errors import NoAnswer
from infra.provider.names import deployed_model_name, endpoint_name
from infra.recovery import locks, repair, strays
from infra.recovery.engine import EngineFailed, StackEngine
from infra.recovery.find import DEPLOYMENT, Cloud, Found, find, findable

Json = dict[str, Any]

PLUGINS_END_S: Final = 2.5
"""Seconds after which the plugins of a killed engine have noticed that it is gone; until then they may still create."""

_UNDEPLOYED_S: Final = 600.0
"""Longest wait for an undeployment that a killed destroy began; Google undeploys within minutes."""


class InUse(Exception):
    """A run works on the stack, or may; `str(e)` says whose, and what to do."""


@dataclass(frozen=True)
class Recovered:
    """What a recovery did.

    Attributes:
        lock: A lock was taken away.
        operations: How many operations had been under way.
        strays: How many things that no state knew were deleted.
        backup: The state as it was; None where it was not written.
    """

    lock: bool = False
    operations: int = 0
    strays: int = 0
    backup: Path | None = None


class _Cloud(Cloud, strays.Cloud, Protocol):
    def objects(self, bucket: str, prefix: str) -> list[str]: ...
    def remove(self, stray: strays.Stray) -> None: ...


def recover(
    engine: StackEngine,
    *,
    project: str,
    config: Mapping[str, str],
    cloud: Callable[[], _Cloud],
    backups: Path,
    say: Callable[[str], None],
    may: Callable[[str], bool],
    may_delete: Callable[[str], bool],
) -> Recovered:
    """Takes a stale lock away, puts into the state what the killed run made, and deletes what no state can know.

    Args:
        engine: Pulumi, for the stack.
        project: Name of the Pulumi project.
        config: The stack's configuration by full key.
        cloud: Makes the client of the cloud; called only where something has to be looked up.
        backups: Folder for the state as it was.
        say: Told what is done, a line at a time.
        may: Asked whether a lock may be taken away whose run cannot be watched from here.
        may_delete: Asked whether strays may be deleted.

    Raises:
        InUse: A run is alive, or `may` said no; nothing was changed.
        EngineFailed: Pulumi did not do something; the state is whole, and the same call goes on from there.
        NoAnswer: The cloud cannot be asked; no state was written.
    """
    lock = _unlock(engine, project, cloud, say, may)
    operations, backup = _repair(engine, cloud, backups, say)
    known = strays.known_ids(engine.export().get("deployment") or {})
    deleted = sweep(cloud(), config, project, engine.short_name, known, say, may_delete)
    return Recovered(lock, operations, deleted, backup)


def sweep(
    cloud: _Cloud,
    config: Mapping[str, str],
    project: str,
    stack: str,
    known: Collection[str],
    say: Callable[[str], None],
    may_delete: Callable[[str], bool],
) -> int:
    """Deletes what the stack made and no state knows; how many that were. Arguments as `recover` and `strays` say."""
    found, notes = strays.strays(cloud, config=config, project=project, stack=stack, known=known)
    for note in notes:
        say(note)
    for stray in found:
        say(f"in no state: {stray}")
    if not found or not may_delete(
        f"Delete {'them' if len(found) > 1 else 'it'}? The next pulumi up makes what it needs."
    ):
        return 0
    deleted = 0
    for stray in found:
        try:
            cloud.remove(stray)
        except NoAnswer as error:
            say(f"not deleted: {stray}: {str(error).partition(chr(10))[0]}")
            continue
        say(f"deleted: {stray}")
        deleted += 1
    return deleted


def _repair(
    engine: StackEngine, cloud: Callable[[], _Cloud], backups: Path, say: Callable[[str], None]
) -> tuple[int, Path | None]:
    before = engine.export()
    deployment = before.get("deployment") or {}
    pending, unread = repair.pending(deployment), repair.unread(deployment)
    if not pending:
        if unread:
            say(f"an earlier recovery did not end; {len(unread)} resources are read back")
            engine.read_back(unread)
        return len(unread), None
    time.sleep(PLUGINS_END_S)
    google = cloud()
    found = _look(deployment, pending, google, say)
    for operation in pending:
        _wait_for_undeployment(operation, google, say)
    if engine.export() != before:
        raise InUse(
            "The state was written meanwhile: another run works on the stack. Wait for it, then try again."
        )
    backup = _keep(before, backups, engine.short_name)
    say(f"state as it was: {backup}")
    after = repair.repaired(deployment, found)
    engine.write({**before, "deployment": after})
    say(f"state written: {len(pending)} pending operations less")
    changed = {each["resource"]["urn"] for each in pending if each["type"] in ("updating", "deleting")}
    targets = {*repair.unread(after), *(each["urn"] for each in after["resources"] if each["urn"] in changed)}
    if targets:
        say(f"{len(targets)} resources are read back by their providers")
        engine.read_back(sorted(targets))
    return len(pending), backup


def _unlock(
    engine: StackEngine,
    project: str,
    cloud: Callable[[], _Cloud],
    say: Callable[[str], None],
    may: Callable[[str], bool],
) -> bool:
    backend = engine.backend()
    folder = locks.folder_of(backend, engine.root)
    found: list[locks.Lock] | None
    if folder is not None:
        found = locks.in_folder(folder, project, engine.short_name)
    elif backend.startswith("gs://"):
        found = locks.in_bucket(
            backend, project, engine.short_name, lambda bucket, prefix: cloud().objects(bucket, prefix)
        )
    elif not backend or backend.startswith(("http://", "https://")):
        found = [locks.Lock()] if engine.updating() else []
    else:
        found = None
    if found is None:
        question = (
            f"The state lies in {backend}, whose locks cannot be read from here. Does no pulumi work on it?"
        )
        if not may(question):
            raise InUse(
                f"The state lies in {backend}, whose locks cannot be read from here. Make sure that no pulumi works "
                f"on the stack {engine.stack}, then run vertex-vllm recover --stack {engine.stack} --yes."
            )
        engine.cancel()
        return False
    for lock in found:
        if lock.alive:
            raise InUse(
                f"A pulumi is at work on the stack {engine.stack}: {lock}. Wait for it, or stop it (kill {lock.pid}), "
                "then try again."
            )
        if lock.gone and folder is not None:
            continue
        # Machines that share a bucket may have one name (localhost, ubuntu).
        why = (
            "and this machine, which has that name, has no such process; another may have the name, too"
            if lock.gone
            else "which cannot be watched from here"
        )
        if not may(f"The lock is held by {lock}, {why}. Is it gone?"):
            raise InUse(
                f"The stack {engine.stack} is locked by {lock}, {why}. Make sure that it is gone, then run "
                f"vertex-vllm recover --stack {engine.stack} --yes."
            )
    if not found:
        return False
    engine.cancel()
    for lock in found:
        say(f"lock taken away: {lock}" + (", which was killed" if lock.gone else ""))
    return True


def _look(
    deployment: Json, pending: list[Json], cloud: Cloud, say: Callable[[str], None]
) -> list[tuple[Json, Found | None]]:
    known = {str(each["id"]) for each in deployment.get("resources") or () if each.get("id")}
    result: list[tuple[Json, Found | None]] = []
    for operation in pending:
        resource = operation["resource"]
        name = f"{resource['type']} {resource['urn'].rpartition('::')[2]}"
        if operation["type"] != "creating":
            say(f"{operation['type']} {name}: begun; the next run repeats it")
            continue
        made = find(resource["type"], resource.get("inputs") or {}, cloud, known)
        if made is None and not findable(resource["type"]):
            say(
                f"creating {name}: recover does not know this type, so it may exist and is in no state. Look for it: "
                f"pulumi import {resource['type']} takes it into the state, or delete it by hand"
            )
        elif made is None:
            say(f"creating {name}: nothing that a destroy would have to remove")
        else:
            known.add(made.id)
            say(f"creating {name}: {made.words} ({made.id})")
        result.append((operation, made))
    return result


def _wait_for_undeployment(operation: Json, cloud: Cloud, say: Callable[[str], None]) -> None:
    """Until a model that is being undeployed is gone: read back before, it would count as deployed."""
    resource = operation["resource"]
    if operation["type"] != "deleting" or resource["type"] != DEPLOYMENT:
        return
    parts = deployed_model_name(str(resource.get("id") or ""))
    name = endpoint_name(parts[0]) if parts else None
    if parts is None or name is None:
        return
    deadline = time.monotonic() + _UNDEPLOYED_S
    told = False
    while cloud.operations(name.location, parts[0], "UndeployModelOperationMetadata"):
        if time.monotonic() > deadline:
            say(f"deployed model {parts[1]} is still being undeployed after {_UNDEPLOYED_S:.0f} s")
            return
        if not told:
            say(f"deployed model {parts[1]} is being undeployed; waiting for it")
            told = True
        time.sleep(0.5)


def _keep(document: Json, folder: Path, stack: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    path = folder / f"{stack}-{at}.json"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(document, file, indent=2)
    return path


__all__ = ["EngineFailed", "InUse", "Recovered", "recover", "sweep"]

"""Who holds the lock of a stack, on the backends that keep their locks as files: a folder, a Cloud Storage bucket.

Pulumi writes one JSON file a lock, `.pulumi/locks/organization/PROJECT/STACK/ID.json`, with process, host, user and
time (pulumi, pkg/backend/diy/lock.go). A killed run leaves it behind, and only `pulumi cancel` takes it away.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil

__all__ = ["Lock", "folder_of", "in_bucket", "in_folder", "is_alive"]

Json = dict[str, Any]


@dataclass(frozen=True)
class Lock:
    """One lock.

    Attributes:
        pid: The process that took it, 0 where it is not known.
        host: Name of its machine; empty where it is not known.
        user: Who ran it; empty where it is not known.
        since: When it was taken, as Pulumi wrote it; empty where it is not known.
    """

    pid: int = 0
    host: str = ""
    user: str = ""
    since: str = ""

    @property
    def here(self) -> bool:
        """Whether it is of this machine, so that its process can be looked at."""
        return bool(self.pid) and self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the run goes on; only of a lock of this machine."""
        return self.here and is_alive(self.pid)

    @property
    def gone(self) -> bool:
        """Whether the run is known to have ended: its process would be on this machine, and is not.

        False where this user may not see the process: it may be another program, or the run.
        """
        return self.here and not is_alive(self.pid) and not _hidden(self.pid)

    def __str__(self) -> str:
        if not self.pid:
            return "somebody unknown"
        by = f" of {self.user}" if self.user else ""
        return f"process {self.pid}{by} on {self.host or '?'}, since {self.since or '?'}"


def is_alive(pid: int) -> bool:
    """Whether this process is a pulumi; a number that another program has by now does not count.

    Nor does a dead process that nobody has collected, which is what a killed one stays where process 1 is no init.
    """
    try:
        process = psutil.Process(pid)
        # The program alone: a folder or a file may have the word in its name.
        program = os.path.basename((process.cmdline() or [""])[0])
        return process.status() != psutil.STATUS_ZOMBIE and "pulumi" in program
    except (psutil.Error, ValueError):
        return False


def _hidden(pid: int) -> bool:
    """Whether there is a process of this number that this user may not look at: another user's, on macOS or hidepid."""
    try:
        psutil.Process(pid).cmdline()
    except (psutil.NoSuchProcess, ValueError):
        try:
            os.kill(pid, 0)
        except PermissionError:  # /proc is mounted with hidepid
            return pid > 0
        except (OSError, OverflowError):
            pass
        return False
    except psutil.Error:
        return True
    return False


def folder_of(backend: str, root: Path = Path()) -> Path | None:
    """The folder of a `file://` backend, None for another; a relative one is below the folder where pulumi runs."""
    parts = urlsplit(backend)
    if parts.scheme != "file":
        return None
    path = unquote(parts.netloc + parts.path)
    return Path(path).expanduser() if path.startswith("~") else root / path


def in_folder(folder: Path, project: str, stack: str) -> list[Lock]:
    """The locks of a stack whose state lies in a folder."""
    found = sorted((folder / ".pulumi" / "locks").glob(f"*/{project}/{stack}/*.json"))
    return [lock for path in found if (lock := _read(path)) is not None]


def in_bucket(
    backend: str, project: str, stack: str, listed: Callable[[str, str], list[str]]
) -> list[Lock] | None:
    """The locks of a stack whose state lies in a `gs://` bucket; None for another backend.

    Args:
        backend: As `StackEngine.backend` says it.
        project: The Pulumi project.
        stack: The stack.
        listed: Answers the contents of a bucket's objects whose names begin with a prefix.
    """
    parts = urlsplit(backend)
    if parts.scheme != "gs":
        return None
    below = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
    prefix = f"{below}.pulumi/locks/organization/{project}/{stack}/"
    return [_of(text) for text in listed(parts.netloc, prefix)]


def _read(path: Path) -> Lock | None:
    try:
        return _of(path.read_text())
    except FileNotFoundError:  # given back meanwhile
        return None
    except (OSError, UnicodeDecodeError):
        return Lock()


def _of(text: str) -> Lock:
    try:
        document = json.loads(text)
        return Lock(
            int(document.get("pid") or 0),
            str(document.get("hostname") or ""),
            str(document.get("username") or ""),
            str(document.get("timestamp") or "")[:19],
        )
    except (ValueError, AttributeError, TypeError):
        return Lock()

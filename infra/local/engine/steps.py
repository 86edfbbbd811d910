"""One step of a set-up: shown with its elapsed time, run in a child process, interruptible, safe to repeat."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, TextIO

ROOT = Path(__file__).resolve().parents[3]
LOCAL = ROOT / ".local"


class Problem(Exception):
    """Something that the user has to know or do; its text is all that is shown."""


class Progress:
    """What several steps are doing, with elapsed seconds.

    On a terminal: one line, redrawn. Elsewhere: a line for each change, and one every 20 seconds that says that a step
    still runs, so that a log never looks stuck.
    """

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._live = self._out.isatty() and os.environ.get("TERM") != "dumb"
        self._begun = time.monotonic()
        self._running: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._erase()

    def now(self, step: str, doing: str) -> None:
        """Says what `step` is doing now."""
        with self._lock:
            self._running[step] = (doing, time.monotonic())
            if not self._live:
                self._print(f"{step}: {doing}")

    def done(self, step: str, result: str) -> None:
        """Says how `step` ended, in a line that stays."""
        with self._lock:
            self._running.pop(step, None)
            self._erase()
            self._print(f"{step}: {result}")

    def _print(self, text: str) -> None:
        print(f"[{time.monotonic() - self._begun:4.0f} s] {text}", file=self._out, flush=True)

    def _erase(self) -> None:
        if self._live:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _tick(self) -> None:
        said = time.monotonic()
        while not self._stop.wait(0.25 if self._live else 1.0):
            with self._lock:
                now = time.monotonic()
                if self._live:
                    line = " · ".join(f"{step}: {doing}" for step, (doing, _) in self._running.items())
                    width = max(20, shutil.get_terminal_size().columns - 12)
                    self._out.write(f"\r\x1b[K[{now - self._begun:4.0f} s] {line[:width]}")
                    self._out.flush()
                elif now - said >= 20:
                    said = now
                    for step, (doing, since) in self._running.items():
                        self._print(f"{step}: {doing} (for {now - since:.0f} s)")


class Children:
    """Child processes of the set-up, so that an interrupt ends every one of them."""

    def __init__(self, log: Path, inherit: Sequence[int] = ()) -> None:
        """Writes what the children say to `log`; they keep the file descriptors `inherit` open."""
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log: IO[bytes] = log.open("ab")
        self.log = log
        self._inherit = tuple(inherit)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Runs a command to its end and returns its standard output; standard error goes to the log.

        Raises:
            subprocess.CalledProcessError: It failed; `stderr` holds its last lines.
            subprocess.TimeoutExpired: It ran longer than `timeout` seconds and was ended.
        """
        arguments = [str(part) for part in command]
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self._stopped:
                    raise Problem("stopped")
                child = subprocess.Popen(
                    arguments,
                    cwd=cwd,
                    env=dict(env) if env is not None else None,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    pass_fds=self._inherit,
                )
                self._running.add(child)
            try:
                output, _ = child.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                child.communicate()
                raise
            finally:
                with self._lock:
                    self._running.discard(child)
                errors.seek(0)
                said = errors.read()
                self._log.write(f"$ {shlex.join(arguments)}\n".encode() + output_tail(said, 20000))
                self._log.flush()
        if child.returncode:
            text = output_tail(said, 1500).decode(errors="replace")
            raise subprocess.CalledProcessError(child.returncode, arguments, output, text)
        return output.decode(errors="replace").strip()

    def stop(self) -> None:
        """Ends every running child; later calls of `run` are refused."""
        with self._lock:
            self._stopped = True
            for child in self._running:
                child.terminate()


def output_tail(said: bytes, size: int) -> bytes:
    """The last `size` bytes, from the start of a line."""
    return said if len(said) <= size else said[-size:].partition(b"\n")[2]


@contextlib.contextmanager
def only_one(path: Path, waiting: str) -> Iterator[int]:
    """Holds a lock on `path`; says `waiting` where another process holds it, and waits for that one.

    Yields the lock's file descriptor. Children that inherit it hold the lock too: when the set-up is killed, the next
    one waits until what it had started (an installer that writes to .venv) is over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def content_key(*parts: str | Path) -> str:
    """A short hash of texts and of the contents of files."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.read_bytes() if isinstance(part, Path) else part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def read_stamp(path: Path) -> dict[str, Any]:
    """The stamp that a finished step left at `path`; empty where there is none that can be read."""
    try:
        stamp = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a file so that a reader, or a crash, sees the old text or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


def write_stamp(path: Path, stamp: Mapping[str, Any]) -> None:
    """Leaves the stamp of a finished step."""
    write_atomically(path, json.dumps(stamp, indent=2) + "\n")

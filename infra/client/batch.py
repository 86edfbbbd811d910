"""A file of predictions with bounded concurrency, that a later run goes on with.

A file of instances is JSON Lines: an object with ``prompt`` and any other field of the route, or only the prompt as a
JSON string. Answers are JSON Lines, too: ``{"line", "digest", "prediction"}`` or ``{"line", "digest", "error",
"status"}``, each written at once, so that whatever ends a run loses no answer. When every line has been asked the file
is put in the order of the instances.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from infra.client.errors import BadTarget
from infra.client.predict import Answer, Predictor

__all__ = ["Answers", "Instance", "ask_all", "read_instances", "rereadable"]

Json = dict[str, Any]

_REFUSED: Final = frozenset({401, 403, 404})
"""No permission, or no such endpoint: where the first request gets one of these, every other one does, too."""


@dataclass(frozen=True)
class Instance:
    """One instance of a file.

    Attributes:
        line: Its line in the file, from 1.
        fields: What is sent.
    """

    line: int
    fields: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Tells whether an answer of an earlier run is one to this instance."""
        text = json.dumps(self.fields, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@contextlib.contextmanager
def rereadable(path: Path) -> Iterator[Path]:
    """Where a file's content can be read several times: the file itself, or a copy of what a pipe gives.

    Args:
        path: The file; ``-`` is stdin.

    Raises:
        BadTarget: It cannot be read.
    """
    if str(path) != "-" and path.is_file():
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="instances-") as copy:
        try:
            with contextlib.ExitStack() as stack:
                given = sys.stdin.buffer if str(path) == "-" else stack.enter_context(path.open("rb"))
                shutil.copyfileobj(given, copy)
                copy.flush()
        except OSError as error:
            raise BadTarget(f"{path} cannot be read: {error.strerror or error}.") from None
        yield Path(copy.name)


def read_instances(path: Path, defaults: Mapping[str, Any], *, name: str = "") -> Iterator[Instance]:
    """The instances of a file, one after the other.

    Args:
        path: The file, JSON Lines; empty lines are skipped.
        defaults: Fields of every instance that does not have them itself.
        name: What errors call the file; its path if empty.

    Raises:
        BadTarget: The file cannot be read, or a line is no instance; the text names the line.
    """
    name = name or str(path)
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield Instance(number, {**defaults, **_fields(line, f"{name}, line {number}")})
    except OSError as error:
        raise BadTarget(f"{name} cannot be read: {error.strerror or error}.") from None
    except UnicodeError:
        raise BadTarget(f"{name} is not UTF-8.") from None


_LINES: Final = (
    "Each line is one instance; of a list or of a request's body, jq makes such a file:\n"
    "  jq -c '.instances? // . | .[]' FILE > FILE.jsonl"
)


def _fields(line: str, where: str) -> Json:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadTarget(f"{where}: no JSON ({error}). {_LINES}") from None
    fields = {"prompt": value} if isinstance(value, str) else value
    if isinstance(fields, list) or (isinstance(fields, dict) and "instances" in fields):
        raise BadTarget(f"{where}: several instances. {_LINES}")
    if not isinstance(fields, dict) or not isinstance(fields.get("prompt"), str):
        raise BadTarget(f'{where}: an instance is an object with "prompt", or only the prompt as a string.')
    return fields


class Answers:
    """The file of answers, open for one run. ``with Answers(path, resume=True) as answers`` closes it.

    Args:
        path: The file; made where there is none.
        resume: Whether to keep the predictions that are in it.

    Raises:
        BadTarget: It cannot be written, another run writes it, or what is in it was not written here.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        self._last: dict[int, int] = {}  # where the last answer to each line begins, in bytes
        self._done: dict[int, str] = {}  # digest of the instances that have a prediction
        self._broken = False
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise BadTarget(f"{path} cannot be written: {error.strerror or error}.") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise BadTarget(
                f"{path} is no regular file, and a later run goes on from what is in it. Name one."
            )
        self._file: IO[bytes] = os.fdopen(descriptor, "r+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if resume:
                self._load()
            else:
                self._file.truncate()
        except BlockingIOError:
            self._file.close()
            raise BadTarget(
                f"{path} is being written by another run. Wait for it, or name another -o FILE."
            ) from None
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After an error of writing what is left in the buffer would be written, and fail, once more.
        with contextlib.suppress(*([OSError] if self._broken else [])):
            self._file.close()

    def has(self, instance: Instance) -> bool:
        """Whether an earlier run has the prediction of this instance.

        Raises:
            BadTarget: It has one of another instance in this line.
        """
        known = self._done.get(instance.line)
        if known is not None and known != instance.digest:
            raise BadTarget(
                f"{self.path} has the answer to another instance or other options for line {instance.line}.\n"
                "  Name another -o FILE, or start over with --no-resume."
            )
        return known is not None

    def add(self, instance: Instance, answer: Answer) -> None:
        """Write one answer.

        Raises:
            BadTarget: It cannot be written; the earlier ones are.
        """
        result = (
            {"prediction": answer.prediction}
            if answer.ok
            else {"error": answer.error, "status": answer.status}
        )
        record = {"line": instance.line, "digest": instance.digest, **result}
        text = json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        try:
            begins = self._file.seek(0, os.SEEK_END)
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            self._broken = True
            raise BadTarget(
                f"{self.path} cannot be written: {error.strerror or error}. The answers before are in it; with more "
                "room the same command goes on."
            ) from None
        self._last[instance.line] = begins

    def put_in_order(self) -> None:
        """Leave one answer a line, in the order of the instances.

        Raises:
            BadTarget: There is no room for it; every answer stays in the file.
        """
        order = sorted(self._last)
        if [self._last[line] for line in order] == sorted(self._last.values()) and self._count() == len(
            order
        ):
            return
        sorted_path = self.path.with_name(f".{self.path.name}.sorted")
        try:
            with sorted_path.open("wb") as file:
                for line in order:
                    self._file.seek(self._last[line])
                    file.write(self._file.readline())
            os.replace(sorted_path, self.path)
        except OSError as error:
            sorted_path.unlink(missing_ok=True)
            raise BadTarget(
                f"{self.path} has every answer, but cannot be put in the order of the instances: "
                f"{error.strerror or error}. The same command tries again."
            ) from None

    def _count(self) -> int:
        self._file.seek(0)
        return sum(1 for _ in self._file)

    def _load(self) -> None:
        begins = 0
        for number, text in enumerate(self._file, start=1):
            if not text.endswith(b"\n"):  # a run was killed while it wrote it
                self._file.truncate(begins)
                break
            try:
                record = json.loads(text)
                line, digest = int(record["line"]), str(record["digest"])
            except (ValueError, KeyError, TypeError):
                raise BadTarget(
                    f"{self.path}, line {number}: no answer of an earlier run. Name another -o FILE, or start over "
                    "with --no-resume, which overwrites it."
                ) from None
            self._last[line] = begins
            if "prediction" in record:
                self._done[line] = digest
            begins += len(text)


async def ask_all(
    predictor: Predictor,
    instances: Iterator[Instance],
    tell: Callable[[Instance, Answer], None],
    *,
    concurrency: int,
) -> Answer | None:
    """Ask for the prediction of every instance, at most ``concurrency`` at once.

    Args:
        predictor: Asks.
        instances: What is asked for.
        tell: Told how each ended.
        concurrency: Most requests at once.

    Returns:
        The answer that made it useless to go on; None where every instance was asked.

    Raises:
        NoAnswer: There are no credentials.
    """
    useless: list[Answer] = []
    answered = False

    async def work() -> None:
        nonlocal answered
        for instance in instances:
            answer = await predictor.ask(instance.fields)
            tell(instance, answer)
            answered = answered or answer.ok
            refused = answer.status in _REFUSED and (answer.status == 401 or not answered)
            if refused or not answer.connected:
                useless.append(answer)
            if useless:
                return

    workers = [asyncio.create_task(work()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return useless[0] if useless else None

"""Predictions by the default route: one, or a file of them with bounded concurrency that a later run goes on with.

A file of instances is JSON Lines: an object with ``prompt`` and any other field of the route, or only the prompt as a
JSON string. Answers are JSON Lines, too: ``{"line", "digest", "prediction"}`` or ``{"line", "digest", "error",
"status"}``, each written at once, so that whatever ends a run loses no answer. When every line has been asked the file
is put in the order of the instances.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Final

from infra.client.advice import message_of, timed_out
from infra.client.endpoint import MAX_DEDICATED_TIMEOUT_S, Endpoint
from infra.client.errors import BadTarget
from infra.client.token import Token

if TYPE_CHECKING:
    import httpx

__all__ = ["Answer", "Answers", "Instance", "Predictor", "ask_all", "read_instances"]

Json = dict[str, Any]

RETRIES: Final = 4
"""More tries of a request that met a busy or starting server, after about 1, 2, 4 and 8 s, or as long as it says."""

_BUSY: Final = frozenset({429, 502, 503})
_REFUSED: Final = frozenset({401, 403, 404})
"""No permission, or no such endpoint: where the first request gets one of these, every other one does, too."""

_LONGEST_WAIT_S: Final = 60.0
_CONNECT_S: Final = 10.0


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


@dataclass(frozen=True)
class Answer:
    """How one request ended.

    Attributes:
        prediction: Text, or a list of texts where several were asked for; None where there is an error.
        status: HTTP status, None where there was no answer.
        error: What was said instead of a prediction, empty where there is one.
        seconds: How long the last try took.
        deployed_model_id: Which deployment answered.
        connected: Whether there was a connection.
    """

    prediction: Any
    status: int | None
    error: str
    seconds: float
    deployed_model_id: str = ""
    connected: bool = True

    @property
    def ok(self) -> bool:
        """Whether there is a prediction."""
        return not self.error


class Predictor:
    """Asks one endpoint. ``async with Predictor(endpoint, token) as predictor`` closes its connections.

    Args:
        endpoint: Which is asked.
        token: To ask it with.
        concurrency: Most requests at once.
        retries: More tries where the server is busy.
        sleep: Waits between them, seconds.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        token: Token,
        *,
        concurrency: int = 1,
        retries: int = RETRIES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        import httpx

        self._endpoint, self._token, self._retries, self._sleep = endpoint, token, retries, sleep
        # The endpoint's time-out is what ends a request; this one is for a connection that died.
        patience = (endpoint.timeout_s or MAX_DEDICATED_TIMEOUT_S) + 30
        self._http = httpx.AsyncClient(
            trust_env=not endpoint.local,
            timeout=httpx.Timeout(patience, connect=_CONNECT_S, pool=None),
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
        )

    async def __aenter__(self) -> Predictor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def ask(self, fields: Mapping[str, Any]) -> Answer:
        """Ask for the prediction of one instance; again where the server is busy.

        Raises:
            NoAnswer: There are no credentials.
        """
        tried = 0
        while True:
            answer, wait = await self._once(fields)
            busy = answer.status in _BUSY or answer.status is None
            too_slow = timed_out(answer.status, answer.error, self._endpoint, answer.seconds)
            if answer.ok or not busy or too_slow or tried >= self._retries:
                return answer
            await self._sleep(wait if wait is not None else 2**tried * random.uniform(0.75, 1.25))
            tried += 1

    async def _once(self, fields: Mapping[str, Any]) -> tuple[Answer, float | None]:
        """One try, and how many seconds the server asks to wait."""
        import httpx

        token = await asyncio.to_thread(self._token.get)
        begun = time.monotonic()
        try:
            response = await self._http.post(
                self._endpoint.predict_url,
                content=json.dumps({"instances": [fields]}).encode(),
                headers={"authorization": f"Bearer {token}", "content-type": "application/json"},
            )
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            connected = not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            return Answer(None, None, why, time.monotonic() - begun, connected=connected), None
        return _answer(response, time.monotonic() - begun), _retry_after(response)


def _answer(response: httpx.Response, seconds: float) -> Answer:
    if not response.is_success:
        said = message_of(response.content) or f"HTTP {response.status_code}"
        return Answer(None, response.status_code, said, seconds)
    try:
        document = response.json()
        (prediction,) = document["predictions"]
    except (ValueError, KeyError, TypeError):
        said = f"an answer without one prediction: {message_of(response.content)}"
        return Answer(None, response.status_code, said, seconds)
    return Answer(prediction, response.status_code, "", seconds, str(document.get("deployedModelId") or ""))


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return min(max(float(response.headers["retry-after"]), 0.0), _LONGEST_WAIT_S)
    except (KeyError, ValueError):
        return None


# A file of instances -----------------------------------------------------------------------------------------------


def read_instances(path: Path, defaults: Mapping[str, Any]) -> Iterator[Instance]:
    """The instances of a file, one after the other.

    Args:
        path: The file, JSON Lines; empty lines are skipped.
        defaults: Fields of every instance that does not have them itself.

    Raises:
        BadTarget: The file cannot be read, or a line is no instance; the text names the line.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield Instance(number, {**defaults, **_fields(line, f"{path}, line {number}")})
    except OSError as error:
        raise BadTarget(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeError:
        raise BadTarget(f"{path} is not UTF-8.") from None


def _fields(line: str, where: str) -> Json:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadTarget(f"{where}: no JSON ({error}). Each line is one instance.") from None
    fields = {"prompt": value} if isinstance(value, str) else value
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
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise BadTarget(f"{path} cannot be written: {error.strerror or error}.") from None
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
        """Write one answer."""
        result = (
            {"prediction": answer.prediction}
            if answer.ok
            else {"error": answer.error, "status": answer.status}
        )
        record = {"line": instance.line, "digest": instance.digest, **result}
        self._last[instance.line] = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        self._file.flush()

    def put_in_order(self) -> None:
        """Leave one answer a line, in the order of the instances."""
        order = sorted(self._last)
        if [self._last[line] for line in order] == sorted(self._last.values()) and self._count() == len(
            order
        ):
            return
        sorted_path = self.path.with_name(f".{self.path.name}.sorted")
        with sorted_path.open("wb") as file:
            for line in order:
                self._file.seek(self._last[line])
                file.write(self._file.readline())
        os.replace(sorted_path, self.path)

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

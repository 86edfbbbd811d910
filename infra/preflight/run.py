"""Runs every check at once, within a deadline, and never raises."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from infra.preflight import adapters, google, huggingface, image, pure, weights
from infra.preflight.finding import Finding, Status
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Place

__all__ = ["CHECKS", "DEADLINE_S", "Check", "Report", "run"]

Check = Callable[[Any, Net], Coroutine[Any, Any, Sequence[Finding]]]

DEADLINE_S: Final = 4.5
"""Seconds that every check has, all at once; what is left of 5 s is for starting and ending them."""

_GRACE_S: Final = 0.4

_log = logging.getLogger(__name__)


CHECKS: Final[tuple[Check, ...]] = (
    *pure.CHECKS,
    *google.CHECKS,
    *huggingface.CHECKS,
    *weights.CHECKS,
    *adapters.CHECKS,
    *image.CHECKS,
)
"""Every check, in the order in which the findings are shown."""


@dataclass(frozen=True)
class Report:
    """What all checks said.

    Attributes:
        findings: In the order of the checks.
        took_s: Seconds that the run took.
    """

    findings: tuple[Finding, ...]
    took_s: float

    @property
    def passed(self) -> tuple[Finding, ...]:
        """What is as it must be."""
        return self.of(Status.PASS)

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The conclusive noes."""
        return self.of(Status.FAIL)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is worth a look."""
        return self.of(Status.WARN)

    @property
    def skipped(self) -> tuple[Finding, ...]:
        """What could not be said."""
        return self.of(Status.SKIP)

    def of(self, status: Status) -> tuple[Finding, ...]:
        """The findings with one status."""
        return tuple(finding for finding in self.findings if finding.status is status)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: ``findings``, how many of each status in ``counts``, ``took_s``."""
        return {
            "findings": [finding.as_dict() for finding in self.findings],
            "counts": {status.value: len(self.of(status)) for status in Status},
            "took_s": round(self.took_s, 3),
        }


def run(subject: Place, checks: Iterable[Check] = CHECKS, *, deadline_s: float = DEADLINE_S) -> Report:
    """Run the checks and wait for them, at most a little longer than the deadline.

    Works where an event loop already runs: the checks have a loop and a thread of their own. A check that raises, or
    that has not ended in time, is a SKIP with its name.

    Args:
        subject: What is checked.
        checks: Which checks; all of them.
        deadline_s: Seconds that each check has.
    """
    started = time.monotonic()
    checks = tuple(checks)
    ended: dict[int, tuple[Finding, ...]] = {}
    thread = threading.Thread(
        target=_run, args=(subject, checks, deadline_s, ended), name="preflight", daemon=True
    )
    thread.start()
    thread.join(deadline_s + _GRACE_S)
    findings: list[Finding] = []
    for place, check in enumerate(checks):
        # A thread that hangs in spite of its deadlines has left what did end.
        findings += ended[place] if place in ended else (_late(check, deadline_s),)
    return Report(tuple(findings), time.monotonic() - started)


def _run(
    subject: Place, checks: Sequence[Check], deadline_s: float, ended: dict[int, tuple[Finding, ...]]
) -> None:
    try:
        with asyncio.Runner() as runner:
            runner.get_loop().set_default_executor(_Threads())
            runner.run(_together(subject, checks, deadline_s, ended))
    except Exception:
        _log.exception("the run of the preflight checks ended with an error")


async def _together(
    subject: Place, checks: Sequence[Check], deadline_s: float, ended: dict[int, tuple[Finding, ...]]
) -> None:
    async with Net(subject, deadline_s) as net:

        async def one(place: int, check: Check) -> None:
            ended[place] = await _one(check, subject, net, deadline_s)

        await asyncio.gather(*(one(place, check) for place, check in enumerate(checks)))


async def _one(check: Check, subject: Place, net: Net, deadline_s: float) -> tuple[Finding, ...]:
    try:
        # A little more than the network has, which says better what did not answer.
        async with asyncio.timeout(max(net.left_s, 0) + 0.1):
            return tuple(await check(subject, net))
    except Unread as reason:
        return (_skip(check, str(reason)),)
    except TimeoutError:
        return (_late(check, deadline_s),)
    except Exception as error:
        _log.exception("the preflight check %s ended with an error", _name(check))
        return (_skip(check, f"the check itself failed: {type(error).__name__}"),)


def _late(check: Check, deadline_s: float) -> Finding:
    return _skip(check, f"the check did not end within {deadline_s:g} s")


def _skip(check: Check, why: str) -> Finding:
    return Finding(check=_name(check), status=Status.SKIP, evidence=f"{why[:1].upper()}{why[1:]}.")


def _name(check: Check) -> str:
    """The id of a check without a finding of its own: the function's name."""
    return getattr(check, "__name__", type(check).__name__).strip("_").replace("_", "-")


class _Threads(ThreadPoolExecutor):
    """Threads that nobody waits for: a name server or a hub that hangs must not keep a preview from ending.

    asyncio looks up host names in its executor, and both its end and Python's wait for an ordinary executor's threads.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=work, name="preflight-work", daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to wait for."""

"""All checks at once: deadlines, checks that raise, event loops that run already, threads that hang."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from infra.preflight import run as module
from infra.preflight.finding import Finding, Status
from infra.preflight.net import Net, Unread
from infra.preflight.run import run
from infra.preflight.subject import Subject
from tests.preflight.subjects import subject

ROOT = Path(__file__).resolve().parents[2]


def passed(name: str = "good") -> Finding:
    return Finding(check=name, status=Status.PASS, evidence="1 of 1.")


async def good(subject: Subject, net: Net) -> Sequence[Finding]:
    return [passed()]


async def two(subject: Subject, net: Net) -> Sequence[Finding]:
    await asyncio.sleep(0.02)
    return [passed("first"), passed("second")]


async def nothing(subject: Subject, net: Net) -> Sequence[Finding]:
    return ()


async def raises_an_error(subject: Subject, net: Net) -> Sequence[Finding]:
    raise ZeroDivisionError("secret text")


async def unread(subject: Subject, net: Net) -> Sequence[Finding]:
    raise Unread("iam.googleapis.com answers 503")


async def sleeps(subject: Subject, net: Net) -> Sequence[Finding]:
    await asyncio.sleep(60)
    return [passed()]


async def hangs_in_a_thread(subject: Subject, net: Net) -> Sequence[Finding]:
    await asyncio.to_thread(time.sleep, 60)
    return [passed()]


async def blocks_the_loop(subject: Subject, net: Net) -> Sequence[Finding]:
    time.sleep(3)
    return [passed()]


def test_findings_come_in_the_order_of_the_checks() -> None:
    report = run(subject(), [two, nothing, good])
    assert [each.check for each in report.findings] == ["first", "second", "good"]
    assert report.took_s < 2


def test_checks_run_at_once() -> None:
    async def waits(subject: Subject, net: Net) -> Sequence[Finding]:
        await asyncio.sleep(0.3)
        return [passed()]

    assert run(subject(), [waits] * 10).took_s < 1.5


def test_an_error_in_a_check_is_a_skip_that_names_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        report = run(subject(), [raises_an_error, good])
    assert report.findings == (
        Finding(
            check="raises-an-error",
            status=Status.SKIP,
            evidence="The check itself failed: ZeroDivisionError.",
        ),
        passed(),
    )
    assert "raises-an-error" in caplog.text


def test_what_cannot_be_read_is_a_skip_with_the_reason() -> None:
    (finding,) = run(subject(), [unread]).findings
    assert (finding.status, finding.evidence) == (Status.SKIP, "Iam.googleapis.com answers 503.")


def test_a_check_that_does_not_end_is_a_skip_and_the_others_stay() -> None:
    report = run(subject(), [sleeps, good, hangs_in_a_thread], deadline_s=0.3)
    assert [(each.check, each.status) for each in report.findings] == [
        ("sleeps", Status.SKIP),
        ("good", Status.PASS),
        ("hangs-in-a-thread", Status.SKIP),
    ]
    assert report.findings[0].evidence == "The check did not end within 0.3 s."
    assert report.took_s < 1


def test_a_check_that_blocks_the_loop_does_not_block_the_caller() -> None:
    report = run(subject(), [good, blocks_the_loop], deadline_s=0.2)
    assert [each.status for each in report.findings] == [Status.PASS, Status.SKIP]
    assert report.took_s < 1.5


def test_it_works_where_an_event_loop_runs() -> None:
    async def program() -> int:
        return len(run(subject(), [good]).findings)

    assert asyncio.run(program()) == 1


def test_a_thread_that_hangs_does_not_keep_the_process_from_ending() -> None:
    code = (
        "from tests.preflight.test_run import *\n"
        "print(run(subject(), [hangs_in_a_thread], deadline_s=0.2).findings[0].status.value)"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.strip() == "SKIP"
    assert time.monotonic() - started < 40


def test_a_network_that_cannot_be_opened_leaves_the_checks_that_need_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def asks(subject: Subject, net: Net) -> Sequence[Finding]:
        await net.get("http://127.0.0.1:9/")
        return [passed()]

    monkeypatch.setenv("HTTPS_PROXY", "nonsense://proxy:1")
    asked, still = run(subject(), [asks, good]).findings
    assert asked.status is Status.SKIP
    assert still == passed()


def test_there_are_checks_of_every_kind() -> None:
    names = {check.__module__.removeprefix("infra.preflight.").partition(".")[0] for check in module.CHECKS}
    assert names == {"pure", "google", "huggingface", "weights", "adapters", "image"}


def test_the_default_deadline_leaves_room_below_five_seconds() -> None:
    assert module.DEADLINE_S + module._GRACE_S < 5


def test_a_local_run_imports_no_google_library_and_no_hub() -> None:
    code = (
        "import sys\n"
        "from infra.preflight.run import run\n"
        "from tests.preflight.subjects import subject\n"
        "report = run(subject(local='http://127.0.0.1:9'))\n"
        "assert len(report.findings) > 10 and not report.failed, report\n"
        "heavy = ('google.auth', 'google.api_core', 'google.cloud.', 'huggingface_hub', 'requests', 'rich')\n"
        "print([name for name in sys.modules if name.startswith(heavy)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

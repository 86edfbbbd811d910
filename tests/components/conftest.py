"""Recording mocks for one test, on an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pulumi
import pytest
from pulumi.runtime import set_mocks
from pulumi.runtime.config import set_all_config
from pulumi.runtime.stack import run_pulumi_func

from tests.components.recording import Messages, Monitor, Recorder, Run


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Mocks installed for one test, on an event loop of its own; the loop is put away afterwards."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    found = Recorder()
    logger = logging.getLogger(f"{__name__}.{id(found)}")
    logger.addHandler(Messages(found))
    logger.propagate = False
    logger.setLevel(logging.INFO)
    set_mocks(
        found, project="vertex-vllm", stack="local", preview=False, logger=logger, monitor=Monitor(found)
    )
    set_all_config({}, [])
    yield found
    set_all_config({}, [])
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def run(recorder: Recorder) -> Run:
    """Runs a piece of program as the engine's host does; gives its value, with outputs resolved, when all is done."""

    def runner(program: Callable[[], Any]) -> Any:
        known: list[Any] = []

        def body() -> None:
            pulumi.Output.from_input(program()).apply(known.append)

        asyncio.get_event_loop().run_until_complete(run_pulumi_func(body))
        return known[0] if known else None

    return runner

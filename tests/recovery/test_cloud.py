"""How a recovery asks Google: what it repeats, and what it takes for an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from infra.client import NoAnswer
from infra.local.cloud.cli import environment
from infra.local.cloud.testing import PROJECT, REGION, LocalCloud, cloud_in_thread
from infra.recovery import cloud as module
from infra.recovery.cloud import Google

NAME = f"projects/{PROJECT}/locations/{REGION}/endpoints/1"


@pytest.fixture(scope="module")
def running() -> Iterator[LocalCloud]:
    with cloud_in_thread() as local:
        local.admin.enable("aiplatform.googleapis.com")
        yield local


@pytest.fixture
def google(running: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Google]:
    monkeypatch.setattr(module, "_PAUSES_S", (0.0, 0.0))
    yield Google({}, environment(running.url))
    running.admin.call("DELETE", "faults")


@pytest.mark.parametrize(
    "fault",
    [
        {"status": {"code": "UNAVAILABLE", "message": "m"}},
        {"status": {"code": "RESOURCE_EXHAUSTED", "message": "m"}},
        {"reset": "before"},
    ],
)
def test_a_read_is_repeated(running: LocalCloud, google: Google, fault: dict[str, Any]) -> None:
    running.admin.fault("/endpoints/1$", times=2, **fault)
    assert google.vertex(REGION, NAME) is None
    assert running.admin.unmet_faults() == []


def test_not_for_ever(running: LocalCloud, google: Google) -> None:
    running.admin.fault("/endpoints/1$", times=9, status={"code": "UNAVAILABLE", "message": "later"})
    with pytest.raises(NoAnswer, match="answers 503: later"):
        google.vertex(REGION, NAME)
    assert running.admin.unmet_faults()[0]["met"] == 3


def test_a_retry_after_of_an_hour_is_not_waited_for(running: LocalCloud, google: Google) -> None:
    busy = {"code": "RESOURCE_EXHAUSTED", "message": "later", "retryAfterSeconds": 3600}
    running.admin.fault("/endpoints/1$", times=9, status=busy)
    with pytest.raises(NoAnswer, match="answers 429: later"):
        google.vertex(REGION, NAME)
    assert running.admin.unmet_faults()[0]["met"] == 1


@pytest.mark.parametrize(
    ("code", "remedy"),
    [("UNAUTHENTICATED", "gcloud auth application-default login"), ("PERMISSION_DENIED", "runs pulumi up")],
)
def test_a_refusal_is_conclusive_and_names_what_to_do(
    running: LocalCloud, google: Google, code: str, remedy: str
) -> None:
    running.admin.fault("/endpoints/1$", times=9, status={"code": code, "message": "no"})
    with pytest.raises(NoAnswer, match=rf"no\n  .*{remedy}"):
        google.vertex(REGION, NAME)
    assert running.admin.unmet_faults()[0]["met"] == 1


def test_the_404_of_a_proxy_is_no_answer(running: LocalCloud, google: Google) -> None:
    """Taken for one, what the killed run made would be forgotten."""
    running.admin.fault("/endpoints/1$", proxy=404)
    with pytest.raises(NoAnswer, match="answers 404 without JSON"):
        google.vertex(REGION, NAME)

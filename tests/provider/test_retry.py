"""Pauses, budgets and tries; what is repeated and what is not."""

from __future__ import annotations

import time
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.provider import connect, retry
from infra.provider.failures import ApiError, Kind, from_response, retry_after
from infra.provider.retry import CHANGE, IDEMPOTENT, JITTER, PROPAGATION, READ, READ_BUDGET, Grants, Patience
from tests.provider.harness import Existing, Harness, Refused, provider_on
from tests.provider.samples import DEPLOY, ENDPOINT, MODEL, Quiet, deployment


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which are not made."""
    made: list[float] = []
    monkeypatch.setattr(retry, "sleep", lambda _ctx, seconds: made.append(seconds))
    return made


def tries(patience: Patience, error: ApiError, **options: Any) -> int:
    """How often a call is repeated that always fails."""
    count = 0
    while patience.again(error, **options):
        count += 1
        assert count < 500
    return count


BUSY = ApiError("UNAVAILABLE", "The service is currently unavailable.")


def test_pauses_grow_vary_and_end(pauses: list[float]) -> None:
    planned = READ[Kind.TRANSIENT]
    assert tries(Patience(Quiet(), READ, 1.0), BUSY) >= len(planned) - 1
    for pause, plan in zip(pauses, planned, strict=False):
        assert plan * (1 - JITTER) <= pause <= plan * (1 + JITTER) or pause == pytest.approx(pauses[-1])
    assert sum(pauses) <= sum(planned) + 1e-6
    first = [*pauses]
    pauses.clear()
    tries(Patience(Quiet(), READ, 1.0), BUSY)
    assert pauses != first


@pytest.mark.parametrize("kinds", [READ, CHANGE, IDEMPOTENT])
def test_the_budget_of_each_kind_is_kept(pauses: list[float], kinds: Any) -> None:
    for kind, planned in kinds.items():
        pauses.clear()
        tries(Patience(Quiet(), kinds, 1.0, grants=_granted(0)), ApiError("X", "x", kind=kind))
        assert 0 < sum(pauses) <= sum(planned) + 1e-6
        assert len(pauses) <= len(planned)


def test_all_kinds_together_have_a_budget(pauses: list[float]) -> None:
    patience = Patience(Quiet(), READ, 1.0, budget=READ_BUDGET)
    for kind in READ:
        tries(patience, ApiError("X", "x", kind=kind))
    assert sum(pauses) <= READ_BUDGET + 1e-6


def test_retry_after_makes_the_pause_longer(pauses: list[float]) -> None:
    assert Patience(Quiet(), CHANGE, 1.0).again(ApiError("RESOURCE_EXHAUSTED", "slow down", retry_after=41))
    assert pauses == [41]


def test_retry_after_beyond_the_budget_is_not_waited_for(pauses: list[float]) -> None:
    patience = Patience(Quiet(), CHANGE, 1.0)
    assert not patience.again(ApiError("RESOURCE_EXHAUSTED", "slow down", retry_after=98))
    assert pauses == []


def test_retry_after_uses_the_budget_up(pauses: list[float]) -> None:
    error = ApiError("RESOURCE_EXHAUSTED", "slow down", retry_after=40)
    assert tries(Patience(Quiet(), CHANGE, 1.0), error) == 2
    assert sum(pauses) == 80


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 7 "}, 7),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2015 07:27:00 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_the_error_says_how_long_google_asks_to_wait() -> None:
    error = from_response(
        429, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "no"}}, "", {"Retry-After": "90"}
    )
    assert error.message == "no (Google asks to wait 90 s)"


def _granted(age: float) -> Grants:
    grants = Grants()
    grants.made(time.time() - age)
    return grants


ACT_AS = ApiError("PERMISSION_DENIED", "You do not have permission to act as service account: a@b.c.")


@pytest.mark.parametrize(
    ("age", "error", "again"),
    [
        (30, ACT_AS, True),
        (PROPAGATION + 1, ACT_AS, False),
        (30, ApiError("PERMISSION_DENIED", "Permission 'aiplatform.endpoints.deploy' denied"), False),
        (30, ApiError("FAILED_PRECONDITION", "x", kind=Kind.BUCKET), True),
        (30, ApiError("UNAUTHENTICATED", "expired"), False),
    ],
)
def test_only_what_a_fresh_grant_would_allow_is_waited_for(
    pauses: list[float], age: float, error: ApiError, again: bool
) -> None:
    assert Patience(Quiet(), CHANGE, 1.0, grants=_granted(age)).again(error) is again
    assert not Patience(Quiet(), CHANGE, 1.0).again(ACT_AS)


def test_the_time_of_a_grant_may_be_googles() -> None:
    grants = Grants()
    grants.made("nonsense")
    assert grants.age == float("inf")
    grants.made("2020-01-01T00:00:00.000000Z")
    assert 10**8 < grants.age < 10**10


def expiring(renewed: list[str]) -> Any:
    """Credentials whose token has run out; each renewal is noted."""
    from google.auth import credentials

    class Refreshable(credentials.Credentials):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.token = "expired"

        @property
        def expired(self) -> bool:
            return False

        @property
        def valid(self) -> bool:
            return True

        def refresh(self, request: Any) -> None:
            renewed.append(str(self.token))
            self.token = "local"

    return Refreshable()


def test_an_expired_token_is_renewed_and_the_call_repeated_once(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[str] = []
    credentials = expiring(renewed)
    monkeypatch.setattr(connect, "_credentials", lambda _way: credentials)
    with provider_on(cloud) as provider:
        model = provider.create("Model", MODEL)
        assert renewed == ["expired"]
        credentials.token = "expired"
        assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100
        assert renewed == ["expired", "expired"]
    refused = [each for each in provider.sent("GET", "") if each["status"] == 401]
    assert len(refused) == 2
    assert len(provider.sent("POST", DEPLOY)) == 1


def test_a_rate_limit_is_no_quota_of_gpus(provider: Harness, model: Existing) -> None:
    text = "Quota exceeded for quota metric 'Requests' and limit 'Requests per minute' of service 'x'."
    provider.admin.fault(DEPLOY, status={"code": "RESOURCE_EXHAUSTED", "message": text}, times=2)
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100
    assert provider.admin.unmet_faults() == []


def test_a_lost_deletion_is_no_deletion(provider: Harness, model: Existing) -> None:
    with provider_on(provider.cloud) as later:  # this one has just made it, and would keep it
        later.admin.fault("/models/[^/]+$", method="DELETE", operationLost="dropped")
        later.delete("Model", model)
        assert later.admin.state()["models"] == []
        assert later.admin.unmet_faults() == []


def test_a_lost_deployment_that_goes_on_is_found(provider: Harness, model: Existing) -> None:
    provider.admin.fault(DEPLOY, operationLost="running")
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100
    assert provider.admin.billed() == [provider.deployed()]


def test_an_answer_that_cannot_be_read_is_no_answer(provider: Harness, model: Existing) -> None:
    provider.admin.fault(DEPLOY, body="garbled")
    provider.admin.fault(f"{ENDPOINT}$", method="GET", body="garbled")
    assert provider.create("Deployment", deployment(model.id)).outputs["traffic"] == 100
    assert len(provider.sent("POST", DEPLOY)) == 1
    assert provider.admin.unmet_faults() == []


def test_a_label_is_changed_in_spite_of_an_outage(provider: Harness, model: Existing) -> None:
    provider.admin.fault("/models/", method="PATCH", status={"code": "UNAVAILABLE", "message": "later"})
    provider.admin.fault("/models/", method="PATCH", nth=2, reset="after")
    changed = provider.update("Model", model, {**MODEL, "displayName": "renamed"})
    assert provider.get(changed.id)["displayName"] == "renamed"
    assert provider.admin.unmet_faults() == []


def test_a_retry_after_that_is_too_long_is_named(provider: Harness, model: Existing) -> None:
    busy = {"code": "RESOURCE_EXHAUSTED", "message": "Too many requests.", "retryAfterSeconds": 3600}
    provider.admin.fault(DEPLOY, status=busy)
    with pytest.raises(Refused, match=r"Too many requests\. \(Google asks to wait 3600 s\)") as refused:
        provider.create("Deployment", deployment(model.id))
    assert "too many requests a minute" in refused.value.text
    assert len(provider.sent("POST", DEPLOY)) == 1

"""What Google goes on with while it cannot be watched is in the state: a destroy has to end it."""

from __future__ import annotations

from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.provider import rest
from infra.provider.failures import Kind
from tests.provider.harness import Existing, Harness, Refused, provider_on
from tests.provider.samples import DEPLOY, ENDPOINT, MODEL, deployment

EXPIRED: dict[str, Any] = {"code": "UNAUTHENTICATED", "message": "Request had invalid credentials."}
INTERNAL: dict[str, Any] = {"code": "INTERNAL", "message": "Internal error encountered."}
ENDPOINT_ID = ENDPOINT.rpartition("/")[2]
_POLL = r"/endpoints/[^/]+/operations/[^/]+$"


@pytest.fixture(autouse=True)
def _soon_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "READ", {Kind.TRANSIENT: (1, 1)})


@pytest.mark.parametrize(
    ("error", "times"), [(EXPIRED, 1), ({**EXPIRED, "code": "PERMISSION_DENIED"}, 1), (INTERNAL, 100)]
)
def test_a_deployment_that_cannot_be_watched_is_saved(
    manual: LocalCloud, provider: Harness, model: Existing, error: Any, times: int
) -> None:
    call = provider.meanwhile(lambda: provider.create("Deployment", deployment(model.id)))
    provider.engine.wait_for("(deploying")
    manual.admin.advance(stages=1)
    provider.engine.wait_for("STARTING_DEPLOYMENT")
    manual.admin.fault(_POLL, method="GET", times=times, status=error)
    with pytest.raises(Refused) as refused:
        call.result(60)
    text = refused.value.text
    assert " began, but it cannot be watched: " in text
    assert "last seen at STARTING_DEPLOYMENT." in text
    assert f"Google's answer: {error['code']}: " in text
    assert "no deployment had begun" not in text
    assert "Nothing of it is deployed" not in text
    assert f"/endpoints/{ENDPOINT_ID}/operations/" in refused.value.state["operation"]
    assert len(provider.sent("POST", DEPLOY)) == 1
    manual.admin.call("DELETE", "faults")
    manual.admin.timing(mode="immediate")
    manual.admin.advance()
    saved = Existing(refused.value.id, refused.value.state, {})
    with provider_on(manual) as second:
        second.delete("Deployment", saved)
        assert second.deployed() == []


@pytest.mark.parametrize("nth", [1, 2])
def test_a_deployment_that_ended_while_the_token_expired_is_saved(
    cloud: LocalCloud, provider: Harness, model: Existing, nth: int
) -> None:
    """The look at the endpoint after the deployment is refused: it serves, and bills."""
    cloud.admin.fault(f"{ENDPOINT}$", method="GET", nth=nth, after=DEPLOY, status=EXPIRED)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id))
    assert len(provider.deployed()) == 1
    saved = Existing(refused.value.id, refused.value.state, {})
    with provider_on(cloud) as second:
        second.delete("Deployment", saved)
        assert second.deployed() == []


def test_ctrl_c_while_google_is_out_of_reach_saves_the_deployment(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    manual.admin.fault(_POLL, method="GET", nth=2, times=1000, status=INTERNAL)
    with provider_on(manual) as first:
        call = first.meanwhile(lambda: first.create("Deployment", deployment(model.id)))
        first.engine.wait_for("Google had an internal problem: trying again")
        first.cancel()
        with pytest.raises(Refused) as refused:
            call.result(10)
    assert "nothing was deployed" not in refused.value.text
    assert f"/endpoints/{ENDPOINT_ID}/operations/" in refused.value.state["operation"]


@pytest.mark.parametrize(("error", "times"), [(EXPIRED, 1), (INTERNAL, 200)])
def test_an_upload_that_cannot_be_watched_is_saved(
    cloud: LocalCloud, provider: Harness, error: Any, times: int
) -> None:
    cloud.admin.timing(mode="manual")
    cloud.admin.fault(r"/operations/[^/]+$", method="GET", nth=2, times=times, status=error)
    with pytest.raises(Refused) as refused:
        provider.create("Model", MODEL)
    assert f"Google's answer: {error['code']}: " in refused.value.text
    assert len(provider.sent("POST", "models:upload")) == 1
    cloud.admin.call("DELETE", "faults")
    cloud.admin.timing(mode="immediate")
    cloud.admin.advance()
    saved = Existing(refused.value.id, refused.value.state, {})
    with provider_on(cloud) as second:
        second.delete("Model", saved)
        assert cloud.admin.state()["models"] == []


def test_an_upload_without_an_answer_is_saved(cloud: LocalCloud, provider: Harness) -> None:
    """It was carried out, no answer came, and nothing can be read since."""
    cloud.admin.fault("models:upload", method="POST", reset="after")
    cloud.admin.fault("/models/", method="GET", after="models:upload", times=300, status=INTERNAL)
    with pytest.raises(Refused) as refused:
        provider.create("Model", MODEL)
    cloud.admin.call("DELETE", "faults")
    saved = Existing(refused.value.id, refused.value.state, {})
    with provider_on(cloud) as second:
        second.delete("Model", saved)
    assert cloud.admin.state()["models"] == []


def test_a_deployment_without_an_answer_is_ended_by_a_destroy(
    manual: LocalCloud, provider: Harness, model: Existing
) -> None:
    """It began, no answer came, and nothing could be read since: the state does not know its operation."""
    manual.admin.fault(DEPLOY, method="POST", reset="after")
    manual.admin.fault("/endpoints/", method="GET", after=DEPLOY, times=500, status=INTERNAL)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(model.id))
    assert refused.value.state["operation"] is None
    manual.admin.call("DELETE", "faults")
    saved = Existing(refused.value.id, refused.value.state, {})
    with provider_on(manual) as second:
        second.delete("Deployment", saved)
        assert len(second.sent("POST", ":cancel")) == 1
    assert manual.admin.state()["deployedModels"] == []


def test_the_404_of_a_proxy_says_nothing_of_what_exists(
    cloud: LocalCloud, provider: Harness, model: Existing
) -> None:
    """A refresh that believed it would forget what bills. Google says it with an error of its own."""
    served = provider.create("Deployment", deployment(model.id))
    for kind, each in (("Model", model), ("Deployment", served)):
        cloud.admin.fault(f"{each.id.partition('/deployedModels/')[0]}$", method="GET", proxy=404)
        found = provider.read(kind, each.id, each)
        assert found is not None
        assert found.id == each.id
    assert cloud.admin.unmet_faults() == []

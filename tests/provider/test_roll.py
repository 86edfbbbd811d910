"""A roll on the local cloud: asked before it gets traffic, handed over, taken back at each point where it can fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.provider import probe
from infra.provider.failures import ApiError
from infra.provider.vertex import Vertex
from tests.provider.harness import Existing, Harness, Refused, other_model, provider_on, until
from tests.provider.samples import CONTAINER, DEPLOY, ENDPOINT, MODEL, deployment

CONTAINER_ERROR = {"status": 500, "body": '{"error": "CUDA error: device-side assert triggered"}'}


@pytest.fixture
def moves(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """Every split that is written."""
    written: list[dict[str, int]] = []
    set_traffic = Vertex.set_traffic

    def recording(self: Vertex, endpoint: str, traffic: dict[str, int], etag: str) -> None:
        assert etag
        set_traffic(self, endpoint, traffic, etag)
        written.append(dict(traffic))

    monkeypatch.setattr(Vertex, "set_traffic", recording)
    return written


def breaks(provider: Harness, id: str, *, times: int = 1, nth: int = 1, status: int = 500) -> None:
    """Plans answers of one deployed model's container."""
    error = {**CONTAINER_ERROR, "status": status}
    provider.admin.fault(f"/deployedModels/{id}/", container=error, times=times, nth=nth)


def planned_id(provider: Harness, model: Existing, **changes: Any) -> str:
    """The id that a deployment is going to have."""
    from infra.provider.deployed import plan_of

    return plan_of(provider.checked("Deployment", deployment(model.id, **changes))).id


def ids(*deployments: Existing) -> list[str]:
    return [each.outputs["deployedModelId"] for each in deployments]


@contextmanager
def clients(cloud: LocalCloud) -> Iterator[list[tuple[int, str]]]:
    """Somebody who asks all the time: status and deployed model of each answer."""
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            body = {"instances": [{"prompt": "A car is", "max_tokens": 1}]}
            answer = cloud.http.post(f"/v1/{ENDPOINT}:predict", json=body)
            answers.append((answer.status_code, answer.json().get("deployedModelId", "")))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    yield answers
    stop.set()
    thread.join()


# Hand-over


def test_the_new_one_is_asked_before_it_has_the_traffic(
    cloud: LocalCloud, provider: Harness, served: Existing, moves: list[dict[str, int]]
) -> None:
    with clients(cloud) as answers:
        new = provider.create("Deployment", deployment(other_model(provider).id))
    old_id, new_id = ids(served, new)
    assert moves == [{old_id: 95, new_id: 5}, {new_id: 100}]
    assert {status for status, _ in answers} == {200}
    assert provider.endpoint()["trafficSplit"] == {new_id: 100}
    assert new.outputs["traffic"] == 100
    said = provider.texts("INFO")
    assert any(text.startswith(f"smoke test: deployed model {new_id} answered request ") for text in said)
    assert f"traffic moved: deployed model {new_id} has 100 % of endpoint 123456, {old_id} nothing" in said


def test_without_a_smoke_test_the_traffic_moves_at_once(
    provider: Harness, served: Existing, moves: list[dict[str, int]]
) -> None:
    new = provider.create("Deployment", deployment(other_model(provider).id, rollout={"smoke": False}))
    assert moves == [{ids(new)[0]: 100}]
    assert len(provider.sent("POST", ":rawPredict")) == 1, "that of the first deployment"


def test_steps_grow_to_all_of_it(provider: Harness, served: Existing, moves: list[dict[str, int]]) -> None:
    rollout = {"steps": [25, 50], "bakeSeconds": 1}
    new = provider.create("Deployment", deployment(other_model(provider).id, rollout=rollout))
    old_id, new_id = ids(served, new)
    shares = [(split.get(old_id, 0), split[new_id]) for split in moves]
    assert shares == [(95, 5), (75, 25), (50, 50), (0, 100)]
    passed = [text for text in provider.texts("INFO") if text.startswith("step of ")]
    assert [text.split(" passed: ")[0] for text in passed] == ["step of 25 %", "step of 50 %"]
    assert all("Cloud Monitoring has no figures (NOT_FOUND)" in text for text in passed)


def test_somebody_elses_change_meanwhile_is_no_obstacle(provider: Harness, served: Existing) -> None:
    message = "The etag does not match."
    provider.admin.fault(
        "/endpoints/", method="PATCH", status={"code": "ABORTED", "message": message}, times=2
    )
    new = provider.create("Deployment", deployment(other_model(provider).id))
    assert provider.endpoint()["trafficSplit"] == {ids(new)[0]: 100}
    assert provider.admin.unmet_faults() == []


def test_a_lost_answer_to_a_move_is_fine(provider: Harness, served: Existing) -> None:
    provider.admin.fault("/endpoints/", method="PATCH", reset="after", nth=2)
    new = provider.create("Deployment", deployment(other_model(provider).id))
    assert provider.endpoint()["trafficSplit"] == {ids(new)[0]: 100}


def test_cloud_monitoring_is_counted(provider: Harness, served: Existing, monkeypatch: Any) -> None:
    def responses(*_: Any) -> probe.Count:
        return probe.Count(answers=200, errors=40, said="Cloud Monitoring counted 40 answers with HTTP 5xx")

    monkeypatch.setattr(probe, "responses", responses)
    rollout = {"steps": [50], "bakeSeconds": 1, "maxErrorPercent": 10}
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(other_model(provider).id, rollout=rollout))
    assert (
        "it did not pass the step of 50 %: 40 of 200 answers were errors (20 %, counted by Cloud Monitoring), over "
        "the limit of 10 %" in refused.value.text
    )
    assert provider.endpoint()["trafficSplit"] == {ids(served)[0]: 100}


def test_what_cloud_monitoring_answers_is_read() -> None:
    from infra.provider.probe import counted

    def series(code: str, *values: str) -> dict[str, Any]:
        points = [{"value": {"int64Value": value}} for value in values]
        return {"metric": {"labels": {"response_code": code}}, "points": points}

    count = counted({"timeSeries": [series("200", "90", "6"), series("503", "4")]})
    assert (count.answers, count.errors, count.percent) == (100, 4, 4.0)
    assert counted({}).percent == 0


# Failures


def test_one_that_fails_its_first_prediction_is_taken_away(
    provider: Harness, served: Existing, moves: list[dict[str, int]]
) -> None:
    other = other_model(provider)
    new_id, (old_id,) = planned_id(provider, other), ids(served)
    breaks(provider, new_id)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(other.id))
    text = refused.value.text
    assert text.startswith(
        f"Deployed model {new_id} of model {other.outputs['modelId']} on endpoint 123456 was taken away again: it did "
        "not pass the smoke test: its first answer was HTTP 500: "
    )
    assert "CUDA error: device-side assert triggered" in text
    assert "The container's last lines:" in text
    assert text.endswith(f"Nothing of it is deployed. Deployed model {old_id} goes on serving.")
    assert refused.value.partial is None
    assert moves == [{old_id: 95, new_id: 5}, {old_id: 100}]
    assert provider.deployed() == [old_id]
    # The next one starts clean.
    new = provider.create("Deployment", deployment(other.id))
    assert provider.endpoint()["trafficSplit"] == {new_id: 100}
    assert len(provider.sent("POST", DEPLOY)) == 3
    assert new.outputs["status"] is None


def test_a_first_deployment_that_does_not_answer_leaves_nothing(provider: Harness, model: Existing) -> None:
    breaks(provider, planned_id(provider, model), status=503)
    with pytest.raises(Refused, match="it did not pass the smoke test: its first answer was HTTP 503"):
        provider.create("Deployment", deployment(model.id))
    assert provider.deployed() == []
    assert provider.endpoint().get("trafficSplit", {}) == {}


def test_an_answer_that_is_none_is_a_failure(provider: Harness, served: Existing) -> None:
    other = other_model(provider)
    provider.admin.fault(
        f"/deployedModels/{planned_id(provider, other)}/", container={"status": 200, "body": "<html>"}
    )
    with pytest.raises(Refused, match="its first answer was HTTP 200: the answer has no predictions: <html>"):
        provider.create("Deployment", deployment(other.id))
    assert provider.deployed() == ids(served)


def test_too_many_requests_are_no_verdict(provider: Harness, served: Existing) -> None:
    other = other_model(provider)
    breaks(provider, planned_id(provider, other), status=429)
    assert provider.create("Deployment", deployment(other.id)).outputs["traffic"] == 100
    assert provider.admin.unmet_faults() == []


def test_the_old_ones_errors_are_not_the_new_ones(provider: Harness, served: Existing) -> None:
    breaks(provider, ids(served)[0], times=1000)
    assert provider.create("Deployment", deployment(other_model(provider).id)).outputs["traffic"] == 100


def goes_on(provider: Harness, refused: Refused, model: Existing) -> None:
    """An unfinished roll stays so in a refresh; the next `up` asks what is there and deploys nothing."""
    saved = Existing(refused.id, refused.state, {})
    assert saved.outputs["status"] == "moving traffic"
    deployments = len(provider.sent("POST", DEPLOY))
    wanted = deployment(model.id)
    read = provider.read(
        "Deployment", saved.id, Existing(saved.id, saved.outputs, provider.checked("Deployment", wanted))
    )
    assert read is not None
    assert read.outputs["status"] == "moving traffic"
    answer = provider.diff("Deployment", read, wanted)
    assert answer.changes == answer.DIFF_SOME
    asked = len(provider.sent("POST", ":rawPredict"))
    done = provider.update("Deployment", read, wanted)
    assert provider.endpoint()["trafficSplit"] == {ids(done)[0]: 100}
    assert done.outputs["status"] is None
    assert len(provider.sent("POST", ":rawPredict")) > asked
    assert len(provider.sent("POST", DEPLOY)) == deployments


UNAVAILABLE = {"code": "UNAVAILABLE", "message": "Bad gateway"}
RATE = {"code": "RESOURCE_EXHAUSTED", "message": "Quota exceeded for limit 'Requests per minute'."}
EXPIRED = {"code": "UNAUTHENTICATED", "message": "Request had invalid authentication credentials."}


@pytest.mark.parametrize(
    ("status", "times", "why", "remedy"),
    [
        (UNAVAILABLE, 13, "Google had an internal problem", "Run `pulumi up` again"),
        ({**RATE, "retryAfterSeconds": 3600}, 1, "too many requests a minute", "Wait a minute"),
        (EXPIRED, 1, "the credentials are not accepted", "Run `gcloud auth application-default login`"),
    ],
    ids=["unavailable", "rate", "expired"],
)
def test_what_says_nothing_of_the_new_one_leaves_it_there(
    provider: Harness, served: Existing, status: dict[str, Any], times: int, why: str, remedy: str
) -> None:
    other = other_model(provider)
    provider.admin.fault(":rawPredict", status=status, times=times)
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(other.id))
    text = refused.value.text
    new_id = planned_id(provider, other)
    assert text.startswith(f"Could not finish the smoke test of deployed model {new_id} of model ")
    assert f"endpoint 123456: {why}." in text
    assert f"\n  {remedy}" in text
    assert "`rollout: {smoke: false}` in the stack file takes it without a prediction." in text
    assert "It is healthy and stays, with 0 % of the traffic, and bills." in text
    assert provider.admin.unmet_faults() == []
    assert provider.endpoint()["trafficSplit"] == {ids(served)[0]: 100}
    goes_on(provider, refused.value, other)


def test_a_first_deployment_that_could_not_be_asked_is_asked_by_the_next_up(
    provider: Harness, model: Existing
) -> None:
    provider.admin.fault(":rawPredict", status=EXPIRED)
    with pytest.raises(
        Refused, match="It is healthy and stays, with 100 % of the traffic, and bills"
    ) as refused:
        provider.create("Deployment", deployment(model.id))
    goes_on(provider, refused.value, model)


def test_some_errors_that_name_nobody_are_no_verdict(provider: Harness, served: Existing) -> None:
    provider.admin.fault(":rawPredict", status=UNAVAILABLE, times=8)
    assert provider.create("Deployment", deployment(other_model(provider).id)).outputs["traffic"] == 100
    assert provider.admin.unmet_faults() == []


@pytest.mark.parametrize("named", [True, False])
def test_who_may_not_ask_is_told_the_permission(provider: Harness, served: Existing, named: bool) -> None:
    other = other_model(provider)
    message = "Permission 'aiplatform.endpoints.predict' denied" if named else "Forbidden"
    asked = len(provider.sent("POST", ":rawPredict"))
    provider.admin.fault(":rawPredict", status={"code": "PERMISSION_DENIED", "message": message})
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(other.id))
    assert len(provider.sent("POST", ":rawPredict")) == asked + 1
    for text in ("Grant the caller the permission aiplatform.endpoints.predict", "roles/aiplatform.user"):
        assert text in refused.value.text
    assert "`rollout: {smoke: false}`" in refused.value.text
    goes_on(provider, refused.value, other)


def test_one_that_is_never_asked_does_not_pass(provider: Harness, served: Existing, monkeypatch: Any) -> None:
    (old,) = ids(served)
    monkeypatch.setattr(probe, "ask", lambda *_: probe.Answer(old, 200))
    with pytest.raises(Refused, match="none of 270 requests was answered by it, though it had 5 %"):
        provider.create("Deployment", deployment(other_model(provider).id))
    assert provider.endpoint()["trafficSplit"] == {old: 100}


def test_errors_in_a_step_take_it_back(provider: Harness, served: Existing) -> None:
    other = other_model(provider)
    breaks(provider, planned_id(provider, other), nth=2, times=1000)
    rollout = {"steps": [50], "bakeSeconds": 20, "maxErrorPercent": 10}
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(other.id, rollout=rollout))
    assert (
        "did not pass the step of 50 %: 5 of 5 answers were errors (100 %, counted of this roll's own requests), over "
        "the limit of 10 %; the last: " in refused.value.text
    )
    assert provider.endpoint()["trafficSplit"] == {ids(served)[0]: 100}
    assert provider.deployed() == ids(served)


def in_its_step(provider: Harness, new_id: str, error: ApiError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second answer names nobody once the new one has half of the traffic."""
    ask, number = probe.ask, iter(range(10**6))

    def answers(vertex: Vertex, endpoint: dict[str, Any]) -> probe.Answer:
        if endpoint.get("trafficSplit", {}).get(new_id) == 50 and next(number) % 2:
            return probe.Answer("", 503, "no healthy upstream", error)
        return ask(vertex, endpoint)

    monkeypatch.setattr(probe, "ask", answers)


def test_errors_in_a_step_that_name_nobody_put_the_traffic_back(
    provider: Harness, served: Existing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that does not listen any more cannot be named by what is in front of it."""
    other = other_model(provider)
    in_its_step(
        provider, planned_id(provider, other), ApiError("UNAVAILABLE", "no healthy upstream"), monkeypatch
    )
    rollout = {"steps": [50], "bakeSeconds": 2}
    with pytest.raises(Refused) as refused:
        provider.create("Deployment", deployment(other.id, rollout=rollout))
    text = refused.value.text
    assert text.startswith("Could not finish the step of 50 % of deployed model ")
    assert (
        "requests of this roll had errors that name no deployed model (50 %), over the limit of 5 %; " in text
    )
    assert "the last: UNAVAILABLE: no healthy upstream" in text
    assert "It is healthy and stays, with 0 % of the traffic, and bills." in text
    assert provider.endpoint()["trafficSplit"] == {ids(served)[0]: 100}
    monkeypatch.undo()
    goes_on(provider, refused.value, other)


def test_a_step_says_who_was_not_asked(
    provider: Harness, served: Existing, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = other_model(provider)
    in_its_step(provider, planned_id(provider, other), ApiError("PERMISSION_DENIED", "No."), monkeypatch)
    provider.create("Deployment", deployment(other.id, rollout={"steps": [50], "bakeSeconds": 2}))
    (passed,) = [text for text in provider.texts("INFO") if text.startswith("step of 50 % passed")]
    assert "requests not answered by any (PERMISSION_DENIED)" in passed


@pytest.mark.parametrize(("nth", "stage"), [(1, "smoke test"), (2, "hand-over")])
def test_traffic_that_may_not_be_moved_ends_it(
    provider: Harness, served: Existing, nth: int, stage: str
) -> None:
    provider.admin.fault(
        "/endpoints/",
        method="PATCH",
        nth=nth,
        status={"code": "PERMISSION_DENIED", "message": "Permission 'aiplatform.endpoints.update' denied"},
    )
    other = other_model(provider)
    with pytest.raises(Refused, match=f"Could not finish the {stage} of deployed model") as refused:
        provider.create("Deployment", deployment(other.id))
    assert "Grant the caller the permission aiplatform.endpoints.update" in refused.value.text
    new_id, (old_id,) = planned_id(provider, other), ids(served)
    # What has answered keeps what it has, as after an interruption.
    assert provider.endpoint()["trafficSplit"] == ({old_id: 100} if nth == 1 else {old_id: 95, new_id: 5})
    goes_on(provider, refused.value, other)


def test_what_cannot_be_taken_away_is_kept_in_the_state(provider: Harness, served: Existing) -> None:
    other = other_model(provider)
    breaks(provider, planned_id(provider, other))
    denied = {"code": "PERMISSION_DENIED", "message": "Permission 'aiplatform.endpoints.undeploy' denied"}
    provider.admin.fault(":undeployModel", status=denied)
    with pytest.raises(Refused, match="is left could not be found out") as refused:
        provider.create("Deployment", deployment(other.id))
    saved = Existing(refused.value.id, refused.value.state, {})
    assert saved.outputs["status"] == "moving traffic"
    assert provider.endpoint()["trafficSplit"] == {ids(served)[0]: 100}
    # The next run goes on with it.
    done = provider.update("Deployment", saved, deployment(other.id))
    assert provider.endpoint()["trafficSplit"] == {ids(done)[0]: 100}
    assert len(provider.sent("POST", DEPLOY)) == 2


# Interrupted and killed


def test_an_interrupted_bake_goes_on_where_it_was(
    cloud: LocalCloud, served: Existing, moves: list[dict[str, int]]
) -> None:
    (old_id,) = ids(served)
    rollout = {"steps": [25, 50], "bakeSeconds": 60}
    with provider_on(cloud) as first:
        other = other_model(first)
        call = first.meanwhile(lambda: first.create("Deployment", deployment(other.id, rollout=rollout)))
        first.engine.wait_for("step of 25 %")
        first.cancel()
        with pytest.raises(Refused, match="Interrupted before deployed model") as refused:
            call.result(10)
    saved = Existing(refused.value.id, refused.value.state, {})
    assert saved.outputs["status"] == "moving traffic"
    assert first.endpoint()["trafficSplit"][old_id] == 75
    with provider_on(cloud) as second:
        rollout["bakeSeconds"] = 1
        done = second.update("Deployment", saved, deployment(other.id, rollout=rollout))
        (new_id,) = ids(done)
        assert [split[new_id] for split in moves] == [5, 25, 50, 100]
        assert len(second.sent("POST", DEPLOY)) == 2
        assert done.outputs["status"] is None


def test_a_resumed_roll_that_fails_gives_back_what_it_had(cloud: LocalCloud, served: Existing) -> None:
    (old_id,) = ids(served)
    with provider_on(cloud) as killed:
        other = other_model(killed)
        call = killed.meanwhile(
            lambda: killed.create(
                "Deployment", deployment(other.id, rollout={"steps": [40], "bakeSeconds": 60})
            )
        )
        killed.engine.wait_for("step of 40 %")
        with provider_on(cloud) as second:  # the engine and its provider are gone; nothing was saved
            assert second.endpoint()["trafficSplit"][old_id] == 60
            breaks(second, planned_id(second, other), times=1000)
            with pytest.raises(Refused, match="did not pass the smoke test"):
                second.create("Deployment", deployment(other.id))
            assert second.endpoint()["trafficSplit"] == {old_id: 100}
            assert second.deployed() == [old_id]
        killed.cancel()
        with pytest.raises(Refused):
            call.result(20)


def test_a_killed_roll_is_resumed_without_a_second_deployment(cloud: LocalCloud, served: Existing) -> None:
    with provider_on(cloud) as killed:
        other = other_model(killed)
        inputs = deployment(other.id, rollout={"steps": [40], "bakeSeconds": 60})
        call = killed.meanwhile(lambda: killed.create("Deployment", inputs))
        killed.engine.wait_for("step of 40 %")
        killed.cancel()
        with pytest.raises(Refused):
            call.result(10)
    with provider_on(cloud) as second:
        new = second.create("Deployment", deployment(other.id, rollout={"steps": [40]}))
        assert second.endpoint()["trafficSplit"] == {ids(new)[0]: 100}
        assert len(second.sent("POST", DEPLOY)) == 2


def test_one_that_serves_already_stays_whatever_it_answers(provider: Harness, served: Existing) -> None:
    (id,) = ids(served)
    breaks(provider, id)
    again = provider.create("Deployment", deployment(served.inputs["model"]))
    assert again.id == served.id
    assert provider.deployed() == [id]
    (warning,) = provider.texts("WARNING")
    assert warning.startswith(f"Deployed model {id} has all its traffic, but its first answer was HTTP 500: ")


def test_one_that_serves_already_stays_if_it_cannot_be_asked(provider: Harness, served: Existing) -> None:
    provider.admin.fault(":rawPredict", status=EXPIRED)
    assert provider.create("Deployment", deployment(served.inputs["model"])).id == served.id
    (warning,) = provider.texts("WARNING")
    assert warning.startswith(
        f"Deployed model {ids(served)[0]} has all its traffic, but could not be asked: UNAUTHENTICATED: "
    )


def test_a_dedicated_endpoint_is_asked_at_its_own_address(cloud: LocalCloud, provider: Harness) -> None:
    parent = ENDPOINT.rpartition("/")[0]
    body = {"displayName": "d", "dedicatedEndpointEnabled": True}
    cloud.http.post(f"/v1/{parent}", params={"endpointId": "77"}, json=body).raise_for_status()
    until(lambda: cloud.http.get(f"/v1/{parent}/77").status_code == 200)
    model = provider.create("Model", MODEL)
    made = provider.create("Deployment", deployment(model.id, endpoint=f"{parent}/77"))
    assert made.outputs["dedicatedEndpointDns"]
    assert provider.sent("POST", ":rawPredict")


# Several stacks on one endpoint


def canary_model(provider: Harness, percent: int | None = None) -> Existing:
    """A model of the provider's own stack, whose label tells the share that the stack declares."""
    labels = {"team": "search", **({"vertex-vllm-traffic": str(percent)} if percent else {})}
    args = [*CONTAINER["args"], f"--seed={len(provider.stack)}"]
    return provider.create("Model", {**MODEL, "labels": labels, "containerSpec": {**CONTAINER, "args": args}})


@pytest.fixture
def canary(cloud: LocalCloud) -> Iterator[Harness]:
    """The provider of another stack."""
    with provider_on(cloud, stack="canary") as harness:
        yield harness


def shares(provider: Harness) -> list[int]:
    """The shares of what is deployed, the largest first."""
    return sorted(provider.endpoint().get("trafficSplit", {}).values(), reverse=True)


@pytest.mark.parametrize("canary_first", [True, False])
def test_a_canary_has_its_share_in_either_order(
    provider: Harness, canary: Harness, canary_first: bool
) -> None:
    def stable_up() -> Existing:
        return provider.create("Deployment", deployment(canary_model(provider).id))

    def canary_up() -> Existing:
        return canary.create("Deployment", deployment(canary_model(canary, 10).id, trafficPercent=10))

    if canary_first:
        theirs = canary_up()
        assert shares(canary) == [100], "alone it has all of it, whatever it declares"
        mine = stable_up()
    else:
        mine, theirs = stable_up(), canary_up()
    split = {ids(mine)[0]: 90, ids(theirs)[0]: 10}
    assert provider.endpoint()["trafficSplit"] == split
    # Neither takes it from the other again, and neither sees a difference.
    provider.update("Deployment", mine, mine.inputs)
    canary.update("Deployment", theirs, theirs.inputs)
    assert provider.endpoint()["trafficSplit"] == split
    for harness, each in ((provider, mine), (canary, theirs)):
        read = harness.read("Deployment", each.id, each)
        assert read is not None
        assert read.inputs == each.inputs


def test_a_roll_hands_over_its_own_share_only(
    cloud: LocalCloud, provider: Harness, served: Existing, canary: Harness, moves: list[dict[str, int]]
) -> None:
    theirs = canary.create("Deployment", deployment(canary_model(canary, 10).id, trafficPercent=10))
    moves.clear()
    new = provider.create("Deployment", deployment(other_model(provider).id))
    (old_id, new_id, their_id) = ids(served, new, theirs)
    assert moves == [{old_id: 86, new_id: 4, their_id: 10}, {new_id: 90, their_id: 10}]
    moves.clear()
    rolled = canary.create("Deployment", deployment(theirs.inputs["model"], trafficPercent=10, spot=True))
    assert moves == [
        {new_id: 90, their_id: 9, ids(rolled)[0]: 1},
        {new_id: 90, ids(rolled)[0]: 10},
    ]
    with provider_on(cloud, stack="canary") as again:
        again.delete("Deployment", theirs)
        assert again.endpoint()["trafficSplit"] == {new_id: 90, ids(rolled)[0]: 10}


@pytest.mark.parametrize("gone", ["canary", "test"])
def test_one_that_is_destroyed_leaves_its_share_to_the_rest(
    cloud: LocalCloud, served: Existing, canary: Harness, gone: str
) -> None:
    theirs = canary.create("Deployment", deployment(canary_model(canary, 10).id, trafficPercent=10))
    leaves, stays = (theirs, served) if gone == "canary" else (served, theirs)
    with provider_on(cloud, stack=gone) as destroying:
        destroying.delete("Deployment", leaves)
        assert destroying.endpoint()["trafficSplit"] == {ids(stays)[0]: 100}
        assert destroying.deployed() == ids(stays)
        # The traffic first, then the undeployment, then a look whether it is gone.
        changing = [each for each in destroying.admin.requests() if each["method"] in ("PATCH", "POST")]
        (moved, undeployed) = changing[-2:]
        assert (moved["method"], undeployed["path"].rpartition(":")[2]) == ("PATCH", "undeployModel")


def test_what_google_still_lists_is_waited_for(
    cloud: LocalCloud, served: Existing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint is deleted next: it must not be refused for a model that is undeployed already."""
    (id,) = ids(served)
    get_endpoint, looks = Vertex.get_endpoint, []

    def late(self: Vertex, name: str) -> Any:
        seen = get_endpoint(self, name)
        looks.append(bool(seen and seen.get("deployedModels")))
        if seen is not None and not looks[-1] and len(looks) < 4:
            return {**seen, "deployedModels": [{"id": id}]}
        return seen

    monkeypatch.setattr(Vertex, "get_endpoint", late)
    with provider_on(cloud) as destroying:
        destroying.delete("Deployment", served)
        assert len(destroying.sent("POST", ":undeployModel")) == 1
    assert looks == [True, False, False, False]


def test_a_failed_canary_gives_back_what_it_took(
    provider: Harness, served: Existing, canary: Harness
) -> None:
    model = canary_model(canary, 10)
    breaks(canary, planned_id(canary, model, trafficPercent=10))
    with pytest.raises(Refused, match="did not pass the smoke test"):
        canary.create("Deployment", deployment(model.id, trafficPercent=10))
    assert provider.endpoint()["trafficSplit"] == {ids(served)[0]: 100}


def test_a_changed_share_moves_in_place(provider: Harness, served: Existing, canary: Harness) -> None:
    model = canary_model(canary, 10)
    theirs = canary.create("Deployment", deployment(model.id, trafficPercent=10))
    answer = canary.diff("Deployment", theirs, deployment(model.id, trafficPercent=25))
    assert list(answer.diffs) == ["trafficPercent"]
    assert not answer.replaces
    canary.update("Deployment", theirs, deployment(model.id, trafficPercent=25))
    assert canary.endpoint()["trafficSplit"] == {ids(served)[0]: 75, ids(theirs)[0]: 25}


def test_two_that_declare_nothing_are_refused_before_anything_is_paid(
    provider: Harness, served: Existing, canary: Harness
) -> None:
    with pytest.raises(Refused) as refused:
        canary.create("Deployment", deployment(canary_model(canary).id))
    for text in (
        "has no traffic for deployed model",
        "stack test of project vertex-vllm has 100 % without having declared a share",
        "endpoint.traffic in the stack files of all stacks but one",
    ):
        assert text in refused.value.text
    assert len(canary.sent("POST", DEPLOY)) == 1
    assert refused.value.partial is None


# Drift


def test_moved_traffic_is_seen_and_put_back(provider: Harness, served: Existing, canary: Harness) -> None:
    theirs = canary.create("Deployment", deployment(canary_model(canary, 10).id, trafficPercent=10))
    mine_id, their_id = ids(served, theirs)
    provider.patch(ENDPOINT, "trafficSplit", {"trafficSplit": {mine_id: 50, their_id: 50}})
    read = provider.read("Deployment", served.id, served)
    assert read is not None
    assert read.inputs["trafficPercent"] == 50
    answer = provider.diff("Deployment", read, deployment(served.inputs["model"]))
    assert list(answer.diffs) == ["trafficPercent"]
    assert not answer.replaces
    provider.update("Deployment", read, deployment(served.inputs["model"]))
    assert provider.endpoint()["trafficSplit"] == {mine_id: 90, their_id: 10}


def test_an_endpoint_without_a_split_is_seen_and_put_back(provider: Harness, served: Existing) -> None:
    provider.patch(ENDPOINT, "trafficSplit", {"trafficSplit": {}})
    read = provider.read("Deployment", served.id, served)
    assert read is not None
    assert read.inputs["trafficPercent"] == read.outputs["traffic"] == 0
    provider.update("Deployment", read, served.inputs)
    assert provider.endpoint()["trafficSplit"] == {ids(served)[0]: 100}


def test_how_to_roll_is_no_content(provider: Harness, served: Existing) -> None:
    rollout = {"strategy": "recreate", "smoke": False, "steps": [10], "bakeSeconds": 5, "maxErrorPercent": 1}
    answer = provider.diff("Deployment", served, deployment(served.inputs["model"], rollout=rollout))
    assert answer.changes == answer.DIFF_NONE

"""The verdicts: what labels, states and the time say together. When in doubt a thing is kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.sweep.found import Thing, deployed, key_of, words
from infra.sweep.judge import Verdict, judge, judge_all
from infra.sweep.remove import in_order
from infra.sweep.states import StackState, States

NOW = datetime(2026, 11, 26, 18, 0, tzinfo=UTC)
ENDPOINT = "projects/123/locations/us-central1/endpoints/12"
NAME = f"{ENDPOINT}/deployedModels/7"
URN = "urn:pulumi:dev::vertex-vllm::vertexserving:index:Deployment::vllm"
OURS = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "dev"}


def thing(**changes: Any) -> Thing:
    """A deployment of the stack dev, ten hours old."""
    values: dict[str, Any] = {
        "kind": "deployment",
        "name": NAME,
        "project_label": "vertex-vllm",
        "stack_label": "dev",
        "created": NOW - timedelta(hours=10),
        "hours": 10.0,
    }
    return Thing(**{**values, **changes})


def state(name: str = "dev", *keys: str, **changes: Any) -> StackState:
    return StackState(name=name, urns=dict.fromkeys(map(key_of, keys), URN), **changes)


def states(*stacks: StackState, **changes: Any) -> States:
    return States(project_label="vertex-vllm", stacks=stacks, **changes)


HAS = state("dev", "projects/my-project/locations/us-central1/endpoints/12/deployedModels/7")
LOCK = "pulumi (process 7 on here) works on it since 2026"


@pytest.mark.parametrize(
    ("found", "known", "verdict"),
    [
        (thing(), states(HAS), Verdict.IN_STATE),  # the id in the state, the number in Google's answer
        (thing(), states(state()), Verdict.NO_STATE),
        (thing(), states(state(pending=1)), Verdict.NO_STATE),  # killed: no lock is there
        (thing(), states(state(run=LOCK)), Verdict.IN_PROGRESS),
        (thing(), states(state(pending=1, run_known=False)), Verdict.IN_PROGRESS),
        (thing(), states(state(run_known=False)), Verdict.NO_STATE),
        (thing(operation="o"), states(state(run_known=False)), Verdict.IN_PROGRESS),
        (thing(operation="o"), states(state()), Verdict.NO_STATE),
        (thing(), states(state(unread="no passphrase")), Verdict.UNREADABLE),
        (thing(), states(), Verdict.UNREADABLE),
        (thing(), states(unread="There is no pulumi on PATH."), Verdict.UNREADABLE),
        (thing(), states(gone=frozenset({"dev"})), Verdict.NO_STATE),
        (thing(), states(replace(HAS, name="renamed"), gone=frozenset({"dev"})), Verdict.IN_STATE),
        (thing(), states(replace(HAS, name="renamed")), Verdict.IN_STATE),
        (thing(), states(replace(HAS, name="renamed"), state()), Verdict.IN_STATE),
        (thing(project_label="another"), states(state(), gone=frozenset({"dev"})), Verdict.UNREADABLE),
        (thing(stack_label="other"), states(state()), Verdict.UNREADABLE),
        (thing(shared="its model is another's"), states(state()), Verdict.SHARED),
        (thing(shared="another's endpoint"), states(HAS), Verdict.IN_STATE),  # a canary
        (thing(shared="another's endpoint", expiry="8h"), states(HAS), Verdict.EXPIRED),
        (thing(operation="o"), states(state(), state("can", run=LOCK)), Verdict.IN_PROGRESS),
        (thing(operation="o"), states(state(), state("can", "o")), Verdict.IN_STATE),
        (thing(operation="o"), states(state(), state("can")), Verdict.NO_STATE),
        (thing(expiry="8h"), states(HAS), Verdict.EXPIRED),
        (thing(expiry="11h"), states(HAS), Verdict.IN_STATE),
        (thing(expiry="2026-11-25"), states(HAS), Verdict.EXPIRED),
        (thing(expiry="2026-11-26"), states(HAS), Verdict.IN_STATE),
        (thing(expiry="never"), states(HAS), Verdict.IN_STATE),
        (thing(expiry="8h"), states(replace(HAS, run=LOCK)), Verdict.IN_PROGRESS),
        (thing(expiry="8h"), states(replace(HAS, pending=1, run_known=False)), Verdict.IN_PROGRESS),
        (thing(expiry="8h"), states(), Verdict.UNREADABLE),
        (thing(expiry="8h", created=None), states(HAS), Verdict.IN_STATE),
        (
            thing(kind="endpoint", name=ENDPOINT, expiry="2026-11-25"),
            states(state("dev", ENDPOINT)),
            Verdict.IN_STATE,
        ),
    ],
)
def test_verdicts(found: Thing, known: States, verdict: Verdict) -> None:
    assert judge(found, known, NOW).verdict is verdict


def test_two_stacks_with_one_label_both_have_to_be_read() -> None:
    found = thing(stack_label="a-b")
    assert judge(found, states(state("a.b"), state("a-b")), NOW).verdict is Verdict.NO_STATE
    assert judge(found, states(state("a.b"), state("a-b", NAME)), NOW).verdict is Verdict.IN_STATE
    assert judge(found, states(state("a.b"), state("a-b", unread="no")), NOW).verdict is Verdict.UNREADABLE
    assert judge(found, states(state("a.b"), state("a-b", run=LOCK)), NOW).verdict is Verdict.IN_PROGRESS


LAST_RUN = NOW - timedelta(hours=20)
GONE = frozenset({"dev"})


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (
            states(state(written=LAST_RUN)),
            Verdict.UNREADABLE,
        ),  # another backend's stack of that name, perhaps
        (states(state(written=NOW - timedelta(hours=9))), Verdict.NO_STATE),
        (states(state(written=NOW - timedelta(hours=10, minutes=5))), Verdict.NO_STATE),  # clocks differ
        (states(state(written=LAST_RUN, pending=1)), Verdict.NO_STATE),  # killed before it could write
        (states(state(written=LAST_RUN), gone=GONE), Verdict.NO_STATE),
        (states(state(written=LAST_RUN, run=LOCK), gone=GONE), Verdict.IN_PROGRESS),
        (states(replace(HAS, written=LAST_RUN)), Verdict.IN_STATE),
        (states(state("Dev"), state(written=LAST_RUN)), Verdict.NO_STATE),  # one does not say when
    ],
)
def test_what_was_made_after_the_last_run_may_be_another_backends(known: States, verdict: Verdict) -> None:
    found = thing(stack_label="dev")
    case = judge(found, known, NOW)
    assert case.verdict is verdict
    if verdict is Verdict.UNREADABLE:
        assert "made 2026-11-26 08:00 UTC, after the last run on stack dev of this backend" in case.why
        assert "--gone dev" in case.why


def test_what_has_no_time_follows_what_has_the_same_labels() -> None:
    account = thing(kind="service account", name="projects/p/serviceAccounts/a@b", created=None)
    other = replace(account, stack_label="other")
    known = states(state(written=LAST_RUN), state("other", written=LAST_RUN))
    assert [case.verdict for case in judge_all([account, other], known, NOW)] == [Verdict.NO_STATE] * 2
    verdicts = [case.verdict for case in judge_all([thing(), account, other], known, NOW)]
    assert verdicts == [Verdict.UNREADABLE, Verdict.UNREADABLE, Verdict.NO_STATE]


def test_a_state_that_cannot_be_read_may_be_that_of_a_renamed_stack() -> None:
    renamed = state("prod", unread="pulumi did not answer", failed=True)
    never = state("new", unread="stack new of this backend was never deployed")
    for gone in (frozenset(), GONE):
        case = judge(thing(), states(state(), renamed, gone=gone), NOW)
        assert case.verdict is Verdict.UNREADABLE
        assert case.why == "stack prod may have it: pulumi did not answer"
        assert judge(thing(), states(renamed, gone=gone), NOW).verdict is Verdict.UNREADABLE
    assert judge(thing(), states(HAS, renamed), NOW).verdict is Verdict.IN_STATE
    assert judge(thing(), states(state(), never), NOW).verdict is Verdict.NO_STATE


def test_nothing_is_gone_from_a_backend_that_cannot_be_asked() -> None:
    case = judge(thing(), states(unread="There is no pulumi on PATH.", gone=GONE), NOW)
    assert (case.verdict, case.why) == (Verdict.UNREADABLE, "There is no pulumi on PATH.")


def test_what_another_stack_is_on_or_runs_as_is_kept() -> None:
    account = "projects/p/serviceAccounts/vertex-vllm-dev@p.iam.gserviceaccount.com"
    user = state("can", uses=frozenset({key_of(account), key_of(ENDPOINT)}))
    for kind, name in (("service account", account), ("endpoint", ENDPOINT)):
        for known in (states(state(), user), states(user, gone=GONE)):
            case = judge(thing(kind=kind, name=name), known, NOW)
            assert (case.verdict, case.why) == (Verdict.SHARED, "stack can uses it")


@pytest.mark.parametrize(
    ("known", "verdict"),
    [
        (states(state("can"), state("main")), Verdict.NO_STATE),
        (states(state("can"), state("main", run=LOCK)), Verdict.IN_PROGRESS),
        (states(state("can", run=LOCK), state("main")), Verdict.IN_PROGRESS),
        (states(state("can")), Verdict.SHARED),  # main is another backend's
        (states(state("main")), Verdict.SHARED),
        (states(state("can"), state("main", unread="no")), Verdict.SHARED),
        (states(state("main"), gone=frozenset({"can"})), Verdict.NO_STATE),
        (states(state("can", written=LAST_RUN), state("main", written=NOW)), Verdict.UNREADABLE),
    ],
)
def test_a_canary_is_in_no_state_only_where_both_stacks_are_read(known: States, verdict: Verdict) -> None:
    found = thing(
        stack_label="can", shared="the endpoint 12 is not this stack's", host=("vertex-vllm", "main")
    )
    assert judge(found, known, NOW).verdict is verdict


def test_what_was_on_an_imported_endpoint_before_is_not_the_stacks() -> None:
    imported = {key_of(ENDPOINT): NOW - timedelta(hours=1)}
    case = judge(thing(), states(state("dev", ENDPOINT, since=imported)), NOW)
    assert case.verdict is Verdict.SHARED
    assert case.why == "it was on the endpoint before stack dev took that over"
    made = {key_of(ENDPOINT): NOW - timedelta(hours=11)}
    assert judge(thing(), states(state("dev", ENDPOINT, since=made)), NOW).verdict is Verdict.NO_STATE


def test_a_deployment_that_was_interrupted_is_known_by_its_operation() -> None:
    operation = "projects/123/locations/us-central1/endpoints/12/operations/99"
    found = thing(name=f"{ENDPOINT}/operations/99", operation=operation)
    assert judge(found, states(state("dev", operation)), NOW).verdict is Verdict.IN_STATE


def test_what_expired_names_the_stack_and_the_resource_that_has_it() -> None:
    case = judge(thing(expiry="8h"), states(HAS), NOW)
    assert (case.stack, case.urn) == ("dev", URN)
    assert case.why == "expiry 8h, passed 2026-11-26 16:00 UTC"


@pytest.mark.parametrize(
    ("endpoint", "model", "owner", "shared"),
    [
        (OURS, OURS, "dev", ""),
        (OURS, None, "dev", ""),  # the model is gone
        (OURS, {}, "dev", "its model m is not this stack's"),
        (
            OURS,
            {**OURS, "vertex-vllm-stack": "prod"},
            "prod",
            "the endpoint 12 is not this stack's",
        ),  # a canary
        ({}, OURS, "dev", "the endpoint 12 is not this stack's"),
        ({}, {}, "", ""),
        ({"vertex-vllm-stack": "dev"}, {}, "", ""),  # one of two labels is none of ours
    ],
)
def test_whose_a_deployment_is(endpoint: Any, model: Any, owner: str, shared: str) -> None:
    live = {
        "id": "7",
        "model": "projects/123/locations/us-central1/models/m",
        "modelVersionId": "1",
        "createTime": "2026-11-26T08:00:00Z",
    }
    models = {} if model is None else {"locations/us-central1/models/m": model}
    found = deployed({"name": ENDPOINT, "labels": endpoint}, live, models, "us-central1", NOW)
    assert (found.stack_label, found.shared) == (owner, shared)
    assert found.host == (("vertex-vllm", "dev") if owner == "prod" else None)


def test_a_canary_expires_by_its_own_label() -> None:
    canary = {**OURS, "vertex-vllm-stack": "can", "expiry": "8h"}
    live = {"id": "7", "model": "projects/123/locations/us-central1/models/m"}
    models = {"locations/us-central1/models/m": canary}
    found = deployed({"name": ENDPOINT, "labels": OURS}, live, models, "us-central1", NOW)
    assert (found.stack_label, found.expiry) == ("can", "8h")


def test_words_have_the_age_and_the_cost() -> None:
    machine = {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}
    live = {
        "id": "7",
        "model": "m",
        "createTime": "2026-11-26T08:00:00Z",
        "dedicatedResources": {"machineSpec": machine, "minReplicaCount": 1, "maxReplicaCount": 3},
    }
    found = deployed({"name": ENDPOINT, "labels": OURS}, live, {}, "us-central1", NOW)
    assert words(found) == (
        "deployed model 7 on endpoint 12 in us-central1, g2-standard-12 with 1 x NVIDIA_L4, 10 h old, "
        "11.51 to 34.52 USD so far"
    )
    assert found.as_dict()["usd_so_far"] == {"least": 11.5069, "most": 34.5207}


def test_deployments_go_first_and_buckets_last() -> None:
    kinds = ("bucket", "model", "endpoint", "service account", "deployment")
    cases = [judge(thing(kind=kind, name=kind), states(state()), NOW) for kind in kinds]
    assert [case.thing.kind for case in in_order(cases)] == [
        "deployment",
        "endpoint",
        "model",
        "service account",
        "bucket",
    ]

"""Names, ids, addresses, traffic and time: what needs no cloud."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import ids
from infra.plugin import UNKNOWN
from infra.provider import names, operations, retry, traffic
from infra.provider.access import Access, AccessError, access
from infra.provider.failures import ApiError
from tests.provider.samples import Quiet

LOCAL = "http://127.0.0.1:8099"


@pytest.mark.parametrize(
    ("wanted", "recorded", "named", "still"),
    [
        ("p", "p", "123", True),
        ("p", "123", "123", True),
        ("123", "p", "123", True),
        ("p", "q", "123", False),
        ("124", "123", "123", False),
        ("124", "p", "123", False),
        ("124", "p", "p", True),
        (UNKNOWN, "p", "123", False),
        ("p", None, "123", False),
    ],
)
def test_a_project_by_its_id_and_by_its_number(wanted: Any, recorded: Any, named: str, still: bool) -> None:
    assert names.still_in_project(wanted, recorded, named) is still


@given(st.text(max_size=80), st.dictionaries(st.text(max_size=5), st.integers()))
def test_model_ids_have_googles_form(word: str, content: dict[str, int]) -> None:
    id = ids.model_id(word, content)
    assert re.fullmatch("[a-z_][a-z0-9_-]{0,62}", id)
    assert id == ids.model_id(word, dict(reversed(content.items())))
    assert id != ids.model_id(word, {**content, "more": 1.5})


@given(st.dictionaries(st.text(max_size=5), st.integers()))
def test_deployed_model_ids_have_googles_form(content: dict[str, int]) -> None:
    assert re.fullmatch("[1-9][0-9]{9}", ids.deployed_model_id(content))


def test_names_in_parts() -> None:
    name = names.model_name("projects/p/locations/l/models/m@2")
    assert name == names.Name("p", "l", "m", "2")
    assert names.model_name("models/m") is None
    assert names.endpoint_name("5", "p", "l") == names.Name("p", "l", "5")
    assert names.endpoint_name("a/b") is None
    assert names.deployed_model_name("projects/p/locations/l/endpoints/5/deployedModels/7") == (
        "projects/p/locations/l/endpoints/5",
        "7",
    )


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("projects/p/locations/l/models/m", "projects/123/locations/l/models/m", True),
        ("projects/p/locations/l/models/m", "projects/q/locations/l/models/m", False),
        ("projects/1/locations/l/models/m", "projects/2/locations/l/models/m", False),
        ("projects/p/locations/l/models/m", "projects/p/locations/l/models/m@1", False),
        ("projects/p/locations/l/models/m", "m", False),
    ],
)
def test_same_model(a: str, b: str, equal: bool) -> None:
    assert names.same(names.model_name(a), names.model_name(b)) is equal


def test_traffic_that_need_not_move() -> None:
    alone = {"deployedModels": [{"id": "1"}], "trafficSplit": {"1": 100}}
    assert traffic.without(alone, "1") is None
    idle = {"deployedModels": [{"id": "1"}, {"id": "2"}], "trafficSplit": {"2": 100}}
    assert traffic.without(idle, "1") is None
    assert traffic.without({}, "1") is None


def test_access_to_google() -> None:
    way = access({}, {"GOOGLE_CREDENTIALS": "/key.json"})
    assert way == Access(credentials="/key.json")
    assert way.api_url("europe-west4") == "https://europe-west4-aiplatform.googleapis.com"
    assert way.storage_url == "https://storage.googleapis.com/storage/v1"


@pytest.mark.parametrize("address", [LOCAL, f"{LOCAL}/", f"{LOCAL}/v1beta1/", f"{LOCAL}/v1"])
def test_access_to_this_machine_never_leaves_it(address: str) -> None:
    way = access({}, {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": address, "GOOGLE_CREDENTIALS": "/key.json"})
    assert way.api_url("us-central1") == LOCAL
    assert way.logging_url == f"{LOCAL}/v2"
    assert way.storage_url == f"{LOCAL}/storage/v1"
    assert way.anonymous
    assert way.credentials is None


def test_configuration_comes_before_the_environment() -> None:
    config = {
        "apiEndpoint": LOCAL,
        "accessToken": "mine",
        "storageEndpoint": "http://localhost:1/storage/v1/",
    }
    environment = {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": "http://other", "GOOGLE_OAUTH_ACCESS_TOKEN": "theirs"}
    way = access(config, environment)
    assert (way.api_endpoint, way.token, way.anonymous) == (LOCAL, "mine", False)
    assert way.storage_url == "http://localhost:1/storage/v1"


def test_an_address_elsewhere_is_only_for_vertex() -> None:
    way = access({}, {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": "https://psc.example.com/v1/"})
    assert way.api_endpoint == "https://psc.example.com"
    assert way.logging_url == "https://logging.googleapis.com/v2"
    assert not way.anonymous


def test_a_wrong_address_is_explained() -> None:
    with pytest.raises(AccessError) as error:
        access({}, {"GOOGLE_STORAGE_CUSTOM_ENDPOINT": "127.0.0.1:80"})
    assert str(error.value) == (
        "GOOGLE_STORAGE_CUSTOM_ENDPOINT is '127.0.0.1:80', which is no address. Give a URL with a scheme and a host, "
        "for example http://127.0.0.1:8099/v1beta1/."
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (192, "3m12s"), (3665, "61m05s"), (-1, "0s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert operations.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(7200, "120 min"), (1800, "30 min"), (90, "1m30s"), (5, "5s")])
def test_limit(seconds: float, text: str) -> None:
    assert operations.limit_of(seconds) == text


def test_stages_are_those_of_the_client_library() -> None:
    from google.cloud.aiplatform_v1.types import DeploymentStage

    every: Any = DeploymentStage
    assert {each.value: each.name for each in every if each.value} == dict(operations.STAGES)


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (ApiError("RESOURCE_EXHAUSTED", "The following quotas are exceeded: x"), 0),
        (ApiError("INVALID_ARGUMENT", "no"), 0),
        (ApiError("PERMISSION_DENIED", "no"), 0),
        (ApiError("FAILED_PRECONDITION", "Model server exited unexpectedly."), 0),
        (ApiError("INTERNAL", "oops"), 3),
        (ApiError("UNAVAILABLE", "Machine type temporarily unavailable, please deploy with another"), 2),
    ],
)
def test_patience_ends(error: ApiError, tries: int) -> None:
    ctx = Quiet()
    patience = retry.Patience(ctx, retry.CHANGE, 0.0)
    assert [patience.again(error) for _ in range(tries + 1)] == [True] * tries + [False]
    assert len(ctx.shown) == tries


def test_no_pause_is_begun_that_outlasts_the_limit() -> None:
    ctx = Quiet()
    patience = retry.Patience(ctx, retry.CHANGE, 1.0)
    assert not patience.again(ApiError("INTERNAL", "oops"), before=1.0)
    assert not ctx.shown


def test_a_pause_ends_when_the_user_interrupts() -> None:
    ctx = Quiet()
    ctx.cancelled.set()
    patience = retry.Patience(ctx, retry.CHANGE, 1000.0)
    with pytest.raises(retry.Interrupted):
        patience.again(ApiError("INTERNAL", "oops"))


def test_a_call_that_hangs_is_left_when_the_user_interrupts() -> None:
    ctx = Quiet()
    never = threading.Event()
    threading.Timer(0.05, ctx.cancelled.set).start()
    with pytest.raises(retry.Interrupted):
        retry.interruptibly(ctx, lambda: never.wait(30))
    never.set()


def test_a_call_hands_on_its_result_and_its_error() -> None:
    ctx = Quiet()
    assert retry.interruptibly(ctx, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        retry.interruptibly(ctx, lambda: 1 // 0)

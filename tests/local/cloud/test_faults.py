from __future__ import annotations

import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from infra.local.cloud.testing import LocalCloud

_PROJECT = "/v1/projects/local-project"


def test_the_nth_matching_request_gets_the_planned_error(cloud: LocalCloud) -> None:
    fault = cloud.admin.fault(
        r"/projects/[^/]+$", method="GET", nth=2, times=2, status={"code": "UNAVAILABLE", "message": "later"}
    )
    cloud.http.post(f"{_PROJECT}:getIamPolicy", json={})
    statuses = [cloud.http.get(_PROJECT).status_code for _ in range(4)]
    assert statuses == [200, 503, 503, 200]
    planned = cloud.admin.call("GET", "faults")["faults"][0]
    assert (planned["id"], planned["seen"], planned["met"]) == (fault, 4, 2)
    assert not cloud.admin.unmet_faults()
    struck = [record for record in cloud.admin.requests() if record.get("fault")]
    assert [record["status"] for record in struck] == [503, 503]


def test_an_unmet_fault_is_shown(cloud: LocalCloud) -> None:
    cloud.admin.fault("/never", status={"code": "INTERNAL"})
    assert [fault["path"] for fault in cloud.admin.unmet_faults()] == ["/never"]
    cloud.admin.call("DELETE", "faults")
    assert not cloud.admin.unmet_faults()


def test_storage_faults_wear_storages_envelope(cloud: LocalCloud) -> None:
    cloud.admin.fault("/storage/v1/b", status={"code": "RESOURCE_EXHAUSTED", "message": "slow down"})
    answer = cloud.http.get("/storage/v1/b?project=local-project")
    assert answer.status_code == 429
    assert answer.json()["error"]["errors"] == [
        {"message": "slow down", "domain": "global", "reason": "rateLimitExceeded"}
    ]


@pytest.mark.parametrize(("when", "exists"), [("before", False), ("after", True)])
def test_a_dropped_connection_before_and_after_the_work(cloud: LocalCloud, when: str, exists: bool) -> None:
    cloud.admin.fault("/serviceAccounts$", method="POST", reset=when)
    with pytest.raises(httpx.TransportError):
        cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"})
    accounts = cloud.http.get(f"{_PROJECT}/serviceAccounts").json().get("accounts", [])
    assert bool(accounts) is exists
    assert not cloud.admin.unmet_faults()


def test_a_delay_is_served_afterwards(cloud: LocalCloud) -> None:
    cloud.admin.fault(_PROJECT, delaySeconds=0.01)
    assert cloud.http.get(_PROJECT).status_code == 200
    assert cloud.admin.requests()[-1]["fault"]
    assert not cloud.admin.unmet_faults()


def test_an_operation_fault_ends_the_operation_and_counts_then(cloud: LocalCloud) -> None:
    cloud.admin.timing(mode="manual")
    cloud.admin.fault(":enable$", operationError={"code": "RESOURCE_EXHAUSTED", "message": "no quota"})
    path = f"{_PROJECT}/services/compute.googleapis.com"
    name = cloud.http.post(f"{path}:enable", json={}).json()["name"]
    assert cloud.admin.unmet_faults()
    cloud.admin.advance()
    operation = cloud.finished(f"/v1/{name}")
    assert operation["error"] == {"code": 8, "message": "no quota"}
    assert cloud.http.get(path).json()["state"] == "DISABLED"
    assert not cloud.admin.unmet_faults()


_ENABLE = f"{_PROJECT}/services/compute.googleapis.com"


def _started(cloud: LocalCloud) -> str:
    return str(cloud.http.post(f"{_ENABLE}:enable", json={}).json()["name"])


@pytest.mark.parametrize("style", ["seconds", "date"])
def test_retry_after_in_both_of_its_forms(cloud: LocalCloud, style: str) -> None:
    cloud.admin.fault(
        _PROJECT, status={"code": "RESOURCE_EXHAUSTED", "retryAfterSeconds": 7, "retryAfterAs": style}
    )
    answer = cloud.http.get(_PROJECT)
    assert answer.status_code == 429
    given = answer.headers["retry-after"]
    if style == "seconds":
        assert given == "7"
    else:
        assert 5 <= parsedate_to_datetime(given).timestamp() - time.time() <= 8
    assert not cloud.admin.unmet_faults()


def test_an_expired_token_in_googles_words(cloud: LocalCloud) -> None:
    cloud.admin.fault(_PROJECT, status={"code": "UNAUTHENTICATED"})
    answer = cloud.http.get(_PROJECT)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.json()["error"]["details"][0]["reason"] == "ACCESS_TOKEN_EXPIRED"


@pytest.mark.parametrize(("http", "phrase"), [(502, "Bad Gateway"), (504, "Gateway Timeout"), (599, "Error")])
def test_the_page_of_a_proxy(cloud: LocalCloud, http: int, phrase: str) -> None:
    cloud.admin.fault("/serviceAccounts$", proxy=http)
    answer = cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"})
    assert (answer.status_code, answer.headers["content-type"]) == (http, "text/html; charset=utf-8")
    assert f"<title>{http} {phrase}</title>" in answer.text
    assert not cloud.http.get(f"{_PROJECT}/serviceAccounts").json()


def test_a_cut_off_body_after_the_work(cloud: LocalCloud) -> None:
    cloud.admin.fault("/serviceAccounts$", method="POST", body="truncated")
    with pytest.raises(httpx.TransportError):
        cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"})
    assert cloud.http.get(f"{_PROJECT}/serviceAccounts").json()["accounts"]


def test_a_body_that_is_no_json_after_the_work(cloud: LocalCloud) -> None:
    cloud.admin.fault("/serviceAccounts$", method="POST", body="garbled")
    answer = cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"})
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="decode"):
        answer.json()
    assert cloud.http.get(f"{_PROJECT}/serviceAccounts").json()["accounts"]


@pytest.mark.parametrize("when", ["delaySeconds", "answerDelaySeconds"])
def test_an_answer_slower_than_the_client(cloud: LocalCloud, when: str) -> None:
    delay: dict[str, Any] = {when: 0.4}
    cloud.admin.fault("/serviceAccounts$", method="POST", **delay)
    with pytest.raises(httpx.ReadTimeout):
        cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"}, timeout=0.1)
    early = bool(cloud.http.get(f"{_PROJECT}/serviceAccounts").json())
    assert early is (when == "answerDelaySeconds")
    deadline = time.monotonic() + 10
    while not cloud.http.get(f"{_PROJECT}/serviceAccounts").json():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_operation_that_never_ends_until_the_plan_is_cleared(cloud: LocalCloud) -> None:
    cloud.admin.fault(":enable$", operationStuck={})
    name = _started(cloud)
    time.sleep(0.1)
    assert "done" not in cloud.http.get(f"/v1/{name}").json()
    assert not cloud.admin.unmet_faults()
    cloud.admin.call("DELETE", "faults")
    assert cloud.finished(f"/v1/{name}")["response"]


@pytest.mark.parametrize(("how", "state"), [("running", "ENABLED"), ("dropped", "DISABLED")])
def test_an_operation_that_is_lost(cloud: LocalCloud, how: str, state: str) -> None:
    cloud.admin.fault(":enable$", operationLost=how)
    name = _started(cloud)
    assert cloud.admin.unmet_faults()
    assert [cloud.http.get(f"/v1/{name}").status_code for _ in range(2)] == [404, 404]
    assert cloud.http.get(_ENABLE).json()["state"] == state
    assert [fault["met"] for fault in cloud.admin.call("GET", "faults")["faults"]] == [1]


def test_a_denial_for_some_seconds_after_a_grant(cloud: LocalCloud) -> None:
    cloud.admin.fault(
        r"/projects/[^/:]+$",
        after=":setIamPolicy$",
        seconds=60,
        status={"code": "PERMISSION_DENIED", "message": "not yet"},
    )
    assert cloud.http.get(_PROJECT).status_code == 200
    policy = cloud.http.post(f"{_PROJECT}:getIamPolicy", json={}).json()
    cloud.http.post(f"{_PROJECT}:setIamPolicy", json={"policy": policy}).raise_for_status()
    assert [cloud.http.get(_PROJECT).status_code for _ in range(3)] == [403, 403, 403]
    cloud.admin.advance_clock(61)
    assert cloud.http.get(_PROJECT).status_code == 200
    assert not cloud.admin.unmet_faults()


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"action": {"reset": "before"}}, "needs a path"),
        ({"path": "x", "action": {}}, "an action"),
        ({"path": "(", "action": {"reset": "before"}}, "not a regular expression"),
        ({"path": "x", "action": {"reset": "never"}}, "one of before, after"),
        ({"path": "x", "action": {"status": {"code": "TEAPOT"}}}, "one of ABORTED"),
        ({"path": "x", "after": "(", "action": {"reset": "before"}}, "The after '(' is not a regular"),
        ({"path": "x", "action": {"body": "lost"}}, "one of truncated, garbled"),
        ({"path": "x", "action": {"operationLost": "found"}}, "one of running, dropped"),
        ({"path": "x", "action": {"proxy": 200}}, "from 400 to 599"),
        (
            {"path": "x", "action": {"status": {"code": "INTERNAL", "retryAfterAs": "days"}}},
            "one of seconds, date",
        ),
        ({"path": "x", "action": {"explode": True}}, 'Unknown name "explode"'),
    ],
)
def test_bad_plans_are_refused(cloud: LocalCloud, body: dict[str, object], text: str) -> None:
    answer = cloud.http.post("/_local/faults", json=body)
    assert answer.status_code == 400
    assert text in answer.json()["error"]["message"]


@pytest.mark.parametrize(("when", "exists"), [("before", False), ("after", True)])
@pytest.mark.parametrize("drop", [True, False])
def test_a_held_request_waits_where_it_is_told(
    cloud: LocalCloud, when: str, exists: bool, drop: bool
) -> None:
    fault = cloud.admin.fault("/serviceAccounts$", method="POST", hold=when)
    made: list[int] = []

    def make() -> None:
        try:
            made.append(
                cloud.http.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"}).status_code
            )
        except httpx.TransportError:
            made.append(0)

    def accounts() -> int:
        with httpx.Client(base_url=cloud.url, trust_env=False) as client:
            return len(client.get(f"{_PROJECT}/serviceAccounts").json().get("accounts", []))

    client = threading.Thread(target=make)
    client.start()
    while not cloud.admin.held():
        time.sleep(0.005)
    assert cloud.admin.held() == [fault]
    assert accounts() == exists
    cloud.admin.release(fault, drop=drop)
    client.join()
    assert made == [0 if drop else 200]
    assert accounts() == (exists or not drop)
    assert not cloud.admin.held()


def test_a_held_request_is_carried_out_after_its_client_died(cloud: LocalCloud) -> None:
    fault = cloud.admin.fault("/serviceAccounts$", method="POST", hold="before")
    with (
        pytest.raises(httpx.ReadTimeout),
        httpx.Client(base_url=cloud.url, trust_env=False, timeout=0.3) as client,
    ):
        client.post(f"{_PROJECT}/serviceAccounts", json={"accountId": "abcdef"})
    assert cloud.http.get(f"{_PROJECT}/serviceAccounts").json().get("accounts", []) == []
    cloud.admin.release(fault)
    deadline = time.monotonic() + 10
    while not cloud.http.get(f"{_PROJECT}/serviceAccounts").json().get("accounts"):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_only_what_is_held_can_be_let_go(cloud: LocalCloud) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        cloud.admin.release("nothing")

"""Dashboards and alert policies of the local Cloud Monitoring: lives, and refusals of what the service refuses."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import pytest

from infra import telemetry
from infra.local.cloud.testing import NUMBER, PROJECT, LocalCloud

BOARD = json.loads(
    telemetry.dashboard(endpoint_id="1", display_name="one", dedicated=False, vllm_metrics=True, labels={})
)
POLICY: dict[str, Any] = {
    "displayName": "down",
    "combiner": "OR",
    "conditions": [
        {"displayName": "down", "conditionPrometheusQueryLanguage": {"query": "up == 0", "duration": "300s"}}
    ],
    "alertStrategy": {"autoClose": "1800s"},
    "notificationChannels": [f"projects/{PROJECT}/notificationChannels/1"],
}
BOARDS, POLICIES = f"/v1/projects/{PROJECT}/dashboards", f"/v3/projects/{PROJECT}/alertPolicies"


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value replaced; numbers in the path count list items."""
    found = copy.deepcopy(document)
    *way, last = path.split(".")
    place: Any = found
    for key in way:
        place = place[int(key)] if key.isdigit() else place[key]
    place[int(last) if last.isdigit() else last] = value
    return found


def refused(response: httpx.Response) -> str:
    assert response.status_code == 400, response.text
    return str(response.json()["error"]["message"])


def test_a_dashboard_lives(cloud: LocalCloud) -> None:
    made = cloud.http.post(BOARDS, json=BOARD).json()
    assert made["name"].startswith(f"projects/{NUMBER}/dashboards/")
    path = f"/v1/{made['name']}"
    assert cloud.http.get(path).json() == made
    assert cloud.http.get(BOARDS).json() == {"dashboards": [made]}
    renamed = cloud.http.patch(path, json={**BOARD, "displayName": "two", "etag": made["etag"]}).json()
    assert (renamed["displayName"], renamed["name"]) == ("two", made["name"])
    stale = cloud.http.patch(path, json={**BOARD, "etag": made["etag"]})
    assert (stale.status_code, stale.json()["error"]["status"]) == (409, "ABORTED")
    assert cloud.http.delete(path).json() == {}
    assert cloud.http.get(path).status_code == 404
    assert cloud.http.delete(path).status_code == 404
    assert cloud.http.get(BOARDS).json() == {}


def test_validation_only_keeps_nothing(cloud: LocalCloud) -> None:
    assert cloud.http.post(BOARDS, json=BOARD, params={"validateOnly": "true"}).status_code == 200
    assert cloud.http.get(BOARDS).json() == {}


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("displayName", "", "displayName is required"),
        ("mosaicLayout.columns", 0, "from 1 to 48"),
        ("mosaicLayout.columns", 24, "is not within 24 columns"),
        ("mosaicLayout.tiles.1.xPos", 30, "is not within 48 columns"),
        ("mosaicLayout.tiles.2.yPos", 8, "overlaps tiles[0]"),
        ("mosaicLayout.tiles.0.widget", {"title": "x"}, "has one content"),
        ("mosaicLayout.tiles.0.widget.xyChart.dataSets", [], "no dataSets"),
        ("mosaicLayout.tiles.0.widget.xyChart.dataSets.0.plotType", "PIE", "plotType"),
        ("mosaicLayout.tiles.0.widget.xyChart.dataSets.0.timeSeriesQuery", {}, "has one of prometheusQuery"),
        ("gridLayout", {"widgets": []}, "one layout"),
        ("colour", "red", 'Unknown name "colour"'),
    ],
)
def test_a_dashboard_that_is_none(cloud: LocalCloud, path: str, value: Any, text: str) -> None:
    assert text in refused(cloud.http.post(BOARDS, json=changed(BOARD, path, value)))
    assert cloud.http.get(BOARDS).json() == {}


def test_a_policy_lives(cloud: LocalCloud) -> None:
    made = cloud.http.post(POLICIES, json=POLICY).json()
    assert made["name"].startswith(f"projects/{PROJECT}/alertPolicies/")
    assert made["enabled"] is True
    assert made["creationRecord"] == made["mutationRecord"]
    (condition,) = made["conditions"]
    assert condition["name"].startswith(f"{made['name']}/conditions/")
    path = f"/v3/{made['name']}"
    assert cloud.http.get(path).json() == made
    assert cloud.http.get(POLICIES).json() == {"alertPolicies": [made], "totalSize": 1}
    masked = cloud.http.patch(path, json={"enabled": False}, params={"updateMask": "enabled"}).json()
    assert masked["enabled"] is False
    assert masked["conditions"] == made["conditions"]
    whole = cloud.http.patch(path, json={**POLICY, "displayName": "up"}).json()
    assert (whole["displayName"], whole["enabled"]) == ("up", True)
    assert cloud.http.delete(path).json() == {}
    assert cloud.http.get(path).status_code == 404


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("displayName", "", "1 to 512 characters"),
        ("combiner", "XOR", "AND_WITH_MATCHING_RESOURCE"),
        ("severity", "BAD", "CRITICAL"),
        ("conditions", [], "1 to 6 conditions"),
        ("conditions.0.displayName", "", "is required"),
        ("conditions.0.conditionPrometheusQueryLanguage.query", " ", "is required"),
        ("conditions.0.conditionPrometheusQueryLanguage.duration", "5m", "such as 300s"),
        ("conditions.0.conditionPrometheusQueryLanguage.evaluationInterval", "45s", "multiple of 30 seconds"),
        ("conditions.0.conditionThreshold", {}, 'Unknown name "conditionThreshold"'),
        ("notificationChannels", ["me@example.com"], "notificationChannels/ID"),
        ("alertStrategy.autoClose", "60s", "from 1800s"),
        ("documentation", {"content": "x" * 8193}, "8192"),
    ],
)
def test_a_policy_that_is_none(cloud: LocalCloud, path: str, value: Any, text: str) -> None:
    assert text in refused(cloud.http.post(POLICIES, json=changed(POLICY, path, value)))
    assert "alertPolicies" not in cloud.http.get(POLICIES).json()


def test_an_unknown_mask_is_refused(cloud: LocalCloud) -> None:
    made = cloud.http.post(POLICIES, json=POLICY).json()
    answer = cloud.http.patch(f"/v3/{made['name']}", json={}, params={"updateMask": "colour"})
    assert "updateMask" in refused(answer)


@pytest.mark.parametrize("path", [BOARDS, POLICIES])
def test_rights_and_the_api(cloud: LocalCloud, path: str) -> None:
    stranger = {"authorization": f"Bearer sa:nobody@{PROJECT}.iam.gserviceaccount.com"}
    assert cloud.http.get(path, headers=stranger).status_code == 403
    cloud.http.post(f"/v1/projects/{PROJECT}/services/monitoring.googleapis.com:disable", json={})
    for _ in range(200):
        answer = cloud.http.get(path)
        if answer.status_code == 403:
            break
    assert answer.json()["error"]["details"][0]["reason"] == "SERVICE_DISABLED"

"""Each resource type from create to delete on the local cloud: ids, outputs, replacements, drift, imports."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra import telemetry
from infra.local.cloud.testing import NUMBER, PROJECT, REGION, LocalCloud
from tests.local.gcp_plugin.conftest import Failed, Made, Plugin

ACCOUNT = "gcp:serviceaccount/account:Account"
BUCKET = "gcp:storage/bucket:Bucket"
BUCKET_GRANT = "gcp:storage/bucketIAMMember:BucketIAMMember"
ENDPOINT = "gcp:vertex/aiEndpoint:AiEndpoint"
GRANT = "gcp:projects/iAMMember:IAMMember"
SERVICE = "gcp:projects/service:Service"
DASHBOARD = "gcp:monitoring/dashboard:Dashboard"
ALERT = "gcp:monitoring/alertPolicy:AlertPolicy"
EMAIL = f"serving@{PROJECT}.iam.gserviceaccount.com"
MEMBER = f"serviceAccount:{EMAIL}"


@pytest.fixture
def bucket(plugin: Plugin) -> Made:
    """A bucket with settings of every kind."""
    return plugin.create(
        BUCKET,
        name="weights",
        location="us-central1",
        labels={"team": "ml"},
        uniformBucketLevelAccess=True,
        publicAccessPrevention="enforced",
        versioning={"enabled": False},
        softDeletePolicy={"retentionDurationSeconds": 0},
        lifecycleRules=[
            {
                "action": {"type": "Delete"},
                "condition": {"age": 7, "matchesPrefixes": ["staging/"], "withState": "ANY"},
            },
            {
                "action": {"type": "SetStorageClass", "storageClass": "NEARLINE"},
                "condition": {"age": 30, "withState": "LIVE"},
            },
        ],
    )


@pytest.fixture
def account(plugin: Plugin) -> Made:
    """A service account."""
    return plugin.create(ACCOUNT, accountId="serving", displayName="Serving")


@pytest.fixture
def endpoint(plugin: Plugin, cloud: LocalCloud) -> Made:
    """An endpoint."""
    cloud.admin.enable("aiplatform.googleapis.com")
    return plugin.create(
        ENDPOINT,
        name="123456789",
        location=REGION,
        region=REGION,
        displayName="Chat",
        labels={"team": "ml"},
    )


def test_service_enables_what_is_not_enabled_and_disables_only_when_told(
    plugin: Plugin, cloud: LocalCloud
) -> None:
    def enabling() -> int:
        return len(cloud.admin.requests(path=":enable"))

    made = plugin.create(SERVICE, service="aiplatform.googleapis.com", disableOnDestroy=False)
    again = plugin.create(SERVICE, "two", service="aiplatform.googleapis.com")

    assert made.id == again.id == f"{PROJECT}/aiplatform.googleapis.com"
    assert enabling() == 1
    assert made.outputs["deletionPolicy"] == "DELETE"
    plugin.delete(made)
    assert plugin.refresh(again) is not None
    plugin.delete(plugin.update(again, disableOnDestroy=True))
    assert plugin.refresh(again) is None


def test_service_replaces_and_imports(plugin: Plugin) -> None:
    made = plugin.create(SERVICE, service="aiplatform.googleapis.com")

    assert plugin.diff(made, service="iam.googleapis.com") == (["service"], ["service"], False)
    assert plugin.diff(made, project="other") == (["project"], ["project"], False)
    assert plugin.diff(made, disableOnDestroy=False) == ([], [], False)
    assert plugin.diff(made, disableOnDestroy=True) == (["disableOnDestroy"], [], False)
    for id in (made.id, "aiplatform.googleapis.com"):
        found = plugin.read(SERVICE, id)
        assert found is not None
        assert (found.id, found.inputs) == (
            made.id,
            {"project": PROJECT, "service": "aiplatform.googleapis.com"},
        )
    assert plugin.read(SERVICE, f"{PROJECT}/storage-nothing.googleapis.com") is None


def test_account_outputs_are_known_before_it_exists(plugin: Plugin) -> None:
    planned = plugin.preview(ACCOUNT, accountId="serving", project=PROJECT)

    assert planned == {
        "accountId": "serving",
        "project": PROJECT,
        "email": EMAIL,
        "member": MEMBER,
        "name": f"projects/{PROJECT}/serviceAccounts/{EMAIL}",
    }


def test_account_life(plugin: Plugin, account: Made) -> None:
    assert account.id == account.outputs["name"] == f"projects/{PROJECT}/serviceAccounts/{EMAIL}"
    assert account.outputs["email"] == EMAIL
    assert account.outputs["member"] == MEMBER
    assert account.outputs["uniqueId"].isdigit()
    assert plugin.refresh(account) == account
    assert plugin.diff(account) == ([], [], False)
    assert plugin.diff(account, accountId="serving-2") == (["accountId"], ["accountId"], False)
    changed = plugin.update(account, displayName="Other", description="new", disabled=True)
    assert (changed.outputs["displayName"], changed.outputs["description"]) == ("Other", "new")
    assert changed.outputs["disabled"] is True
    assert plugin.refresh(changed) == changed
    plugin.delete(changed)
    assert plugin.refresh(changed) is None
    plugin.delete(changed)


def test_account_drift_and_import(plugin: Plugin, cloud: LocalCloud, account: Made) -> None:
    cloud.http.patch(
        f"/v1/{account.id}",
        json={"serviceAccount": {"displayName": "By hand"}, "updateMask": "displayName"},
    ).raise_for_status()

    drifted = plugin.refresh(account)

    assert drifted is not None
    assert drifted.inputs["displayName"] == "By hand"
    assert plugin.diff(drifted, displayName="Serving") == (["displayName"], [], False)
    imported = plugin.read(ACCOUNT, EMAIL)
    assert imported is not None
    assert imported.id == account.id
    assert imported.inputs == {"accountId": "serving", "project": PROJECT, "displayName": "By hand"}


def test_account_that_exists_is_an_error_with_the_ways_out(plugin: Plugin, account: Made) -> None:
    with pytest.raises(Failed) as error:
        plugin.create(ACCOUNT, accountId="serving", displayName="Other")

    assert "already exists" in error.value.text
    assert f"pulumi import {ACCOUNT} one {account.id}" in error.value.text
    adopted = plugin.create(ACCOUNT, accountId="serving", displayName="Other", createIgnoreAlreadyExists=True)
    assert adopted.id == account.id


def test_project_grant_life(plugin: Plugin, cloud: LocalCloud, account: Made) -> None:
    made = plugin.create(GRANT, project=PROJECT, role="roles/aiplatform.user", member=MEMBER)

    assert made.id == f"{PROJECT}/roles/aiplatform.user/{MEMBER}"
    assert made.outputs["etag"]
    assert MEMBER in members(cloud, "roles/aiplatform.user")
    assert plugin.refresh(made) == made
    assert plugin.diff(made, role="roles/viewer") == (["role"], ["role"], False)
    imported = plugin.read(GRANT, f"{PROJECT} roles/aiplatform.user {MEMBER}")
    assert imported is not None
    assert (imported.id, imported.inputs) == (made.id, made.inputs)
    again = plugin.create(GRANT, "two", project=PROJECT, role="roles/aiplatform.user", member=MEMBER)
    assert again.id == made.id
    plugin.delete(made)
    assert members(cloud, "roles/aiplatform.user") == []
    assert plugin.refresh(made) is None
    plugin.delete(made)


def test_grants_leave_those_of_others_alone(plugin: Plugin, cloud: LocalCloud, account: Made) -> None:
    role = "roles/aiplatform.user"
    other = plugin.create(GRANT, "two", project=PROJECT, role=role, member="user:someone@example.com")
    ours = plugin.create(GRANT, project=PROJECT, role=role, member=MEMBER)

    plugin.delete(ours)

    assert members(cloud, role) == ["user:someone@example.com"]
    assert plugin.refresh(other) is not None


def test_a_conditional_grant_is_another_binding(plugin: Plugin, account: Made) -> None:
    role = "roles/aiplatform.user"
    condition = {"title": "until 2030", "expression": "request.time < timestamp('2030-01-01T00:00:00Z')"}
    plain = plugin.create(GRANT, project=PROJECT, role=role, member=MEMBER)
    made = plugin.create(GRANT, "two", project=PROJECT, role=role, member=MEMBER, condition=condition)

    assert made.id == f"{PROJECT}/{role}/{MEMBER}/until 2030"
    plugin.delete(plain)
    assert plugin.refresh(plain) is None
    assert plugin.refresh(made) is not None
    plugin.delete(made)
    assert plugin.refresh(made) is None


def test_bucket_grant_life(plugin: Plugin, cloud: LocalCloud, bucket: Made, account: Made) -> None:
    role = "roles/storage.objectViewer"
    made = plugin.create(BUCKET_GRANT, bucket="weights", role=role, member=MEMBER)

    assert made.id == f"b/weights/{role}/{MEMBER}"
    assert made.inputs["bucket"] == "weights"
    assert made.outputs["bucket"] == "b/weights"
    assert plugin.refresh(made) == made
    assert plugin.diff(made, bucket="b/weights") == ([], [], False)
    assert plugin.diff(made, bucket="other") == (["bucket"], ["bucket"], False)
    imported = plugin.read(BUCKET_GRANT, f"b/weights {role} {MEMBER}")
    assert imported is not None
    assert imported.id == made.id
    plugin.delete(made)
    policy = cloud.http.get("/storage/v1/b/weights/iam").json()
    assert all(MEMBER not in binding["members"] for binding in policy.get("bindings", []))
    assert plugin.refresh(made) is None


def test_a_grant_whose_bucket_is_gone_is_gone(plugin: Plugin, bucket: Made, account: Made) -> None:
    made = plugin.create(BUCKET_GRANT, bucket="weights", role="roles/storage.objectViewer", member=MEMBER)
    plugin.delete(bucket)

    assert plugin.refresh(made) is None
    plugin.delete(made)


def test_bucket_outputs(bucket: Made, cloud: LocalCloud) -> None:
    assert bucket.id == "weights"
    expected = {
        "name": "weights",
        "location": "US-CENTRAL1",
        "project": PROJECT,
        "projectNumber": int(NUMBER),
        "url": "gs://weights",
        "storageClass": "STANDARD",
        "forceDestroy": False,
        "deletionPolicy": "DELETE",
        "labels": {"team": "ml"},
        "pulumiLabels": {"team": "ml", "goog-pulumi-provisioned": "true"},
        "effectiveLabels": {"team": "ml", "goog-pulumi-provisioned": "true"},
        "uniformBucketLevelAccess": True,
        "publicAccessPrevention": "enforced",
        "versioning": {"enabled": False},
        "website": None,
    }
    assert {key: bucket.outputs[key] for key in expected} == expected
    assert bucket.outputs["selfLink"].endswith("/storage/v1/b/weights")
    assert bucket.outputs["softDeletePolicy"]["retentionDurationSeconds"] == 0


def test_bucket_refresh_changes_nothing_of_itself(plugin: Plugin, bucket: Made) -> None:
    refreshed = plugin.refresh(bucket)

    assert refreshed is not None
    assert refreshed == bucket
    assert plugin.diff(refreshed) == ([], [], False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ([], [], False)),
        ({"location": "US-CENTRAL1"}, ([], [], False)),
        ({"location": "EU"}, (["location"], ["location"], True)),
        ({"name": "other"}, (["name"], ["name"], False)),
        ({"project": "other"}, (["project"], ["project"], True)),
        ({"labels": {"team": "web"}}, (["labels"], [], False)),
        ({"forceDestroy": True}, (["forceDestroy"], [], False)),
        ({"versioning": None}, ([], [], False)),
        ({"storageClass": "STANDARD"}, ([], [], False)),
    ],
)
def test_bucket_changes(plugin: Plugin, bucket: Made, changes: dict[str, Any], expected: Any) -> None:
    assert plugin.diff(bucket, **changes) == expected


def test_bucket_update_sets_and_takes_away(plugin: Plugin, cloud: LocalCloud, bucket: Made) -> None:
    cloud.http.patch("/storage/v1/b/weights", json={"labels": {"foreign": "kept"}}).raise_for_status()

    changed = plugin.update(bucket, labels={"owner": "me"}, versioning={"enabled": True}, lifecycleRules=None)

    assert changed.outputs["labels"] == {"owner": "me"}
    assert changed.outputs["effectiveLabels"] == {
        "owner": "me",
        "foreign": "kept",
        "goog-pulumi-provisioned": "true",
    }
    assert changed.outputs["versioning"] == {"enabled": True}
    assert changed.outputs["lifecycleRules"] == []
    assert plugin.refresh(changed) == changed


def test_bucket_drift_is_seen_and_put_right(plugin: Plugin, cloud: LocalCloud, bucket: Made) -> None:
    cloud.http.patch(
        "/storage/v1/b/weights", json={"labels": {"team": "web"}, "versioning": {"enabled": True}}
    ).raise_for_status()

    drifted = plugin.refresh(bucket)

    assert drifted is not None
    assert drifted.inputs["labels"] == {"team": "web"}
    assert drifted.inputs["versioning"] == {"enabled": True}
    wanted = {"labels": bucket.inputs["labels"], "versioning": bucket.inputs["versioning"]}
    assert plugin.diff(drifted, **wanted) == (["labels", "versioning"], [], False)
    assert plugin.update(drifted, **wanted).outputs["labels"] == {"team": "ml"}


def test_bucket_without_a_name_gets_one_and_keeps_it(plugin: Plugin) -> None:
    first, _ = plugin.check(BUCKET, {"location": "EU"}, name="Artifacts")
    again, _ = plugin.check(BUCKET, {"location": "EU"}, name="Artifacts", olds=first)

    assert first["name"].startswith("artifacts-")
    assert len(first["name"]) == len("artifacts-") + 7
    assert again["name"] == first["name"]


def test_bucket_imports(plugin: Plugin, bucket: Made) -> None:
    for id in ("weights", f"{PROJECT}/weights"):
        found = plugin.read(BUCKET, id)
        assert found is not None
        assert found.id == "weights"
        assert found.inputs["location"] == "US-CENTRAL1"
        assert found.inputs["labels"] == {"team": "ml"}
        assert plugin.diff(found) == ([], [], False)
    assert plugin.read(BUCKET, "nothing-here") is None


def test_bucket_name_taken(plugin: Plugin, bucket: Made) -> None:
    with pytest.raises(Failed, match="Bucket names are unique in the world: choose another name") as error:
        plugin.create(BUCKET, "two", name="weights", location="EU")

    assert f"pulumi import {BUCKET} two weights" in error.value.text


def test_bucket_with_objects_is_kept_unless_forced(plugin: Plugin, cloud: LocalCloud, bucket: Made) -> None:
    for name in ("a b/c.txt", "d"):
        cloud.http.post(
            "/upload/storage/v1/b/weights/o", params={"uploadType": "media", "name": name}, content=b"x"
        ).raise_for_status()

    with pytest.raises(Failed, match=r"still has objects, such as 'a b/c.txt', and is kept") as error:
        plugin.delete(bucket)

    assert "gcloud storage rm -r gs://weights/**" in error.value.text
    plugin.delete(plugin.update(bucket, forceDestroy=True))
    assert plugin.refresh(bucket) is None
    plugin.delete(bucket)


def test_get_bucket(plugin: Plugin, bucket: Made) -> None:
    found = plugin.invoke("gcp:storage/getBucket:getBucket", name="weights")

    assert (found["id"], found["location"], found["url"]) == ("weights", "US-CENTRAL1", "gs://weights")
    assert found["projectNumber"] == int(NUMBER)
    with pytest.raises(Failed, match="There is no bucket 'nothing'"):
        plugin.invoke("gcp:storage/getBucket:getBucket", name="nothing")
    with pytest.raises(Failed, match="name: gcp:storage/getBucket:getBucket needs it"):
        plugin.invoke("gcp:storage/getBucket:getBucket")


def test_deletion_policy_prevents_and_abandons(plugin: Plugin, bucket: Made) -> None:
    prevented = plugin.update(bucket, deletionPolicy="PREVENT")
    with pytest.raises(Failed, match="weights has deletion_policy PREVENT"):
        plugin.delete(prevented)
    abandoned = plugin.update(bucket, deletionPolicy="ABANDON")
    plugin.delete(abandoned)
    assert plugin.refresh(abandoned) is not None


def test_endpoint_outputs(endpoint: Made) -> None:
    assert endpoint.id == f"projects/{PROJECT}/locations/{REGION}/endpoints/123456789"
    expected = {
        "name": "123456789",
        "location": REGION,
        "region": REGION,
        "project": PROJECT,
        "displayName": "Chat",
        "dedicatedEndpointEnabled": False,
        "dedicatedEndpointDns": "",
        "trafficSplit": "",
        "deployedModels": [],
        "labels": {"team": "ml"},
        "pulumiLabels": {"team": "ml", "goog-pulumi-provisioned": "true"},
        "effectiveLabels": {"team": "ml", "goog-pulumi-provisioned": "true"},
        "etag": "",
        "network": None,
    }
    assert {key: endpoint.outputs[key] for key in expected} == expected
    assert endpoint.outputs["createTime"]


def test_a_dedicated_endpoint_has_a_dns_name(plugin: Plugin, cloud: LocalCloud) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    made = plugin.create(
        ENDPOINT, name="42", location=REGION, displayName="Chat", dedicatedEndpointEnabled=True
    )

    assert made.outputs["dedicatedEndpointDns"].endswith(f".{REGION}-{NUMBER}.prediction.vertexai.goog")
    assert plugin.refresh(made) == made


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ([], [], False)),
        ({"name": "987654321"}, (["name"], ["name"], False)),
        ({"location": "europe-west4"}, (["location"], ["location"], True)),
        ({"region": "europe-west4"}, (["region"], ["region"], True)),
        ({"network": "projects/1/global/networks/a"}, (["network"], ["network"], True)),
        ({"displayName": "Other"}, (["displayName"], [], False)),
        ({"description": "x"}, (["description"], [], False)),
        ({"labels": None}, (["labels"], [], False)),
        ({"dedicatedEndpointEnabled": False}, ([], [], False)),
    ],
)
def test_endpoint_changes(plugin: Plugin, endpoint: Made, changes: dict[str, Any], expected: Any) -> None:
    assert plugin.diff(endpoint, **changes) == expected


def test_endpoint_update_drift_import_and_delete(plugin: Plugin, cloud: LocalCloud, endpoint: Made) -> None:
    assert plugin.refresh(endpoint) == endpoint
    changed = plugin.update(endpoint, displayName="Other", description="new", labels={"owner": "me"})
    assert changed.outputs["displayName"] == "Other"
    assert changed.outputs["effectiveLabels"] == {"owner": "me", "goog-pulumi-provisioned": "true"}
    refreshed = plugin.refresh(changed)
    assert refreshed is not None
    assert refreshed.outputs == changed.outputs
    cloud.http.patch(
        f"/v1beta1/{endpoint.id}", params={"updateMask": "description"}, json={"description": "by hand"}
    ).raise_for_status()
    drifted = plugin.refresh(changed)
    assert drifted is not None
    assert plugin.diff(drifted, description="new") == (["description"], [], False)
    for id in (endpoint.id, f"{PROJECT}/{REGION}/123456789", f"{REGION}/123456789"):
        imported = plugin.read(ENDPOINT, id)
        assert imported is not None
        assert imported.id == endpoint.id
        assert imported.inputs == {
            "name": "123456789",
            "project": PROJECT,
            "location": REGION,
            "displayName": "Other",
            "description": "by hand",
            "labels": {"owner": "me"},
        }
    plugin.delete(changed)
    assert plugin.refresh(changed) is None
    plugin.delete(changed)


def test_an_endpoint_id_that_is_taken(plugin: Plugin, endpoint: Made) -> None:
    with pytest.raises(Failed, match="Choose another name") as error:
        plugin.create(ENDPOINT, "two", name="123456789", location=REGION, displayName="Other")

    assert f"pulumi import {ENDPOINT} two {endpoint.id}" in error.value.text


def test_what_a_killed_run_has_made_is_taken_over(plugin: Plugin, account: Made, endpoint: Made) -> None:
    for made in (account, endpoint):
        assert plugin.create(made.token, **made.inputs) == made


@pytest.mark.parametrize(
    ("token", "inputs", "failures"),
    [
        (
            BUCKET,
            {"location": "EU", "name": "BAD"},
            [
                "name: 'BAD' is not valid: 3 to 63 lower-case letters, digits, hyphens, underscores and "
                "dots; "
                "first and last a letter or digit."
            ],
        ),
        (BUCKET, {}, ["location: gcp:storage/bucket:Bucket needs it; give a value."]),
        (
            BUCKET,
            {"location": "EU", "versioning": {"on": True}},
            [
                "versioning.on: this local stand-in of the gcp plugin does not support it on "
                "gcp:storage/bucket:Bucket. Supported: enabled. Leave it out here; the official plugin may "
                "have "
                "it.",
                "versioning.enabled: gcp:storage/bucket:Bucket needs it; give a value.",
            ],
        ),
        (
            BUCKET,
            {
                "location": "EU",
                "lifecycleRules": [{"action": {"type": "Drop"}, "condition": {"age": "7"}}, 1],
            },
            [
                "lifecycleRules[0].action.type: 'Drop' is not one of Delete, SetStorageClass, "
                "AbortIncompleteMultipartUpload.",
                "lifecycleRules[0].condition.age: it must be a whole number, not '7'.",
                "lifecycleRules[1]: it must be a map with action and condition, not 1.",
            ],
        ),
        (
            ACCOUNT,
            {"accountId": "no"},
            [
                "accountId: 'no' is not valid: 6 to 30 lower-case letters, digits and hyphens, first a "
                "letter, "
                "last no hyphen."
            ],
        ),
        (
            GRANT,
            {"project": "p", "role": "aiplatform.user", "member": "me@example.com"},
            [
                "member: 'me@example.com' is not valid: a member is meant, such as serviceAccount:EMAIL, "
                "user:EMAIL or allUsers.",
                "role: 'aiplatform.user' is not valid: a role is meant, such as roles/aiplatform.user or "
                "projects/PROJECT/roles/ROLE.",
            ],
        ),
        (
            GRANT,
            {"project": "p", "role": "roles/a", "member": "user:a", "condition": {"title": "t"}},
            ["condition.expression: gcp:projects/iAMMember:IAMMember needs it; give a value."],
        ),
        (
            ENDPOINT,
            {"name": "my-endpoint", "location": "us-central1", "displayName": "a"},
            ["name: 'my-endpoint' is not valid: the endpoint's id is meant: digits, the first not 0."],
        ),
        (
            ENDPOINT,
            {"name": "1", "location": "us-central1", "displayName": "a", "trafficSplit": "100"},
            ["trafficSplit: '100' is not a JSON object such as {\"1234567890\": 100}."],
        ),
        (
            SERVICE,
            {"service": "aiplatform"},
            [
                "service: 'aiplatform' is not valid: the host name of an API is meant, such as "
                "aiplatform.googleapis.com."
            ],
        ),
        (
            BUCKET,
            {"location": "EU", "deletionPolicy": "KEEP"},
            ["deletionPolicy: 'KEEP' is not one of DELETE, PREVENT, ABANDON."],
        ),
    ],
)
def test_bad_inputs(plugin: Plugin, token: str, inputs: dict[str, Any], failures: list[str]) -> None:
    assert plugin.check(token, inputs)[1] == failures


@pytest.mark.parametrize(
    ("token", "id", "problem"),
    [
        (SERVICE, "a/b/c", "is not PROJECT/SERVICE"),
        (ACCOUNT, "serving", "is neither projects/PROJECT/serviceAccounts/EMAIL nor EMAIL"),
        (GRANT, "p/r/m", "has 1 fields; three are needed"),
        (ENDPOINT, "123", "is not projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT_ID"),
    ],
)
def test_bad_ids_of_imports(plugin: Plugin, token: str, id: str, problem: str) -> None:
    with pytest.raises(Failed, match=problem):
        plugin.read(token, id)


def members(cloud: LocalCloud, role: str) -> list[str]:
    """Who has a role on the project."""
    policy = cloud.http.post(f"/v1/projects/{PROJECT}:getIamPolicy", json={}).json()
    return [
        member
        for binding in policy.get("bindings", [])
        if binding["role"] == role
        for member in binding["members"]
    ]


def test_dashboard_life(plugin: Plugin, cloud: LocalCloud) -> None:
    text = telemetry.dashboard(
        endpoint_id="1", display_name="one", dedicated=False, vllm_metrics=True, labels={}
    )
    made = plugin.create(DASHBOARD, dashboardJson=text)

    assert made.id.startswith(f"projects/{NUMBER}/dashboards/")
    assert made.outputs["project"] == PROJECT
    assert cloud.admin.state()["dashboards"] == ["vLLM: one"]
    assert plugin.refresh(made) == made
    spaced = json.dumps(json.loads(text), indent=2)
    assert plugin.diff(made, dashboardJson=spaced) == ([], [], False)
    assert plugin.diff(made, project="other") == (["project"], ["project"], False)
    other = text.replace("vLLM: one", "vLLM: two")
    assert plugin.diff(made, dashboardJson=other) == (["dashboardJson"], [], False)
    updated = plugin.update(made, dashboardJson=other)
    assert cloud.admin.state()["dashboards"] == ["vLLM: two"]
    assert plugin.refresh(updated) == updated
    # Drift: somebody renamed it in the console.
    document = cloud.http.get(f"/v1/{made.id}").json()
    cloud.http.patch(f"/v1/{made.id}", json={**document, "displayName": "mine"}).raise_for_status()
    drifted = plugin.refresh(updated)
    assert drifted is not None
    assert json.loads(drifted.inputs["dashboardJson"])["displayName"] == "mine"
    found = plugin.read(DASHBOARD, made.id)
    assert found is not None
    assert found.id == made.id
    plugin.delete(made)
    plugin.delete(made)
    assert plugin.refresh(made) is None
    assert not cloud.admin.state()["dashboards"]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_dashboard_that_is_none(plugin: Plugin, text: str) -> None:
    _, failures = plugin.check(DASHBOARD, {"dashboardJson": text})
    assert len(failures) == 1
    assert "not the JSON object of a dashboard" in failures[0]


def _condition(query: str = "up == 0", **more: Any) -> dict[str, Any]:
    promql = {"query": query, "duration": "300s", "evaluationInterval": "60s", **more}
    return {"displayName": "down", "conditionPrometheusQueryLanguage": promql}


def test_alert_policy_life(plugin: Plugin, cloud: LocalCloud) -> None:
    channel = f"projects/{PROJECT}/notificationChannels/1"
    made = plugin.create(
        ALERT,
        displayName="down",
        combiner="OR",
        severity="ERROR",
        conditions=[_condition(disableMetricValidation=True)],
        alertStrategy={"autoClose": "1800s"},
        documentation={"content": "Look.", "mimeType": "text/markdown"},
        notificationChannels=[channel],
        userLabels={"team": "ml"},
    )

    assert made.id == made.outputs["name"]
    assert made.id.startswith(f"projects/{PROJECT}/alertPolicies/")
    assert made.outputs["enabled"] is True
    assert made.outputs["conditions"][0]["name"].startswith(f"{made.id}/conditions/")
    assert cloud.admin.state()["alert policies"] == ["down"]
    assert plugin.refresh(made) == made
    assert plugin.diff(made) == ([], [], False)
    assert plugin.diff(made, conditions=[_condition("up == 1")]) == (["conditions"], [], False)
    assert plugin.diff(made, project="other") == (["project"], ["project"], False)
    updated = plugin.update(made, notificationChannels=None, enabled=False)
    live = cloud.http.get(f"/v3/{made.id}").json()
    assert live["enabled"] is False
    assert "notificationChannels" not in live
    assert live["creationRecord"]["mutatedBy"]
    assert plugin.refresh(updated) == updated
    found = plugin.read(ALERT, made.id)
    assert found is not None
    assert found.inputs["displayName"] == "down"
    assert "name" not in found.inputs["conditions"][0]
    plugin.delete(made)
    plugin.delete(made)
    assert plugin.refresh(made) is None


def test_alert_policy_of_another_kind_is_refused(plugin: Plugin) -> None:
    condition = {"displayName": "high", "conditionThreshold": {"filter": "metric.type = x"}}
    _, failures = plugin.check(ALERT, {"displayName": "high", "combiner": "OR", "conditions": [condition]})
    assert any("conditionPrometheusQueryLanguage" in each for each in failures)


def test_alert_policy_that_the_service_refuses(plugin: Plugin) -> None:
    inputs = {"displayName": "x", "combiner": "OR", "conditions": [_condition(evaluationInterval="45s")]}
    with pytest.raises(Failed, match="multiple of 30 seconds"):
        plugin.create(ALERT, **inputs)

"""The repaired state, and what a pending create is found by. Pure."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from infra.client import NoAnswer
from infra.local.cloud.testing import PROJECT, cloud_in_thread
from infra.provider.deployed import plan_of
from infra.recovery.cloud import Google
from infra.recovery.find import DEPLOYMENT, MODEL, Found, find
from infra.recovery.repair import MARK, pending, repaired, unread
from infra.recovery.strays import known_ids, strays

Json = dict[str, Any]
P, L = "my-project", "us-central1"
LABELS = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "dev"}
ENDPOINT = f"projects/{P}/locations/{L}/endpoints/77"
LIVE_ENDPOINT = f"projects/123/locations/{L}/endpoints/77"
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "v1:abc"}


class FakeCloud:
    """A cloud that has what it is told, by path."""

    def __init__(self, **have: Any) -> None:
        self.have = have

    def vertex(self, location: str, path: str, **query: str) -> Json | None:
        if query.get("allDeploymentStates"):
            return self.have.get("all_states")
        return self.have.get("vertex", {}).get(path)  # type: ignore[no-any-return]

    def operations(self, location: str, parent: str, kind: str) -> list[str]:
        return self.have.get("operations", {}).get(kind, [])  # type: ignore[no-any-return]

    def account(self, name: str) -> Json | None:
        return {"name": name} if name in self.have.get("accounts", ()) else None

    def project_policy(self, project: str) -> Json | None:
        return self.have.get("policy")

    def bucket(self, name: str) -> Json | None:
        return {"name": name} if name in self.have.get("buckets", {}) else None

    def object(self, bucket: str, name: str) -> Json | None:
        return {"name": name} if f"{bucket}/{name}" in self.have.get("objects", ()) else None

    def bucket_policy(self, name: str) -> Json | None:
        return self.have.get("policy")

    def buckets(self, project: str) -> list[Json]:
        return [{"name": name, "labels": labels} for name, labels in self.have.get("buckets", {}).items()]

    def holds_objects(self, bucket: str) -> bool:
        return bucket in self.have.get("full", ())

    def dashboards(self, project: str) -> list[Json]:
        return list(self.have.get("dashboards", ()))

    def alert_policies(self, project: str) -> list[Json]:
        return list(self.have.get("alerts", ()))


def deployment_inputs() -> Json:
    return {
        "project": P,
        "location": L,
        "endpoint": ENDPOINT,
        "model": f"projects/{P}/locations/{L}/models/m-1",
        "displayName": "m",
        "machineSpec": {
            "machineType": "g2-standard-12",
            "acceleratorType": "NVIDIA_L4",
            "acceleratorCount": 1,
        },
        "minReplicaCount": 1,
        "maxReplicaCount": 1,
    }


DEPLOYED_ID = plan_of(deployment_inputs()).id
GRANT = {"role": "roles/aiplatform.user", "member": "serviceAccount:a@p.iam"}
ALERT = {
    "project": P,
    "displayName": "errors",
    "userLabels": LABELS,
    "conditions": [{"conditionPrometheusQueryLanguage": {"query": 'x{endpoint_id="77"}'}}],
}


def alert(name: str, query: str = 'x{endpoint_id="77"}', **labels: str) -> Json:
    return {
        "name": name,
        "displayName": "errors",
        "userLabels": {**LABELS, **labels},
        "conditions": [{"name": f"{name}/c", "conditionPrometheusQueryLanguage": {"query": query}}],
    }


@pytest.mark.parametrize(
    ("kind", "inputs", "have", "id"),
    [
        (
            "gcp:vertex/aiEndpoint:AiEndpoint",
            {"project": P, "location": L, "name": "77"},
            {"vertex": {ENDPOINT: {"name": LIVE_ENDPOINT}}},
            ENDPOINT,
        ),
        (
            "gcp:serviceaccount/account:Account",
            {"project": P, "accountId": "serving"},
            {"accounts": [f"projects/{P}/serviceAccounts/serving@{P}.iam.gserviceaccount.com"]},
            f"projects/{P}/serviceAccounts/serving@{P}.iam.gserviceaccount.com",
        ),
        ("gcp:storage/bucket:Bucket", {"name": "b-1"}, {"buckets": {"b-1": {}}}, "b-1"),
        (
            "gcp:storage/bucketObject:BucketObject",
            {"bucket": "b-1", "name": "lora/sql/adapter_config.json"},
            {"objects": ["b-1/lora/sql/adapter_config.json"]},
            "b-1-lora/sql/adapter_config.json",
        ),
        (
            "gcp:projects/iAMMember:IAMMember",
            {"project": P, **GRANT},
            {"policy": {"bindings": [{"role": GRANT["role"], "members": [GRANT["member"]]}]}},
            f"{P}/{GRANT['role']}/{GRANT['member']}",
        ),
        (
            "gcp:storage/bucketIAMMember:BucketIAMMember",
            {"bucket": "b-1", **GRANT},
            {"policy": {"bindings": [{"role": GRANT["role"], "members": [GRANT["member"]]}]}},
            f"b/b-1/{GRANT['role']}/{GRANT['member']}",
        ),
        (
            "gcp:monitoring/alertPolicy:AlertPolicy",
            ALERT,
            {"alerts": [alert("a/1", 'x{endpoint_id="88"}'), alert("a/2")]},
            "a/2",
        ),
        (
            "gcp:monitoring/dashboard:Dashboard",
            {"project": P, "dashboardJson": '{"displayName": "d", "tiles": [{"prometheusQuery": "y"}]}'},
            {
                "dashboards": [
                    {"name": "d/9", "displayName": "d", "etag": "1", "tiles": [{"prometheusQuery": "y"}]}
                ]
            },
            "d/9",
        ),
    ],
)
def test_what_a_create_made_is_found(kind: str, inputs: Json, have: Json, id: str) -> None:
    found = find(kind, inputs, FakeCloud(**have))
    assert found is not None
    assert (found.id, found.read_back) == (id, True)
    assert find(kind, inputs, FakeCloud()) is None
    assert find(kind, {}, FakeCloud(**have)) is None


def test_a_conditional_binding_is_not_ours() -> None:
    bindings = [{"role": GRANT["role"], "members": [GRANT["member"]], "condition": {"title": "t"}}]
    cloud = FakeCloud(policy={"bindings": bindings})
    assert find("gcp:projects/iAMMember:IAMMember", {"project": P, **GRANT}, cloud) is None


def test_an_alert_that_the_state_has_is_not_taken_twice() -> None:
    cloud = FakeCloud(alerts=[alert("projects/p/alertPolicies/1"), alert("projects/p/alertPolicies/2")])
    found = find("gcp:monitoring/alertPolicy:AlertPolicy", ALERT, cloud, {"projects/123/alertPolicies/1"})
    assert found is not None
    assert found.id == "projects/p/alertPolicies/2"


def test_a_type_that_is_not_looked_for() -> None:
    assert find("gcp:projects/service:Service", {"service": "x"}, FakeCloud()) is None


def test_a_model_is_ours_by_its_labels() -> None:
    inputs = {"project": P, "location": L, "modelId": "m-1", "labels": LABELS}
    path, live = f"projects/{P}/locations/{L}/models/m-1", f"projects/123/locations/{L}/models/m-1"
    found = find(MODEL, inputs, FakeCloud(vertex={path: {"name": f"{live}@1", "labels": LABELS}}))
    assert found is not None
    assert (found.id, found.outputs["name"], found.read_back) == (live, live, False)
    foreign = {"name": live, "labels": {**LABELS, "vertex-vllm-stack": "other"}}
    assert find(MODEL, inputs, FakeCloud(vertex={path: foreign})) is None


def test_an_upload_under_way_is_kept_with_its_operation() -> None:
    inputs = {"project": P, "location": L, "modelId": "m-1", "labels": LABELS}
    operation = f"projects/123/locations/{L}/models/m-1/operations/5"
    found = find(MODEL, inputs, FakeCloud(operations={"UploadModelOperationMetadata": [operation]}))
    assert found is not None
    assert found.id == f"projects/123/locations/{L}/models/m-1"
    assert found.outputs["operation"] == operation


def test_a_deployment_is_found_where_it_is_on_its_way() -> None:
    bare = {"name": LIVE_ENDPOINT, "deployedModels": []}
    there = {"name": LIVE_ENDPOINT, "deployedModels": [{"id": DEPLOYED_ID}]}
    id = f"{LIVE_ENDPOINT}/deployedModels/{DEPLOYED_ID}"
    deployed = find(DEPLOYMENT, deployment_inputs(), FakeCloud(vertex={ENDPOINT: there}))
    assert deployed is not None
    assert (deployed.id, deployed.outputs["operation"]) == (id, None)
    running = {"DeployModelOperationMetadata": ["op/1"]}
    under_way = find(DEPLOYMENT, deployment_inputs(), FakeCloud(vertex={ENDPOINT: bare}, operations=running))
    assert under_way is not None
    assert (under_way.id, under_way.outputs["operation"]) == (id, "op/1")
    # It may still arrive: destroy looks before it undeploys, so that the state may name it.
    nothing = find(DEPLOYMENT, deployment_inputs(), FakeCloud(vertex={ENDPOINT: bare}))
    assert nothing is not None
    assert (nothing.id, nothing.outputs["operation"]) == (id, None)
    assert find(DEPLOYMENT, deployment_inputs(), FakeCloud()) is None


def test_an_operation_of_another_deployment_is_not_taken_for_ours() -> None:
    """Destroy cancels the operation that the state names."""
    bare = {"name": LIVE_ENDPOINT, "deployedModels": []}
    running = {"DeployModelOperationMetadata": ["op/1", "op/2"]}
    found = find(DEPLOYMENT, deployment_inputs(), FakeCloud(vertex={ENDPOINT: bare}, operations=running))
    assert found is not None
    assert found.outputs["operation"] is None


def test_a_deployment_that_google_names_as_anothers_is_not_taken_for_ours() -> None:
    class Naming(FakeCloud):
        def vertex(self, location: str, path: str, **query: str) -> Json | None:
            on_its_way = [{"id": "5"}] if query.get("allDeploymentStates") else []
            return {"name": LIVE_ENDPOINT, "deployedModels": on_its_way}

    running = {"DeployModelOperationMetadata": ["op/1"]}
    found = find(DEPLOYMENT, deployment_inputs(), Naming(operations=running))
    assert found is not None
    assert found.outputs["operation"] is None


def resource(urn: str, kind: str = "gcp:storage/bucket:Bucket", **more: Any) -> Json:
    return {"urn": urn, "custom": True, "type": kind, "inputs": {"name": "b"}, **more}


def creating(urn: str, **more: Any) -> Json:
    return {"type": "creating", "resource": resource(urn, **more)}


def test_what_was_made_is_in_the_state_and_nothing_is_pending() -> None:
    one = creating("urn:new", parent="urn:old")
    other = creating("urn:lost")
    before = {
        "resources": [resource("urn:old", id="o")],
        "pending_operations": [one, other],
        "manifest": {"a": 1},
    }
    kept = copy.deepcopy(before)
    after = repaired(before, [(one, Found("b", "bucket exists", {"url": "gs://b"})), (other, None)])
    assert before == kept
    assert after["manifest"] == {"a": 1}
    assert pending(after) == []
    assert [each["urn"] for each in after["resources"]] == ["urn:old", "urn:new"]
    new = after["resources"][1]
    assert (new["id"], new["outputs"], new["parent"]) == ("b", {"name": "b", "url": "gs://b"}, "urn:old")
    assert new["initErrors"] == [f"{MARK}: bucket exists"]
    assert unread(after) == ["urn:new"]


def test_a_replacement_stands_before_what_it_replaces() -> None:
    """Pulumi takes two resources of one URN only if the live one comes first and the other is to be deleted."""
    operation = creating("urn:d", kind=DEPLOYMENT)
    before = {
        "resources": [
            resource("urn:x", id="x"),
            resource("urn:d", kind=DEPLOYMENT, id="old"),
            resource("urn:y", id="y"),
        ],
        "pending_operations": [operation],
    }
    after = repaired(before, [(operation, Found("new", "deployed", read_back=False))])
    rows = [(each["urn"], each["id"], each.get("delete", False)) for each in after["resources"]]
    assert rows == [
        ("urn:x", "x", False),
        ("urn:d", "new", False),
        ("urn:d", "old", True),
        ("urn:y", "y", False),
    ]
    assert unread(after) == []  # the next update finishes it


def test_what_was_deleted_before_its_replacement_is_not_deleted_again() -> None:
    operation = creating("urn:d")
    before = {
        "resources": [resource("urn:d", id="old", pendingReplacement=True)],
        "pending_operations": [operation],
    }
    after = repaired(before, [(operation, Found("new", "exists"))])
    assert [each["id"] for each in after["resources"]] == ["new"]


def test_what_the_state_has_already_is_not_put_twice() -> None:
    operation = creating("urn:d")
    before = {"resources": [resource("urn:d", id="b")], "pending_operations": [operation]}
    assert len(repaired(before, [(operation, Found("b", "exists"))])["resources"]) == 1


def test_no_output_has_the_token() -> None:
    operation = creating("urn:m", kind=MODEL)
    operation["resource"]["inputs"] = {"modelId": "m", "hfToken": SECRET}
    after = repaired(
        {"pending_operations": [operation]}, [(operation, Found("m", "uploaded", read_back=False))]
    )
    assert "hfToken" not in after["resources"][0]["outputs"]
    assert after["resources"][0]["inputs"]["hfToken"] == SECRET


SETTINGS = {"gcp:project": P, "gcp:region": L}


def look(cloud: FakeCloud, known: frozenset[str] = frozenset()) -> list[tuple[str, str]]:
    found, notes = strays(cloud, config=SETTINGS, project="vertex-vllm", stack="dev", known=known)
    assert notes == []
    return [(each.kind, each.name) for each in found]


def test_strays_have_the_stacks_labels_and_are_in_no_state() -> None:
    from infra.ids import endpoint_id

    id = endpoint_id(P, L, "vertex-vllm/dev")
    name = f"projects/{P}/locations/{L}/endpoints/{id}"
    query = f'x{{endpoint_id="{id}"}}'
    cloud = FakeCloud(
        vertex={name: {"name": name, "labels": LABELS}},
        buckets={"ours": LABELS, "full": LABELS, "theirs": {"vertex-vllm-stack": "prod"}, "plain": {}},
        full=["full"],
        alerts=[alert("a/1"), alert("a/2"), alert("a/3", **{"vertex-vllm-stack": "prod"})],
        dashboards=[
            {"name": "d/1", "displayName": "vLLM: m", "tiles": [{"prometheusQuery": query}]},
            {"name": "d/2", "displayName": "mine", "tiles": [{"prometheusQuery": query}]},
            {"name": "d/3", "displayName": "vLLM: m", "tiles": [{"prometheusQuery": "x"}]},
        ],
    )
    all_of_them = [("endpoint", name), ("bucket", "ours"), ("dashboard", "d/1"), ("alert policy", "a/1")]
    assert look(cloud, frozenset({"2"})) == all_of_them
    state = {
        "resources": [{"id": name}, {"id": "ours"}],
        "pending_operations": [creating("u", id="projects/1/a/1")],
    }
    assert known_ids(state) == {id, "ours", "1"}
    assert look(cloud, frozenset({id, "ours", "1", "2"})) == []


def test_an_endpoint_that_serves_or_will_is_no_stray() -> None:
    from infra.ids import endpoint_id

    name = f"projects/{P}/locations/{L}/endpoints/{endpoint_id(P, L, 'vertex-vllm/dev')}"
    serving = {"name": name, "labels": LABELS, "deployedModels": [{"id": "1"}]}
    assert look(FakeCloud(vertex={name: serving}), frozenset({"1"})) == []
    found, notes = strays(
        FakeCloud(vertex={name: serving}), config=SETTINGS, project="vertex-vllm", stack="dev", known=()
    )
    assert found == []
    assert "deployed model 1 of endpoint" in notes[0]
    idle = {"name": name, "labels": LABELS}
    running = {"DeployModelOperationMetadata": ["op/1"]}
    assert look(FakeCloud(vertex={name: idle}, operations=running)) == []
    assert look(FakeCloud(vertex={name: {"name": name, "labels": {}}})) == []


def test_before_a_first_up_a_service_that_is_not_enabled_is_no_news() -> None:
    with cloud_in_thread() as cloud:
        config = {"gcp:project": PROJECT, "gcp:region": "us-central1"}
        environ = {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": f"{cloud.url}/v1beta1/"}
        google = Google(config, environ)
        with pytest.raises(NoAnswer, match="has not been used in project"):
            google.vertex("us-central1", f"projects/{PROJECT}/locations/us-central1/endpoints/1")
        found, notes = strays(google, config=config, project="vertex-vllm", stack="dev", known=())
    assert found == []
    assert not any("endpoints" in note for note in notes)


def test_without_a_project_nothing_is_looked_for() -> None:
    found, notes = strays(FakeCloud(), config={}, project="p", stack="s", known=())
    assert found == []
    assert notes == ["not looked for: gcp:project or gcp:region is not in the stack's settings"]

"""Somebody changes by hand what the stack made: refresh and preview show it, up puts it right, once."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud.testing import PROJECT, LocalCloud, cloud_in_thread
from infra.local.engine.pulumi import Engine
from infra.local.stack.question import ask
from infra.local.stack.report import billable
from tests.engine.support import EngineStack, copy_project, kill_group
from tests.provider.harness import until

pytestmark = pytest.mark.xdist_group("drift")
Json = dict[str, Any]


@pytest.fixture(scope="module")
def served(
    engine: Engine, pulumi_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineStack]:
    """A stack that serves; every test leaves it as it found it."""
    with cloud_in_thread() as cloud:
        stack = EngineStack(
            engine, copy_project(tmp_path_factory.mktemp("drift") / "project"), pulumi_home, cloud
        )
        stack.configure(maxUsdPerHour=None)
        stack.change_stack_file(
            {
                "replicas": {
                    "min_replica_count": 1,
                    "max_replica_count": 2,
                    "autoscaling": [
                        {
                            "metric_name": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
                            "target": 60,
                        }
                    ],
                }
            }
        )
        stack.up()
        yield stack
        stack.destroy()


@dataclass
class Console:
    """Somebody with the owner's rights and another client."""

    cloud: LocalCloud
    outputs: Json

    def __call__(self, method: str, path: str, body: Json | None = None, **query: str) -> Json:
        """One call of a REST API; an operation that it starts is waited for."""
        answer = self.cloud.http.request(method, path, json=body, params=query).raise_for_status()
        content: Json = answer.json() if answer.content else {}
        if "/operations/" in content.get("name", ""):
            self.cloud.finished(f"/v1/{content['name']}")
        return content

    @property
    def endpoint(self) -> str:
        return f"/v1/{self.outputs['endpoint']}"

    @property
    def account(self) -> str:
        return f"/v1/projects/{PROJECT}/serviceAccounts/{self.outputs['service_account']}"

    @property
    def bucket(self) -> str:
        return f"/storage/v1/b/{self.outputs['bucket']}"

    @property
    def deployed(self) -> list[Json]:
        """What serves now."""
        live = self.cloud.http.get(self.endpoint).raise_for_status().json()
        return list(live.get("deployedModels", ()))

    @property
    def split(self) -> Json:
        """Who has how much of the traffic."""
        live = self.cloud.http.get(self.endpoint).raise_for_status().json()
        return dict(live.get("trafficSplit", {}))

    def scale(self, **resources: Any) -> None:
        """Changes the deployment's resources in place."""
        mask = ",".join(f"dedicatedResources.{key}" for key in resources)
        deployed = {"id": self.outputs["deployed_model_id"], "dedicatedResources": resources}
        self("POST", f"{self.endpoint}:mutateDeployedModel", {"deployedModel": deployed, "updateMask": mask})

    def undeploy(self) -> None:
        """Takes the model off the endpoint."""
        self(
            "POST",
            f"{self.endpoint}:undeployModel",
            {"deployedModelId": self.outputs["deployed_model_id"]},
        )

    def revoke(self, read: tuple[str, str], write: tuple[str, str], wrap: bool, role: str) -> None:
        """Takes a role away from the stack's account in one policy."""
        policy = self(read[0], read[1], {} if read[0] == "POST" else None)
        member = f"serviceAccount:{self.outputs['service_account']}"
        for binding in policy["bindings"]:
            if binding["role"] == role:
                binding["members"].remove(member)
        policy["bindings"] = [each for each in policy["bindings"] if each["members"]]
        self(write[0], write[1], {"policy": policy} if wrap else policy)


def change_what_can_be_changed_back(console: Console) -> None:
    console.scale(minReplicaCount=2, maxReplicaCount=3)
    console.scale(autoscalingMetricSpecs=[])
    names = {"displayName": "mine", "labels": {"owner": "somebody"}}
    console("PATCH", f"/v1/{console.outputs['model']}", names, updateMask="displayName,labels")
    console("PATCH", console.endpoint, names, updateMask="displayName,labels")
    access = {"publicAccessPrevention": "inherited"}
    console("PATCH", console.bucket, {"iamConfiguration": access, "labels": {"owner": "somebody"}})
    console("POST", f"{console.account}:disable", {})


def revoke_and_disable(console: Console) -> None:
    path = f"{console.bucket}/iam"
    console.revoke(("GET", path), ("PUT", path), False, "roles/storage.objectViewer")
    path = f"/v1/projects/{PROJECT}"
    console.revoke(
        ("POST", f"{path}:getIamPolicy"), ("POST", f"{path}:setIamPolicy"), True, "roles/aiplatform.user"
    )
    body = {"disableDependentServices": True, "checkIfServiceHasUsage": "SKIP"}
    console("POST", f"/v1/projects/{PROJECT}/services/compute.googleapis.com:disable", body)


def take_the_traffic(console: Console) -> None:
    console("PATCH", console.endpoint, {"trafficSplit": {}}, updateMask="trafficSplit")


def delete_the_model(console: Console) -> None:
    console.undeploy()
    console("DELETE", f"/v1/{console.outputs['model']}")


def delete_the_endpoint(console: Console) -> None:
    console.undeploy()
    console("DELETE", console.endpoint)


def delete_the_account(console: Console) -> None:
    console("DELETE", console.account)


def delete_the_bucket(console: Console) -> None:
    console("DELETE", console.bucket)


#: What was done; what refresh counts; what a preview shows; what `up` counts.
CHANGES: dict[str, tuple[Callable[[Console], None], str, tuple[str, ...], str]] = {
    "replicas, autoscaling, names, labels, access, a disabled account": (
        change_what_can_be_changed_back,
        "5 to update",
        (
            "maxReplicaCount: 3 => 2",
            "minReplicaCount: 2 => 1",
            "duty_cycle",
            '"mine" => "Meta-Llama-3.1-8B-Instruct (local)"',
            '"somebody" => "local"',
            '"inherited" => "enforced"',
            "disabled: true",
            "5 to update",
        ),
        "5 updated",
    ),
    "traffic": (
        take_the_traffic,
        "1 to update",
        ("- trafficPercent: 0", "1 to update"),
        "1 updated",
    ),
    "two grants and an API": (
        revoke_and_disable,
        "3 to delete",
        (
            "gcp:storage/bucketIAMMember:BucketIAMMember: (create)",
            "gcp:projects/iAMMember:IAMMember: (create)",
            "gcp:projects/service:Service: (create)",
            "3 to create",
        ),
        "3 created",
    ),
    "a deleted account": (
        delete_the_account,
        "3 to delete",
        (
            "gcp:serviceaccount/account:Account: (create)",
            "IAMMember: (create)",
            "BucketIAMMember: (create)",
            "3 to create",
        ),
        "3 created",
    ),
    "an undeployed model": (
        Console.undeploy,
        "1 to delete",
        ("vertexserving:index:Deployment: (create)", "1 to create"),
        "1 created",
    ),
    "a deleted model": (
        delete_the_model,
        "2 to delete",
        ("vertexserving:index:Model: (create)", "vertexserving:index:Deployment: (create)", "2 to create"),
        "2 created",
    ),
    "a deleted endpoint": (
        delete_the_endpoint,
        "2 to delete",
        (
            "gcp:vertex/aiEndpoint:AiEndpoint: (create)",
            "vertexserving:index:Deployment: (create)",
            "2 to create",
        ),
        "2 created",
    ),
    "a deleted bucket": (
        delete_the_bucket,
        "2 to delete",
        ("gcp:storage/bucket:Bucket: (create)", "BucketIAMMember: (create)", "2 to create"),
        "2 created",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_by_hand(served: EngineStack, what: str) -> None:
    change, refreshed, shown, repaired = CHANGES[what]
    before = served.outputs()
    change(Console(served.cloud, before))

    refresh = served("refresh", "--preview-only")
    preview = served.preview("--diff")
    up = served.up()

    assert refreshed in refresh.output, refresh.output
    changes = re.sub(r" +: ", ": ", preview.output)
    for text in shown:
        assert text in changes, preview.output
    assert repaired in up.output, up.output
    served.preview("--expect-no-changes")
    after = Console(served.cloud, served.outputs())
    assert [each["id"] for each in after.deployed] == [before["deployed_model_id"]]
    assert after.split == {before["deployed_model_id"]: 100}
    assert ask(after.outputs, print).text


def test_without_a_refresh_a_preview_says_what_the_state_says(served: EngineStack) -> None:
    Console(served.cloud, served.outputs()).scale(maxReplicaCount=4)
    served.preview("--refresh=false", "--expect-no-changes")
    assert served.preview("--diff").has("maxReplicaCount: 4 => 2")
    served.up()


def test_a_refresh_while_a_deployment_is_under_way_keeps_it_unfinished(stack: EngineStack) -> None:
    """Else the next `up` would call it deployed before it is, and not hear of it when it fails."""
    stack.up()
    Console(stack.cloud, stack.outputs()).undeploy()
    deployments = len(stack.cloud.admin.requests(path=":deployModel"))
    polls = len(stack.cloud.admin.requests(path="/operations/"))
    stack.cloud.admin.timing(mode="manual")
    child = stack.start("up", "--yes", "--skip-preview", "--non-interactive", "--color", "never")
    try:
        until(
            lambda: (
                len(stack.cloud.admin.requests(path=":deployModel")) > deployments
                and len(stack.cloud.admin.requests(path="/operations/")) > polls + 1
            ),
            60,
        )
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    finally:
        kill_group(child)

    refreshed = stack.refresh(ok=None)
    (saved,) = stack.resources("vertexserving:index:Deployment")
    assert saved["initErrors"], refreshed.output
    assert refreshed.has("is not there yet: its deployment goes on at Google")

    stack.cloud.admin.timing(mode="immediate")
    stack.cloud.admin.advance()
    stack.up()
    outputs = stack.outputs()
    assert [each["id"] for each in Console(stack.cloud, outputs).deployed] == [outputs["deployed_model_id"]]
    assert len(stack.cloud.admin.requests(path=":deployModel")) == deployments + 1


def test_a_destroy_that_refreshes_deletes_everything(stack: EngineStack) -> None:
    """A refresh compares what it finds; that must not pass for a program that still has it."""
    stack.up()
    destroyed = stack.destroy("--refresh")
    assert not destroyed.has("stays")
    assert billable(stack.cloud.admin.state()) == {}


def test_a_change_that_refreshes_leaves_one_deployment(stack: EngineStack) -> None:
    stack.up()
    stack.change_stack_file({"hardware": {"machine_type": "g2-standard-16"}})
    rolled = stack.up("--refresh")
    outputs = stack.outputs()
    assert not rolled.has("stays")
    assert [each["id"] for each in Console(stack.cloud, outputs).deployed] == [outputs["deployed_model_id"]]

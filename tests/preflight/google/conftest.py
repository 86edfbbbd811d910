"""A local Google Cloud for the checks, with what they look at made by its own APIs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from infra.ids import endpoint_id
from infra.local.cloud.testing import NUMBER, Admin, LocalCloud
from infra.preflight.finding import Finding
from infra.preflight.run import Check
from infra.preflight.subject import Login, Subject
from infra.provider.content import container_to_api, derived_model_id, version_alias
from tests.local.cloud.aiplatform.conftest import with_doubles
from tests.preflight.subjects import PROJECT, REGION, ask, subject

Json = dict[str, Any]
APIS = ("aiplatform.googleapis.com", "compute.googleapis.com")


@dataclass
class Place:
    """The local cloud, and a stack in it."""

    cloud: LocalCloud

    @property
    def admin(self) -> Admin:
        """The cloud's administrator."""
        return self.cloud.admin

    def subject(self, *arguments: Any, **changes: Any) -> Subject:
        """A stack whose services are all here."""
        return subject(*arguments, local=self.cloud.url, **changes)

    def ask(self, check: Check, of: Subject | None = None) -> dict[str, Finding]:
        """What one check says, by id."""
        return ask([check], of or self.subject())

    def asked(self, path: str = "") -> list[str]:
        """Method and path of each request since the last call, path by path."""
        found = [f"{each['method']} {each['path']}" for each in self.admin.requests(path)]
        self.admin.call("DELETE", "requests")
        return sorted(found)

    def enable(self, *services: str) -> None:
        """Enables APIs."""
        self.admin.enable(*(services or APIS))

    def disable(self, service: str) -> None:
        """Disables an API, and waits until it is."""
        path = f"/v1/projects/{PROJECT}/services/{service}"
        self.cloud.http.post(f"{path}:disable", json={}).raise_for_status()
        deadline = time.monotonic() + 10
        while self.cloud.http.get(path).json()["state"] != "DISABLED":
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def account(self, *roles: str, account_id: str = "stranger") -> Login:
        """Makes a service account with roles in the project; answers how to call as it."""
        made = self.cloud.http.post(f"/v1/projects/{PROJECT}/serviceAccounts", json={"accountId": account_id})
        email = made.raise_for_status().json()["email"]
        self.grant(f"/v1/projects/{PROJECT}", email, *roles)
        return Login(token=f"sa:{email}")

    def grant(self, resource: str, email: str, *roles: str) -> None:
        """Adds roles of a service account to the policy of a project or a service account."""
        policy = self.cloud.http.post(f"{resource}:getIamPolicy", json={}).raise_for_status().json()
        bindings = policy.setdefault("bindings", [])
        bindings += [{"role": role, "members": [f"serviceAccount:{email}"]} for role in roles]
        self.cloud.http.post(f"{resource}:setIamPolicy", json={"policy": policy}).raise_for_status()

    def bucket(self, name: str, location: str = REGION, **settings: Any) -> None:
        """Makes a bucket; uniform and closed unless `settings` say otherwise."""
        access = {"uniformBucketLevelAccess": {"enabled": True}, "publicAccessPrevention": "enforced"}
        body = {"name": name, "location": location, "iamConfiguration": access} | settings
        self.cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=body).raise_for_status()

    def deploy(
        self,
        of: Subject,
        *,
        endpoint: str = "",
        deployed_id: str = "1111111111",
        container: Json | None = None,
        replicas: tuple[int, int] | None = None,
        wait: bool = True,
        **fields: Any,
    ) -> None:
        """Deploys what the stack would, on the endpoint that the stack would have, unless told otherwise."""
        plan = of.plan
        where = f"/v1beta1/projects/{PROJECT}/locations/{of.region}"
        name = endpoint or endpoint_id(of.project, of.region, f"{of.pulumi_project}/{of.stack}")
        if self.cloud.http.get(f"{where}/endpoints/{name}").status_code == 404:
            self._done(f"{where}/endpoints", {"displayName": name}, endpointId=name)
        spec = container or plan.container.inputs()
        inputs = {"containerSpec": spec, "hfToken": of.hf_token}
        model = derived_model_id(of.pulumi_project, of.stack, "vllm-model", inputs)
        keeps = plan.stack.rollout.old_model == "keep"
        model = "kept" if keeps else model
        if self.cloud.http.get(f"{where}/models/{model}").status_code == 404:
            body = {"displayName": "m", "containerSpec": container_to_api(spec, of.hf_token)}
            if keeps:
                body["versionAliases"] = [version_alias(f"{of.pulumi_project}/{of.stack}", inputs)]
            self._done(f"{where}/models:upload", {"modelId": model, "model": body})
        least, most = replicas or (plan.replicas.min_replica_count, plan.replicas.max_replica_count)
        deployed: Json = {
            "id": deployed_id,
            "model": f"projects/{NUMBER}/locations/{of.region}/models/{model}",
            "displayName": "d",
            "dedicatedResources": {
                "machineSpec": {
                    "machineType": plan.hardware.machine_type,
                    "acceleratorType": plan.hardware.accelerator_type,
                    "acceleratorCount": plan.hardware.accelerator_count,
                },
                "minReplicaCount": least,
                "maxReplicaCount": most,
                "spot": plan.hardware.spot,
            },
            **fields,
        }
        body = {"deployedModel": deployed, "trafficSplit": {"0": 100}}
        if not wait:
            self.admin.timing(mode="manual")
        self._done(f"{where}/endpoints/{name}:deployModel", body, wait=wait)
        if not wait:
            self.admin.advance(stages=3)

    def _done(self, path: str, body: Json, wait: bool = True, **query: str) -> None:
        operation = self.cloud.http.post(path, json=body, params=query)
        assert operation.status_code == 200, operation.text
        if not wait:
            return
        name = operation.json()["name"]
        ended = httpx.post(
            f"{self.cloud.url}/v1beta1/{name}:wait", json={}, trust_env=False, timeout=30
        ).json()
        assert ended.get("done"), ended
        assert "error" not in ended, ended


@pytest.fixture(scope="session")
def server() -> Iterator[LocalCloud]:
    """One server for all tests; each starts it over."""
    with with_doubles() as running:
        yield running


@pytest.fixture
def place(server: LocalCloud) -> Place:
    """A new project: Vertex AI and Compute Engine are not enabled."""
    server.admin.reset()
    return Place(server)


@pytest.fixture
def ready(place: Place) -> Place:
    """A project in which every API is enabled."""
    place.enable()
    place.asked()
    return place

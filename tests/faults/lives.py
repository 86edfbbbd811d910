"""The whole life of what each provider makes: steps, each one run of the engine, and what must be true after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.cloud.cli import environment
from infra.local.cloud.testing import LocalCloud
from infra.local.gcp_plugin import plugin as gcp
from infra.plugin.engine import EngineLog
from infra.plugin.servicer import Servicer
from infra.provider.bucket_disposal import BucketDisposal
from infra.provider.connect import Connector
from infra.provider.deployment import Deployment
from infra.provider.model import Model
from infra.provider.retry import Pace
from tests.faults.engine import Run, Stack
from tests.provider.samples import CONTAINER, ENDPOINT, MODEL, PROJECT, REGION, deployment

Json = dict[str, Any]
Step = Callable[[Run], None]
#: Pauses are a thousandth of the real ones, a call may take 10 s.
PACE = Pace(poll_first=0.01, poll_last=0.05, call=10.0, in_use=20.0, scale=0.001)
LABELS = {"vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "test"}
BUCKET = "weights-of-the-stack"
EMAIL = f"serving@{PROJECT}.iam.gserviceaccount.com"


@dataclass(frozen=True)
class Life:
    """The life of one provider's resources.

    Attributes:
        name: "vertexserving" or "gcp".
        steps: the steps by name, in order; each may be repeated.
        prepare: makes what must be there before.
        check: what must be true in the cloud after a step, by its name.
        stack: makes the state, for a cloud and the pace of the provider's calls.
        most: how many deployed models may bill at once during a step, where it is not 1.
        needed: the steps without which a later one cannot be; the last one is always lived.
    """

    name: str
    steps: Mapping[str, Step]
    prepare: Callable[[LocalCloud], None]
    check: Callable[[LocalCloud, str], None]
    stack: Callable[[LocalCloud, Pace], Stack]
    most: Mapping[str, int]
    needed: tuple[str, ...]

    def until(self, step: str) -> list[str]:
        """The steps of a life in which something befalls this one: those needed for it, and the end."""
        order = list(self.steps)
        before = [each for each in order[: order.index(step)] if each in self.needed]
        return list(dict.fromkeys([*before, step, order[-1]]))


# vertexserving

_MODEL, _DEPLOYMENT = "vertexserving:index:Model", "vertexserving:index:Deployment"
_DISPOSAL = "vertexserving:index:BucketDisposal"
_NEW_MODEL = {**MODEL, "containerSpec": {**CONTAINER, "args": [*CONTAINER["args"], "--enforce-eager"]}}


def _upload(run: Run) -> None:
    run.put("model", _MODEL, MODEL)
    run.put("buckets", _DISPOSAL, {"project": PROJECT})


def _deploy(run: Run) -> None:
    run.put("deployment", _DEPLOYMENT, deployment(run.stack.resources["model"].id))


def _scale(run: Run) -> None:
    wanted = deployment(run.stack.resources["model"].id, minReplicaCount=2, maxReplicaCount=2)
    run.put("deployment", _DEPLOYMENT, wanted)


def _relabel(run: Run) -> None:
    run.put("model", _MODEL, {**MODEL, "displayName": "renamed", "labels": {"team": "found"}})


def _refresh(run: Run) -> None:
    for name in ("model", "deployment"):
        live = run.read(name)
        assert live.outputs == run.stack.resources[name].outputs


def _roll(run: Run) -> None:
    if "new model" in run.stack.resources or "old model" not in run.stack.resources:
        model = run.put("new model", _MODEL, _NEW_MODEL)
        run.put("new deployment", _DEPLOYMENT, deployment(model.id))
        for name in ("model", "deployment"):
            run.rename(name, f"old {name}")
            run.rename(f"new {name}", name)
    run.drop("old deployment")
    run.drop("old model")


def _destroy(run: Run) -> None:
    for name in ("deployment", "model", "buckets"):
        run.drop(name)


def _prepare_vertex(cloud: LocalCloud) -> None:
    cloud.admin.enable("aiplatform.googleapis.com", "compute.googleapis.com", "storage.googleapis.com")
    parent, _, id = ENDPOINT.rpartition("/")
    cloud.http.post(f"/v1/{parent}", params={"endpointId": id}, json={"displayName": "e"}).raise_for_status()
    bucket = {"name": BUCKET, "location": "US-CENTRAL1", "labels": LABELS}
    cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=bucket).raise_for_status()


def _check_vertex(cloud: LocalCloud, step: str) -> None:
    state = cloud.admin.state()
    models, deployed = (0, 0) if step == "destroy" else (1, 0 if step == "upload" else 1)
    found = {kind: len(state[kind]) for kind in ("models", "deployedModels", "buckets")}
    assert found == {"models": models, "deployedModels": deployed, "buckets": models}
    endpoint = cloud.http.get(f"/v1/{ENDPOINT}").json()
    for model in endpoint.get("deployedModels", ()):
        assert endpoint["trafficSplit"] == {model["id"]: 100}
        if step in ("deploy", "scale", "roll"):
            assert model["dedicatedResources"]["minReplicaCount"] == (2 if step == "scale" else 1)
    if step == "relabel":
        model = cloud.http.get(f"/v1/{state['models'][0]}").json()
        assert (model["displayName"], model["labels"]["team"]) == ("renamed", "found")


_CONNECTOR: dict[Pace, Connector] = {}


def _vertex(cloud: LocalCloud, pace: Pace) -> Stack:
    connector = _CONNECTOR.setdefault(pace, Connector(pace))  # Google's clients, which take seconds to make

    def servicer(log: EngineLog) -> Servicer:
        resources = [Model(connector), Deployment(connector), BucketDisposal(connector)]
        return Servicer("vertexserving", "0", resources, engine=log)

    config = {"apiEndpoint": f"{cloud.url}/v1beta1/", "accessToken": "local"}
    return Stack(servicer, config, "vertexserving")


VERTEX = Life(
    "vertexserving",
    {
        "upload": _upload,
        "deploy": _deploy,
        "scale": _scale,
        "relabel": _relabel,
        "refresh": _refresh,
        "roll": _roll,
        "destroy": _destroy,
    },
    _prepare_vertex,
    _check_vertex,
    _vertex,
    {"roll": 2},
    ("upload", "deploy"),
)

# gcp: the stand-in

_SERVICE, _ACCOUNT = "gcp:projects/service:Service", "gcp:serviceaccount/account:Account"
_BUCKET, _BUCKET_GRANT = "gcp:storage/bucket:Bucket", "gcp:storage/bucketIAMMember:BucketIAMMember"
_GRANT, _ENDPOINT = "gcp:projects/iAMMember:IAMMember", "gcp:vertex/aiEndpoint:AiEndpoint"
_APIS = ("aiplatform", "iam")


def _enable(run: Run) -> None:
    for api in _APIS:
        run.put(api, _SERVICE, {"project": PROJECT, "service": f"{api}.googleapis.com"})


def _identity(run: Run) -> None:
    account = run.put("account", _ACCOUNT, {"accountId": "serving", "displayName": "Serving"})
    member = account.outputs["member"]
    run.put("grant", _GRANT, {"project": PROJECT, "role": "roles/logging.logWriter", "member": member})


def _storage(run: Run) -> None:
    run.put("bucket", _BUCKET, {"name": BUCKET, "location": "US-CENTRAL1", "labels": {"team": "search"}})
    member = run.stack.resources["account"].outputs["member"]
    run.put(
        "reads",
        _BUCKET_GRANT,
        {"bucket": BUCKET, "role": "roles/storage.objectViewer", "member": member},
    )


def _endpoint(run: Run) -> None:
    run.put("endpoint", _ENDPOINT, {"name": "42", "location": REGION, "displayName": "Chat"})


def _change(run: Run) -> None:
    run.put("account", _ACCOUNT, {"accountId": "serving", "displayName": "Renamed"})
    run.put("bucket", _BUCKET, {"name": BUCKET, "location": "US-CENTRAL1", "labels": {"team": "found"}})
    run.put("endpoint", _ENDPOINT, {"name": "42", "location": REGION, "displayName": "Renamed"})


def _refresh_all(run: Run) -> None:
    for name in run.stack.resources:
        run.read(name)


def _remove(run: Run) -> None:
    for name in ("endpoint", "reads", "bucket", "grant", "account", *_APIS):
        run.drop(name)


def _check_gcp(cloud: LocalCloud, step: str) -> None:
    state = cloud.admin.state()
    order = list(GCP.steps)
    made = step != "destroy"
    for first, kind in (("identity", "service accounts"), ("storage", "buckets"), ("endpoint", "endpoints")):
        there = made and order.index(step) >= order.index(first)
        assert bool(state[kind]) is there, f"{kind} after {step}: {state[kind]}"
    policy = cloud.http.post(f"/v1/projects/{PROJECT}:getIamPolicy", json={}).json()
    members = [member for each in policy["bindings"] for member in each["members"]]
    assert members.count(f"serviceAccount:{EMAIL}") == int(made and order.index(step) >= 1), members
    if step == "change":
        account = cloud.http.get(f"/v1/projects/{PROJECT}/serviceAccounts/{EMAIL}").json()
        bucket = cloud.http.get(f"/storage/v1/b/{BUCKET}").json()
        assert (account["displayName"], bucket["labels"]["team"]) == ("Renamed", "found")
        endpoint = f"/v1/projects/{PROJECT}/locations/{REGION}/endpoints/42"
        assert cloud.http.get(endpoint).json()["displayName"] == "Renamed"


def _gcp(cloud: LocalCloud, pace: Pace) -> Stack:
    variables = environment(cloud.url)

    def servicer(log: EngineLog) -> Servicer:
        return gcp.servicer(variables)

    return Stack(servicer, {"project": PROJECT}, "gcp")


GCP = Life(
    "gcp",
    {
        "enable": _enable,
        "identity": _identity,
        "storage": _storage,
        "endpoint": _endpoint,
        "change": _change,
        "refresh": _refresh_all,
        "destroy": _remove,
    },
    lambda cloud: None,
    _check_gcp,
    _gcp,
    {},
    ("enable", "identity", "storage", "endpoint"),
)

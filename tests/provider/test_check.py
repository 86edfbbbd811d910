"""What every wrong input is told, word for word; and that checking calls nobody and imports nothing of Google's."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.metrics import METRICS
from infra.plugin import UNKNOWN, Asset
from infra.provider.bucket_disposal import BucketDisposal
from infra.provider.connect import Connector
from infra.provider.deployment import Deployment
from infra.provider.inputs import ACCELERATORS
from infra.provider.model import Model
from tests.provider.samples import MODEL, Quiet, deployment

NAME = "projects/p/locations/us-central1/models/m"
DELETE = object()
NAMES = list(METRICS)


def changed(inputs: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    inputs = copy.deepcopy(inputs)
    *parents, last = path.split(".")
    target: Any = inputs
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target[part]
    if value is DELETE:
        del target[last]
    elif isinstance(target, list):
        target[int(last)] = value
    else:
        target[last] = value
    return inputs


LABEL = "a label's value: at most 63 lower-case letters, digits, _ or -"
CONTAINER_PROPERTIES = (
    "imageUri, command, args, env, ports, predictRoute, healthRoute, sharedMemorySizeMb, "
    "deploymentTimeoutSeconds"
)
LABEL_KEY = "a label's key: a lower-case letter, then at most 62 lower-case letters, digits, _ or -"

BAD_MODELS = [
    ("project", DELETE, "", "project: is missing; give the Google Cloud project."),
    (
        "project",
        "My Project",
        "project",
        '"My Project" is not a project id (for example "my-project") or a project number.',
    ),
    ("project", 7, "project", "must be text, not 7 (a whole number)."),
    ("project", Asset(path="a.json"), "", "project: must be text, not a.json (an asset)."),
    ("location", "us-central", "location", '"us-central" is not a region, for example "us-central1".'),
    ("location", "us-central1-a", "location", '"us-central1-a" is not a region, for example "us-central1".'),
    ("displayName", "", "displayName", '"" is not 1 to 128 characters of text.'),
    ("displayName", "x" * 129, "displayName", "has 129 characters; at most 128 are allowed."),
    (
        "modelId",
        "8B",
        "modelId",
        '"8B" is not a model id: a lower-case letter or "_", then at most 62 lower-case letters, digits, _ or -.',
    ),
    (
        "displayname",
        "x",
        "displayname",
        "is not a property here; did you mean displayName? Valid: displayName, project, location, modelId, "
        "containerSpec, hfToken, artifactUri, labels, keepVersions.",
    ),
    (
        "hfToken",
        "hf_a b",
        "",
        "hfToken: the value (not shown, it is a secret) is not a Hugging Face token: characters without white space.",
    ),
    ("hfToken", ["hf_ab"], "", "hfToken: must be text, not a list."),
    (
        "artifactUri",
        "s3://bucket/x",
        "artifactUri",
        '"s3://bucket/x" is not a place in Cloud Storage, for example "gs://bucket/models/llama".',
    ),
    ("labels", ["a"], "", "labels: must be a map, not ['a'] (a list)."),
    (
        "labels.Team",
        "x",
        "",
        f'labels: "Team" is not {LABEL_KEY}.',
    ),
    ("labels.team", "Search Team", "", f'labels.team: "Search Team" is not {LABEL}.'),
    ("labels.team", 5, "", "labels.team: must be text, not 5 (a whole number)."),
    ("containerSpec", "image", "containerSpec", 'must be a map, not "image" (text).'),
    (
        "containerSpec.imageUri",
        DELETE,
        "",
        "containerSpec.imageUri: is missing; give the image that serves the model.",
    ),
    (
        "containerSpec.imageUri",
        "an image",
        "",
        'containerSpec.imageUri: "an image" is not a container image, for example '
        '"us-docker.pkg.dev/project/repository/image:tag".',
    ),
    (
        "containerSpec.shareMemorySizeMb",
        1,
        "",
        "containerSpec.shareMemorySizeMb: is not a property here; did you mean sharedMemorySizeMb? Valid: "
        "sharedMemorySizeMb, imageUri, command, args, env, ports, predictRoute, healthRoute, deploymentTimeoutSeconds.",
    ),
    (
        "containerSpec.zzz",
        1,
        "",
        f"containerSpec.zzz: is not a property here; valid: {CONTAINER_PROPERTIES}.",
    ),
    ("containerSpec.args", "--model=x", "", 'containerSpec.args: must be a list, not "--model=x" (text).'),
    ("containerSpec.args.2", 8080, "", "containerSpec.args[2]: must be text, not 8080 (a whole number)."),
    ("containerSpec.args.2", None, "", "containerSpec.args[2]: is null; give a value or leave the item out."),
    (
        "containerSpec.env.MODEL-ID",
        "x",
        "",
        'containerSpec.env: "MODEL-ID" is not the name of an environment variable.',
    ),
    (
        "containerSpec.env.MODEL_ID",
        None,
        "",
        "containerSpec.env.MODEL_ID: is null; give a value or leave the entry out.",
    ),
    (
        "containerSpec.env.HF_TOKEN",
        "hf_abcdefgh",
        "",
        "containerSpec.env.HF_TOKEN: would be readable in the state; give the token as hfToken, which is a secret.",
    ),
    (
        "containerSpec.env.AIP_HTTP_PORT",
        "1",
        "",
        "containerSpec.env.AIP_HTTP_PORT: begins with AIP_, which Vertex AI keeps for its own variables; rename it.",
    ),
    ("containerSpec.ports", [8080, 8081], "", "containerSpec.ports: has 2 items; at most 1 are allowed."),
    ("containerSpec.ports.0", 70000, "", "containerSpec.ports[0]: is 70000; give 1 to 65535."),
    (
        "containerSpec.ports.0",
        80.5,
        "",
        "containerSpec.ports[0]: must be a whole number, not 80.5 (a number with a fraction).",
    ),
    (
        "containerSpec.predictRoute",
        "generate",
        "",
        'containerSpec.predictRoute: "generate" is not a path that begins with "/".',
    ),
    (
        "containerSpec.sharedMemorySizeMb",
        True,
        "",
        "containerSpec.sharedMemorySizeMb: must be a whole number, not true (true or false).",
    ),
    (
        "containerSpec.deploymentTimeoutSeconds",
        10800,
        "",
        "containerSpec.deploymentTimeoutSeconds: is 10800; give 1 to 7200 seconds (Google's limit is 2 hours).",
    ),
]

BAD_DEPLOYMENTS = [
    ("endpoint", DELETE, "", "endpoint: is missing; give the endpoint that is to serve the model."),
    (
        "endpoint",
        "my endpoint",
        "endpoint",
        '"my endpoint" is not an endpoint: its id, or projects/PROJECT/locations/LOCATION/endpoints/ID.',
    ),
    (
        "endpoint",
        "projects/p/locations/europe-west4/endpoints/5",
        "endpoint",
        "is in europe-west4, but location is us-central1; they must be the same region.",
    ),
    (
        "model",
        "llama",
        "model",
        '"llama" is not a model\'s full name: projects/PROJECT/locations/LOCATION/models/ID.',
    ),
    ("machineSpec", DELETE, "", "machineSpec: is missing; give at least its machineType."),
    (
        "machineSpec.machineType",
        "g2",
        "",
        'machineSpec.machineType: "g2" is not a machine type, for example "g2-standard-12".',
    ),
    (
        "machineSpec.acceleratorType",
        "NVIDIA_L40",
        "",
        'machineSpec.acceleratorType: "NVIDIA_L40" is not an accelerator; did you mean NVIDIA_L4? Valid: '
        + ", ".join(ACCELERATORS)
        + ".",
    ),
    (
        "machineSpec.acceleratorCount",
        DELETE,
        "",
        "machineSpec.acceleratorCount: is missing; say how many accelerators the machine has.",
    ),
    (
        "machineSpec.acceleratorType",
        DELETE,
        "",
        "machineSpec.acceleratorType: is missing; say what the 1 accelerators are.",
    ),
    ("machineSpec.acceleratorCount", 0, "", "machineSpec.acceleratorCount: is 0; give 1 to 64."),
    (
        "machineSpec.gpus",
        1,
        "",
        "machineSpec.gpus: is not a property here; valid: machineType, acceleratorType, acceleratorCount.",
    ),
    ("spot", "yes", "spot", 'must be true or false, not "yes" (text).'),
    (
        "minReplicaCount",
        0,
        "minReplicaCount",
        "is 0; give 1 to 1000 replicas (version v1 of the API cannot scale to zero).",
    ),
    ("minReplicaCount", 3, "maxReplicaCount", "is 1, less than minReplicaCount, 3; raise it to 3 or more."),
    ("maxReplicaCount", "2", "maxReplicaCount", 'must be a whole number, not "2" (text).'),
    ("serviceAccount", "me", "serviceAccount", '"me" is not the e-mail address of a service account.'),
    ("deployRequestTimeoutSeconds", 0, "deployRequestTimeoutSeconds", "is 0; give 1 to 43200 seconds."),
    (
        "labels",
        {},
        "",
        "labels: is not a property here; valid: project, location, endpoint, model, displayName, machineSpec, spot, "
        "minReplicaCount, maxReplicaCount, autoscalingMetricSpecs, serviceAccount, expiry, "
        "deployRequestTimeoutSeconds, trafficPercent, rollout.",
    ),
    (
        "autoscalingMetricSpecs",
        [{"metricName": "duty_cycle", "target": 60}],
        "",
        'autoscalingMetricSpecs[0].metricName: "duty_cycle" is not a metric for autoscaling; valid: '
        f"{', '.join(METRICS)}.",
    ),
    (
        "autoscalingMetricSpecs",
        [{"metricName": NAMES[0]}],
        "",
        "autoscalingMetricSpecs[0].target: is missing; give a whole number.",
    ),
    (
        "autoscalingMetricSpecs",
        [{"metricName": NAMES[0], "target": 101}],
        "",
        "autoscalingMetricSpecs[0].target: is 101, but this metric is a percentage; give 1 to 100.",
    ),
    (
        "autoscalingMetricSpecs",
        [{"metricName": NAMES[1], "target": 60}, {"metricName": NAMES[1], "target": 70}],
        "",
        f'autoscalingMetricSpecs[1].metricName: "{NAMES[1]}" is there twice; keep one.',
    ),
]

BAD_DISPOSALS = [
    ("project", 7, "project", "must be text, not 7 (a whole number)."),
    ("project", DELETE, "", "project: is missing; give the Google Cloud project."),
    (
        "policy",
        "ifEmpty",
        "policy",
        '"ifEmpty" is not a policy; did you mean if_empty? Valid: if_empty, keep, delete.',
    ),
    ("force", True, "force", "is not a property here; valid: project, policy."),
]


def failures_of(resource: Any, inputs: dict[str, Any]) -> list[tuple[str, str]]:
    return list(resource(Connector()).check(Quiet(), {}, inputs).failures)


@pytest.mark.parametrize(("path", "value", "where", "reason"), BAD_MODELS)
def test_bad_model(path: str, value: Any, where: str, reason: str) -> None:
    assert failures_of(Model, changed(MODEL, path, value)) == [(where, reason)]


@pytest.mark.parametrize(("path", "value", "where", "reason"), BAD_DEPLOYMENTS)
def test_bad_deployment(path: str, value: Any, where: str, reason: str) -> None:
    assert failures_of(Deployment, changed(deployment(NAME), path, value)) == [(where, reason)]


@pytest.mark.parametrize(("path", "value", "where", "reason"), BAD_DISPOSALS)
def test_bad_disposal(path: str, value: Any, where: str, reason: str) -> None:
    assert failures_of(BucketDisposal, changed({"project": "my-project"}, path, value)) == [(where, reason)]


def test_all_failures_are_told_at_once() -> None:
    inputs = {"project": "P!", "location": 1, "containerSpec": {"imageUri": "i", "ports": [0]}, "x": 1}
    reasons = [reason for _, reason in failures_of(Model, inputs)]
    assert len(reasons) == 6
    assert reasons[0].startswith("is not a property here")
    assert "displayName: is missing; give a name to show in the console." in reasons


def test_a_rejected_token_is_never_repeated() -> None:
    for token in ("hf_se cret", ["hf_secret"], {"x": "hf_secret"}, 5):
        found = failures_of(Model, {**MODEL, "hfToken": token})
        assert found
        assert "hf_" not in str(found)
        assert all(not where for where, _ in found)


def unknown_anywhere(value: Any) -> Iterator[Any]:
    """Copies of a value with UNKNOWN at each place in it."""
    yield UNKNOWN
    if isinstance(value, dict):
        for key in value:
            for each in unknown_anywhere(value[key]):
                yield {**value, key: each}
    if isinstance(value, list):
        for number in range(len(value)):
            for each in unknown_anywhere(value[number]):
                yield [*value[:number], each, *value[number + 1 :]]


def test_unknown_values_pass_and_leave_the_model_id_open() -> None:
    model = Model(Connector())
    for inputs in unknown_anywhere(MODEL):
        if inputs is UNKNOWN:
            continue
        checked = model.check(Quiet(), {}, inputs)
        assert not checked.failures
        content = ("containerSpec", "hfToken", "artifactUri")
        decided = all(inputs.get(key) == MODEL.get(key) for key in content)
        assert ("modelId" in checked.inputs) is decided


def test_unknown_values_of_a_deployment_pass_and_count_as_changes() -> None:
    resource = Deployment(Connector())
    metrics = [{"metricName": NAMES[0], "target": 60}]
    full = deployment(
        NAME, maxReplicaCount=3, autoscalingMetricSpecs=metrics, spot=False, serviceAccount="a@b.c"
    )
    old = resource.check(Quiet(), {}, full).inputs
    for inputs in unknown_anywhere(full):
        if inputs is UNKNOWN:
            continue
        checked = resource.check(Quiet(), {}, inputs)
        assert not checked.failures
        (key,) = [key for key in full if inputs[key] != full[key]]
        diff = resource.diff(Quiet(), "id", {}, old, checked.inputs)
        if key in ("deployRequestTimeoutSeconds", "displayName"):
            assert not diff.changes
        elif key in ("minReplicaCount", "maxReplicaCount", "autoscalingMetricSpecs"):
            assert diff.changed == (key,)
            assert not diff.replaces
        else:
            assert diff.replaces == (key,)


def test_an_unknown_model_content_replaces() -> None:
    model = Model(Connector())
    old = model.check(Quiet(), {}, MODEL).inputs
    for path in (
        "containerSpec",
        "containerSpec.args",
        "containerSpec.env.MODEL_ID",
        "hfToken",
        "artifactUri",
    ):
        news = model.check(Quiet(), old, changed(MODEL, path, UNKNOWN)).inputs
        diff = model.diff(Quiet(), "id", {}, old, news)
        assert diff.replaces == (path.partition(".")[0],)
        assert not diff.delete_before_replace


def test_defaults_of_a_deployment() -> None:
    inputs = deployment(NAME)
    for key in ("minReplicaCount", "maxReplicaCount", "deployRequestTimeoutSeconds"):
        del inputs[key]
    checked = Deployment(Connector()).check(Quiet(), {}, inputs).inputs
    assert (checked["minReplicaCount"], checked["maxReplicaCount"]) == (1, 1)
    assert checked["deployRequestTimeoutSeconds"] == 1800
    assert (
        Deployment(Connector()).check(Quiet(), {}, {**inputs, "minReplicaCount": 2}).inputs["maxReplicaCount"]
        == 2
    )


def test_metrics_without_room_to_scale_are_warned_about() -> None:
    ctx = Quiet()
    inputs = deployment(NAME, autoscalingMetricSpecs=[{"metricName": NAMES[0], "target": 60}])
    assert not Deployment(Connector()).check(ctx, {}, inputs).failures
    assert ctx.warnings == [
        "autoscalingMetricSpecs has no effect while minReplicaCount and maxReplicaCount are both 1: raise "
        "maxReplicaCount or leave the metrics out."
    ]


def test_a_duty_cycle_needs_an_accelerator() -> None:
    inputs = deployment(NAME, machineSpec={"machineType": "n1-standard-4"}, maxReplicaCount=2)
    inputs["autoscalingMetricSpecs"] = [{"metricName": NAMES[0], "target": 60}]
    assert failures_of(Deployment, inputs) == [
        (
            "",
            "autoscalingMetricSpecs[0].metricName: is about accelerators, and machineSpec has none; "
            "choose another metric.",
        )
    ]


def test_accelerators_are_those_of_the_client_library() -> None:
    from google.cloud.aiplatform_v1.types import AcceleratorType

    every: Any = AcceleratorType
    named = {each.name for each in every if each.value}
    assert set(ACCELERATORS) == named


def test_check_diff_and_preview_import_nothing_of_google() -> None:
    """In a process of its own, because this one has them all. A replacement of a deployment loads more: it looks."""
    program = """
import sys
from infra.plugin.server import serve
from infra.provider.bucket_disposal import BucketDisposal
from infra.provider.connect import Connector
from infra.provider.deployment import Deployment
from infra.provider.model import Model
from tests.provider.samples import MODEL, Quiet, deployment

model = "projects/p/locations/us-central1/models/m"
bucket = {"project": "my-project"}
for kind, inputs in ((Model, MODEL), (Deployment, deployment(model)), (BucketDisposal, bucket)):
    resource = kind(Connector())
    checked = resource.check(Quiet(), {}, inputs)
    assert not checked.failures, checked.failures
    changes = {"labels": {"a": "b"}} if kind is Model else {"maxReplicaCount": 9} if kind is Deployment else {}
    resource.diff(Quiet(), "id", {}, checked.inputs, {**checked.inputs, **changes})
    resource.preview(Quiet(), checked.inputs)
    resource.preview_update(Quiet(), "id", {}, checked.inputs, checked.inputs)
    resource.schema()
heavy = ("google.cloud.", "google.auth", "google.api_core", "google.longrunning", "requests", "pydantic", "pulumi")
print([module for module in sys.modules if module.startswith(heavy)])
"""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"

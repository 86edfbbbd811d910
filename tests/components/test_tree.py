"""The exact trees: names, types, parents, order and inputs of what one stack registers.

Proves what the program asks for. What an engine and a cloud make of it is proved in `tests/engine`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.serving import ServedModel
from tests.adapters import write_adapter
from tests.components.plans import arguments, changed
from tests.components.recording import Recorder, Run

SERVICES = ("aiplatform", "cloudresourcemanager", "compute", "iam", "storage")
EMAIL = "vertex-vllm-local@local-project.iam.gserviceaccount.com"
GRANT = "gcp:storage/bucketIAMMember:BucketIAMMember"

COMPONENTS = [
    ("", "vertex-vllm:serving:ServedModel", "vllm"),
    ("vllm", "vertex-vllm:artifacts:ArtifactBucket", "vllm-artifacts"),
    ("vllm", "vertex-vllm:deployment:ModelDeployment", "vllm"),
    ("vllm", "vertex-vllm:endpoint:ServingEndpoint", "vllm-endpoint"),
    ("vllm", "vertex-vllm:identity:ServingIdentity", "vllm-identity"),
    ("vllm", "vertex-vllm:model:UploadedModel", "vllm-model"),
    ("vllm", "vertex-vllm:services:EnabledServices", "vllm-services"),
]
ALWAYS = [
    ("vllm", "vertexserving:index:Deployment", "vllm"),
    ("vllm", "vertexserving:index:LeftoverCheck", "vllm-endpoint-leftovers"),
    ("vllm", "vertexserving:index:LeftoverCheck", "vllm-leftovers"),
    ("vllm-endpoint", "gcp:vertex/aiEndpoint:AiEndpoint", "vllm-endpoint"),
    ("vllm-model", "vertexserving:index:Model", "vllm-model"),
    *[("vllm-services", "gcp:projects/service:Service", f"vllm-services-{name}") for name in SERVICES],
]
ACCOUNT = [("vllm-identity", "gcp:serviceaccount/account:Account", "vllm-identity")]
LEAST = [("vllm-identity", "gcp:projects/iAMMember:IAMMember", "vllm-identity-aiplatform-user")]
BUCKET = [
    ("vllm-artifacts", "gcp:storage/bucket:Bucket", "vllm-artifacts"),
    ("vllm-artifacts", "vertexserving:index:BucketDisposal", "vllm-artifacts-disposal"),
]
READER = [("vllm-artifacts", GRANT, "vllm-artifacts-storage-objectViewer")]


def serve(run: Run, **changes: Any) -> dict[str, Any]:
    """Registers a served model and gives its public outputs."""

    def program() -> pulumi.Output[dict[str, Any]]:
        served = ServedModel("vllm", arguments(**changes))
        return pulumi.Output.all(**{name: getattr(served, name) for name in ServedModel.__annotations__})

    outputs: dict[str, Any] = run(program)
    return outputs


def test_local_stack(recorder: Recorder, run: Run) -> None:
    outputs = serve(run)
    assert recorder.tree() == sorted([*COMPONENTS, *ALWAYS, *ACCOUNT, *LEAST, *BUCKET, *READER])
    assert outputs == {
        "endpoint": "vllm-endpoint-id",
        "dedicated_endpoint_dns": None,
        "model": "projects/123456789012/locations/us-central1/models/m-0123456789",
        "deployed_model_id": "1234567890",
        "bucket": "vllm-artifacts-1234567",
        "staging_uri": "gs://vllm-artifacts-1234567/staging",
        "model_uri": "gs://vllm-artifacts-1234567/models",
        "service_account": EMAIL,
        "adapters": {},
        "dashboard": None,
    }
    assert recorder.calls == []


def test_an_existing_endpoint_is_neither_made_nor_described(
    recorder: Recorder, run: Run, tmp_path: Path
) -> None:
    endpoint = "projects/local-project/locations/us-central1/endpoints/55"
    plan = changed(tmp_path, endpoint={"traffic": 10}, rollout={"strategy": "surge", "steps": [50]})
    outputs = serve(run, plan=plan, existing_endpoint=endpoint)
    assert recorder.of("vertex/aiEndpoint:AiEndpoint") == []
    (deployment,) = recorder.of("index:Deployment")
    assert deployment.inputs["endpoint"] == outputs["endpoint"] == endpoint
    assert deployment.inputs["trafficPercent"] == 10
    assert deployment.inputs["rollout"] == {
        "strategy": "surge",
        "steps": [50],
        "bakeSeconds": 300,
        "maxErrorPercent": 5,
    }
    (model,) = recorder.of("index:Model")
    assert model.inputs["labels"]["vertex-vllm-traffic"] == "10", "by which other stacks know the share"


def test_a_stopped_stack_keeps_the_address_of_the_existing_endpoint(recorder: Recorder, run: Run) -> None:
    """No deployment tells its host then; on a dedicated endpoint the shared address answers nothing."""
    endpoint = "projects/local-project/locations/us-central1/endpoints/55"
    outputs = serve(run, existing_endpoint=endpoint, stopped=True)
    assert recorder.of("index:Deployment") == []
    assert outputs["endpoint"] == endpoint
    assert outputs["dedicated_endpoint_dns"].endswith(".prediction.vertexai.goog")


def test_a_plain_stack_says_nothing_of_rollout_and_traffic(recorder: Recorder, run: Run) -> None:
    """States of earlier versions know of neither: nothing may seem to have changed."""
    serve(run)
    (deployment,) = recorder.of("index:Deployment")
    assert not {"rollout", "trafficPercent"} & deployment.inputs.keys()
    (model,) = recorder.of("index:Model")
    assert "vertex-vllm-traffic" not in model.inputs["labels"]


def test_telemetry(recorder: Recorder, run: Run, tmp_path: Path) -> None:
    channel = "projects/local-project/notificationChannels/1"
    plan = changed(tmp_path, vllm={"disable_log_stats": False}, endpoint={"dedicated": True})
    outputs = serve(run, plan=plan, telemetry=True, notification_channels=(channel,))
    kind, policy = "gcp:monitoring/dashboard:Dashboard", "gcp:monitoring/alertPolicy:AlertPolicy"
    assert recorder.tree() == sorted(
        [
            *COMPONENTS,
            *ALWAYS,
            *ACCOUNT,
            *LEAST,
            *BUCKET,
            *READER,
            ("vllm-services", "gcp:projects/service:Service", "vllm-services-monitoring"),
            ("vllm", "vertex-vllm:telemetry:ServingTelemetry", "vllm-telemetry"),
            ("vllm-telemetry", kind, "vllm-telemetry"),
            *[("vllm-telemetry", policy, f"vllm-telemetry-{role}") for role in ("errors", "idle", "slow")],
        ]
    )
    assert outputs["dashboard"] == "vllm-telemetry-id"
    dashboard = recorder.one("dashboard:Dashboard")
    assert dashboard.inputs["project"] == "local-project"
    assert recorder.one(":ServingTelemetry").depends_on >= {"vllm-services-monitoring"}
    assert json.loads(dashboard.inputs["dashboardJson"])["displayName"] == "vLLM: llama"
    assert "vertex_vllm_num_requests_waiting" in dashboard.inputs["dashboardJson"]
    for alert in recorder.of("AlertPolicy"):
        assert alert.inputs["notificationChannels"] == [channel]
        assert alert.inputs["userLabels"] == {"owner": "me", "vertex-vllm-stack": "local"}
        assert alert.inputs["combiner"] == "OR"
        (condition,) = alert.inputs["conditions"]
        promql = condition["conditionPrometheusQueryLanguage"]
        assert promql["disableMetricValidation"] is True
        assert 'endpoint_id="123456789"' in promql["query"]
    # On a host of its own a request may take an hour.
    (slow,) = recorder.one("AlertPolicy", "vllm-telemetry-slow").inputs["conditions"]
    assert slow["conditionPrometheusQueryLanguage"]["query"].endswith("> 2700000")


def test_a_stopped_stack_keeps_everything_but_the_deployment(recorder: Recorder, run: Run) -> None:
    outputs = serve(run, stopped=True)
    gone = {"vertex-vllm:deployment:ModelDeployment", "vertexserving:index:Deployment"}
    whole = [*COMPONENTS, *ALWAYS, *ACCOUNT, *LEAST, *BUCKET, *READER]
    assert recorder.tree() == sorted(each for each in whole if each[1] not in gone)
    assert (outputs["deployed_model_id"], outputs["endpoint"]) == ("", "vllm-endpoint-id")


def test_a_destroy_ends_with_the_checks(recorder: Recorder, run: Run) -> None:
    serve(run)
    assert recorder.one(":EnabledServices").depends_on == {"vllm-leftovers"}
    assert "vllm-endpoint-leftovers" in recorder.one(":ModelDeployment").depends_on
    assert recorder.one("LeftoverCheck", "vllm-endpoint-leftovers").inputs == {
        "project": "local-project",
        "location": "us-central1",
        "endpoint": "vllm-endpoint-id",
    }


@pytest.mark.parametrize(("label", "given"), [("8h", "8h"), ("2027-03-31", None), ("never", None)])
def test_how_long_a_deployment_is_wanted(recorder: Recorder, run: Run, label: str, given: str | None) -> None:
    serve(run, labels={"expiry": label})
    assert recorder.one("index:Deployment").inputs.get("expiry") == given


def test_an_account_is_described_by_the_labels_that_it_cannot_have(recorder: Recorder, run: Run) -> None:
    labels = {"owner": "me", "vertex-vllm-project": "vertex-vllm", "vertex-vllm-stack": "local"}
    serve(run, labels=labels)
    account = recorder.one("serviceaccount/account:Account")
    assert account.inputs["description"] == "vertex-vllm-project=vertex-vllm vertex-vllm-stack=local"


def test_inputs_of_the_local_stack(recorder: Recorder, run: Run) -> None:
    serve(run)
    labels = {"owner": "me", "vertex-vllm-stack": "local"}
    assert recorder.one("storage/bucket:Bucket").inputs == {
        "project": "local-project",
        "location": "US-CENTRAL1",
        "storageClass": "STANDARD",
        "uniformBucketLevelAccess": True,
        "publicAccessPrevention": "enforced",
        "versioning": {"enabled": False},
        "softDeletePolicy": {"retentionDurationSeconds": 0},
        "forceDestroy": False,
        "labels": labels,
    }
    assert recorder.one("AiEndpoint").inputs == {
        "name": "123456789",
        "project": "local-project",
        "location": "us-central1",
        "region": "us-central1",
        "displayName": "llama",
        "dedicatedEndpointEnabled": False,
        "labels": labels,
    }
    assert recorder.one("AiEndpoint").ignore_changes == ("trafficSplit", "region")
    model = recorder.one("index:Model").inputs
    assert model["labels"] == labels
    assert model["displayName"] == "llama"
    assert model["containerSpec"]["env"] == {
        "MODEL_ID": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "DEPLOY_SOURCE": "vertex-vllm",
    }
    assert model["containerSpec"]["args"][:3] == ["python", "-m", "vllm.entrypoints.api_server"]
    assert model["containerSpec"]["command"] == []
    assert {
        key: value for key, value in model["containerSpec"].items() if key not in ("env", "args", "command")
    } == {
        "imageUri": "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/"
        "pytorch-vllm-serve:20241001_0916_RC00",
        "ports": [8080],
        "predictRoute": "/generate",
        "healthRoute": "/ping",
        "sharedMemorySizeMb": 16384,
        "deploymentTimeoutSeconds": 7200,
    }
    assert recorder.one("index:Deployment").inputs == {
        "project": "local-project",
        "location": "us-central1",
        "endpoint": "vllm-endpoint-id",
        "model": "projects/123456789012/locations/us-central1/models/m-0123456789",
        "displayName": "llama",
        "machineSpec": {
            "machineType": "g2-standard-12",
            "acceleratorType": "NVIDIA_L4",
            "acceleratorCount": 1,
        },
        "spot": False,
        "minReplicaCount": 1,
        "maxReplicaCount": 1,
        "autoscalingMetricSpecs": [],
        "serviceAccount": EMAIL,
        "deployRequestTimeoutSeconds": 1800,
    }
    for service in recorder.of("projects/service:Service"):
        assert service.inputs["disableOnDestroy"] is False


def test_token_is_a_secret_beside_the_container(recorder: Recorder, run: Run) -> None:
    serve(run, hf_token=pulumi.Output.secret("hf_local"))
    inputs = recorder.one("index:Model").inputs
    assert inputs["hfToken"]["value"] == "hf_local"
    assert "4dabf18193072939515e22adb298388d" in inputs["hfToken"], "not marked as a secret on the wire"
    assert "hf_local" not in str(inputs["containerSpec"])


def test_no_token(recorder: Recorder, run: Run) -> None:
    serve(run, hf_token=None)
    assert "hfToken" not in recorder.one("index:Model").inputs


def test_order(recorder: Recorder, run: Run) -> None:
    serve(run)
    services = {f"vllm-services-{name}" for name in SERVICES}
    for component in ("ArtifactBucket", "ServingEndpoint", "ServingIdentity", "UploadedModel"):
        assert recorder.one(f":{component}").depends_on >= services, component
    # The grants are waited for, both of the project and of the bucket.
    assert recorder.one(":ModelDeployment").depends_on >= {
        "vllm-identity-aiplatform-user",
        "vllm-artifacts-storage-objectViewer",
    }
    assert recorder.one("index:Deployment").depends_on >= {"vllm-endpoint", "vllm-model", "vllm-identity"}
    # So that destroy revokes the grant before the bucket goes, and the disposal knows of every bucket.
    assert "vllm-artifacts" in recorder.one("BucketIAMMember").depends_on
    assert "vllm-artifacts-disposal" in recorder.one("storage/bucket:Bucket").depends_on


def test_existing_bucket(recorder: Recorder, run: Run) -> None:
    outputs = serve(run, existing_bucket="mine")
    assert recorder.tree() == sorted([*COMPONENTS, *ALWAYS, *ACCOUNT, *LEAST, *READER])
    assert recorder.one("BucketIAMMember").inputs == {
        "bucket": "mine",
        "role": "roles/storage.objectViewer",
        "member": f"serviceAccount:{EMAIL}",
    }
    assert outputs["bucket"] == "mine"
    assert outputs["model_uri"] == "gs://mine/models"


def test_existing_service_account(recorder: Recorder, run: Run) -> None:
    email = "me@other.iam.gserviceaccount.com"
    outputs = serve(run, existing_service_account=email)
    assert recorder.tree() == sorted([*COMPONENTS, *ALWAYS, *LEAST, *BUCKET, *READER])
    assert outputs["service_account"] == email
    assert recorder.one("index:Deployment").inputs["serviceAccount"] == email
    assert recorder.one("IAMMember", "vllm-identity-aiplatform-user").inputs == {
        "project": "local-project",
        "role": "roles/aiplatform.user",
        "member": f"serviceAccount:{email}",
    }


def test_grants_of_the_guide(recorder: Recorder, run: Run) -> None:
    serve(run, grants="guide")
    assert recorder.tree() == sorted(
        [
            *COMPONENTS,
            *ALWAYS,
            *ACCOUNT,
            *LEAST,
            ("vllm-identity", "gcp:projects/iAMMember:IAMMember", "vllm-identity-storage-admin"),
            *BUCKET,
            ("vllm-artifacts", GRANT, "vllm-artifacts-storage-admin"),
        ]
    )
    assert recorder.one("BucketIAMMember").inputs["role"] == "roles/storage.admin"


def test_adapters_beside_the_stack_file(recorder: Recorder, run: Run, tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql", more=("tokenizer.json", "optimizer.pt"))
    write_adapter(tmp_path / "chat", lora_alpha=32)
    plan = changed(tmp_path, lora={"sql": "./sql", "chat": "./chat", "hub": "me/adapter"})
    outputs = serve(run, plan=plan)
    digests = {adapter.name: adapter.digest() for adapter in plan.adapters}
    assert outputs["adapters"] == {
        name: f"gs://vllm-artifacts-1234567/models/lora/{name}/{digest}" for name, digest in digests.items()
    }
    kind, files = (
        "gcp:storage/bucketObject:BucketObject",
        ("adapter_config.json", "adapter_model.safetensors"),
    )
    named = [("chat", file) for file in files] + [("sql", file) for file in (*files, "tokenizer.json")]
    objects = [
        ("vllm-adapters", kind, f"vllm-adapters-{name}-{digests[name]}-{file}") for name, file in named
    ]
    component = ("vllm", "vertex-vllm:adapters:StagedAdapters", "vllm-adapters")
    assert recorder.tree() == sorted(
        [*COMPONENTS, *ALWAYS, *ACCOUNT, *LEAST, *BUCKET, *READER, component, *objects]
    )
    config = recorder.one("BucketObject", f"vllm-adapters-sql-{digests['sql']}-adapter_config.json").inputs
    assert config["source"].path.endswith("sql/adapter_config.json")
    assert {key: value for key, value in config.items() if key != "source"} == {
        "bucket": "vllm-artifacts-1234567",
        "name": f"models/lora/sql/{digests['sql']}/adapter_config.json",
        "contentType": "application/json",
    }
    weights = recorder.one("BucketObject", f"vllm-adapters-sql-{digests['sql']}-adapter_model.safetensors")
    assert weights.inputs["contentType"] == "application/octet-stream"
    # Waited for, so that an upload that fails costs no GPU; a value of neither model nor deployment, so none rolls.
    assert {name for _, _, name in objects} <= recorder.one(":ModelDeployment").depends_on
    assert "lora/" not in str(recorder.one("index:Model").inputs)
    assert "lora/" not in str(recorder.one("index:Deployment").inputs)


def test_adapters_go_into_an_existing_bucket_too(recorder: Recorder, run: Run, tmp_path: Path) -> None:
    write_adapter(tmp_path / "sql")
    plan = changed(tmp_path, lora={"sql": "./sql"})
    outputs = serve(run, existing_bucket="mine", plan=plan)
    assert outputs["adapters"] == {"sql": f"gs://mine/models/lora/sql/{plan.adapters[0].digest()}"}
    assert {each.inputs["bucket"] for each in recorder.of("BucketObject")} == {"mine"}


def test_weights_in_another_bucket_are_readable(recorder: Recorder, run: Run, tmp_path: Path) -> None:
    plan = changed(tmp_path, weights="gs://weights/llama")
    serve(run, plan=plan, hf_token=None, weights_buckets=("weights",))
    name = "vllm-artifacts-weights-storage-objectViewer"
    assert recorder.tree() == sorted(
        [*COMPONENTS, *ALWAYS, *ACCOUNT, *LEAST, *BUCKET, *READER, ("vllm-artifacts", GRANT, name)]
    )
    assert recorder.one("BucketIAMMember", name).inputs == {
        "bucket": "weights",
        "role": "roles/storage.objectViewer",
        "member": f"serviceAccount:{EMAIL}",
    }
    assert "vllm-artifacts-weights-storage-objectViewer" in recorder.one(":ModelDeployment").depends_on
    assert "--model=gs://weights/llama" in recorder.one("index:Model").inputs["containerSpec"]["args"]


def test_weights_in_the_existing_bucket_need_no_grant_of_their_own(recorder: Recorder, run: Run) -> None:
    serve(run, existing_bucket="mine", weights_buckets=("mine",))
    assert [grant.name for grant in recorder.of("BucketIAMMember")] == ["vllm-artifacts-storage-objectViewer"]


def test_weights_in_the_bucket_made_here_share_no_binding(recorder: Recorder, run: Run) -> None:
    serve(run, weights_buckets=("vllm-artifacts-1234567",))
    grants = recorder.of("BucketIAMMember")
    assert {grant.inputs["bucket"] for grant in grants} == {"vllm-artifacts-1234567"}
    assert sorted(grant.inputs["role"] for grant in grants) == [
        "roles/storage.legacyObjectReader",
        "roles/storage.objectViewer",
    ]


@pytest.mark.parametrize(
    ("policy", "force", "retained"),
    [("if_empty", False, True), ("keep", False, True), ("delete", True, False)],
)
def test_what_destroy_does_with_the_bucket(
    recorder: Recorder, run: Run, policy: str, force: bool, retained: bool
) -> None:
    serve(run, on_destroy_bucket=policy)
    bucket, disposal = recorder.one("storage/bucket:Bucket"), recorder.one("BucketDisposal")
    assert bucket.inputs["forceDestroy"] is force
    assert bucket.retain_on_delete is retained
    assert disposal.inputs == {"project": "local-project", "policy": policy}
    assert not disposal.retain_on_delete


def test_dedicated_endpoint(recorder: Recorder, run: Run, tmp_path: Path) -> None:
    outputs = serve(run, plan=changed(tmp_path, endpoint={"dedicated": True}))
    assert recorder.one("AiEndpoint").inputs["dedicatedEndpointEnabled"] is True
    assert outputs["dedicated_endpoint_dns"] == "123456789.us-central1-123456789012.prediction.vertexai.goog"


def test_replicas_spot_and_autoscaling(recorder: Recorder, run: Run, tmp_path: Path) -> None:
    metric = "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"
    plan = changed(
        tmp_path,
        hardware={"spot": True},
        replicas={
            "min_replica_count": 2,
            "max_replica_count": 5,
            "autoscaling": [{"metric_name": metric, "target": 70}],
        },
        deploy_request_timeout=900,
    )
    serve(run, plan=plan)
    inputs = recorder.one("index:Deployment").inputs
    assert inputs["spot"] is True
    assert (inputs["minReplicaCount"], inputs["maxReplicaCount"]) == (2, 5)
    assert inputs["autoscalingMetricSpecs"] == [{"metricName": metric, "target": 70}]
    assert inputs["deployRequestTimeoutSeconds"] == 900


def test_options_of_the_caller_stay_with_the_composite(recorder: Recorder, run: Run) -> None:
    def program() -> None:
        ServedModel("vllm", arguments(), pulumi.ResourceOptions(retain_on_delete=True))

    run(program)
    retained = [(each.type, each.name) for each in recorder.resources.values() if each.retain_on_delete]
    assert retained == [
        ("vertex-vllm:serving:ServedModel", "vllm"),
        ("gcp:storage/bucket:Bucket", "vllm-artifacts"),
    ]

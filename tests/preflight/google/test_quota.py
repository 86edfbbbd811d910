"""Serving quota against a local Google Cloud: limits set, exceeded, used by others and by the stack itself."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from components.model import UploadedModel, UploadedModelArgs
from infra.ids import endpoint_id
from infra.preflight.finding import Finding, Status
from infra.preflight.google.limits import Limit, read_limit
from infra.preflight.google.quota import quota
from infra.preflight.google.usage import read_usage
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Subject
from infra.recipes import QuotaRef
from tests.components.conftest import recorder, run
from tests.components.recording import Recorder, Run
from tests.preflight.subjects import PROJECT, REGION, TOKEN, planned

from .conftest import Place

__all__ = ["recorder", "run"]

GPU = "CustomModelServingL4GPUsPerProjectPerRegion"
VCPU = "CustomModelServingCPUsPerProjectPerRegion"
SPOT_GPU = "CustomModelServingPreemptibleL4GPUsPerProjectPerRegion"
SPOT_VCPU = "CustomModelServingPreemptibleCPUsPerProjectPerRegion"
L4 = {"machine_type": "g2-standard-12", "accelerator_type": "NVIDIA_L4", "accelerator_count": 1}
H200 = {"machine_type": "a3-ultragpu-8g", "accelerator_type": "NVIDIA_H200_141GB", "accelerator_count": 8}
SMALL = "Qwen/Qwen2.5-7B-Instruct"


def scaled(least: int, most: int, **hardware: Any) -> Any:
    return planned(
        hardware={**L4, **hardware}, replicas={"min_replica_count": least, "max_replica_count": most}
    )


def ids(found: dict[str, Finding]) -> dict[str, str]:
    return {check: finding.status.value for check, finding in found.items()}


def test_room_for_all(ready: Place) -> None:
    found = ready.ask(quota)
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "PASS", "quota-surge": "PASS"}
    gpu = found["quota-gpu"]
    assert gpu.evidence == (
        "28 NVIDIA_L4 are allowed in us-central1 (Service Usage), 0 in use (Cloud Monitoring); "
        "1 replica takes 1 of the 28 that are left for this stack."
    )
    assert gpu.by_hand.startswith(
        f"gcloud beta quotas info describe {GPU} --service=aiplatform.googleapis.com --project=local-project "
        "--format='json(dimensionsInfos)'; curl -s "
    )
    assert (gpu.remedy, found["quota-vcpu"].remedy) == ("", "")
    assert "1 replica takes 12 of the 2200" in found["quota-vcpu"].evidence
    assert found["quota-surge"].evidence == (
        "A change of the model runs new replicas beside the old ones until they serve: 1 more NVIDIA_L4 (27 left) and "
        "12 more vCPUs (2188 left)."
    )


def test_the_use_can_be_seen_by_hand(ready: Place) -> None:
    ready.deploy(ready.subject(stack="other"), endpoint="other", replicas=(2, 2))
    for check, used in (("quota-gpu", 2), ("quota-vcpu", 24)):
        found = ready.ask(quota)[check]
        assert f"{used} in use (Cloud Monitoring)" in found.evidence
        line = found.by_hand.partition("; ")[2]
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
        (series,) = json.loads(done.stdout)["timeSeries"]
        assert int(series["points"][0]["value"]["int64Value"]) == used


def test_the_use_is_shown_where_it_was_counted(ready: Place) -> None:
    ready.deploy(ready.subject(stack="other"), endpoint="other", replicas=(2, 2))
    ready.disable("monitoring.googleapis.com")
    found = ready.ask(quota)["quota-gpu"]
    assert "counted from 1 deployed model" in found.evidence
    assert found.by_hand.endswith("; gcloud ai endpoints list --region=us-central1 --project=local-project")


def test_a_limit_that_is_too_low_needs_no_line_for_the_use(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 0)
    assert "; " not in ready.ask(quota)["quota-gpu"].by_hand


def test_four_requests_are_enough(ready: Place) -> None:
    ready.ask(quota)
    metrics = f"GET /v1beta1/projects/{PROJECT}/services/aiplatform.googleapis.com/consumerQuotaMetrics"
    assert ready.asked() == [
        f"GET /v1beta1/projects/{PROJECT}/locations/us-central1/endpoints",
        f"{metrics}/aiplatform.googleapis.com/custom_model_serving_cpus",
        f"{metrics}/aiplatform.googleapis.com/custom_model_serving_nvidia_l4_gpus",
        f"GET /v3/projects/{PROJECT}/timeSeries",
    ]


def test_a_project_in_which_nothing_is_enabled_yet_uses_nothing(place: Place) -> None:
    found = place.ask(quota)
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "PASS", "quota-surge": "PASS"}
    assert "0 in use (Cloud Monitoring)" in found["quota-gpu"].evidence


def test_no_gpus_are_allowed(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 0)
    found = ready.ask(quota)
    assert ids(found) == {"quota-gpu": "FAIL", "quota-vcpu": "PASS"}
    gpu = found["quota-gpu"]
    assert gpu.evidence == "0 NVIDIA_L4 are allowed in us-central1 (Service Usage); 1 replica takes 1."
    assert gpu.remedy.startswith(
        "Ask for 1: gcloud beta quotas preferences create --service=aiplatform.googleapis.com --project=local-project "
        f"--quota-id={GPU} --dimensions=region=us-central1 --preferred-value=1 --email=YOU@EXAMPLE.COM, or in the "
        "console: https://console.cloud.google.com/iam-admin/quotas?service=aiplatform.googleapis.com"
        "&project=local-project; or serve where the limits are high enough: us-east4, us-east1,"
    )


def test_the_side_that_nobody_looks_at(ready: Place) -> None:
    """Google's documented defaults: 8 H200 in asia-south2, and 16 vCPUs, of which one machine takes 224."""
    found = ready.ask(quota, ready.subject(planned(hardware=H200), region="asia-south2"))
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "FAIL"}
    assert found["quota-vcpu"].evidence == (
        "16 vCPUs are allowed in asia-south2 (Service Usage); 1 replica takes 224."
    )
    assert "us-south1" in found["quota-vcpu"].remedy, "450 vCPUs and 8 H200 by default"


def test_others_use_it(ready: Place) -> None:
    other = ready.subject(stack="other")
    ready.deploy(other, endpoint="other", replicas=(2, 2))
    ready.admin.quota(GPU, REGION, 2)
    ready.admin.quota(VCPU, REGION, 40)
    found = ready.ask(quota)
    assert ids(found) == {"quota-gpu": "FAIL", "quota-vcpu": "PASS"}
    assert found["quota-gpu"].evidence == (
        "2 NVIDIA_L4 are allowed in us-central1 (Service Usage), 2 in use (Cloud Monitoring); "
        "1 replica takes 1 of the 0 that are left for this stack."
    )
    assert "--preferred-value=3 " in found["quota-gpu"].remedy
    assert "24 in use (Cloud Monitoring)" in found["quota-vcpu"].evidence


def test_the_largest_number_of_replicas_is_a_warning(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 3)
    found = ready.ask(quota, ready.subject(scaled(1, 4)))
    assert ids(found) == {"quota-gpu": "WARN", "quota-vcpu": "PASS", "quota-surge": "WARN"}
    assert found["quota-gpu"].evidence == (
        "3 NVIDIA_L4 are allowed in us-central1 (Service Usage), 0 in use (Cloud Monitoring); "
        "1 to 4 replicas take 1 to 4 of the 3 that are left for this stack: enough for 3 replicas."
    )
    assert "--preferred-value=4 " in found["quota-gpu"].remedy
    assert found["quota-gpu"].remedy.endswith("; or lower replicas.max_replica_count")


def test_several_replicas_are_the_least(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 3)
    found = ready.ask(quota, ready.subject(scaled(4, 6)))
    assert found["quota-gpu"].status is Status.FAIL
    assert found["quota-gpu"].evidence.endswith("; 4 to 6 replicas take 4 to 6.")


def test_a_rolling_change_needs_room_beside_what_serves(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 1)
    found = ready.ask(quota)
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "PASS", "quota-surge": "WARN"}
    assert found["quota-surge"].evidence == (
        "A change of the model runs new replicas beside the old ones until they serve: 1 more NVIDIA_L4 (0 left) and "
        "12 more vCPUs (2188 left); that is too little."
    )
    assert f"--quota-id={GPU} " in found["quota-surge"].remedy
    assert "--preferred-value=2 " in found["quota-surge"].remedy
    assert VCPU not in found["quota-surge"].remedy


def test_an_unchanged_stack_does_not_stand_in_its_own_way(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 1)
    of = ready.subject(hf_token=TOKEN)
    ready.deploy(of)
    found = ready.ask(quota, of)
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "PASS", "quota-surge": "PASS"}
    assert found["quota-gpu"].evidence == (
        "1 NVIDIA_L4 are allowed in us-central1 (Service Usage), 1 in use (Cloud Monitoring), 1 of that by this stack; "
        "it is deployed as planned: 1 replica takes 1."
    )
    assert found["quota-surge"].evidence == (
        "Nothing rolls: deployed model 1111111111 is as planned. "
        "A change of the model would take 1 more NVIDIA_L4 (0 left) and 12 more vCPUs (2188 left)."
    )


@pytest.mark.parametrize(
    ("changed", "status"), [({}, Status.PASS), ({"vllm": {"max_num_seqs": 8}}, Status.WARN)]
)
def test_a_kept_version_is_told_by_its_content(ready: Place, changed: dict[str, Any], status: Status) -> None:
    kept: dict[str, Any] = {"hardware": L4, "rollout": {"old_model": "keep"}}
    ready.admin.quota(GPU, REGION, 1)
    ready.deploy(ready.subject(planned(**kept)))
    found = ready.ask(quota, ready.subject(planned(**kept, **changed)))
    assert found["quota-surge"].status is status
    assert (
        "Nothing rolls: deployed model 1111111111 is as planned." in found["quota-surge"].evidence
    ) is not bool(changed)


def test_recreate_runs_nothing_side_by_side(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 1)
    ready.deploy(ready.subject())
    of = ready.subject(planned(SMALL, hardware=L4, rollout="recreate"))
    assert ready.ask(quota, of)["quota-surge"] == Finding(
        check="quota-surge",
        status=Status.PASS,
        evidence="Nothing runs side by side: rollout: recreate takes the old deployment away first.",
        by_hand="gcloud ai endpoints list --region=us-central1 --project=local-project",
    )


def test_it_runs_on_whatever_the_limit_is_now(ready: Place) -> None:
    of = ready.subject()
    ready.deploy(of)
    ready.admin.quota(GPU, REGION, 0)
    found = ready.ask(quota, of)
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "PASS", "quota-surge": "PASS"}


@pytest.mark.parametrize(
    "change",
    [
        {"hf_token": TOKEN},
        {"service_account": "other@local-project.iam.gserviceaccount.com"},
        {"plan": planned(SMALL, hardware=L4)},
        {"plan": planned(hardware={**L4, "machine_type": "g2-standard-16"})},
    ],
    ids=["token", "account", "model", "machine"],
)
def test_a_changed_stack_rolls(ready: Place, change: dict[str, Any]) -> None:
    ready.admin.quota(GPU, REGION, 1)
    ready.deploy(ready.subject())
    found = ready.ask(quota, ready.subject(**change))
    assert found["quota-gpu"].status is Status.PASS, "the old one goes once the new one serves"
    assert "1 replica takes 1 of the 1 that are left for this stack" in found["quota-gpu"].evidence
    assert found["quota-surge"].status is Status.WARN


def test_more_replicas_of_the_same(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 3)
    ready.deploy(ready.subject())
    ready.deploy(ready.subject(stack="other"), endpoint="other")
    found = ready.ask(quota, ready.subject(scaled(3, 3)))
    assert found["quota-gpu"].status is Status.FAIL
    assert "1 of that by this stack; 3 replicas take 3 of the 2 that are left" in found["quota-gpu"].evidence
    assert ready.ask(quota, ready.subject(scaled(1, 2)))["quota-gpu"].status is Status.PASS
    assert ready.ask(quota, ready.subject(scaled(1, 3)))["quota-gpu"].status is Status.WARN


def test_a_stack_that_scales_is_counted_as_a_range(ready: Place) -> None:
    """Monitoring says 4 (what it may grow to); how much of that is the stack's is known as 1 to 4 only."""
    of = ready.subject(scaled(1, 4))
    ready.deploy(of, container={**of.plan.container.inputs(), "args": ["python"]})
    ready.admin.quota(GPU, REGION, 4)
    found = ready.ask(quota, of)
    assert "4 in use (Cloud Monitoring), 1 to 4 of that by this stack" in found["quota-gpu"].evidence
    assert "take 1 to 4 of the 1 to 4 that are left" in found["quota-gpu"].evidence
    assert found["quota-gpu"].status is Status.WARN


def test_a_dedicated_endpoint_is_the_stacks_too(ready: Place) -> None:
    of = ready.subject()
    ready.deploy(of, endpoint=endpoint_id(of.project, of.region, "vertex-vllm/test/dedicated"))
    assert "1 of that by this stack" in ready.ask(quota, of)["quota-gpu"].evidence


def test_spot_machines_have_quotas_of_their_own(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, 0)
    ready.admin.quota(VCPU, REGION, 0)
    of = ready.subject(scaled(1, 1, spot=True))
    found = ready.ask(quota, of)
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "SKIP"}, "nothing limits the GPUs"
    assert found["quota-gpu"].evidence == (
        "Service Usage has no limit for spot NVIDIA_L4 in us-central1; 1 replica takes 1."
    )
    assert found["quota-vcpu"].evidence == (
        "The limit is not known: Cloud Quotas cannot be read: no limit for us-central1 of "
        "CustomModelServingPreemptibleCPUsPerProjectPerRegion."
    )
    ready.admin.quota(SPOT_GPU, REGION, 1)
    ready.admin.quota(SPOT_VCPU, REGION, 11)
    found = ready.ask(quota, of)
    assert ids(found) == {"quota-gpu": "PASS", "quota-vcpu": "FAIL"}
    assert found["quota-vcpu"].evidence == (
        "11 spot vCPUs are allowed in us-central1 (Cloud Quotas); 1 replica takes 12."
    )
    ready.admin.quota(SPOT_VCPU, REGION, 12)
    ready.deploy(ready.subject(scaled(1, 1, spot=True), stack="other"), endpoint="other")
    found = ready.ask(quota, of)
    assert ids(found) == {"quota-gpu": "FAIL", "quota-vcpu": "FAIL"}
    assert "1 in use (Cloud Monitoring)" in found["quota-gpu"].evidence
    assert "12 in use" in found["quota-vcpu"].evidence


def test_a_gpu_without_a_known_quota_is_skipped(ready: Place) -> None:
    of = ready.subject()
    p4 = {"accelerator_type": "NVIDIA_TESLA_P4", "spot": True}
    hardware = of.plan.hardware.model_copy(update=p4)
    found = ready.ask(quota, replace(of, plan=replace(of.plan, hardware=hardware)))
    assert found["quota-gpu"].status is Status.SKIP
    assert (
        found["quota-gpu"].evidence == "Nobody has published which quota spot NVIDIA_TESLA_P4 are taken from."
    )


def test_an_unlimited_quota(ready: Place) -> None:
    ready.admin.quota(GPU, REGION, -1)
    found = ready.ask(quota)
    assert found["quota-gpu"].evidence == (
        "Service Usage has no limit for NVIDIA_L4 in us-central1; 1 replica takes 1."
    )
    assert "NVIDIA_L4" not in found["quota-surge"].evidence


def test_a_deployment_that_is_under_way_has_its_quota(ready: Place) -> None:
    """An interrupted `pulumi up` is run again: it adopts what it began, so that what is in use is its own."""
    of = ready.subject()
    ready.admin.quota(GPU, REGION, 1)
    ready.deploy(of, wait=False)
    gpu = ready.ask(quota, of)["quota-gpu"]
    assert gpu.status is Status.WARN
    assert (
        "1 in use (Cloud Monitoring); 1 replica takes 1 of the 0 that are left for this stack" in gpu.evidence
    )
    assert "; a deployment on this stack's endpoint is under way, projects/123456789012/" in gpu.evidence
    ready.admin.fault("/operations", method="GET", times=9, status={"code": "UNAVAILABLE"})
    gpu = ready.ask(quota, of)["quota-gpu"]
    assert gpu.status is Status.WARN
    assert "; a deployment of this stack may be under way: 127.0.0.1 answers 503" in gpu.evidence
    assert ready.ask(quota, ready.subject(stack="other"))["quota-gpu"].status is Status.WARN
    ready.admin.call("DELETE", "faults")
    assert ready.ask(quota, ready.subject(stack="other"))["quota-gpu"].status is Status.FAIL


# What cannot be read


def test_limits_come_from_cloud_quotas_where_service_usage_says_nothing(ready: Place) -> None:
    ready.admin.fault("consumerQuotaMetrics", method="GET", times=9, status={"code": "NOT_FOUND"})
    ready.admin.quota(GPU, REGION, 5)
    found = ready.ask(quota)
    assert found["quota-gpu"].evidence.startswith(
        "5 NVIDIA_L4 are allowed in us-central1 (Cloud Quotas, as Service Usage cannot be read: 404 Planned fault of "
        "the local cloud), 0 in use"
    )
    assert found["quota-gpu"].status is Status.PASS


def test_no_limit_is_no_pass(ready: Place) -> None:
    login = ready.account("roles/aiplatform.viewer")
    found = ready.ask(quota, ready.subject(login=login))
    assert ids(found) == {"quota-gpu": "SKIP", "quota-vcpu": "SKIP"}
    evidence = found["quota-gpu"].evidence
    assert "Service Usage cannot be read: 403 Permission 'serviceusage.quotas.get' denied" in evidence
    assert "Cloud Quotas cannot be read: 403 Permission 'cloudquotas.quotas.get' denied" in evidence
    assert found["quota-gpu"].remedy == "Have roles/serviceusage.serviceUsageViewer granted."
    assert evidence.endswith(
        "Google documents 28 NVIDIA_L4 as the default in us-central1; projects often have less."
    )


def test_use_is_counted_where_monitoring_cannot_be_read(ready: Place) -> None:
    ready.deploy(ready.subject(scaled(1, 2), stack="other"), endpoint="other")
    ready.disable("monitoring.googleapis.com")
    ready.admin.quota(GPU, REGION, 2)
    gpu = ready.ask(quota)["quota-gpu"]
    assert (
        "1 to 2 in use (counted from 1 deployed model in the region, as Cloud Monitoring cannot be read: "
        "Cloud Monitoring API is not enabled in projects/123456789012)"
    ) in gpu.evidence
    assert gpu.status is Status.WARN, "the other stack may take the last one, or not"
    ready.admin.quota(GPU, REGION, 1)
    assert ready.ask(quota)["quota-gpu"].status is Status.FAIL
    ready.admin.quota(GPU, REGION, 3)
    assert ready.ask(quota)["quota-gpu"].status is Status.PASS


def test_use_that_nobody_tells_is_no_pass_but_a_limit_alone_can_be_a_no(ready: Place) -> None:
    login = ready.account("roles/serviceusage.serviceUsageConsumer")
    of = ready.subject(login=login)
    found = ready.ask(quota, of)
    assert ids(found) == {"quota-gpu": "SKIP", "quota-vcpu": "SKIP"}
    assert found["quota-gpu"].evidence.startswith(
        "28 NVIDIA_L4 are allowed in us-central1 (Service Usage), but what is in use cannot be read: Cloud Monitoring: "
        "403 Permission monitoring.timeSeries.list denied (or the resource may not exist); endpoints: 403 Permission"
    )
    assert found["quota-gpu"].remedy == "Have roles/monitoring.viewer granted."
    ready.admin.quota(GPU, REGION, 0)
    assert ready.ask(quota, of)["quota-gpu"].status is Status.FAIL


def test_what_may_be_the_stacks_own_is_no_conclusive_no(ready: Place) -> None:
    login = ready.account("roles/serviceusage.serviceUsageViewer")
    ready.deploy(ready.subject(stack="other"), endpoint="other")
    ready.admin.quota(GPU, REGION, 1)
    found = ready.ask(quota, ready.subject(login=login))
    assert ids(found) == {"quota-gpu": "WARN", "quota-vcpu": "PASS", "quota-surge": "SKIP"}
    assert (
        "1 in use (Cloud Monitoring), and how much of that by this stack cannot be read: 403"
        in found["quota-gpu"].evidence
    )
    assert "of the 0 to 1 that are left for this stack: perhaps not even one" in found["quota-gpu"].evidence


# The parts


def _ask(of: Subject, ref: QuotaRef) -> Limit | str:
    async def asking() -> Limit | str:
        async with Net(of) as net:
            try:
                return await read_limit(of, net, ref)
            except Unread as reason:
                return str(reason)

    return asyncio.run(asking())


def test_both_apis_say_the_same(ready: Place) -> None:
    ref = QuotaRef(GPU, "aiplatform.googleapis.com/custom_model_serving_nvidia_l4_gpus")
    usage = _ask(ready.subject(), ref)
    quotas = _ask(ready.subject(), QuotaRef(GPU, ""))
    assert isinstance(usage, Limit)
    assert isinstance(quotas, Limit)
    assert (usage.source, quotas.source) == ("Service Usage", "Cloud Quotas")
    assert (usage.amount, usage.metric, usage.elsewhere) == (quotas.amount, quotas.metric, quotas.elsewhere)
    assert usage.elsewhere["europe-west4"] == 28
    assert _ask(ready.subject(), QuotaRef("Nothing", "aiplatform.googleapis.com/nothing")) == (
        "Service Usage cannot be read: 404 Metric aiplatform.googleapis.com/nothing not found; Cloud Quotas cannot be "
        "read: 404 Quota info for quota id Nothing of service aiplatform.googleapis.com was not found"
    )


def test_every_page_of_endpoints_is_read(ready: Place) -> None:
    place = f"/v1beta1/projects/{PROJECT}/locations/{REGION}/endpoints"
    for number in range(101):
        ready.cloud.http.post(
            place, json={"displayName": "e"}, params={"endpointId": f"e{number}"}
        ).raise_for_status()
    ready.deploy(ready.subject(stack="other"), endpoint="z")

    async def asking() -> Any:
        of = ready.subject()
        async with Net(of) as net:
            return await read_usage(of, net)

    ready.asked()
    usage = asyncio.run(asking())
    assert [each.endpoint for each in usage.deployed] == ["z"]
    assert len(ready.asked("/endpoints")) == 2


def test_the_id_of_the_model_is_made_of_what_the_component_registers(run: Run, recorder: Recorder) -> None:
    serving = planned()
    arguments = UploadedModelArgs(
        project=PROJECT, region=REGION, display_name="m", container=serving.container, labels={}
    )
    run(lambda: UploadedModel("vllm-model", arguments))
    assert recorder.one("index:Model").inputs["containerSpec"] == serving.container.inputs()

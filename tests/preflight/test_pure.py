"""Checks that need no network: what they say, with which numbers, and that they never fail what a plan has let pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.fit import Outcome
from infra.preflight import pure
from infra.preflight.finding import Finding, Status
from infra.preflight.subject import Subject
from infra.recipes import ServingPlan, catalog, load_stack_file, plan
from infra.recipes.regions import distance_km, elsewhere
from tests.preflight.subjects import ask, planned, subject

ROOT = Path(__file__).resolve().parents[2]
BIG = {
    "hardware": {
        "machine_type": "a3-highgpu-8g",
        "accelerator_type": "NVIDIA_H100_80GB",
        "accelerator_count": 8,
    }
}


def check(of: Subject, name: str) -> Finding:
    return ask(pure.CHECKS, of)[name]


def with_fit(serving: ServingPlan, **changes: Any) -> ServingPlan:
    assert serving.fit is not None
    return replace(serving, fit=replace(serving.fit, **changes))


@pytest.mark.parametrize("path", sorted(ROOT.glob("stacks/*.yaml")), ids=lambda path: path.stem)
def test_nothing_fails_for_a_shipped_stack_file(path: Path) -> None:
    serving = plan(load_stack_file(path), region="us-central1", source=str(path))
    found = ask(pure.CHECKS, subject(serving, max_usd_per_hour=200.0))
    assert set(found) == {"region", "fit", "chat-template", "flags", "timeouts", "endpoint", "budget"}
    assert [each for each in found.values() if each.status is Status.FAIL] == []
    assert all(
        each.evidence.endswith(".") and any(map(str.isdigit, each.evidence))
        for each in found.values()
        if each.check != "chat-template"
    )


def test_on_the_local_cloud_the_default_stack_only_passes_and_skips() -> None:
    path = ROOT / "stacks" / "meta-llama-3.1-8b-instruct.l4x1.yaml"
    serving = plan(load_stack_file(path), region="us-central1", source=str(path))
    found = ask(pure.CHECKS, subject(serving, local="http://127.0.0.1:9", max_usd_per_hour=120.0))
    assert {name for name, each in found.items() if each.status is not Status.PASS} == {"endpoint"}
    assert found["endpoint"].status is Status.SKIP


# Region


def test_region_names_the_nearest_and_the_cheapest_others() -> None:
    finding = check(subject(), "region")
    assert finding.status is Status.PASS
    assert finding.evidence.startswith(
        "us-central1 serves 1 NVIDIA_L4 on g2-standard-12 (1.15 USD an hour a replica); "
    )
    assert "nearest others: northamerica-northeast2 (1375 km, " in finding.evidence
    assert finding.by_hand == (
        'gcloud compute machine-types list --filter="name=g2-standard-12 AND zone~us-central1"'
    )


def test_region_of_an_n1_machine_names_its_gpu_by_hand() -> None:
    hardware = {
        "machine_type": "n1-standard-8",
        "accelerator_type": "NVIDIA_TESLA_T4",
        "accelerator_count": 1,
    }
    serving = planned("meta-llama/Llama-3.2-1B-Instruct", hardware=hardware, vllm={"dtype": "half"})
    assert "accelerator-types list" in check(subject(serving), "region").by_hand
    assert "name=nvidia-tesla-t4 " in check(subject(serving), "region").by_hand


def test_every_other_region_is_listed_nearest_first() -> None:
    hardware = planned().hardware
    others = elsewhere(hardware, "us-central1")
    assert {each.region for each in others} == set(catalog().regions_with("NVIDIA_L4")) - {"us-central1"}
    distances = [each.km for each in others if each.km is not None]
    assert distances == sorted(distances)
    assert all(each.km is not None for each in others)


@pytest.mark.parametrize(
    ("one", "other", "km"),
    # Between the cities; published air distances: London-Frankfurt 637, Tokyo-Osaka 397, New York is no region.
    [
        ("europe-west2", "europe-west3", 637),
        ("asia-northeast1", "asia-northeast2", 397),
        ("us-west2", "us-west2", 0),
    ],
)
def test_distances(one: str, other: str, km: int) -> None:
    found = distance_km(one, other)
    assert found == pytest.approx(km, abs=8)
    assert found == distance_km(other, one)


def test_the_distance_to_a_region_without_a_place_is_not_known() -> None:
    assert distance_km("us-central1", "moon-north1") is None


def test_every_region_has_a_place() -> None:
    assert [region for region in catalog().regions() if distance_km("us-central1", region) is None] == []


# Fit


def test_fit_shows_the_prediction_and_its_interval() -> None:
    serving = planned()
    fit = serving.fit
    assert fit is not None
    finding = check(subject(serving), "fit")
    assert finding.status is Status.PASS
    assert (
        f"{fit.kv_cache:.2f} GiB a GPU (90 % interval {fit.kv_low:.2f} to {fit.kv_high:.2f})"
        in finding.evidence
    )
    assert finding.by_hand == "./vertex-vllm fit stacks/test.yaml --explain-terms"


def test_the_line_by_hand_names_the_stack_file_where_it_lies() -> None:
    finding = ask([pure.fit], subject(path="models/my model.yaml"))["fit"]
    assert finding.by_hand == "./vertex-vllm fit 'models/my model.yaml' --explain-terms"


def test_a_narrow_margin_is_a_warning() -> None:
    finding = check(subject(with_fit(planned(), outcome_low=Outcome.KV_TOO_SMALL)), "fit")
    assert finding.status is Status.WARN
    assert finding.evidence.startswith("Fits, but not at the low end of the interval: ")
    assert "max_model_len" in finding.remedy


def test_what_the_stack_file_lets_pass_is_a_warning() -> None:
    changes = {"outcome": Outcome.OUT_OF_MEMORY, "outcome_point": Outcome.OUT_OF_MEMORY}
    finding = check(subject(with_fit(planned(), **changes)), "fit")
    assert finding.status is Status.WARN
    assert finding.evidence.startswith("Does not fit by the prediction (out of memory): ")


def test_without_a_version_nothing_is_predicted_and_no_flag_checked() -> None:
    image = "us-docker.pkg.dev/my-project/my-repository/vllm:1"
    found = ask(pure.CHECKS, subject(planned(container={"image_uri": image})))
    assert found["fit"].status is found["flags"].status is Status.SKIP
    assert image in found["fit"].evidence
    assert found["flags"].remedy == "container.vllm_version: the image's version"


def test_flags_counts_the_arguments() -> None:
    serving = planned()
    finding = check(subject(serving), "flags")
    assert (
        finding.evidence == f"vLLM {serving.vllm_version} takes all {len(serving.container.args)} arguments."
    )


# Chat template


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (None, "has a chat template of its own in its repository."),
        ("none", "No chat, as the stack file says: completions and the default predict route only."),
        ("llama-3", "Chat completions use llama-3 (vllm.chat_template)."),
    ],
)
def test_chat_template(chosen: str | None, words: str) -> None:
    finding = check(subject(planned(vllm={"chat_template": chosen} if chosen else {})), "chat-template")
    assert finding.status is Status.PASS
    assert finding.evidence.endswith(words)


# Time-outs


def test_timeouts_show_bytes_rate_and_seconds() -> None:
    finding = check(subject(), "timeouts")
    assert finding.status is Status.PASS
    assert finding.evidence == (
        "16.1 GB of weights at a slow 118.9 MB/s and 201 s to start take the container 337 s of its deployment_timeout "
        "of 7200 s, with 1080 s for the machine 1417 s of the deploy_request_timeout of 1800 s."
    )


def test_a_container_that_has_too_little_time() -> None:
    finding = check(subject(planned(container={"deployment_timeout": 300})), "timeouts")
    assert (finding.status, finding.remedy) == (Status.WARN, "container.deployment_timeout: 600")
    assert finding.evidence.startswith("Short: 16.1 GB of weights ")


def test_a_request_that_ends_before_the_deployment() -> None:
    finding = check(subject(planned(deploy_request_timeout=600)), "timeouts")
    assert finding.status is Status.WARN
    assert finding.remedy.startswith("deploy_request_timeout: 1800; ")


def test_weights_for_which_no_time_out_is_long_enough() -> None:
    serving = planned()
    huge = serving.model.model_copy(
        update={"weights": serving.model.weights.model_copy(update={"bytes": 2 * 10**12})}
    )
    finding = check(subject(replace(serving, model=huge)), "timeouts")
    assert finding.status is Status.WARN
    assert finding.remedy.startswith(
        "container.deployment_timeout: 7200 (the longest there is), and weights from "
    )


def test_weights_of_unknown_size() -> None:
    serving = planned()
    unknown = serving.model.model_copy(
        update={"weights": serving.model.weights.model_copy(update={"bytes": None})}
    )
    assert check(subject(replace(serving, model=unknown)), "timeouts").status is Status.SKIP


# Endpoint


def test_endpoint() -> None:
    dedicated = planned(endpoint={"dedicated": True})
    assert check(subject(dedicated), "endpoint").status is Status.PASS
    shared = check(subject(), "endpoint")
    assert (shared.status, shared.remedy) == (
        Status.WARN,
        "pulumi config set vertex-vllm:dedicatedEndpoint true",
    )
    assert "60 s" in shared.evidence
    assert check(subject(planned(vllm={"chat_template": "none"})), "endpoint").status is Status.PASS


# Budget


def test_budget() -> None:
    three = planned(replicas={"min_replica_count": 1, "max_replica_count": 3})
    within = check(subject(three, max_usd_per_hour=4.0), "budget")
    assert (within.status, within.evidence) == (
        Status.PASS,
        "3.45 USD an hour for 3 replicas at most, of a budget of 4.00.",
    )
    none = check(subject(three), "budget")
    assert (none.status, none.evidence) == (
        Status.SKIP,
        "3.45 USD an hour for 3 replicas at most; no budget is set.",
    )
    over = check(subject(three, max_usd_per_hour=3.0), "budget")
    assert (over.status, over.remedy) == (Status.FAIL, "pulumi config set vertex-vllm:maxUsdPerHour 3.45")


def test_budget_without_a_price_is_no_pass() -> None:
    unknown = replace(planned(), price=None)
    assert check(subject(unknown, max_usd_per_hour=1000.0), "budget").status is Status.SKIP

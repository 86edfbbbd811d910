"""The policy pack in the real engine: it starts, reads the program's own inputs and its options, and stops what costs.

What each rule says is proved in `tests/policies`; that the shipped environments keep to the pack, in
`tests/engine/test_program.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.engine.pulumi import Engine
from tests.engine.support import EngineStack
from tests.engine.test_program import nowhere, offline

__all__ = ["nowhere", "offline"]

Options = dict[str, Any]
AS_PRODUCTION = {"environments": {"local": "prod"}}


def with_pack(folder: Path, options: Options | None = None) -> list[str]:
    """The engine's options for the pack, with a configuration of its own."""
    if options is None:
        return ["--policy-pack", "policies"]
    path = folder / "options.json"
    path.write_text(json.dumps(options))
    return ["--policy-pack", "policies", "--policy-pack-config", str(path)]


def test_a_stack_of_production_is_held_to_all_rules_at_once(offline: EngineStack, tmp_path: Path) -> None:
    offline.configure(labels={"environment": "test", "expiry": "2020-01-01"}, grants="guide")
    metric = "aiplatform.googleapis.com/prediction/online/cpu/utilization"
    offline.change_stack_file(
        {
            "replicas": {
                "min_replica_count": 2,
                "max_replica_count": 5,
                "autoscaling": [{"metric_name": metric, "target": 100}],
            }
        }
    )
    options = {
        "budget": {"maxUsdPerHourByEnvironment": {"prod": 5.5}, **AS_PRODUCTION},
        "replica-ceiling": {"maxReplicasByEnvironment": {"prod": 4}, **AS_PRODUCTION},
        "allowed-regions": {"regions": ["europe-west4"]},
        "allowed-accelerators": {"accelerators": ["NVIDIA_H100_80GB"]},
        "required-labels": AS_PRODUCTION,
        "no-broad-project-roles": AS_PRODUCTION,
        "no-token-in-clear": AS_PRODUCTION,
        "container-image-pinned": {"requireDigest": True},
        "dedicated-endpoint": AS_PRODUCTION,
    }
    run = offline.preview(*with_pack(tmp_path, options), ok=False)
    text = " ".join(run.output.split())  # the engine breaks lines
    for part in (
        "5 g2-standard-12 in us-central1 cost 5.75 US dollars an hour, and at most 5.50 are allowed",
        "up to 5 replicas, and at most 4 are allowed in prod",
        f"{metric} is a percentage and never exceeds its target 100",
        "us-central1 is not an allowed region (europe-west4)",
        "NVIDIA_L4 is not an allowed accelerator (NVIDIA_H100_80GB)",
        "labels missing: owner",
        "label environment is test, but stack local is held to the policies of prod",
        "the stack expired on 2020-01-01",
        "roles/storage.admin on the whole project is too broad for a service account",
        "hfToken becomes the variable HF_TOKEN of the model",
        "is no digest; write it as",
        "stack local needs a dedicated or a private endpoint",
    ):
        assert part in text, part
    assert "hf_local" not in run.output
    assert "Traceback" not in run.output


def test_levels_can_be_set_beside_options(offline: EngineStack, tmp_path: Path) -> None:
    offline.configure(labels={})
    options = {
        "required-labels": {"labels": ["team"], "enforcementLevel": "advisory"},
        "replica-ceiling": "disabled",
    }
    offline.change_stack_file({"replicas": {"max_replica_count": 50}})
    offline.configure(maxUsdPerHour=None)
    run = offline.preview(*with_pack(tmp_path, options))
    assert run.has("[advisory]", "labels missing: team")
    assert not run.has("replica-ceiling")


@pytest.mark.parametrize(
    "options",
    [
        {"budget": {"maxUsdPerHour": "five"}},
        {"budget": {"unknownPrice": "guess"}},
        {"replica-ceiling": {"maxReplicas": 0}},
        {"required-labels": {"environments": ["local"]}},
    ],
)
def test_an_option_of_another_kind_is_refused(offline: EngineStack, tmp_path: Path, options: Options) -> None:
    run = offline.preview(*with_pack(tmp_path, options), ok=False)
    [(rule, values)] = options.items()
    assert run.has(rule, next(iter(values)))


def test_what_breaks_the_budget_never_runs(stack: EngineStack, tmp_path: Path) -> None:
    """Also without a preview before: the deployment is refused before a GPU is asked for."""
    options = {"budget": {"maxUsdPerHourByEnvironment": {"local": 1}}}
    run = stack.up(*with_pack(tmp_path, options), ok=False)
    assert run.has("1 g2-standard-12 in us-central1 cost 1.15 US dollars an hour")
    assert stack.resources("vertexserving:index:Deployment") == []
    asked = [request["path"] for request in stack.cloud.admin.requests(method="POST")]
    assert asked
    assert not [path for path in asked if path.endswith(":deployModel")]
    stack.destroy()


def test_a_preview_shows_what_a_change_costs(stack: EngineStack) -> None:
    stack.up(*with_pack(stack.folder))
    cost = stack.outputs()["cost"]
    assert cost["at_most"] == {"replicas": 1, "usd_per_hour": 1.15069, "usd_per_month": 840.0}
    stack.change_stack_file({"replicas": {"max_replica_count": 3}})
    run = stack.preview("--diff")
    assert run.has("hourly_cost_usd", "1.1507 => 3.4521")
    assert run.has("replicas", "1 => 3", "1.15069 => 3.45207", "840 => 2520.01")
    asked = [request["path"] for request in stack.cloud.admin.requests(method="POST")]
    assert [path for path in asked if path.endswith(":deployModel")]  # as the test above does not find


def test_the_pack_is_found_from_elsewhere(engine: Engine, offline: EngineStack, tmp_path: Path) -> None:
    """By its full path, as a project of another folder names it."""
    run = offline.preview("--policy-pack", str(offline.folder / "policies"))
    assert run.has("vertex-vllm")

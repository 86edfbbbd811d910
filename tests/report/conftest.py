"""Previews of the real engine, as tests/engine/test_report.py wrote them, and previews that nobody has seen yet."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.report.content import Report, build
from infra.report.preview import Preview, read_preview

# As for tests/policies: what the policies say is asked of them.
POLICIES = Path(__file__).resolve().parents[2] / "policies"
if str(POLICIES) not in sys.path:
    sys.path.insert(0, str(POLICIES))

Json = dict[str, Any]
FIXTURES = Path(__file__).parent / "fixtures"
URN = "urn:pulumi:dev::vertex-vllm::vertex-vllm:serving:ServedModel$vertex-vllm:deployment:ModelDeployment$"
INPUTS: Json = {
    "location": "us-central1",
    "machineSpec": {
        "machineType": "g2-standard-12",
        "acceleratorType": "NVIDIA_L4",
        "acceleratorCount": 1,
    },
    "spot": False,
    "minReplicaCount": 1,
    "maxReplicaCount": 1,
    "deployRequestTimeoutSeconds": 1800,
}


@pytest.fixture
def fixture() -> Callable[[str], bytes]:
    """The bytes of a fixture by its file's name."""
    return lambda name: (FIXTURES / name).read_bytes()


@pytest.fixture
def reported() -> Callable[[str], Report]:
    """The report of a fixture by its file's name."""
    return lambda name: build(read_preview((FIXTURES / name).read_bytes(), name))


@pytest.fixture
def made() -> Callable[..., Preview]:
    """A preview from steps and whatever else a digest has."""
    return lambda *steps, **other: read_preview(json.dumps(digest(*steps, **other)).encode(), "made")


@pytest.fixture
def step() -> Callable[..., Json]:
    """A step of a deployment, or of another type; ``old`` and ``new`` are changes of :data:`INPUTS`."""
    return a_step


def digest(*steps: Json, **other: Any) -> Json:
    """A digest with these steps; ``config`` and so on replace what is usual."""
    return {
        "config": {"gcp:region": "us-central1", "vertex-vllm:stackFile": "stacks/x.yaml"},
        "steps": list(steps),
        "changeSummary": {},
        **other,
    }


def a_step(
    op: str,
    old: Json | None = None,
    new: Json | None = None,
    kind: str = "vertexserving:index:Deployment",
    name: str = "vllm",
    **other: Any,
) -> Json:
    """See the fixture ``step``."""
    base = INPUTS if kind.endswith("Deployment") else {}
    found: Json = {"op": op, "urn": f"{URN}{kind}::{name}", **other}
    if old is not None:
        found["oldState"] = {"inputs": {**base, **old}}
    if new is not None:
        found["newState"] = {"inputs": {**base, **new}}
    return found

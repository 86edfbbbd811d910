"""Google's message definitions: current, and read as Google's front end reads them."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys

import hypothesis.strategies as st
import pytest
from hypothesis import given

from infra.local.cloud.aiplatform import generate
from infra.local.cloud.aiplatform.messages import DATA_FILE, MESSAGES, V1, V1BETA1
from infra.local.cloud.errors import GoogleError


@pytest.mark.filterwarnings("ignore")
def test_the_data_file_is_current() -> None:
    assert DATA_FILE.read_bytes() == generate.build()
    version = importlib.metadata.version(generate.DISTRIBUTION)
    assert generate.README.read_text() == generate.readme(version)


def test_the_service_does_not_import_googles_client() -> None:
    code = (
        "import sys, infra.local.cloud.aiplatform.routes, infra.local.cloud.aiplatform.messages as m\n"
        "m.V1.parse('UploadModelRequest', {})\n"
        "print([name for name in sys.modules if name.startswith('google.cloud.')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_requests_become_canonical() -> None:
    given_ = {
        "deployed_model": {
            "dedicated_resources": {
                "machineSpec": {"acceleratorType": 11},
                "minReplicaCount": "2",
                "spot": None,
            },
            "displayName": "",
        },
        "trafficSplit": {"0": 100},
    }
    resources = {"machineSpec": {"acceleratorType": "NVIDIA_L4"}, "minReplicaCount": 2}
    assert V1.parse("DeployModelRequest", given_) == {
        "deployedModel": {"dedicatedResources": resources},
        "trafficSplit": {"0": 100},
    }


def test_masks_are_text_or_paths_in_either_case() -> None:
    for mask in (
        "dedicated_resources.min_replica_count,labels",
        {"paths": ["dedicatedResources.minReplicaCount", "labels"]},
    ):
        parsed = V1.parse("MutateDeployedModelRequest", {"updateMask": mask})
        assert parsed == {"updateMask": "dedicatedResources.minReplicaCount,labels"}


def test_numbers_in_free_json_stay_what_they_are() -> None:
    parsed = V1.parse(
        "PredictRequest", {"instances": [{"n": 5, "t": 0.5, "x": None}], "parameters": [1, "a"]}
    )
    assert json.dumps(parsed["instances"][0], sort_keys=True) == '{"n": 5, "t": 0.5, "x": null}'


def test_a_version_shows_only_its_own_fields() -> None:
    deployed = {"id": "1", "rolloutOptions": {"previousDeployedModel": "2"}}
    assert V1.render("DeployedModel", deployed) == {"id": "1"}
    assert V1BETA1.render("DeployedModel", deployed) == deployed


def test_output_only_fields_of_a_caller_are_ignored() -> None:
    endpoint = {"displayName": "x", "createTime": "2026-01-01T00:00:00Z", "deployedModels": [{"id": "1"}]}
    assert V1.without_output_only("Endpoint", endpoint) == {"displayName": "x"}


FIELDS = [
    "model",
    "displayName",
    "labels",
    "containerSpec",
    "env",
    "name",
    "ports",
    "trafficSplit",
    "metadata",
]
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=12,
)


@given(
    body=JSON,
    message=st.sampled_from(["UploadModelRequest", "DeployModelRequest", "Endpoint", "PredictRequest"]),
)
def test_any_json_is_parsed_or_refused(body: object, message: str) -> None:
    for messages in MESSAGES.values():
        refused = ""
        try:
            parsed = messages.parse(message, body)
        except GoogleError as error:
            refused = error.code
        if refused:
            assert refused == "INVALID_ARGUMENT"
        else:
            assert messages.parse(message, parsed) == parsed

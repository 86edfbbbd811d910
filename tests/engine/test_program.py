"""The program in the real engine: previews that need no cloud, wrong settings, policies, and the order of things.

The golden previews hold counts and the chosen values of each shipped environment. Write them anew, and read the
difference, with `UPDATE_GOLDEN=1 python -m pytest tests/engine/test_program.py -k golden`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.local.cloud.testing import Admin, LocalCloud
from infra.local.engine.pulumi import Engine
from tests.engine.support import DEFAULT_STACK_FILE, EngineStack, Run

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).resolve().parents[2]
TOKEN = "hf_verySecretToken"
ENVIRONMENTS = ("local", "dev", "prod")
Json = dict[str, Any]


@pytest.fixture
def nowhere(tmp_path: Path) -> Iterator[LocalCloud]:
    """A cloud that does not answer: port 9 of this machine, where nothing listens."""
    url = "http://127.0.0.1:9"
    with httpx.Client(base_url=url) as http:
        yield LocalCloud(url, Admin(url), http, tmp_path)


@pytest.fixture
def offline(engine: Engine, project: Path, pulumi_home: Path, nowhere: LocalCloud) -> EngineStack:
    """The local stack, with no cloud to reach."""
    return EngineStack(engine, project, pulumi_home, nowhere)


def environment(name: str, engine: Engine, project: Path, home: Path, cloud: LocalCloud) -> EngineStack:
    """A shipped environment with what its user still has to set."""
    shutil.copy2(ROOT / f"Pulumi.{name}.yaml", project)
    stack = EngineStack(engine, project, home, cloud, name)
    if name != "local":
        stack("config", "set", "gcp:project", "my-project")
    if name == "dev":  # prod has a model that is not gated: a token would be refused there
        stack("config", "set", "--secret", "vertex-vllm:hfToken", TOKEN)
    return stack


def steps(run: Run) -> list[Json]:
    """The steps of `preview --json`."""
    document: Json = json.loads(run.output[run.output.index("{") :])
    found: list[Json] = document["steps"]
    return found


def kind(step: Json) -> str:
    return str(step["urn"].split("::")[2].rpartition("$")[2])


def chosen(found: list[Json]) -> Json:
    """How many of each type, and the inputs of what costs money or is seen by clients."""
    inputs = {kind(step): step["newState"].get("inputs", {}) for step in found}
    text = json.dumps(
        {
            "counts": dict(sorted(Counter(f"{step['op']} {kind(step)}" for step in found).items())),
            "bucket": inputs["gcp:storage/bucket:Bucket"],
            "service account": inputs["gcp:serviceaccount/account:Account"],
            "endpoint": inputs["gcp:vertex/aiEndpoint:AiEndpoint"],
            "model": {
                key: value for key, value in inputs["vertexserving:index:Model"].items() if key != "hfToken"
            },
            "deployment": inputs["vertexserving:index:Deployment"],
        }
    )
    # Seven random digits end the name of a bucket; unknown values have a marker of the engine's.
    text = re.sub(r"vllm-artifacts-[0-9a-f]{7}", "vllm-artifacts-RANDOM", text)
    text = re.sub(r"04da6b54-80e4-46f7-96ec-b56ff0331ba9", "UNKNOWN", text)
    result: Json = json.loads(text)
    for part in result.values():
        part.pop("__defaults", None)
    return result


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_golden_preview_needs_no_cloud_and_keeps_every_policy(
    name: str, engine: Engine, project: Path, pulumi_home: Path, nowhere: LocalCloud
) -> None:
    stack = environment(name, engine, project, pulumi_home, nowhere)
    run = stack.preview("--json", "--policy-pack", "policies")
    assert TOKEN not in run.output
    assert "hf_local" not in run.output
    found = chosen(steps(run))
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    assert found == json.loads(path.read_text())


BAD: list[tuple[Json, str]] = [
    (
        {"gcp:region": "us-centrall1"},
        "Pulumi.local.yaml: gcp:region = 'us-centrall1': not a region where Vertex AI serves models on GPUs.",
    ),
    ({"vertex-vllm:stackfile": "x"}, "Pulumi.local.yaml: vertex-vllm:stackfile: there is no such setting."),
    (
        {"vertex-vllm:hfToken": "hf_inTheClear"},
        "Pulumi.local.yaml: vertex-vllm:hfToken: the token stands in clear; revoke it, it has been on a disk and "
        "perhaps in a repository.",
    ),
    (
        {"vertex-vllm:maxUsdPerHour": "0.5"},
        "Pulumi.local.yaml: vertex-vllm:maxUsdPerHour = 0.5: g2-standard-12 in us-central1 costs 1.15 US dollars an "
        "hour, which is over the budget.",
    ),
]


@pytest.mark.parametrize(("settings", "text"), BAD)
def test_wrong_setting_is_one_clean_error_and_leaves_nothing(
    settings: Json, text: str, offline: EngineStack
) -> None:
    offline.configure_file(settings)
    run = offline.up(ok=False)
    assert run.has(f"error: {text}\n")
    assert "hf_inTheClear" not in run.output
    _one_error(run, offline)


def test_wrong_stack_file_is_one_clean_error_and_leaves_nothing(offline: EngineStack) -> None:
    offline.change_stack_file({"hardware": {"accelerator_count": 3}})
    run = offline.up(ok=False)
    assert run.has("error: stacks/", "hardware.accelerator_count = 3", "fix: accelerator_count: 1")
    _one_error(run, offline)


def test_several_problems_are_one_error(offline: EngineStack) -> None:
    offline.configure(grants="all", onDestroyBucket="never")
    run = offline.preview(ok=False)
    assert run.has("error: 2 problems in Pulumi.local.yaml:\n")
    _one_error(run, offline)


def _one_error(run: Run, stack: EngineStack) -> None:
    """Nothing of Python's or the host's own is shown, and nothing that exists in a cloud was registered."""
    assert "Traceback" not in run.output
    assert "non-zero exit code" not in run.output
    diagnostics = run.output[run.output.index("Diagnostics:") :]
    assert len(re.findall(r"^    error: ", diagnostics, re.MULTILINE)) == 1, diagnostics
    assert {each["type"] for each in stack.resources()} <= {
        "pulumi:pulumi:Stack",
        "pulumi:providers:gcp",  # a look-up needs one
    }


def test_local_stack_without_the_local_clouds_environment(offline: EngineStack) -> None:
    offline.extra_environment["LOCAL_CLOUD_URL"] = ""
    run = offline.preview(ok=False)
    assert run.has("LOCAL_CLOUD_URL is not set", ". .local/env")
    _one_error(run, offline)


def test_grants_of_the_guide_are_advised_against_and_pass(offline: EngineStack) -> None:
    offline.configure(grants="guide")
    run = offline.preview("--policy-pack", "policies")
    assert run.has(
        "[advisory]", "least-project-roles", "roles/storage.admin on the project is more than serving needs"
    )


def test_missing_owner_is_refused_by_policy(offline: EngineStack) -> None:
    offline.configure(labels={"team": "a"})
    run = offline.preview("--policy-pack", "policies", ok=False)
    assert run.has("[mandatory]", "required-labels", "labels missing: owner")


def test_policies_take_a_configuration(offline: EngineStack, tmp_path: Path) -> None:
    config = tmp_path / "strict.json"
    strict = {
        "dedicated-endpoint": {"environments": {"local": "prod"}},
        "allowed-accelerators": {"accelerators": ["NVIDIA_H100_80GB"]},
    }
    config.write_text(json.dumps(strict))
    run = offline.preview("--policy-pack", "policies", "--policy-pack-config", str(config), ok=False)
    assert run.has(
        "stack local needs a dedicated or a private endpoint", "NVIDIA_L4 is not an allowed accelerator"
    )


def test_existing_bucket_is_looked_up_before_anything_is_registered(stack: EngineStack) -> None:
    bucket = {"name": "elsewhere", "location": "EUROPE-WEST4"}
    stack.cloud.http.post(
        "/storage/v1/b", params={"project": "local-project"}, json=bucket
    ).raise_for_status()
    stack.configure(bucket="gs://elsewhere")
    run = stack.up(ok=False)
    assert run.has(
        "vertex-vllm:bucket = 'elsewhere': the bucket is in europe-west4, the model is served in us-central1."
    )
    _one_error(run, stack)

    stack.configure(bucket="no-such-bucket")
    run = stack.up(ok=False)
    assert run.has("vertex-vllm:bucket = 'no-such-bucket': cannot be looked up: ")
    _one_error(run, stack)


def test_order_of_creation_and_destruction(stack: EngineStack) -> None:
    made = _moments(stack.up().output, "created")
    services = [name for name in made if name.startswith("gcp:projects:Service ")]
    assert len(services) == 5
    check = (
        "vertexserving:index:LeftoverCheck vllm-leftovers"  # before everything, for a destroy to end with it
    )
    ours = [name for name in made if name.startswith(("gcp:", "vertexserving:"))]
    assert min(ours, key=lambda name: made[name]) == check
    rest = [name for name in ours if name not in (*services, check)]
    assert max(made[name] for name in services) < min(made[name] for name in rest)
    grants = [name for name in rest if "IAMMember" in name]
    assert len(grants) == 2
    deployment = "vertexserving:index:Deployment vllm"
    assert all(made[name] < made[deployment] for name in rest if name != deployment)

    gone = _moments(stack.destroy().output, "deleted")
    assert all(gone[deployment] < gone[name] for name in rest if name != deployment)
    disposal = "vertexserving:index:BucketDisposal vllm-artifacts-disposal"
    bucket_grant = next(name for name in grants if name.startswith("gcp:storage:"))
    assert gone[bucket_grant] < gone[disposal]
    assert max(gone[name] for name in rest) < min(gone[name] for name in services)
    assert max(gone[name] for name in services) < gone[check]
    assert stack.cloud.admin.state()["buckets"] == []


def _moments(output: str, word: str) -> dict[str, int]:
    """`type name` of everything that was created or deleted, with its place in the order."""
    found: dict[str, int] = {}
    for line in output.splitlines():
        match = re.match(rf" [+-]+ +(\S+) (\S+) {word}\b", line)
        if match:
            found[f"{match[1]} {match[2]}"] = len(found)
    return found


def test_an_open_bucket_is_kept_and_the_next_run_makes_a_new_one(stack: EngineStack) -> None:
    stack.up()
    first = stack.outputs()["bucket"]
    upload = {"uploadType": "media", "name": "models/weights.bin"}
    stack.cloud.http.post(f"/upload/storage/v1/b/{first}/o", params=upload, content=b"x").raise_for_status()
    assert stack.destroy().has(f"Bucket gs://{first} is kept")
    stack.up()
    second = stack.outputs()["bucket"]
    assert second != first
    stack.configure(onDestroyBucket="delete")
    stack.cloud.http.post(f"/upload/storage/v1/b/{second}/o", params=upload, content=b"x").raise_for_status()
    stack.up()
    stack.destroy()
    assert [name for name in stack.cloud.admin.state()["buckets"] if second in name] == []
    assert [name for name in stack.cloud.admin.state()["buckets"] if first in name]


def test_the_default_stack_file_is_the_one_the_tests_change() -> None:
    assert DEFAULT_STACK_FILE in (ROOT / "Pulumi.local.yaml").read_text()

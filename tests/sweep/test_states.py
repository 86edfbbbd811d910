"""States through a `pulumi` on PATH: what is read, what is locked, and what is not known."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from infra.client import NoAnswer
from infra.client.pulumi import Pulumi
from infra.recovery import locks
from infra.sweep.states import States, read_states

ENDPOINT = "projects/p/locations/us-central1/endpoints/12"
OPERATION = f"{ENDPOINT}/operations/5"
EXPORT = {
    "deployment": {
        "resources": [
            {"urn": "urn:1", "type": "pulumi:pulumi:Stack"},
            {
                "urn": "urn:2",
                "type": "gcp:vertex/aiEndpoint:AiEndpoint",
                "id": ENDPOINT,
                "inputs": {"project": "p"},
            },
            {
                "urn": "urn:3",
                "type": "d",
                "id": f"{ENDPOINT}/deployedModels/7",
                "outputs": {"operation": OPERATION},
            },
        ],
        "pending_operations": [{"type": "creating"}],
    }
}


def states(
    tmp_path: Path,
    *,
    backend: str = "",
    listed: Any = ({"name": "dev", "lastUpdate": "2026-11-26T18:00:00Z"},),
    config: Any = None,
    export: Any = EXPORT,
    remote: Any = None,
    script: str = "",
) -> States:
    """What is read with a `pulumi` that answers this."""
    (tmp_path / "Pulumi.yaml").write_text("name: vertex-vllm\n")
    answers = {
        "ls": list(listed),
        "whoami": {"url": backend or f"file://{tmp_path}"},
        "export": export,
        "config": config or {},
    }
    for name, value in answers.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    program = tmp_path / "pulumi"
    program.write_text(
        f'#!/bin/sh\n{script}\ncase "$*" in *whoami*) f=whoami ;; *export*) f=export ;; '
        f"*config*) f=config ;; *) f=ls ;; esac\n"
        f'cat "{tmp_path}/$f.json"\n'
    )
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.defpath}"}
    return read_states(Pulumi(None, tmp_path, environ), "p", remote=remote)


def lock(tmp_path: Path, content: Any) -> None:
    place = tmp_path / ".pulumi/locks/organization/vertex-vllm/dev"
    place.mkdir(parents=True)
    (place / "one.json").write_text(content if isinstance(content, str) else json.dumps(content))


def test_ids_without_the_project_and_operations_are_known(tmp_path: Path) -> None:
    (stack,) = states(tmp_path).of("vertex-vllm", "dev")
    assert set(stack.urns) == {
        "locations/us-central1/endpoints/12",
        "locations/us-central1/endpoints/12/deployedModels/7",
        "locations/us-central1/endpoints/12/operations/5",
    }
    assert (stack.pending, stack.run, stack.run_known, stack.unread) == (1, "", True, "")


def test_what_a_stack_only_reads_is_not_its_own(tmp_path: Path) -> None:
    read = {"urn": "u", "type": "t", "external": True, "inputs": {"project": "p"}}
    own = {"urn": "v", "type": "t", "inputs": {"project": "p"}}
    resources = [
        {**read, "id": "projects/p/locations/l/endpoints/12"},
        {**own, "id": "projects/p/locations/l/models/m"},
    ]
    (stack,) = states(tmp_path, export={"deployment": {"resources": resources}}).of("vertex-vllm", "dev")
    assert set(stack.urns) == {"locations/l/models/m"}


def test_what_a_stack_is_on_and_runs_as_is_known(tmp_path: Path) -> None:
    email = "vertex-vllm-dev@p.iam.gserviceaccount.com"
    resources = [
        {"urn": "a", "type": "t", "id": ENDPOINT, "external": True, "inputs": {"project": "p"}},
        {
            "urn": "b",
            "type": "t",
            "id": "p/r/x",
            "inputs": {"project": "p", "member": f"serviceAccount:{email}"},
        },
        {"urn": "c", "type": "t", "id": "p/r/y", "inputs": {"member": "user:somebody@example.com"}},
    ]
    export = {"deployment": {"resources": resources}}
    (stack,) = states(tmp_path, export=export).stacks
    assert stack.uses == {"locations/us-central1/endpoints/12", "serviceAccounts/vertex-vllm-dev"}
    resources.append({"urn": "d", "type": "t", "id": f"projects/p/serviceAccounts/{email}"})
    (stack,) = states(tmp_path, export=export).stacks
    assert stack.uses == {"locations/us-central1/endpoints/12"}


def test_a_state_says_when_it_was_written_and_since_when_it_has_a_thing(tmp_path: Path) -> None:
    resource = {"urn": "a", "type": "t", "id": ENDPOINT, "inputs": {"project": "p"}}
    made = {**resource, "created": "2026-11-26T08:00:00.123456789Z"}
    manifest = {"time": "2026-11-26T10:00:00.5+01:00"}
    (stack,) = states(tmp_path, export={"deployment": {"manifest": manifest, "resources": [made]}}).stacks
    assert stack.written is not None
    assert stack.written.isoformat() == "2026-11-26T09:00:00.500000+00:00"
    assert [each.isoformat()[:19] for each in stack.since.values()] == ["2026-11-26T08:00:00"]
    (stack,) = states(tmp_path, export={"deployment": {"resources": [resource]}}).stacks
    assert (stack.written, stack.since) == (None, {})


@pytest.mark.parametrize(
    ("content", "running"),
    [
        ({"pid": os.getpid(), "hostname": socket.gethostname(), "timestamp": "now"}, True),
        ({"pid": 2**22 + 1, "hostname": socket.gethostname()}, False),  # no process has this number
        ({"pid": 2**22 + 1, "hostname": "another-machine"}, True),
        ("not json", True),
        ([], True),
    ],
)
def test_a_lock_is_a_run_unless_its_process_is_known_to_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, running: bool
) -> None:
    monkeypatch.setattr(locks, "is_alive", lambda pid: pid == os.getpid())
    lock(tmp_path, content)
    (stack,) = states(tmp_path).stacks
    assert bool(stack.run) is running
    assert stack.run_known


def test_locks_in_cloud_storage(tmp_path: Path) -> None:
    asked: list[str] = []

    def objects(place: str) -> list[str]:
        asked.append(place)
        return ["x/.pulumi/locks/organization/vertex-vllm/dev/1.json"]

    (stack,) = states(tmp_path, backend="gs://bucket/x?a=b", remote=objects).stacks
    assert stack.run == "a lock is there (1.json)"
    assert asked == ["bucket/x/.pulumi/locks/organization/vertex-vllm/dev/"]


def test_a_backend_that_does_not_tell(tmp_path: Path) -> None:
    def refused(place: str) -> list[str]:
        raise NoAnswer("403")

    for backend, remote in (("s3://bucket", None), ("gs://bucket", None), ("gs://bucket", refused)):
        (stack,) = states(tmp_path, backend=backend, remote=remote).stacks
        assert (stack.run, stack.run_known) == ("", False)


def test_pulumi_cloud_tells_itself(tmp_path: Path) -> None:
    listed = [{"name": "org/vertex-vllm/dev", "updateInProgress": True}]
    (stack,) = states(tmp_path, backend="https://api.pulumi.com", listed=listed).stacks
    assert (stack.name, stack.run) == ("dev", "an update is in progress")


def test_a_stack_of_the_same_name_that_is_another_is_not_read(tmp_path: Path) -> None:
    (never,) = states(tmp_path, listed=[{"name": "dev"}]).stacks
    assert never.unread == "stack dev of this backend was never deployed"
    assert not never.failed
    resource = {"urn": "urn:2", "type": "t", "id": ENDPOINT, "inputs": {"project": "another-project"}}
    (other,) = states(tmp_path, export={"deployment": {"resources": [resource]}}).stacks
    assert other.unread == "stack dev of this backend is of another-project, not of p"


def test_after_a_destroy_the_settings_say_the_project(tmp_path: Path) -> None:
    for project, read in (("p", True), ("q", False), (None, False)):
        config = {"gcp:project": {"value": project}} if project else {}
        (stack,) = states(tmp_path, export={"deployment": {}}, config=config).stacks
        assert (not stack.unread) is read


@pytest.mark.parametrize("export", [[], {"deployment": {"resources": [{"id": "x"}]}}, "x"])
def test_an_export_of_another_shape_is_not_an_empty_state(tmp_path: Path, export: Any) -> None:
    (stack,) = states(tmp_path, export=export).stacks
    assert stack.unread
    assert stack.failed


def test_without_pulumi_or_login_nothing_is_known(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: vertex-vllm\n")
    found = read_states(Pulumi(None, tmp_path, {"PATH": str(tmp_path)}), "p")
    assert (found.stacks, found.unread) == ((), "There is no pulumi on PATH.")
    refused = states(tmp_path, script="echo 'error: PULUMI_ACCESS_TOKEN must be set' >&2; exit 255")
    assert "pulumi login" in refused.unread
    assert refused.of("vertex-vllm", "dev") == ()

"""What the engine does with a provider of `infra.plugin`: secrets, previews, failures, interrupts, kills."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local.cloud.testing import LocalCloud
from infra.local.engine.pulumi import Engine
from tests.engine.bare import bare_stack, write_program
from tests.engine.support import EngineStack

PATIENCE_SECONDS = 60.0
PROGRAM = """
import pulumi


class Probe(pulumi.CustomResource):
    made: pulumi.Output[bool]
    size: pulumi.Output[int]
    token: pulumi.Output[str]

    def __init__(self, resource, label, **properties):
        super().__init__(f"probe:index:{resource}", label, {**properties, "made": None})


"""
SECRET = "hf_NeverInClear"
Make = Callable[[str], EngineStack]


@pytest.fixture
def cloud_of_probe(tmp_path: Path) -> Path:
    """The folder whose files are what exists."""
    return tmp_path / "probe cloud"


@pytest.fixture
def probe(tmp_path: Path, engine: Engine, pulumi_home: Path, cloud: LocalCloud, cloud_of_probe: Path) -> Make:
    """Makes the stack of a program that uses the probe provider."""

    def make(program: str) -> EngineStack:
        return bare_stack(
            tmp_path / "a stack", engine, pulumi_home, cloud, PROGRAM + program, probe_folder=cloud_of_probe
        )

    return make


def test_secrets_stay_encrypted_in_the_state_and_out_of_every_message(probe: Make) -> None:
    stack = probe(
        f"""
token = pulumi.Output.secret("{SECRET}")
spec = {{"env": {{"HF_TOKEN": token, "OTHER": "x"}}, "args": ["a", token]}}
Probe("Stored", "one", token=token, size=1, spec=spec)
half = Probe("HalfMade", "half", token=token)
pulumi.export("token", half.token)
"""
    )

    preview = stack.preview("--diff", "--debug")
    up = stack.up("--diff", "--debug", ok=False)
    refresh = stack.refresh("--diff", "--debug", ok=None)

    for run in (preview, up, refresh):
        assert SECRET not in run.output
    state = json.dumps(stack.state())
    assert SECRET not in state
    (one,) = stack.resources("probe:index:Stored")
    for properties in (one["inputs"], one["outputs"]):
        spec = properties["spec"]
        assert "ciphertext" in properties["token"]
        assert "ciphertext" in spec["env"]["HF_TOKEN"]
        assert spec["env"]["OTHER"] == "x"
        assert "ciphertext" in json.dumps(spec["args"])
    (half,) = stack.resources("probe:index:HalfMade")
    assert "ciphertext" in half["outputs"]["token"]


def test_a_failed_check_of_a_secret_does_not_print_it(probe: Make) -> None:
    stack = probe('Probe("Stored", "one", size=pulumi.Output.secret(3.5))\n')

    preview = stack.preview(ok=False)

    assert preview.has("resource 'one' has a problem: size: it must be a whole number, not 3.5.")
    assert not preview.has("{&{{3.5}}}")


def test_a_life(probe: Make, cloud_of_probe: Path) -> None:
    program = """
one = Probe("Stored", "one", size={size}, kind="{kind}")
two = Probe("Stored", "two", after=one.made)
pulumi.export("size", one.size)
pulumi.export("after", two.made)
"""
    stack = probe(program.format(size=1, kind="a"))

    assert stack.preview().has("after: [unknown]", "+ 3 to create")
    assert stack.up().has("+ 3 created")
    assert stack.outputs() == {"size": 1, "after": True}
    assert stack.preview().has("3 unchanged")
    write_program(stack, PROGRAM + program.format(size=2, kind="a"))
    assert stack.up().has("~ 1 updated")
    assert stack.outputs()["size"] == 2
    (cloud_of_probe / "one").write_text('{"size": 7, "kind": "a"}')
    assert stack.refresh().has("~ 1 updated")
    assert [each["inputs"]["size"] for each in stack.resources("probe:") if each["id"] == "one"] == [7]
    (cloud_of_probe / "two").unlink()
    assert stack.refresh().has("- 1 deleted")
    assert stack.up().has("+ 1 created", "~ 1 updated")
    write_program(stack, PROGRAM + program.format(size=2, kind="b"))
    assert stack.up().has("+-1 replaced")
    assert stack.destroy().has("- 3 deleted")
    assert stack.resources() == []


def test_a_half_made_resource_is_saved_repaired_and_destroyed(probe: Make, cloud_of_probe: Path) -> None:
    stack = probe('Probe("HalfMade", "half", size=1)\n')

    up = stack.up(ok=False)
    assert up.has("the container did not start", "its log is empty")
    (half,) = stack.resources("probe:")
    assert half["initErrors"] == ["the container did not start", "its log is empty"]
    (cloud_of_probe / "repaired").touch()
    assert stack.up().has("~ 1 updated")
    (half,) = stack.resources("probe:")
    assert "initErrors" not in half
    assert half["outputs"]["made"] is True
    stack.destroy()
    assert [path.name for path in cloud_of_probe.iterdir()] == ["repaired"]


def test_a_half_made_resource_can_be_destroyed_at_once(probe: Make, cloud_of_probe: Path) -> None:
    stack = probe('Probe("HalfMade", "half", log="x" * 100_000)\n')
    stack.up(ok=False)

    stack.destroy()

    assert list(cloud_of_probe.iterdir()) == []
    assert stack.resources() == []


def test_errors_are_shown_without_a_traceback_and_leave_nothing(probe: Make, cloud_of_probe: Path) -> None:
    stack = probe('Probe("FailsOnCreate", "quota")\nProbe("Buggy", "bug")\n')

    up = stack.up("--continue-on-error", ok=False)

    assert up.has("error: the quota is 0 and 1 is needed: ask for more")
    assert up.has(
        "error: This is a bug in the provider probe, creating probe:index:Buggy: KeyError: 'no such key'"
    )
    assert not up.has("Traceback")
    assert stack.resources("probe:") == []
    assert stack.state().get("pending_operations") in (None, [])
    assert list(cloud_of_probe.iterdir()) == []


def test_what_a_provider_says_is_shown_beside_its_resource(probe: Make) -> None:
    stack = probe('Probe("Talkative", "chatty")\n')

    up = stack.up()

    assert up.has("a passing line", "an information", "warning: a warning")
    assert not up.has("a detail")


def test_an_interrupt_saves_a_slow_resource_and_the_next_update_finishes_it(
    probe: Make, cloud_of_probe: Path
) -> None:
    stack = probe('Probe("Slow", "slow", size=1)\n')
    run = stack.start("up", "--yes", "--skip-preview", "--non-interactive")
    pid = int(appears(cloud_of_probe / "started"))

    os.kill(run.pid, signal.SIGINT)
    output, _ = run.communicate(timeout=PATIENCE_SECONDS)

    assert run.returncode != 0
    assert "stage 1 of 2, 0 s" in output
    assert "interrupted while it was starting" in output
    assert gone(pid)
    (slow,) = stack.resources("probe:")
    assert slow["initErrors"] == ["interrupted while it was starting"]
    assert stack.up().has("~ 1 updated")
    assert stack.resources("probe:")[0]["outputs"]["made"] is True


def test_a_killed_engine_leaves_no_plugin_and_the_next_update_creates_again(
    probe: Make, cloud_of_probe: Path
) -> None:
    stack = probe('Probe("Slow", "slow", size=1)\n')
    run = stack.start("up", "--yes", "--skip-preview", "--non-interactive")
    pid = int(appears(cloud_of_probe / "started"))

    run.kill()
    run.wait(PATIENCE_SECONDS)

    assert gone(pid)
    stack("cancel", "--yes")
    assert stack.resources("probe:") == []
    write_program(stack, PROGRAM + 'Probe("Stored", "slow", size=1)\n')
    assert stack.up().has("+ 1 created")


def appears(path: Path) -> str:
    """The content of a file that a plugin is about to write."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_SECONDS
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} does not appear"
        pause.wait(0.05)
    return path.read_text()


def gone(pid: int) -> bool:
    """Whether a process ends; one that is dead but not reaped has ended."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except FileNotFoundError:
            return True
        if re.search(r"^State:\s+Z", status, re.MULTILINE):
            return True
        pause.wait(0.05)
    return False

"""``vertex-vllm report`` on what the real engine writes: each kind of preview, in both of its forms.

A walk through a stack's life: some previews in every run, all of them with ``UPDATE_GOLDEN=1``, which writes
tests/report/fixtures anew (``UPDATE_GOLDEN=1 python -m pytest tests/engine/test_report.py``); read the difference.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.report.preview import EVENTS
from tests.engine.support import LIMIT, EngineStack

Json = dict[str, Any]
FIXTURES = Path(__file__).resolve().parents[1] / "report" / "fixtures"
UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))
L4, REGION = "CustomModelServingL4GPUsPerProjectPerRegion", "us-central1"
PREVIEW = ("preview", "--policy-pack", "policies")

#: What the reader does not look at, and what tells of the machine that wrote it.
_NOISE = (
    "sourcePosition",
    "stackTrace",
    "propertyDependencies",
    "dependencies",
    "created",
    "modified",
    "provider",
    "parent",
    "additionalSecretOutputs",
)
_STACK = "pulumi:pulumi:Stack"
#: Types whose inputs are kept.
_KEPT = ("vertexserving:index:Model", "vertexserving:index:Deployment", "gcp:vertex/aiEndpoint:AiEndpoint")
LABELS = {"owner": "local", "environment": "local", "expiry": "never"}


@dataclass(frozen=True)
class Moment:
    """One preview of the walk.

    Attributes:
        name: The fixture's.
        change: What is changed before it, None for nothing.
        status: What the report ends with.
        texts: What its Markdown says.
        command: The engine's command.
        always: Whether it is part of every run.
    """

    name: str
    change: Callable[[EngineStack], object] | None
    status: int
    texts: tuple[str, ...] = ()
    command: tuple[str, ...] = PREVIEW
    always: bool = False


def _files(**changes: Any) -> Callable[[EngineStack], object]:
    return lambda stack: stack.change_stack_file(changes)


def _settings(**changes: Any) -> Callable[[EngineStack], object]:
    return lambda stack: stack.configure(**changes)


def _no_quota(stack: EngineStack) -> None:
    stack.configure(labels=LABELS, preflight="enforce")
    # Spot has a quota of its own.
    stack.change_stack_file(
        {"hardware": {"spot": None}, "replicas": {"min_replica_count": 2, "max_replica_count": 2}}
    )
    stack.cloud.admin.quota(L4, REGION, 1)


def _quota_again(stack: EngineStack) -> None:
    stack.cloud.admin.quota(L4, REGION, None)
    stack.change_stack_file({"replicas": None})
    stack.configure(preflight=None, maxUsdPerHour="0.5")


def _too_large(stack: EngineStack) -> None:
    stack.configure(maxUsdPerHour="120")
    stack.change_stack_file({"vllm": {"max_model_len": 131072}})


def _crash(stack: EngineStack) -> None:
    (stack.folder / "__main__.py").write_text("raise ValueError('boom @octocat #1')\n")


SMALL = {"machine_type": "g2-standard-12", "accelerator_count": 1}
WALK = (
    Moment("first", None, 0, ("new: 1 replica of g2-standard-12", "from 0.00 to 840.00"), always=True),
    Moment("same", lambda stack: stack.up(), 0, ("nothing changes", "unchanged, 840.00 USD a month")),
    Moment(
        "replicas",
        _files(replicas={"min_replica_count": 1, "max_replica_count": 3}),
        0,
        ("changes in place, nothing restarts: replicas at most 1 → 3", "from 840.00 to 2,520.01"),
    ),
    Moment(
        "container",
        _files(replicas=None, vllm={"max_num_seqs": 12, "max_model_len": 4096}),
        0,
        ("replaced: --max-num-seqs 256 → 12", "side by side until the new one serves, 2 h at most"),
        always=True,
    ),
    Moment(
        "hardware",
        _files(vllm=None, hardware={"machine_type": "g2-standard-24", "accelerator_count": 2}),
        0,
        ("machine type g2-standard-12 → g2-standard-24", "--tensor-parallel-size 1 → 2"),
    ),
    Moment("spot", _files(hardware={**SMALL, "spot": True}), 0, ("capacity on demand → spot",)),
    Moment(
        "several",
        _settings(dedicatedEndpoint="true", labels={**LABELS, "cost-center": "7"}),
        0,
        ("its address changes; it becomes dedicated", "clients need the new one"),
    ),
    Moment(
        "violation",
        _settings(dedicatedEndpoint=None, labels={"team": "x"}),
        6,
        ("not ready: policy violated", "required-labels (vllm-"),
        always=True,
    ),
    Moment("preflight", _no_quota, 5, ("not ready: preflight failed", "quota-gpu: "), always=True),
    Moment("budget", _quota_again, 7, ("not ready: over budget", "is over the budget"), always=True),
    Moment(
        "large",
        _too_large,
        1,
        ("not ready: does not fit", "does not start on 1 NVIDIA_L4"),
        always=True,
    ),
    Moment(
        "refusal",
        _files(vllm=None, hardware={"accelerator_count": 3}),
        4,
        ("not ready: preview failed", "hardware.accelerator_count = 3"),
    ),
    Moment("crash", _crash, 4, ("not ready: preview failed", "<code>@octocat</code>")),
    Moment(
        "destroy",
        None,
        0,
        ("gone: 1 replica of g2-standard-12", "from 840.00 to 0.00", "Nothing serves the model any more"),
        command=("destroy", "--preview-only"),
    ),
)


def preview(stack: EngineStack, moment: Moment, *, events: bool) -> str:
    """What the engine writes to its standard output."""
    done = subprocess.run(
        [str(stack.engine.command), *moment.command, "--json", "--non-interactive", "--color", "never"],
        cwd=stack.folder,
        env={**stack.env, EVENTS: "true" if events else "false"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    # A warning of preflight and its kind fails nothing, whatever the report makes of it.
    assert (done.returncode == 0) is (moment.status == 0), (moment.name, done.stdout[-2000:], done.stderr)
    return done.stdout


def report(stack: EngineStack, written: str, *options: str) -> subprocess.CompletedProcess[str]:
    """``vertex-vllm report`` in a process of its own, with the preview on its standard input."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "report", "--preview", "-", *options],
        cwd=stack.folder,
        env={**stack.env, "PYTHONPATH": os.fspath(stack.folder)},
        input=written,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.slow
def test_previews_of_a_stacks_life(stack: EngineStack) -> None:
    for moment in WALK:
        if moment.change is not None:
            moment.change(stack)
        if not moment.always and not UPDATE:
            continue
        written = preview(stack, moment, events=True)
        shown = report(stack, written)
        assert (shown.returncode, shown.stderr) == (moment.status, ""), moment.name
        for text in moment.texts:
            assert text in shown.stdout, (moment.name, text, shown.stdout[:3000])
        # The token of this stack, and its ciphertext in Pulumi.local.yaml.
        assert "hf_local" not in shown.stdout
        assert "v1:" not in shown.stdout
        if UPDATE:
            write(f"{moment.name}.events.json", trimmed_events(written, stack))
            write(f"{moment.name}.json", trimmed_digest(preview(stack, moment, events=False), stack))
        if moment.name == "preflight":
            checks(stack, written)


def checks(stack: EngineStack, written: str) -> None:
    """Preflight's own JSON beside a preview."""
    asked = subprocess.run(
        [sys.executable, "-m", "infra.cli", "preflight", "--stack", "local", "--json"],
        cwd=stack.folder,
        env={**stack.env, "PYTHONPATH": os.fspath(stack.folder)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert asked.returncode == 5
    path = stack.folder / "preflight.json"
    path.write_text(asked.stdout)
    shown = report(stack, written, "--preflight", str(path), "--format", "json")
    document: Json = json.loads(shown.stdout)
    assert shown.returncode == document["exit_status"] == 5
    assert document["preflight"]["counts"]["FAIL"] == 1
    assert [each["kind"] for each in document["failures"]] == ["preflight failed"]
    if UPDATE:
        write("preflight-checks.json", plain(asked.stdout, stack))


def write(name: str, text: str) -> None:
    FIXTURES.mkdir(exist_ok=True)
    (FIXTURES / name).write_text(text)


def plain(text: str, stack: EngineStack) -> str:
    """Without this machine's paths and ports."""
    text = text.replace(stack.cloud.url, "http://127.0.0.1:8080").replace(str(stack.folder), "/project")
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", text)
    text = re.sub(r"vllm-artifacts-[0-9a-f]{7}", "vllm-artifacts-0123456", text)
    text = re.sub(r", in [\d.]+ s; ", ", in 0.2 s; ", text)
    return re.sub(r'"took_s": [\d.]+', '"took_s": 0.2', text)


def trimmed_digest(written: str, stack: EngineStack) -> str:
    """A digest as small as it can be without another meaning."""
    digest: Json = json.loads(written)
    digest["duration"] = 2_000_000_000
    digest["steps"] = [_trimmed(step) for step in digest["steps"]]
    return plain(json.dumps(digest, indent=1), stack) + "\n"


def trimmed_events(written: str, stack: EngineStack) -> str:
    """The same for events, an event a line; of debug messages one, of summaries of policies those of two resources."""
    kept: list[Json] = []
    debugs = summaries = 0
    for line in written.splitlines():
        event: Json = json.loads(line)
        event["timestamp"] = 1_760_000_000
        body = next(value for key, value in event.items() if key.endswith("Event"))
        if body.get("severity") == "debug":
            debugs += 1
            if debugs > 1:
                continue
        if "policyAnalyzeSummaryEvent" in event or "policyRemediateSummaryEvent" in event:
            summaries += 1
            if summaries > 4 and not body.get("failed"):
                continue
        if "metadata" in body:
            kind, op = body["metadata"]["type"], body["metadata"]["op"]
            if kind != _STACK and ("resOutputsEvent" in event or (op == "same" and kind not in _KEPT)):
                continue
            body["metadata"] = _trimmed(body["metadata"])
        kept.append(event)
    return plain("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in kept), stack)


def _trimmed(step: Json) -> Json:
    step = {key: value for key, value in step.items() if key not in _NOISE}
    kind = step["urn"].split("::")[2].rpartition("$")[2]
    for key in ("oldState", "newState", "old", "new"):
        state = step.get(key)
        if state:
            dropped = [*_NOISE, *([] if kind == _STACK else ["outputs"])]
            # Of the three steps of a replacement one says everything.
            if kind not in _KEPT or step["op"] in ("create-replacement", "delete-replaced"):
                dropped.append("inputs")
            step[key] = {name: value for name, value in state.items() if name not in dropped}
    return step

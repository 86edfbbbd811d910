"""`vertex-vllm status`, `logs` and `diagnose` on a stack of the real engine: it failed at first, then it serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.engine.support import EngineStack


@pytest.fixture
def command(stack: EngineStack) -> Any:
    """Runs a command of the copy as a shell that has read `.local/env`; its status, JSON and standard error."""

    def run(*words: str) -> tuple[int, Any, str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "infra.cli", *words, "--stack", "local", "--json"],
            cwd=stack.folder,
            env={**stack.env, "PYTHONPATH": os.fspath(stack.folder)},
            capture_output=True,
            text=True,
        )
        return done.returncode, json.loads(done.stdout or "null"), done.stderr

    return run


def test_from_a_failed_first_deployment_to_one_that_serves(stack: EngineStack, command: Any) -> None:
    code, document, said = command("status")
    assert (code, document) == (2, None)
    assert "nothing is deployed yet" in said

    stack.change_stack_file({"fit": "warn", "vllm": {"max_model_len": 65536}})
    failed_up = stack.up(ok=False)
    assert failed_up.has("CUDA out of memory")
    assert failed_up.has(
        "The change to the stack file, which ./vertex-vllm diagnose --stack local --apply makes"
    )
    assert failed_up.has("+  max_model_len: 17488")
    assert "endpoint" not in stack.outputs()

    code, document, said = command("status")
    assert code == 0, said
    assert "By its settings the endpoint is projects/" in said
    assert (document["ready"], document["deployments"]) == (False, [])
    (failed,) = document["operations"]
    assert (failed["kind"], failed["done"]) == ("DeployModel", True)
    assert failed["error"]
    assert any("CUDA out of memory" in each["text"] for each in document["last_errors"])
    code, document, said = command("logs", "--severity", "error", "--text", "cuda OUT of memory")
    assert (code, len(document["entries"])) == (0, 1), said
    code, document, said = command("diagnose", "--apply")
    assert (code, document["change"]["applied"], document["state"]) == (0, True, "failed"), said
    assert document["change"]["keys"] == {"vllm.max_model_len": 17488}
    code, document, said = command("diagnose", "--apply")
    assert (code, document["change"]) == (0, None), said

    stack.up()
    assert command("diagnose")[1]["state"] == "done"
    outputs = stack.outputs()
    code, document, said = command("status")
    assert (code, said) == (0, "")
    assert (document["ready"], document["operations"]) == (True, [])
    assert document["expiry"] == {"label": "never", "days_left": None}
    (deployed,) = document["deployments"]
    assert deployed["id"] == outputs["deployed_model_id"]
    assert deployed["cost"]["replica_usd_per_hour"] == outputs["cost"]["replica"]["usd_per_hour"]
    code, document, _ = command("logs", "-n", "1000")
    assert code == 0
    assert {each["deployed_model_id"] for each in document["entries"]} == {outputs["deployed_model_id"]}

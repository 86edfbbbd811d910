"""What a shell completes: commands, options, and the names that this clone has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.cli import completion

ROOT = Path(__file__).resolve().parents[2]


def complete(line: str) -> list[str]:
    """What bash is offered at the end of a line, by the program that it runs."""
    words = line.split(" ")
    variables = {
        "_VERTEX_VLLM_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "infra.cli"],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vertex-vllm stat", ["status"]),
        ("vertex-vllm models sh", ["show"]),
        ("vertex-vllm logs --sev", ["--severity"]),
        ("vertex-vllm logs --severity e", ["error", "emergency"]),
        ("vertex-vllm status --stack d", ["dev"]),
        ("vertex-vllm preflight --stack p", ["prod"]),
        ("vertex-vllm models show meta-llama/Llama-3.2-1B", None),
    ],
)
def test_bash(line: str, offered: list[str] | None) -> None:
    assert complete(line) == (completion.model_ids(line.rpartition(" ")[2]) if offered is None else offered)


def test_models_are_the_catalogues() -> None:
    from infra.recipes.catalog import catalog

    assert completion.model_ids("") == sorted(catalog().models())
    assert "meta-llama/Llama-3.2-1B-Instruct" in completion.model_ids("meta-llama/Llama-3.2-1B")


def test_nothing_heavy_is_imported_for_a_tab() -> None:
    code = (
        "import sys, infra.cli.app\n"
        "heavy = {'pulumi', 'google.auth', 'httpx', 'openai', 'yaml', 'pydantic', 'huggingface_hub'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""

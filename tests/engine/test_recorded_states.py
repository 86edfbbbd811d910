"""States that earlier versions left: this version previews each without a replacement.

What is recorded, and how: scripts/record_states.py. The cloud is empty here, so nothing is refreshed: what is compared
is what an earlier program registered with what this one registers, by this version's providers.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.engine.recorded import STATES, VARIANTS, apply
from tests.engine.support import EngineStack

RECORDED = sorted(STATES.glob("*/*.json"))
HARMLESS = {"same", "update", "read"}
#: What this version has besides, and what exists in the state alone.
STATE_ONLY = "vertexserving:index:LeftoverCheck"


def test_there_are_states_of_several_versions_and_every_variant() -> None:
    assert len({path.parent.name for path in RECORDED}) >= 3
    newest = max(path.parent.name for path in RECORDED)
    assert {path.stem for path in RECORDED if path.parent.name == newest} == set(VARIANTS)


def test_no_state_holds_a_token_in_clear() -> None:
    for path in RECORDED:
        text = path.read_text()
        assert "hf_" not in text, path
        assert "ciphertext" in text, path


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_previews_without_a_replacement(stack: EngineStack, path: Path) -> None:
    apply(stack, VARIANTS[path.stem])
    stack("stack", "import", "--file", str(path))

    preview = stack.preview("--refresh=false", "--json", "--show-sames")

    steps = json.loads(preview.output[preview.output.index("{") :])["steps"]
    assert len(steps) >= 20
    changed = [
        f"{step['op']} {step['urn']}"
        for step in steps
        if step["op"] not in HARMLESS and not (step["op"] == "create" and f"${STATE_ONLY}::" in step["urn"])
    ]
    assert not changed, "\n".join(changed)

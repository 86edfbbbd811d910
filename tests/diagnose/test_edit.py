"""Changes of a stack file's text: what is meant changes, all else stays to the byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.diagnose.edit import Change, EditError, Remove, diff, edited
from infra.recipes.yamlfile import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
STACKS = sorted((ROOT / "stacks").glob("*.yaml"))
TEXT = """\
# what is served
model: meta-llama/Meta-Llama-3.1-8B-Instruct   # gated
vllm:
  max_num_seqs: 256   # many
  # adapters
  extra_args:
    - --one=1   # first

    - "--two"
  dtype: 'auto'

# where
hardware: {machine_type: g2-standard-12, spot: false}
endpoint:
"""


def changed(text: str, *changes: Change) -> str:
    """Only the lines that differ, as a diff has them."""
    lines = diff(text, edited(text, changes), "x.yaml").splitlines()
    return "\n".join(line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---"))


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (Change("vllm.max_num_seqs", 12), "-  max_num_seqs: 256   # many\n+  max_num_seqs: 12   # many"),
        (Change("vllm.dtype", "half"), "-  dtype: 'auto'\n+  dtype: half"),
        (Change("vllm.enforce_eager", True), "+  enforce_eager: true"),
        (Change("vllm.max_num_seqs", Remove()), "-  max_num_seqs: 256   # many"),
        (Change("vllm.extra_args", ("--two",)), "-    - --one=1   # first"),
        (Change("vllm.extra_args", ("--one=1", "--two", "--x=3")), "+    - --x=3"),
        (
            Change("vllm.extra_args", Remove()),
            '-  extra_args:\n-    - --one=1   # first\n-\n-    - "--two"',
        ),
        (Change("container.deployment_timeout", 7200), "+container:\n+  deployment_timeout: 7200"),
        (
            Change("hardware.spot", True),
            "-hardware: {machine_type: g2-standard-12, spot: false}\n"
            "+hardware: {machine_type: g2-standard-12, spot: true}",
        ),
        (
            Change("hardware.spot", Remove()),
            "-hardware: {machine_type: g2-standard-12, spot: false}\n+hardware: {machine_type: g2-standard-12}",
        ),
        (
            Change("hardware.accelerator_count", 2),
            "-hardware: {machine_type: g2-standard-12, spot: false}\n"
            "+hardware: {machine_type: g2-standard-12, spot: false, accelerator_count: 2}",
        ),
        (Change("endpoint.dedicated", True), "+  dedicated: true"),
        (Change("weights", "gs://b/p"), "+weights: gs://b/p"),
        (Change("fit", "no"), "+fit: no"),
        (Change("fit", "true"), '+fit: "true"'),
        (Change("vllm.dtype", "auto"), ""),
        (Change("replicas.max_replica_count", Remove()), ""),
    ],
    ids=lambda value: value.key if isinstance(value, Change) else "",
)
def test_one_change(change: Change, lines: str) -> None:
    assert changed(TEXT, change) == lines


def test_a_section_of_one_key_goes_with_it() -> None:
    text = "model: a/b\nendpoint:\n  dedicated: true\n# end\n"
    assert edited(text, [Change("endpoint.dedicated", Remove())]) == "model: a/b\n# end\n"


def test_windows_line_ends_stay() -> None:
    text = "model: a/b\r\nvllm:\r\n  dtype: auto\r\n"
    wanted = "model: a/b\r\nvllm:\r\n  dtype: auto\r\n  max_loras: 2\r\n"
    assert edited(text, [Change("vllm.max_loras", 2)]) == wanted


def test_a_file_without_a_last_line_end() -> None:
    assert edited("model: a/b", [Change("vllm.max_loras", 2)]) == "model: a/b\nvllm:\n  max_loras: 2\n"


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("model: a/b\nvllm: [1]\n", Change("vllm.dtype", "half")),
        ("- a\n", Change("model", "a/b")),
        ("model: |\n  a/b\n", Change("model", "c/d")),
        ("vllm: &a\n  dtype: auto\nother: *a\n", Change("other.dtype", "half")),
    ],
)
def test_what_cannot_be_changed_in_place(text: str, change: Change) -> None:
    with pytest.raises(EditError):
        edited(text, [change])


VALUES = st.one_of(
    st.booleans(),
    st.integers(-9, 99999),
    st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["C"]), max_size=12),
    st.just(Remove()),
)


@given(
    path=st.sampled_from(STACKS),
    changes=st.lists(
        st.builds(
            Change,
            st.sampled_from(
                [
                    "model",
                    "fit",
                    "vllm.dtype",
                    "vllm.new",
                    "hardware.spot",
                    "container.image_uri",
                    "other.key",
                ]
            ),
            VALUES,
        ),
        max_size=5,
    ),
)
def test_the_text_says_what_was_meant(path: Path, changes: list[Change]) -> None:
    text = path.read_text()
    wanted: dict[str, Any] = parse_yaml(text, "")[0]  # type: ignore[assignment]
    for change in changes:
        section, _, key = change.key.rpartition(".")
        if isinstance(change.value, Remove):
            if section:
                wanted.get(section, {}).pop(key, None)
                if wanted.get(section) == {}:
                    del wanted[section]
            else:
                wanted.pop(key, None)
        else:
            (wanted.setdefault(section, {}) if section else wanted)[key] = change.value
    new = edited(text, changes)
    assert parse_yaml(new, "")[0] == wanted
    assert [line for line in new.splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]

"""Known failures are recognised in lines that users published, and none is invented where none is known.

Each file of `cases/` holds lines of one public thread, which its first line names, shortened; a failure that its second
line expects comes first of what is found.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.diagnose import recognise
from infra.diagnose.known import KNOWN, OUT_OF_MEMORY
from infra.diagnose.steps import MENDED

CASES = sorted((Path(__file__).parent / "cases").glob("*.log"))
NONE = "none"


def case(path: Path) -> tuple[str, str, list[str]]:
    """Source, expected failure, lines."""
    first, second, *lines = path.read_text().splitlines()
    return first.removeprefix("# source: "), second.removeprefix("# expect: "), lines


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_published_log(path: Path) -> None:
    source, expected, lines = case(path)
    assert re.match(r"https://(?:github\.com|docs\.cloud\.google\.com)/\S+$", source)
    found = recognise(lines)
    if expected == NONE:
        assert found == ()
        return
    assert [each.id for each in found][:1] == [expected]
    first = found[0]
    assert "{" not in first.cause + first.advice
    assert not first.cause.endswith(".")
    assert first.advice.endswith(".")
    shown = first.evidence.text.rstrip("…")
    assert lines[first.evidence.line - 1].strip().startswith(shown)


def test_there_are_enough() -> None:
    expected = [case(path)[1] for path in CASES]
    assert len(set(expected) - {NONE}) >= 45
    assert expected.count(NONE) >= 5


def test_a_case_expects_what_there_is() -> None:
    known = {failure.id for failure in KNOWN} | {
        f"out-of-memory-{stage}".rstrip("-") for stage in OUT_OF_MEMORY
    }
    assert {case(path)[1] for path in CASES} <= known | {NONE}


def test_the_page_names_each() -> None:
    rows = re.findall(
        r"^\| `([a-z0-9-]+)` \| [^|]+ \| (yes )?\|$",
        (Path(__file__).resolve().parents[2] / "docs/diagnose.md").read_text(),
        re.MULTILINE,
    )
    known = {failure.id for failure in KNOWN} | {
        f"out-of-memory-{stage}".rstrip("-") for stage in OUT_OF_MEMORY
    }
    assert {name for name, _ in rows} == known
    assert len(rows) == len(known)
    assert {name for name, yes in rows if yes} == set(MENDED)

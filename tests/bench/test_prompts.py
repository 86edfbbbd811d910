"""What is sent."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from infra.bench.prompts import PromptsProblem, from_file, made


def test_prompts_share_no_beginning() -> None:
    found = list(islice(made(50, seed=1, run="r"), 100))
    assert len({prompt[:6] for prompt in found}) == 100
    assert {len(prompt.split()) for prompt in found} == {51}


def test_equal_seeds_give_equal_words_of_any_run() -> None:
    one, other, third = (next(made(30, seed=seed, run=run)) for seed, run in ((1, "a"), (1, "b"), (2, "a")))
    assert one.partition(": ")[2] == other.partition(": ")[2] != third.partition(": ")[2]
    assert one != other


def test_a_file_goes_round(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('plain text\n\n{"prompt": "a"}\n{"text": "b"}\n')
    assert list(islice(from_file(file), 5)) == ["plain text", "a", "b", "plain text", "a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n", "has no prompt"),
        ('{"prompt": 1}', "line 1 has no text"),
        ('ok\n{"prompt"', "line 2 begins as JSON and is none"),
        (None, "cannot be read"),
    ],
)
def test_bad_files(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "p.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(PromptsProblem, match=said):
        from_file(file)

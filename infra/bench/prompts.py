"""What is sent: prompts of a wanted length that share no beginning, or those of a file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Final

__all__ = ["PromptsProblem", "from_file", "made"]

_COMMON: Final = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work government number night point home water room mother
area money story fact month lot right study book eye job word business issue side kind head house service friend
father power hour game line end member law car city community name president team minute idea body information
back parent face others level office door health person art war history party result change morning reason
"""


class PromptsProblem(ValueError):
    """A file of prompts that cannot be used; its text says why and what to do."""


def made(words: int, *, seed: int, run: str) -> Iterator[str]:
    """Prompts of so many common English words, without end.

    Each begins with the run's name and a number, so that vLLM's prefix cache, which keeps equal beginnings, answers
    none of them out of another, nor out of an earlier run with the same seed.

    Args:
        words: Words of a prompt, at least 1; most tokenizers make a token of each.
        seed: Equal seeds give equal words.
        run: Name of this run.
    """
    chance, common, number = random.Random(seed), _COMMON.split(), 0
    while True:
        number += 1
        yield f"{run}-{number}: " + " ".join(chance.choices(common, k=max(1, words)))


def from_file(path: Path) -> Iterator[str]:
    """The prompts of a file in turn, again from the start when all are sent.

    A line is one prompt: text, or a JSON object with ``prompt`` or ``text``. Empty lines are left out.

    Raises:
        PromptsProblem: it cannot be read, or has no prompt.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptsProblem(f"--prompts {path}: cannot be read: {error}.") from None
    found = [_prompt(path, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise PromptsProblem(f"--prompts {path}: has no prompt. Write one a line.")
    return cycle(found)


def _prompt(path: Path, number: int, line: str) -> str:
    if not line.lstrip().startswith("{"):
        return line
    try:
        row = json.loads(line)
    except ValueError:
        raise PromptsProblem(f"--prompts {path}: line {number} begins as JSON and is none.") from None
    prompt = row.get("prompt", row.get("text"))
    if not isinstance(prompt, str) or not prompt:
        raise PromptsProblem(
            f'--prompts {path}: line {number} has no text. Write {{"prompt": "…"}} or plain text.'
        )
    return prompt

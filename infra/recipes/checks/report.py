"""Where the checks of one stack file put what they find."""

from __future__ import annotations

from infra.recipes.errors import StackError
from infra.recipes.stackfile import StackFile

__all__ = ["Report"]


class Report:
    """The stack file under check, in a region, with the problems and warnings found so far."""

    def __init__(self, stack: StackFile, *, region: str, file: str) -> None:
        self.stack = stack
        self.region = region
        self.file = file
        self.problems: list[StackError] = []
        self.warnings: list[str] = []

    def refuse(
        self,
        kind: type[StackError],
        key: str,
        value: object,
        text: str,
        *,
        choices: tuple[str, ...] = (),
        remedy: str = "",
    ) -> None:
        """Add a problem; ``key`` names the line of the stack file."""
        line = self.stack.line_of(key) if not key.startswith("gcp:") else None
        parent, _, name = key.rpartition(".")
        if parent and remedy.startswith(f"{name}: ") and not self.stack.has_line(key):
            remedy = f"below `{parent}:` add {remedy}"
        self.problems.append(
            kind(text, file=self.file, line=line, key=key, value=value, choices=choices, remedy=remedy)
        )

    def warn(self, text: str) -> None:
        """Add a sentence that the user should read before paying."""
        self.warnings.append(text)

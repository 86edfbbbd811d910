"""Chat templates: the shipped ones, those in files and buckets, and how their text travels as an argument.

vLLM takes the text of a template in place of its path (``load_chat_template`` of
``vllm/entrypoints/chat_utils.py``), so a template needs no file in the container. It cannot read ``gs://``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from infra.versions import version_key

__all__ = [
    "NO_CHAT",
    "SUFFIX",
    "TemplateProblem",
    "argument_of",
    "chat_template_names",
    "read_template",
    "shipped",
]

NO_CHAT: Final = "none"
"""The choice to have no chat: completions and the default predict route only."""
SUFFIX: Final = ".jinja"

_SHIPPED: Final = Path(__file__).resolve().parent.parent / "catalog" / "chat_templates"
_MOST_BYTES: Final = 64 * 1024  # the longest in vllm's examples/ of 0.32.0 has under 10 KB
_LITERAL_SINCE: Final = (
    0,
    8,
    2,
    0,
)  # load_chat_template of 0.8.1 decodes unicode_escape, that of 0.8.2 does not


class TemplateProblem(ValueError):
    """Why a template cannot be passed; a sentence, with what to do in ``remedy``."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem)


def chat_template_names() -> tuple[str, ...]:
    """The chat templates that are shipped, by name."""
    return tuple(sorted(path.stem for path in _SHIPPED.glob(f"*{SUFFIX}")))


@lru_cache
def shipped(name: str) -> str:
    """The text of a shipped template: one line of ASCII that every version of vLLM reads alike."""
    return (_SHIPPED / f"{name}{SUFFIX}").read_text(encoding="utf-8").rstrip("\n")


def read_template(path: Path, version: str | None) -> str:
    """Read a template from a file, as the argument that gives it to vLLM.

    Args:
        path: the file.
        version: the image's vLLM version; None when it is not known (then as for the newest).

    Raises:
        TemplateProblem: there is no such file, it is no text, too long, or not a template.
    """
    try:
        data = path.read_bytes()
    except OSError:
        near = sorted(other.name for other in path.parent.glob(f"*{SUFFIX}")) if path.parent.is_dir() else []
        remedy = (
            f"name one that is there: {', '.join(near)}"
            if near
            else f"save the template as {path.name} there"
        )
        raise TemplateProblem(
            f"there is no file {path.name} in {path.parent.name or '.'}/.", remedy
        ) from None
    if len(data) > _MOST_BYTES:
        raise TemplateProblem(
            f"has {len(data)} bytes; an argument holds {_MOST_BYTES}.", "shorten the template"
        )
    try:
        return argument_of(data.decode("utf-8"), version)
    except UnicodeDecodeError:
        raise TemplateProblem("is not UTF-8 text.", "save the file as UTF-8") from None


def argument_of(text: str, version: str | None) -> str:
    """A template's text as the value of ``--chat-template``.

    Args:
        text: the template.
        version: the image's vLLM version; up to 0.8.1 the text is escaped, as vLLM decodes it.

    Raises:
        TemplateProblem: vLLM would take it for a path, or Vertex AI would change it.
    """
    text = text.rstrip("\n")
    if "{" not in text or "}" not in text:
        raise TemplateProblem("holds no {{ or {%: it is no template.", "write a Jinja template")
    if "\0" in text:
        raise TemplateProblem("holds a NUL character.", "delete it")
    if "$(" in text:
        raise TemplateProblem("holds $(, which Vertex AI expands in arguments.", "write $ and ( apart")
    if version is not None and version_key(version) < _LITERAL_SINCE:
        return text.encode("unicode_escape").decode("ascii")
    return text

"""The chat template: a choice where the model has none of its own, and how it reaches the container."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from infra.cards import ModelCard
from infra.recipes.checks.report import Report
from infra.recipes.errors import ABSENT, ValueProblem, nearest
from infra.recipes.stackfile import is_gcs_uri
from infra.recipes.templates import (
    NO_CHAT,
    SUFFIX,
    TemplateProblem,
    chat_template_names,
    read_template,
    shipped,
)

__all__ = ["check_chat_template"]

_KEY: Final = "vllm.chat_template"


def check_chat_template(
    report: Report, card: ModelCard | None, version: str | None, folder: Path
) -> str | None:
    """Check the template and read it.

    Args:
        report: the stack file; takes the problems.
        card: the model, when it is known.
        version: the image's vLLM version; None when it is not known.
        folder: the stack file's, where a template file is looked for.

    Returns:
        The value of ``--chat-template``: the text of a shipped template or of a file, a path in the container, or the
        ``gs://`` path of an object whose text has to take its place. None for none.
    """
    template = report.stack.vllm.chat_template
    names = chat_template_names()
    if template is None:
        if card is not None and not card.chat_template:
            _refuse_silence(report, card, names)
        return None
    if template == NO_CHAT:
        if card is not None and card.chat_template:
            report.warn(
                f"{_KEY}: {card.id} has a chat template of its own, which vLLM then uses: {NO_CHAT} does not turn chat"
                " off. Delete the line."
            )
        return None
    if template in names:
        return shipped(template)
    if template.startswith("gs://"):
        if not is_gcs_uri(template) or not template.endswith(SUFFIX):
            text = f"is not gs://bucket/object{SUFFIX}."
            remedy = f"chat_template: gs://my-bucket/template{SUFFIX}"
            report.refuse(ValueProblem, _KEY, template, text, remedy=remedy)
        return template
    if template.startswith("/") and template.isprintable():
        return template
    if template.endswith(SUFFIX) and template.isprintable():
        try:
            return read_template(folder / template, version)
        except TemplateProblem as problem:
            report.refuse(ValueProblem, _KEY, template, problem.problem, remedy=problem.remedy)
            return None
    choices = nearest(template, (*names, NO_CHAT))
    text = f"is no shipped template, no {SUFFIX} file beside the stack file, and no absolute path in the container."
    report.refuse(ValueProblem, _KEY, template, text, choices=choices, remedy=f"chat_template: {choices[0]}")
    return None


def _refuse_silence(report: Report, card: ModelCard, names: tuple[str, ...]) -> None:
    """Ask for the choice: transformers has no template of its own from 4.44 on, so chat would answer an error."""
    text = f"{card.id} has no chat template, so chat completions would answer an error; say what you want."
    best = "plain" if "plain" in names else names[0]
    choices = (NO_CHAT, *(name for name in names if name != best))
    others = ", ".join(name for name in names if name != best)
    remedy = (
        f"chat_template: {best} (shipped, as {others} are), or chat_template: templates/mine{SUFFIX} (a file beside"
        f" this one, or gs://bucket/mine{SUFFIX}), or chat_template: {NO_CHAT} (no chat: completions and the default"
        " predict route)"
    )
    report.refuse(ValueProblem, _KEY, ABSENT, text, choices=(best, *choices), remedy=remedy)

"""Tool calling: the parser that turns the model's text into tool calls, and whether the image has it."""

from __future__ import annotations

from typing import Final

from infra.cards import ModelCard
from infra.recipes.arguments import TOOL_CALL_PARSER, passed
from infra.recipes.catalog import ContainerImage, catalog
from infra.recipes.checks.fork_flags import seen_with
from infra.recipes.checks.report import Report
from infra.recipes.errors import FlagError, UnknownImage, ValueProblem, nearest
from infra.recipes.flags import FlagTable
from infra.recipes.images import fitting_images
from infra.recipes.templates import NO_CHAT

__all__ = ["check_tools"]

_TOGGLE: Final = "vllm.tool_calling"
_PARSER: Final = "vllm.tool_call_parser"
_IMAGE: Final = "container.image_uri"

_PLUGIN: Final = "--tool-parser-plugin"

_UPSTREAM: Final = {"vertex-llama-3": "llama3_json"}
"""vLLM's own parser for the models of a parser that only some of Google's builds have (docs.vllm.ai, tool calling)."""


def check_tools(
    report: Report,
    card: ModelCard | None,
    flags: FlagTable | None,
    image: ContainerImage | None,
    version: str | None,
) -> str | None:
    """Check that tools can be called, and choose the parser.

    Args:
        report: the stack file; takes the problems.
        card: the model, when it is known.
        flags: the flags of the image's vLLM version; None when it is not known.
        image: the image, when the catalogue has it.
        version: the image's vLLM version; None when it is not known.

    Returns:
        The value of ``--tool-call-parser``; None where tools are off, where ``extra_args`` has the flag, or where a
        problem was found.
    """
    vllm = report.stack.vllm
    given = vllm.tool_call_parser
    if given is None and TOOL_CALL_PARSER in passed(vllm):
        _check_passed(report, card, flags, image, version)
    if not vllm.tool_calling:
        if given is not None:
            text = "is not used: tools are off."
            report.refuse(ValueProblem, _PARSER, given, text, remedy="tool_calling: true")
        return None
    if vllm.chat_template == NO_CHAT:
        text = "tools are called in a chat, and chat_template: none leaves the model without one."
        report.refuse(ValueProblem, _TOGGLE, True, text, remedy="tool_calling: false")
        return None
    if TOOL_CALL_PARSER in passed(vllm):
        if given is not None:
            text = f"extra_args has {TOOL_CALL_PARSER} too."
            report.refuse(ValueProblem, _PARSER, given, text, remedy="delete one of them")
        return None
    if card is None:
        return None
    parser = given or card.tool_call_parser
    if parser is None:
        text = f"the catalogue knows no tool call parser for {card.id}."
        remedy = "add tool_call_parser: NAME (docs.vllm.ai/en/latest/features/tool_calling.html lists them)"
        report.refuse(ValueProblem, _TOGGLE, True, text, remedy=remedy)
        return None
    for name in (parser, *([_UPSTREAM[parser]] if given is None and parser in _UPSTREAM else [])):
        if _has(name, flags, image, version):
            return name
    plugin = _PLUGIN in passed(vllm)
    if given is not None and plugin:
        return given
    if given is not None and given not in (*catalog().tool_parsers(), *_of_the_fork()):
        choices = nearest(given, catalog().tool_parsers(version))
        text = f"no vLLM has such a tool call parser; {version} has {len(choices)}."
        remedy = f"tool_call_parser: {choices[0]}; a parser of your own needs {_PLUGIN}=FILE in extra_args"
        report.refuse(ValueProblem, _PARSER, given, text, choices=choices, remedy=remedy)
        return None
    _refuse(report, card, parser, flags, image)
    return None


def _of_the_fork() -> tuple[str, ...]:
    fork = catalog().fork_flags().get(TOOL_CALL_PARSER)
    return fork.values if fork is not None else ()


def _has(parser: str, flags: FlagTable | None, image: ContainerImage | None, version: str | None) -> bool:
    """Whether an image's vLLM takes a parser, as far as is known: one that it has not ends the container's start."""
    fork = catalog().fork_flags().get(TOOL_CALL_PARSER)
    if fork is not None and parser in fork.values:
        return seen_with(fork, image)
    if flags is None or version is None:
        return True
    return TOOL_CALL_PARSER in flags and parser in catalog().tool_parsers(version)


def _check_passed(
    report: Report,
    card: ModelCard | None,
    flags: FlagTable | None,
    image: ContainerImage | None,
    version: str | None,
) -> None:
    """Check the parser that ``extra_args`` name; whether the version has the flag at all, they are checked for."""
    extra = report.stack.vllm.extra_args
    parser = passed(report.stack.vllm)[TOOL_CALL_PARSER]
    if not parser or _PLUGIN in passed(report.stack.vllm) or _has(parser, flags, image, version):
        return
    if parser in _of_the_fork():  # whether another of Google's builds has it is not known: a warning says so
        return
    kind = flags.takes.get(TOOL_CALL_PARSER) if flags is not None else None
    if (
        kind != "str"
    ):  # the version has no such flag, or the flag has choices: the check of extra_args says so
        return
    index = next(i for i, each in enumerate(extra) if each.replace("_", "-").startswith(TOOL_CALL_PARSER))
    own = (card.tool_call_parser if card is not None else None) or ""
    known = catalog().tool_parsers(version)
    right = tuple(each for each in (own, _UPSTREAM.get(own, "")) if each in known)
    choices = (*right, *(each for each in nearest(parser, known) if each not in right))
    text = f"vLLM {version} has no tool call parser {parser}; its container ends at the start."
    remedy = f'- "{TOOL_CALL_PARSER}={choices[0]}"'
    report.refuse(FlagError, f"vllm.extra_args[{index}]", extra[index], text, choices=choices, remedy=remedy)


def _refuse(
    report: Report, card: ModelCard, parser: str, flags: FlagTable | None, image: ContainerImage | None
) -> None:
    hardware, books = report.stack.hardware, catalog()
    accelerator = next(
        (each for each in books.accelerators() if each.accelerator_type == hardware.accelerator_type), None
    )
    names = {parser, _UPSTREAM.get(parser, parser)}
    fitting = tuple(
        each.uri
        for each in (
            fitting_images(card, accelerator, hardware.accelerator_count) if accelerator is not None else ()
        )
        if each.vllm_version
        and any(_has(name, books.flags(each.vllm_version), each, each.vllm_version) for name in names)
    )
    version = flags.version if flags is not None else (image and image.vllm_version) or "?"
    text = (
        f"its vLLM, {version}, has no tool call parser {' or '.join(sorted(names))}, which {card.id} needs."
    )
    remedy = f"image_uri: {fitting[0]}" if fitting else "tool_calling: false"
    report.refuse(
        UnknownImage, _IMAGE, report.stack.container.image_uri, text, choices=fitting[:3], remedy=remedy
    )

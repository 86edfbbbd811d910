"""Checks ``vllm.extra_args`` against the flags of the image: those of its vLLM version and those of Google's builds."""

from __future__ import annotations

import difflib
import re
from typing import Final

from infra.cards import ModelCard
from infra.recipes.arguments import KEY_OF_FLAG, QUANTIZATION
from infra.recipes.catalog import ContainerImage, catalog
from infra.recipes.checks.flag_values import wanted
from infra.recipes.checks.fork_flags import check_fork_flag
from infra.recipes.checks.report import Report
from infra.recipes.errors import FlagError, show_value
from infra.recipes.flags import FlagTable
from infra.versions import version_key

__all__ = ["check_extra_args"]

_FLAG: Final = re.compile(r"--[a-zA-Z0-9][a-zA-Z0-9_-]*")
_LIKENESS: Final = 0.85  # below it a flag is one that the table does not know rather than a misspelt one


def check_extra_args(
    report: Report, card: ModelCard | None, flags: FlagTable | None, image: ContainerImage | None
) -> None:
    """Check every extra argument.

    Refused: what is no flag, what a key of the stack file sets, twice the same, removed or not yet there in this
    version, misspelt, a value missing, too many, or not what the flag takes. Warned of: flags that no vLLM release
    has; flags of Google's builds that the image has not been seen with.

    Args:
        report: the stack file; takes the problems and warnings.
        card: the model, when it is known.
        flags: the flags of the closest known version; None when the image's version is not known.
        image: the image, when the catalogue has it.
    """
    seen: dict[str, int] = {}
    vllm = report.stack.vllm
    shown = (image.vllm_version if image else None) or "?"
    for index, argument in enumerate(vllm.extra_args):
        key = f"vllm.extra_args[{index}]"

        def refuse(
            text: str, remedy: str, choices: tuple[str, ...] = (), key: str = key, arg: str = argument
        ) -> None:
            report.refuse(FlagError, key, arg, text, choices=choices, remedy=remedy)

        name, equals, value = argument.partition("=")
        if not _FLAG.fullmatch(name):
            text, remedy = _not_a_flag(argument)
            refuse(text, remedy)
            continue
        if "\0" in value:
            refuse("holds a NUL character.", "delete it")
            continue
        flag = "--" + name[2:].replace("_", "-")
        if flag in seen:
            refuse(f"{flag} is there twice (also extra_args[{seen[flag]}]).", "delete one of them")
            continue
        seen[flag] = index
        own = flag if flag in KEY_OF_FLAG else "--" + flag.removeprefix("--no-")
        if own in KEY_OF_FLAG:
            gone = _not_in_version(own, flags, shown) if flags is not None and own not in flags else None
            refuse(*(gone or _has_a_key(own)))
            continue
        check_fork_flag(report, key, flag, value, image)
        if flags is None:
            continue  # the check of the image has warned that no flag is checked
        if flag not in flags:
            refusal = _not_in_version(flag, flags, shown)
            if refusal is None:
                report.warn(f"{key}: no known vLLM has {flag}; it is passed as it stands.")
            else:
                refuse(*refusal)
            continue
        takes = flags.takes_value(flag)
        if takes is True and not value:
            refuse(f"{flag} needs a value.", f'- "{flag}=VALUE"')
        elif takes is False and equals:
            refuse(f"{flag} is a switch; vLLM {shown} refuses a value for it.", f'- "{flag}"')
        elif flag == QUANTIZATION and (method := _other_method(card, value)):
            refuse(
                f"the checkpoint is quantized as {method}; vLLM refuses another method.",
                f'- "{flag}={method}"',
            )
        elif takes is True or equals:
            _check_value(report, key, flag, argument, flags, shown)


def _other_method(card: ModelCard | None, value: str) -> str | None:
    """The checkpoint's quantization, when ``--quantization`` names another; its Marlin form is the same weights.

    vLLM: ``ModelConfig._verify_quantization`` and the ``override_quantization_method`` of awq_marlin and gptq_marlin.
    """
    own = card.weights.quantization if card is not None else None
    return own if own is not None and value not in (own, f"{own}_marlin") else None


def _check_value(report: Report, key: str, flag: str, argument: str, flags: FlagTable, version: str) -> None:
    """Refuse a value that argparse does not read, or warn where the image may read more."""
    value = argument.partition("=")[2]
    fork = catalog().fork_flags().get(flag)
    if fork is not None and value in fork.values:
        return
    kind = flags.takes.get(flag) or flags.fork.get(flag, "str")
    if flag == QUANTIZATION:
        kind = "|".join(flags.quantization)
    want = wanted(kind, value)
    if want is None:
        return
    if flags.version != version or (fork is not None and fork.values):
        report.warn(
            f"{key}: {flag} takes {want.words} in vLLM {flags.version}, and {show_value(value)} is not that. It is"
            " passed as it stands: the image may know more, else its container ends at the start."
        )
        return
    text = f"{flag} takes {'one of the choices' if want.choices else want.words}; vLLM {version} refuses the value."
    remedy = f'- "{flag}={want.example}"'
    report.refuse(FlagError, key, argument, text, choices=want.choices, remedy=remedy)


def _not_a_flag(argument: str) -> tuple[str, str]:
    if argument.startswith("-") and not argument.startswith("--"):
        return "short flags are not allowed.", "write the long flag, as --flag=value"
    if argument.startswith("--") and " " in argument:
        flag, _, value = argument.partition(" ")
        return "holds a space; it would reach vLLM as one word.", f'- "{flag}={value.strip()}"'
    return "is not a flag.", 'write each argument as one item: - "--flag=value"'


def _has_a_key(flag: str) -> tuple[str, str]:
    key = KEY_OF_FLAG[flag]
    if not key:
        return f"{flag} is fixed: Vertex AI reaches the container on 0.0.0.0:8080.", "delete the argument"
    if flag == "--model":
        return (
            f"{flag} is written from `model` and `weights`.",
            "set weights: gs://bucket/prefix, delete the argument",
        )
    return f"{flag} has a key of its own.", f"set {key} and delete the argument"


def _not_in_version(flag: str, flags: FlagTable, version: str) -> tuple[str, str, tuple[str, ...]] | None:
    """Why a flag is refused: removed, too new, or misspelt. None for one that no version has."""
    first = flags.first_seen.get(flag)
    if first is not None and version_key(first) > version_key(flags.version):
        return (
            f"vLLM {version} has no {flag} yet; it came by {first}.",
            f"use an image with vLLM {first} or later",
            (),
        )
    gone = flags.replaced.get(flag)
    while gone is not None and (use := gone.use.partition(" ")[0]) in flags.replaced and use not in flags:
        gone = flags.replaced[use]  # what took its place has gone too
    if first is not None:
        if gone is not None and gone.use:
            remedy = f"use {gone.use}" + (f" ({gone.note})" if gone.note else "")
        elif gone is not None and gone.note:
            remedy = f"delete it: {gone.note}"
        else:
            remedy = "delete it"
        return f"vLLM {version} has no {flag} any more.", remedy, ()
    if difflib.get_close_matches(flag, flags.all, n=1, cutoff=_LIKENESS):
        alike = tuple(difflib.get_close_matches(flag, sorted(flags.all), n=3, cutoff=0.75))
        return f"vLLM {version} has no {flag}.", f'- "{alike[0]}"', alike
    return None

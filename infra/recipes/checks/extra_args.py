"""Checks ``vllm.extra_args`` against the flags of the image: those of its vLLM version and those of Google's builds."""

from __future__ import annotations

import difflib
import re
from typing import Final

from infra.cards import ModelCard
from infra.recipes.arguments import HF_OVERRIDES, KEY_OF_FLAG, QUANTIZATION, passed
from infra.recipes.catalog import ContainerImage, catalog
from infra.recipes.checks.flag_values import wanted
from infra.recipes.checks.fork_flags import check_fork_flag
from infra.recipes.checks.report import Report
from infra.recipes.checks.secrets import secret_in
from infra.recipes.errors import FlagError, show_value
from infra.recipes.flags import FlagTable
from infra.recipes.stackfile import weights_uri
from infra.versions import version_key

__all__ = ["check_extra_args"]

_FLAG: Final = re.compile(r"--[a-zA-Z0-9][a-zA-Z0-9_-]*")
_LIKENESS: Final = 0.85  # below it a flag is one that the table does not know rather than a misspelt one


def check_extra_args(
    report: Report,
    card: ModelCard | None,
    flags: FlagTable | None,
    image: ContainerImage | None,
    version: str | None,
) -> None:
    """Check every extra argument.

    Refused: what carries a secret, in every version; what is no flag, what a key of the file sets, twice the same,
    removed or not yet there in this version, misspelt, a value missing, too many, or not what the flag takes; a
    quantization that needs another checkpoint. Warned of: flags that no vLLM release has; flags of Google's builds that
    the image has not been seen with.

    Args:
        report: the stack file; takes the problems and warnings.
        card: the model, when it is known.
        flags: the flags of the closest known version; None when the image's version is not known.
        image: the image, when the catalogue has it.
        version: the image's vLLM version, from the catalogue or the stack file; None when it is not known.
    """
    seen: dict[str, int] = {}
    vllm = report.stack.vllm
    shown = version or "?"
    for index, argument in enumerate(vllm.extra_args):
        key = f"vllm.extra_args[{index}]"

        def refuse(
            text: str, remedy: str, choices: tuple[str, ...] = (), key: str = key, arg: str = argument
        ) -> None:
            report.refuse(FlagError, key, arg, text, choices=choices, remedy=remedy)

        secret = secret_in(vllm.extra_args, index)
        if secret is not None:
            report.refuse(FlagError, key, secret.shown, secret.problem, remedy=secret.remedy)
            continue
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
        elif flag == QUANTIZATION and (wrong := _needs_quantized(report, card, flags, value, shown)):
            refuse(*wrong)
        elif takes is True or equals:
            _check_value(report, key, flag, argument, flags, shown)


def _other_method(card: ModelCard | None, value: str) -> str | None:
    """The checkpoint's quantization, when ``--quantization`` names another; its Marlin form is the same weights.

    vLLM: ``ModelConfig._verify_quantization`` and the ``override_quantization_method`` of awq_marlin and gptq_marlin.
    """
    own = card.weights.quantization if card is not None else None
    return own if own is not None and value not in (own, f"{own}_marlin") else None


# Methods that only load what is quantized already. vLLM's get_quant_config (model_loader/weight_utils.py, read in 0.6.2
# to 0.33.0) wants their settings from config.json or a file beside it ("Cannot find the config file for awq"), or their
# class cannot be made without (aqlm, compressed-tensors, fbgemm_fp8, quark, torchao); gguf loads a GGUF file.
_LOADS_ONLY: Final = frozenset(
    {
        *(
            "aqlm",
            "auto-round",
            "auto_awq",
            "auto_gptq",
            "awq",
            "awq_marlin",
            "bitblas",
            "compressed-tensors",
        ),
        *(
            "cpu_awq",
            "cpu_gptq",
            "deepspeedfp",
            "fbgemm_fp8",
            "gguf",
            "gpt_oss_mxfp4",
            "gptq",
            "gptq_bitblas",
        ),
        *(
            "gptq_marlin",
            "gptq_marlin_24",
            "hqq",
            "inc",
            "marlin",
            "modelopt",
            "modelopt_fp4",
            "modelopt_mixed",
        ),
        *("modelopt_mxfp8", "moe_wna16", "mxfp4", "nvfp4", "petit_nvfp4", "qqq", "quark", "torchao"),
    }
)
# ExpertsInt8Config.get_quant_method, and the shorthands of vllm/config/quantization.py that have no `linear`.
_EXPERTS_ONLY: Final = frozenset({"experts_int8", "int8_per_channel_weight_only", "nvfp4_per_token"})
# From this version on it quantizes while it loads: _ONLINE_SHORTHANDS of vllm/config/quantization.py.
_IN_FLIGHT_SINCE: Final = {"mxfp4": (0, 28)}


def _needs_quantized(
    report: Report, card: ModelCard | None, flags: FlagTable, value: str, version: str
) -> tuple[str, str] | None:
    """Why ``--quantization`` is refused for a checkpoint that is not quantized; None when it is not.

    Weights in a bucket may be quantized where the model's repository is not: that is a warning. ``--hf-overrides`` may
    hold what the files do not.
    """
    if card is None or card.weights.quantization is not None:
        return None
    if value in _EXPERTS_ONLY and value in flags.quantization and card.architecture.experts is None:
        return f"{value} quantizes experts only, and {card.id} has none.", f'- "{QUANTIZATION}=fp8"'
    if value not in _LOADS_ONLY:
        return None
    if value not in flags.quantization:
        return None  # refused as a value that the version does not know
    since = _IN_FLIGHT_SINCE.get(value)
    if since is not None and version_key(version) >= since:
        return None
    if HF_OVERRIDES in passed(report.stack.vllm):
        return None
    if weights_uri(report.stack.weights) is not None:
        report.warn(
            f"vllm.extra_args: {QUANTIZATION}={value} is right only if {report.stack.weights} has weights that are"
            f" quantized so; those of {card.id} are not."
        )
        return None
    return (
        f"{value} loads weights that are quantized already, and those of {card.id} are not; vLLM {version} does not"
        " start, or quantizes nothing.",
        f'delete the argument, name a model that is quantized so, or - "{QUANTIZATION}=fp8" (quantized while it is'
        " loaded)",
    )


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

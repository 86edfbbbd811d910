"""What a log says that a server was started with, held against a stack file: is it this file's log at all?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from infra.diagnose.match import Diagnosis
from infra.diagnose.readings import Readings
from infra.recipes import ServingPlan
from infra.recipes.arguments import KEY_OF_FLAG, parse_arguments

__all__ = ["differences"]

_OTHER_GPU: Final = 0.08  # of its memory; cards of one kind differ by 2 %

# vLLM writes all arguments to 0.8, those that are not its default from 0.9.
_ARGUMENTS: Final = re.compile(r"\bargs: Namespace\((?P<all>.*)\)|\bnon-default args: \{(?P<given>.*)\}")
_PAIR: Final = re.compile(r"""['"]?\b([a-z]\w*)['"]?\s*[=:]\s*('[^'\n]*'|"[^"\n]*"|[\w.+-]+)(?=\s*(?:,|$))""")
_SWITCHES: Final = ("--enforce-eager", "--enable-lora", "--trust-remote-code")
_LEFT_OUT: Final = frozenset({"--host", "--port", "--chat-template", "--model-type"})


def differences(
    found: Diagnosis | None, planned: ServingPlan, measured: Readings, lines: Iterable[str]
) -> tuple[str, ...]:
    """What shows that a log is not of this stack file as it stands: it was changed since, or is another's.

    Args:
        found: The failure, whose line may name settings; None where none is known.
        planned: The plan of the file as it is.
        measured: The figures of the log.
        lines: The log, for the arguments that vLLM writes first.
    """
    vllm, fit = planned.vllm, planned.fit
    now = {
        "length": ("vllm.max_model_len", vllm.max_model_len),
        "sequences": ("vllm.max_num_seqs", vllm.max_num_seqs),
        "loras": ("vllm.max_loras", vllm.max_loras),
        "size": ("vllm.tensor_parallel_size", vllm.tensor_parallel_size),
        "share": ("vllm.gpu_memory_utilization", vllm.gpu_memory_utilization),
    }
    numbers = found.numbers if found is not None and found.id != "blocks-not-divisible" else {}
    shown = dict(_of_arguments(planned, lines))
    for name, (key, value) in now.items():
        said = numbers.get(name, "").replace(",", "")
        if not said or value is None:
            continue
        if float(said) != float(value):
            shown[key] = _differs(key, value, said)
    if fit is not None and measured.total and abs(measured.total / fit.total - 1) > _OTHER_GPU:
        shown["hardware"] = f"a GPU has {fit.total:.2f} GiB by the stack file and had {measured.total:.2f}"
    return tuple(shown.values())


def _of_arguments(planned: ServingPlan, lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    said = _arguments(lines)
    wanted = parse_arguments(planned.container.args)
    for flag, value in wanted.items():
        was = said.get(flag)
        bucket = flag == "--model" and (value or "").startswith(
            "gs://"
        )  # the image copies it, and names the copy
        if was is None or flag in _LEFT_OUT or bucket or _equal(value, was):
            continue
        key = {"--model": "model"}.get(flag) or KEY_OF_FLAG.get(flag) or f"{flag} of vllm.extra_args"
        yield key, _differs(key, "true" if value is None else value, was)
    for flag in _SWITCHES:
        if flag not in wanted and said.get(flag) == "True":
            yield KEY_OF_FLAG[flag], _differs(KEY_OF_FLAG[flag], "false", "true")


def _arguments(lines: Iterable[str]) -> Mapping[str, str]:
    """Flags with their values as the last start in a log was given them; only what is one word or one string."""
    found: dict[str, str] = {}
    for line in lines:
        match = _ARGUMENTS.search(line)
        if match is not None:
            pairs = _PAIR.finditer(match["all"] or match["given"] or "")
            found = {f"--{each[1].replace('_', '-')}": each[2].strip("'\"") for each in pairs}
    return {flag: value for flag, value in found.items() if value != "None"}


def _equal(value: str | None, was: str) -> bool:
    if value is None:
        return was != "False"
    try:
        return float(value) == float(was)
    except ValueError:
        return value.lower() == was.lower()


def _differs(key: str, now: object, was: str) -> str:
    return f"{key} is {now} in the stack file and was {was}"

"""vLLM's command line, by version: read with argparse itself, so that refusals read as vLLM's do.

What each flag takes comes from the catalogue (``infra/catalog/vllm_flags.json``), as it does for the checks of a stack
file. A version that is not in the table is read with the nearest older one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from infra.local.container.launch import Launch
from infra.recipes.catalog import catalog
from infra.recipes.checks.flag_values import read_boolean, read_size
from infra.versions import version_key


class ArgumentsRefused(Exception):
    """argparse's refusal: usage lines and the error line."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(lines[-1])
        self.lines = tuple(lines)


@dataclass(frozen=True)
class Options:
    """The parsed arguments that start-up looks at, with vLLM's defaults where nothing was given.

    ``given`` holds every flag that was named, as Python names.
    """

    model: str
    given: Mapping[str, Any]

    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a flag's text, or the default."""
        value = self.given.get(name)
        return default if value is None else str(value)

    def number(self, name: str, default: float) -> float:
        """Return a flag's number, or the default."""
        value = self.given.get(name)
        return default if value is None else float(value)

    def whole(self, name: str, default: int) -> int:
        """Return a flag's whole number, or the default."""
        value = self.given.get(name)
        return default if value is None else int(value)

    def maybe_whole(self, name: str) -> int | None:
        """Return a flag's whole number, or None when it was not given."""
        value = self.given.get(name)
        return None if value is None else int(value)

    def on(self, name: str) -> bool:
        """Say whether a switch is on."""
        return bool(self.given.get(name))

    def many(self, name: str) -> tuple[str, ...]:
        """Return the values of a flag that takes several."""
        value = self.given.get(name)
        if value is None:
            return ()
        return tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        lines = self.format_usage().rstrip().splitlines()
        raise ArgumentsRefused([*lines, f"{self.prog}: error: {message}"])

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise ArgumentsRefused((message or self.format_usage()).rstrip().splitlines())


def parse(launch: Launch, version: str) -> Options:
    """Parse a server's arguments as its version does.

    Raises:
        ArgumentsRefused: unknown flag, missing or invalid value; ``--help`` also ends here.
    """
    parser = _parser(launch, version)
    words = [_dashes(word) for word in launch.arguments]
    space, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    given = {name: value for name, value in vars(space).items() if value is not None}
    model = launch.model_tag or given.get("model")
    return Options(str(model) if model else "facebook/opt-125m", given)


def _dashes(word: str) -> str:
    """Accept ``--max_model_len`` for ``--max-model-len``, as vLLM's parser does."""
    if not word.startswith("--"):
        return word
    name, sign, value = word.partition("=")
    return name.replace("_", "-") + sign + value


def _parser(launch: Launch, version: str) -> argparse.ArgumentParser:
    serve = launch.program == "vllm serve"
    usage = "vllm serve [model_tag] [options]" if serve else None
    parser = _Parser(prog="vllm" if serve else launch.program, usage=usage, allow_abbrev=True)
    table = catalog().flags(version)
    flags = dict(table.takes)
    if launch.server == "api_server" and not launch.fork:
        flags = {name: kind for name, kind in flags.items() if name not in table.openai_only}
    if launch.fork:
        flags.update(table.fork)
    if "--quantization" in flags and version_key(version) < version_key("0.9.0"):
        flags["--quantization"] = "|".join((*table.quantization, "None"))
    for name, kind in sorted(flags.items()):
        _add(parser, (name, *table.other_names.get(name, ())), kind)
    return parser


def _add(parser: argparse.ArgumentParser, names: tuple[str, ...], kind: str) -> None:
    if kind == "flag":
        parser.add_argument(*names, action="store_true", default=None)
        return
    if kind == "switch":
        parser.add_argument(*names, action=argparse.BooleanOptionalAction, default=None)
        return
    several = {"+": "+", "*": "*", "=": "?"}.get(kind[-1])
    base = kind[:-1] if several else kind
    choices: list[Any] | None = None
    reader: Callable[[str], Any] = _READERS.get(base, str)
    if "|" in base or base.startswith("int:"):
        numbers = base.startswith("int:")
        reader = int if numbers else str
        choices = [reader(value) for value in base.removeprefix("int:").split("|")]
    if base == "bool":
        parser.add_argument(*names, type=reader, nargs=several, const=True, default=None)
    elif several:
        parser.add_argument(*names, type=reader, choices=choices, nargs=several, default=None)
    else:
        parser.add_argument(*names, type=reader, choices=choices, default=None)


def human_readable_int_or_auto(text: str) -> int:
    """Read a length, or ``auto`` and ``-1`` for the longest that fits; argparse prints this function's name."""
    return -1 if text in ("auto", "-1") else human_readable_int(text)


def human_readable_int(text: str) -> int:
    """Read ``4096``, ``4k`` (thousands) or ``4K`` (1024s); argparse prints this function's name, as vLLM's."""
    return read_size(text)


def _boolean(text: str) -> bool:
    """Read ``true`` or ``False``; vLLM's action raises what argparse does not catch."""
    try:
        return read_boolean(text)
    except ValueError:
        raise ArgumentsRefused(
            [f"ValueError: Invalid boolean value: {text}. Expected 'true' or 'false'."]
        ) from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted to {json.loads}.") from error


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": int,
    "float": float,
    "size": human_readable_int,
    "size_or_auto": human_readable_int_or_auto,
    "bool": _boolean,
    "json": _json,
    "str": str,
}

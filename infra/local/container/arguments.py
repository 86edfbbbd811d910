"""vLLM's command line, by version: read with argparse itself, so that refusals read as vLLM's do.

What each flag takes comes from ``data/arguments.json`` (read out of vLLM's wheels), the flags of Google's fork from
the catalogue. A version that is not in the table is read with the nearest older one.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

from infra.local.container.dialect import version_key
from infra.local.container.launch import Launch

_TABLE: Final = Path(__file__).parent / "data" / "arguments.json"

# Flags that only Google's fork has, and what they take: Model Garden notebooks (vertex-ai-samples@cc0d791e).
FORK_FLAGS: Final[Mapping[str, str]] = {
    # The fork has parsers of its own, such as vertex-llama-3; their list is not published.
    "--tool-call-parser": "str",
    "--model-type": "str",
    "--host-prefix-kv-cache-utilization-target": "float",
    "--host-prefix-kv-cache-min-len": "int",
}
# Flags of the plain api_server: vllm/entrypoints/api_server.py of every wheel in the table.
_PLAIN_FLAGS: Final = frozenset(
    [
        "--host",
        "--port",
        "--ssl-keyfile",
        "--ssl-certfile",
        "--ssl-ca-certs",
        "--enable-ssl-refresh",
        "--ssl-cert-reqs",
        "--root-path",
        "--log-level",
    ]
)


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


def known_version(version: str) -> str:
    """Return the version of the table that stands for ``version``: itself, or the nearest older, or the oldest."""
    versions: list[str] = _load()["versions"]
    older = [name for name in versions if version_key(name) <= version_key(version)]
    return older[-1] if older else versions[0]


def kinds(version: str) -> dict[str, str]:
    """Return every flag of a version (all servers together) and what it takes."""
    known = known_version(version)
    return {
        flag: kind
        for flag, rows in _load()["flags"].items()
        for kind, versions in rows.items()
        if known in versions
    }


def spellings(version: str) -> dict[str, list[str]]:
    """Return the flags that have more than one name (``--tensor-parallel-size``, ``-tp``), and all their names."""
    known = known_version(version)
    return {
        flag: spelt.split()
        for flag, rows in _load()["names"].items()
        for spelt, versions in rows.items()
        if known in versions
    }


def quantization_methods(version: str) -> tuple[str, ...]:
    """Return the names that ``--quantization`` takes in a version."""
    names: list[str] = _load()["quantization"][known_version(version)]
    return tuple(names)


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
    flags = kinds(version)
    if launch.server == "api_server" and not launch.fork:
        lacking = _openai_only(version) - _PLAIN_FLAGS
        flags = {name: kind for name, kind in flags.items() if name not in lacking}
    if launch.fork:
        flags = {**flags, **FORK_FLAGS}
    if "--quantization" in flags and version_key(version) < version_key("0.9.0"):
        flags = {**flags, "--quantization": "|".join((*quantization_methods(version), "None"))}
    names = spellings(version)
    for name, kind in sorted(flags.items()):
        _add(parser, names.get(name, [name]), kind, version)
    return parser


def _openai_only(version: str) -> set[str]:
    known = known_version(version)
    return {flag for flag, versions in _load()["openai_server_only"].items() if known in versions}


def _add(parser: argparse.ArgumentParser, names: list[str], kind: str, version: str) -> None:
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
    if names[0] == "--max-model-len" and base == "size" and version_key(version) >= version_key("0.14.0"):
        reader = human_readable_int_or_auto
    if "|" in base or base.startswith("int:"):
        numbers = base.startswith("int:")
        reader = int if numbers else str
        choices = [reader(value) for value in base.removeprefix("int:").split("|")]
    if several:
        parser.add_argument(*names, type=reader, choices=choices, nargs=several, default=None)
    else:
        parser.add_argument(*names, type=reader, choices=choices, default=None)


def human_readable_int_or_auto(text: str) -> int:
    """Read a length, or ``auto`` and ``-1`` for the longest that fits; argparse prints this function's name."""
    return -1 if text in ("auto", "-1") else human_readable_int(text)


def human_readable_int(text: str) -> int:
    """Read ``4096``, ``4k`` (thousands) or ``4K`` (1024s); argparse prints this function's name, as vLLM's."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG])", text)
    if match is None:
        return int(text)
    unit = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}[match.group(2)]
    value = float(match.group(1)) * unit
    if value != int(value):
        raise ValueError(text)
    return int(value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"Value {text} cannot be converted to {json.loads}.") from error


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": int,
    "float": float,
    "size": human_readable_int,
    "json": _json,
    "str": str,
}


@lru_cache(maxsize=1)
def _load() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(_TABLE.read_text())
    return table

"""Turns pydantic's complaints about a stack file into errors that say which line to write."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from infra.recipes.errors import ABSENT, StackError, StackFileError, UnknownKey, nearest, show_value
from infra.recipes.yamlfile import Lines, dotted

__all__ = ["explain"]

_KINDS: Final[dict[str, str]] = {
    # pydantic's error type -> what is wanted
    "int_type": "a whole number",
    "int_parsing_size": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}


def explain(error: ValidationError, model: type[BaseModel], *, file: str, lines: Lines) -> list[StackError]:
    """Translate every error of a validation.

    Args:
        error: what pydantic raised.
        model: the type that was validated, for the names of keys.
        file: the file as shown to the user.
        lines: the line of every key of the file.
    """
    return [_one(entry, model, file, lines) for entry in error.errors(include_url=False)]


def _one(entry: Any, model: type[BaseModel], file: str, lines: Lines) -> StackError:
    path: tuple[str | int, ...] = entry["loc"]
    key, kind, value = dotted(path), str(entry["type"]), entry["input"]
    line = _line(path, lines)
    name = str(path[-1]) if path and isinstance(path[-1], str) else ""

    def wrong(problem: str, remedy: str, choices: Sequence[str] = ()) -> StackError:
        return StackFileError(
            problem, file=file, line=line, key=key, value=value, choices=choices, remedy=remedy
        )

    if kind == "extra_forbidden":
        return _unknown_key(path, model, file, line, value)
    if kind == "missing":
        example = _example(path, model)
        return StackFileError(
            "is missing.",
            file=file,
            line=line,
            key=key,
            value=ABSENT,
            remedy=f"add the line `{name}: {example}`",
        )
    context = entry.get("ctx", {})
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        inner = ", ".join(_fields(path, model)) or "a name and a value for each"
        if value is None:
            return wrong(
                "the section is empty; its keys are missing or not indented.",
                f"indent the keys below `{name}:` by two spaces, or delete the line",
            )
        return wrong(f"must be a section with keys, not {_kind(value)}.", f"write below it: {inner}")
    if kind in {"tuple_type", "list_type"}:
        return wrong(
            f"must be a list, not {_kind(value)}.", f"write `{name}: [...]`, or one `- ` line for each"
        )
    if name == "vllm_version" and kind in {"string_pattern_mismatch", "string_type"}:
        return wrong(*_version(value))
    if name == "expires_after" and kind in {"string_pattern_mismatch", "string_type"}:
        return wrong(
            "must be hours or days after the deployment, or a day: 8h, 3d, 2027-03-31.", f"{name}: 8h"
        )
    if kind in _KINDS:
        return _wrong_type(kind, name, value, _example(path, model), wrong)
    if kind == "literal_error":
        field = _field(path, model)
        choices = nearest(value, [str(c) for c in get_args(field.annotation)] if field else [])
        if len(path) > 1 and dotted(path) not in lines and lines:
            name, key = str(path[-2]), dotted(path[:-1])  # a section written as one word
        return wrong("is not one of the choices.", f"{name}: {choices[0]}" if choices else "", choices)
    limits = {
        "greater_than": ("must be more than", "gt"),
        "greater_than_equal": ("must be at least", "ge"),
        "less_than": ("must be less than", "lt"),
        "less_than_equal": ("must be at most", "le"),
    }
    if kind in limits:
        words, bound = limits[kind]
        limit = context[bound]
        shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
        return wrong(f"{words} {shown}.", _within(name, model, path) if name else f"- {shown}")
    if kind == "string_pattern_mismatch":
        return wrong("may hold only letters, digits, dots, dashes and underscores.", f"{name}: llama3.1")
    return wrong(
        f"{str(entry['msg'])[:1].lower()}{str(entry['msg'])[1:]}.", "see the keys in stacks/schema/stack.json"
    )


def _version(value: object) -> tuple[str, str]:
    """What is wrong with a version, and the line with a right one."""
    text = "must be a release as on PyPI, X.Y.Z or X.Y.Z.postN."
    if not isinstance(value, str):  # its digits are no help: YAML reads 0.10 as the number 0.1
        return "must be text: a release as on PyPI, in quotes.", 'vllm_version: "0.11.0"'
    release = re.match(r"v?(\d+\.\d+(?:\.\d+)?(?:\.post\d+)?)", value.strip())
    if release is None:
        return text, "vllm_version: 0.11.0 (what the image's log or `vllm --version` says)"
    if re.search(r"rc|dev", value):
        return (
            "must be a release as on PyPI; a build from before a release counts as it.",
            f"vllm_version: {release[1]}",
        )
    return text, f"vllm_version: {release[1]}"


def _wrong_type(
    kind: str, name: str, value: object, example: str, wrong: Callable[..., StackError]
) -> StackError:
    wanted = _KINDS[kind]
    label = f"{name}: " if name else "- "
    if kind == "string_type":
        written = f'"{show_value(value)}"' if isinstance(value, (bool, int, float)) else example
        return wrong(f"must be {wanted}, not {_kind(value)}.", f"{label}{written}")
    if isinstance(value, str):
        if kind == "bool_type":
            plain = value.strip().lower()
            answer = {"yes": "true", "on": "true", "y": "true", "1": "true", "true": "true"}.get(plain)
            answer = answer or {
                "no": "false",
                "off": "false",
                "n": "false",
                "0": "false",
                "false": "false",
            }.get(plain)
            return wrong(
                f"must be {wanted}, not the text {value!r:.60}.", f"{label}{answer or 'true or false'}"
            )
        bare = value.strip().replace("_", "").replace(",", "")
        number = bare if _is_number(bare, whole=kind.startswith("int")) else example
        return wrong(f"must be {wanted}, not text.", f"{label}{number} (without quotes or separators)")
    if kind == "finite_number":
        return wrong(f"must be {wanted}.", f"{label}{example}")
    if isinstance(value, float) and value.is_integer():
        example = str(int(value))
    elif isinstance(value, int) and not isinstance(value, bool):
        example = {0: "false", 1: "true"}.get(value, "true or false") if kind == "bool_type" else example
    return wrong(f"must be {wanted}, not {_kind(value)}.", f"{label}{example}")


def _is_number(text: str, *, whole: bool) -> bool:
    try:
        if whole:
            int(text)
        else:
            float(text)
    except ValueError:
        return False
    return len(text) < 20


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    names = {
        int: "a whole number",
        float: "a number with a fraction",
        str: "text",
        list: "a list",
        dict: "a section",
    }
    return names.get(type(value), "that")


def _field(path: Sequence[str | int], model: type[BaseModel]) -> Any:
    """The pydantic field at a path; None for a path that leads nowhere."""
    owner: Any = model
    field: Any = None
    for part in path:
        if isinstance(part, int):
            continue
        fields = getattr(owner, "model_fields", {})
        if part not in fields:
            return None
        field = fields[part]
        owner = _inner_model(field.annotation)
    return field


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None


def _fields(path: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    if not path:
        return list(model.model_fields)
    field = _field(path, model)
    inner = _inner_model(field.annotation) if field is not None else None
    return list(inner.model_fields) if inner is not None else []


def _within(name: str, model: type[BaseModel], path: Sequence[str | int]) -> str:
    field = _field(path, model)
    if field is None or not field.description:
        return f"{name}: a value within the limit"
    example = field.default if isinstance(field.default, (int, float)) else 1
    return f"{name}: {example} ({field.description.rstrip('.')})"


def _example(path: Sequence[str | int], model: type[BaseModel]) -> str:
    """A valid value for a key: its default, else one that is usual."""
    examples = {
        "model": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "machine_type": "g2-standard-12",
        "accelerator_type": "NVIDIA_L4",
        "accelerator_count": "1",
        "metric_name": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle",
        "target": "60",
        "model_type": "llama3.1",
        "chat_template": "llama-3",
        "extra_args": "--enable-prefix-caching",
    }
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    if name in examples:
        return examples[name]
    field = _field(path, model)
    return show_value(field.default).strip("'") if field is not None and not field.is_required() else "..."


def _line(path: Sequence[str | int], lines: Lines) -> int | None:
    for end in range(len(path), 0, -1):
        found = lines.get(dotted(path[:end]))
        if found is not None:
            return found
    return None


def _everywhere(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> dict[str, str]:
    """Every key of the file: name -> dotted key."""
    found: dict[str, str] = {}
    for name, field in model.model_fields.items():
        found.setdefault(name, dotted((*prefix, name)))
        inner = _inner_model(field.annotation)
        if inner is not None:
            for deep, key in _everywhere(inner, (*prefix, name)).items():
                found.setdefault(deep, key)
    return found


def _unknown_key(
    path: Sequence[str | int], model: type[BaseModel], file: str, line: int | None, value: object
) -> StackError:
    name = str(path[-1])
    section = dotted(path[:-1])
    choices = nearest(name, _fields(path[:-1], model))
    elsewhere = _everywhere(model).get(name)
    where = f"the section {section}" if section else "a stack file"
    if elsewhere is not None:
        parent, _, _ = elsewhere.rpartition(".")
        place = f"below `{parent}:`" if parent else "at the start of a line (top level)"
        remedy = f"move it {place}"
    else:
        alike = difflib.get_close_matches(name.replace("-", "_").lower(), choices, n=1, cutoff=0.6)
        if not alike:
            remedy = f"delete it, or use one of the keys {', '.join(choices[:3])}"
        elif isinstance(value, (dict, list)):
            remedy = f"rename it to `{alike[0]}:`, or delete it"
        else:
            remedy = f"{alike[0]}: {show_value(value)}"
    return UnknownKey(
        f"{where} has no key {name!r}.",
        file=file,
        line=line,
        key=dotted(path),
        value=value,
        choices=choices,
        remedy=remedy,
    )

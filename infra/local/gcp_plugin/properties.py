"""Input properties as a table: what a type accepts, what a change of each means, and when two values are the
same.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.plugin.resource import Properties
from infra.plugin.values import UNKNOWN, Asset, contains_unknown

Same = Callable[[Any, Any], bool]


def ignoring_case(one: Any, other: Any) -> bool:
    """Whether two texts differ only in case, as the locations of buckets may."""
    return str(one).lower() == str(other).lower()


@dataclass(frozen=True)
class Property:
    """One input property.

    Attributes:
        name: The name on the wire, camelCase.
        kind: `string`, `boolean`, `integer`, `object` or `array`, as in a Pulumi schema; `asset`.
        required: It must be given.
        replaces: A change replaces the resource.
        default: What an absent value means.
        computed: An absent value means whatever the service has: leaving it out is no change.
        choices: The only values allowed.
        pattern: A regular expression that a text must match as a whole.
        hint: What `pattern` asks for, in words.
        same: Whether an old and a new value mean the same, where that is more than equality.
    """

    name: str
    kind: str = "string"
    required: bool = False
    replaces: bool = False
    default: Any = None
    computed: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""
    hint: str = ""
    same: Same | None = None

    def equal(self, old: Any, new: Any) -> bool:
        """Whether going from `old` to `new` (None: absent) is no change."""
        if _absent(new) and self.computed:
            return True
        old = self.default if _absent(old) else old
        new = self.default if _absent(new) else new
        if contains_unknown(new) or old is None or new is None:
            return old is new
        return self.same(old, new) if self.same else bool(old == new)

    def problem(self, value: Any) -> str | None:
        """What is wrong with a given value, or None."""
        if value is UNKNOWN:
            return None
        kinds = _KINDS[self.kind]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return f"it must be {_KIND_NAMES[self.kind]}, not {value!r}."
        if self.choices and value not in self.choices:
            return f"{value!r} is not one of {', '.join(self.choices)}."
        if self.pattern and not re.fullmatch(self.pattern, str(value)):
            return f"{value!r} is not valid: {self.hint}"
        return None


def _absent(value: Any) -> bool:
    # As in Terraform, on which the official plugin is built, empty and absent are one.
    return value is None or value in ("", [], {})


_KINDS: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "object": (dict,),
    "array": (list,),
    "asset": (Asset,),
}
_KIND_NAMES: Final[Mapping[str, str]] = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "a map",
    "array": "a list",
    "asset": "a pulumi.FileAsset or a pulumi.StringAsset",
}

PROJECT: Final = Property("project", replaces=True)
LABELS: Final = Property("labels", kind="object")
DELETION_POLICY: Final = Property(
    "deletionPolicy", default="DELETE", choices=("DELETE", "PREVENT", "ABANDON")
)


def problems(
    token: str, properties: Iterable[Property], inputs: Properties, where: str = ""
) -> list[tuple[str, str]]:
    """Everything wrong with the inputs, as (property, reason).

    Args:
        token: The type, for the texts.
        properties: What is supported.
        inputs: What is given.
        where: The path to the inputs when they are a part of the whole, ending in a dot.
    """
    table = {each.name: each for each in properties}
    found = []
    for name, value in inputs.items():
        known = table.get(name)
        problem = known.problem(value) if known else unsupported(token, name, table)
        if problem:
            found.append((where + name, problem))
    for each in table.values():
        if each.required and inputs.get(each.name) is None:
            found.append((where + each.name, f"{token} needs it; give a value."))
    return found


def unsupported(token: str, name: str, supported: Iterable[str]) -> str:
    """The text about a property that this stand-in does not implement, with the nearest names first."""
    names = sorted(supported)
    near = difflib.get_close_matches(name, names, n=2)
    ordered = near + [each for each in names if each not in near]
    return (
        f"this local stand-in of the gcp plugin does not support it on {token}. "
        f"Supported: {', '.join(ordered)}. Leave it out here; the official plugin may have it."
    )

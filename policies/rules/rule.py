"""What a rule is, how it reads properties that may not be known yet, and which environment a stack is.

The environment is told from the stack's name, because a deployment, which is what costs money, carries no labels: the
part before the first `-`, `.` or `_` (`prod`, `prod-eu`), or what option `environments` says of the name. The rule
`required-labels` sees to it that the label `environment` agrees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pulumi_policy.proxy import UnknownValueError

Level = Literal["mandatory", "advisory"]

STACK = "pulumi:pulumi:Stack"


class _Unknown:
    """A value that a preview cannot know; `up` checks the resource again with the value there."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource as the engine is about to register it.

    Attributes:
        type: Type token, e.g. `gcp:storage/bucket:Bucket`.
        name: Name in the program.
        stack: Name of the Pulumi stack.
        props: Inputs under their wire names; reading an unknown one raises.
    """

    type: str
    name: str
    stack: str
    props: Mapping[str, Any]

    def environment(self, config: Mapping[str, Any]) -> str:
        """The environment of the stack: what option `environments` says of its name, or the first part of that."""
        known: Mapping[str, str] = config["environments"]
        return known[self.stack] if self.stack in known else re.split(r"[-._]", self.stack)[0]

    def in_production(self, config: Mapping[str, Any]) -> bool:
        """Whether the stack's environment is one of option `production`."""
        return self.environment(config) in config["production"]

    def limit(self, config: Mapping[str, Any], option: str) -> Any:
        """The limit of the stack's environment (option with `ByEnvironment` at its end), or that of all others."""
        return config[f"{option}ByEnvironment"].get(self.environment(config), config[option])

    def get(self, *path: str | int, default: Any = None) -> Any:
        """The input at a path, `default` where it is missing, `UNKNOWN` where a preview cannot know it."""
        value: Any = self.props
        for key in path:
            try:
                value = value[key]
            except UnknownValueError:
                return UNKNOWN
            except (KeyError, IndexError, TypeError):
                return default
        return default if value is None else value

    def items(self, *path: str) -> list[Any]:
        """The list at a path, empty when missing or unknown; unknown elements are left out."""
        value = self.get(*path)
        if value is UNKNOWN or value is None:
            return []
        found = []
        for index in range(len(value)):
            try:
                found.append(value[index])
            except UnknownValueError:
                continue
        return found


ENVIRONMENTS: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": "string"},
    "default": {},
}
"""Schema of option `environments`: the environment of a stack whose name does not begin with it."""

PRODUCTION: Mapping[str, Any] = {
    "type": "array",
    "items": {"type": "string"},
    "default": ["prod", "production"],
}
"""Schema of option `production`: which environments are production."""

Check = Callable[[Resource, Mapping[str, Any]], Iterator[str]]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule.

    Attributes:
        name: Id, unique in the pack; `--policy-pack-config` names it.
        description: What it demands, in a sentence.
        check: Yields one text a violation: what is wrong, and the line to change.
        level: Enforcement unless configured otherwise.
        config: JSON schema of each option, with its default.
    """

    name: str
    description: str
    check: Check
    level: Level = "mandatory"
    config: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def violations(self, resource: Resource, config: Mapping[str, Any] | None = None) -> list[str]:
        """What the resource breaks, with the options' defaults filled in; of the stack, options that there are not."""
        defaults = {name: schema["default"] for name, schema in self.config.items()}
        found = list(self.check(resource, {**defaults, **(config or {})}))
        # A limit that is misspelt holds nothing, and the engine's schema lets it pass. Said once, of the stack.
        unknown = sorted((config or {}).keys() - defaults.keys()) if resource.type == STACK else []
        if unknown:
            known = f"it has {', '.join(sorted(defaults))}" if defaults else "it has none"
            found.append(
                f"{self.name} has no option {', '.join(unknown)}: {known}; correct the file of --policy-pack-config"
            )
        return found

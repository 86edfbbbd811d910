"""What the author of a provider writes: resources, functions, and the exceptions they may raise."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

Properties = dict[str, Any]
"""Properties of a resource as plain values: None, bool, int, float, str, list, dict with str keys, Asset, or
UNKNOWN.
"""


class ResourceError(Exception):
    """An operation failed for a reason the user can act on; its text is shown as it is, without a traceback.

    After a failed create nothing is saved in the state: raise `PartialFailure` when something exists.
    """


class PartialFailure(Exception):
    """The resource exists but is not as it should be: the engine saves it, marked as failed.

    The next update calls `Resource.update` with the saved outputs; destroy deletes it.

    Attributes:
        id: The resource's id, never empty.
        outputs: What is known to exist; echo the inputs, so that secrets keep their mark.
        reasons: What went wrong, shown to the user one under another.
        inputs: The inputs that the resource really has, where they differ from those asked for. Only a read
            can
            hand them to the engine; a create or update records the inputs that were asked for.
    """

    def __init__(
        self, id: str, outputs: Properties, reasons: Sequence[str], inputs: Properties | None = None
    ) -> None:
        if not id:
            raise ValueError(
                "PartialFailure needs the id of what exists; raise ResourceError when nothing does"
            )
        super().__init__("; ".join(reasons))
        self.id = id
        self.outputs = outputs
        self.reasons = list(reasons)
        self.inputs = inputs


@dataclass(frozen=True)
class Check:
    """The answer to `Resource.check`: inputs with defaults filled in, and what is wrong, as (property,
    reason).
    """

    inputs: Properties
    failures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Diff:
    """The answer to `Resource.diff`.

    Attributes:
        changes: Whether anything has to be done.
        replaces: Top-level properties that force a replacement.
        changed: Top-level properties that changed; those in `replaces` need not be repeated.
        delete_before_replace: A replacement deletes the old resource first.
    """

    changes: bool
    replaces: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    delete_before_replace: bool = False


@dataclass(frozen=True)
class State:
    """A resource as it exists. `inputs` matters only in the answer to a read: an import records it."""

    id: str
    outputs: Properties
    inputs: Properties | None = None


class Context(Protocol):
    """What a call knows beside its arguments, and its way to talk to the user."""

    @property
    def urn(self) -> str:
        """The resource's URN; empty in a function call."""

    @property
    def name(self) -> str:
        """The resource's name in the program."""

    @property
    def stack(self) -> str:
        """The stack that the resource belongs to."""

    @property
    def project(self) -> str:
        """The Pulumi project that the resource belongs to."""

    @property
    def preview(self) -> bool:
        """True in the calls of a preview that would create or update, were it not a preview."""

    @property
    def config(self) -> Mapping[str, str]:
        """The provider's configuration without its namespace; what is not text is JSON."""

    @property
    def cancelled(self) -> threading.Event:
        """Set when the user interrupts the run: stop waiting, say what exists."""

    @property
    def timeout(self) -> float | None:
        """Seconds from the resource's `custom_timeouts`, or None."""

    def status(self, message: str) -> None:
        """Show one passing line beside the resource; the next one replaces it."""

    def info(self, message: str) -> None:
        """Print a line under the resource."""

    def warn(self, message: str) -> None:
        """Print a warning under the resource."""

    def error(self, message: str) -> None:
        """Print an error under the resource. The run then counts as failed."""

    def debug(self, message: str) -> None:
        """Print a line that only `pulumi --debug` shows."""


class Resource(ABC):
    """One resource type. Instances are shared by concurrent calls: keep no state of a call on `self`."""

    token: ClassVar[str]
    """The type token, for example `vertexserving:index:Model`."""

    def check(self, ctx: Context, olds: Properties, news: Properties) -> Check:
        """Validate the inputs and fill in defaults. No I/O. `news` may hold UNKNOWN at any depth."""
        return Check(news)

    def diff(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Diff:
        """Compare inputs; fast, for every preview asks. The default replaces nothing and reports every top-level
        input that differs.
        """
        changed = changed_keys(old_inputs, news)
        return Diff(changes=bool(changed), changed=changed)

    @abstractmethod
    def create(self, ctx: Context, inputs: Properties) -> State:
        """Create the resource and wait until it is usable."""

    @abstractmethod
    def read(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> State | None:
        """The resource as it is now, or None when it is gone. `state` and `inputs` are empty in an import."""

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        """Change the resource in place. Also called to repair a resource saved by a `PartialFailure`."""
        raise ResourceError(f"{self.token} cannot be changed in place.")

    @abstractmethod
    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        """Delete the resource; one that is gone already is not an error."""

    def preview(self, ctx: Context, inputs: Properties) -> Properties:
        """What a create would output, as far as a preview can tell; what is left out is unknown. No I/O."""
        return inputs

    def preview_update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Properties:
        """What an update in place would output: by default the present outputs under the new inputs."""
        return {**state, **news}

    def schema(self) -> Mapping[str, Any]:
        """The resource's entry in the package schema, which `pulumi import` needs to write code."""
        return {}


class Function(ABC):
    """One function (invoke). Instances are shared by concurrent calls."""

    token: ClassVar[str]
    """The function token, for example `gcp:storage/getBucket:getBucket`."""

    @abstractmethod
    def call(self, ctx: Context, args: Properties) -> Properties:
        """Compute the result. Raises ResourceError with what is wrong."""

    def schema(self) -> Mapping[str, Any]:
        """The function's entry in the package schema."""
        return {}


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, ...]:
    """Top-level keys whose values differ, sorted; a key that is absent equals one that is None.

    An UNKNOWN in `new` differs from everything: it may turn out to be anything.
    """
    keys = {key for mapping in (old, new) for key, value in mapping.items() if value is not None}
    return tuple(sorted(key for key in keys if old.get(key) != new.get(key)))

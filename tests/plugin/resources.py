"""A provider `probe` whose resources fail in every way that a resource can, for tests.

What exists is a file in a folder: that is its whole cloud, and it survives a killed plugin. Run as a program,
this module serves the provider to an engine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar, NoReturn

from infra.plugin import (
    UNKNOWN,
    Check,
    Context,
    Diff,
    Function,
    PartialFailure,
    Resource,
    ResourceError,
    State,
    contains_unknown,
)
from infra.plugin.resource import Properties, changed_keys

NAME = "probe"
VERSION = "1.2.3"
SLOW_SECONDS = 60.0


class Stored(Resource):
    """Keeps its inputs in a file named as the resource. Everything else here only adds a way to fail."""

    token: ClassVar[str] = "probe:index:Stored"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def check(self, ctx: Context, olds: Properties, news: Properties) -> Check:
        if contains_unknown(news.get("size")) or isinstance(news.get("size", 0), int):
            return Check({"kind": "plain", **news})
        return Check(news, (("size", f"it must be a whole number, not {news['size']!r}."),))

    def diff(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> Diff:
        changed = changed_keys(old_inputs, news)
        replaces = ("kind",) if "kind" in changed else ()
        return Diff(changes=bool(changed), replaces=replaces, changed=changed)

    def preview(self, ctx: Context, inputs: Properties) -> Properties:
        return {**inputs, "made": UNKNOWN}

    def create(self, ctx: Context, inputs: Properties) -> State:
        return self.store(ctx.name, inputs)

    def read(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> State | None:
        if not (self.folder / id).exists():
            return None
        live = json.loads((self.folder / id).read_text())
        return State(id, {**live, "made": True}, live)

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        return self.store(id, news)

    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        (self.folder / id).unlink(missing_ok=True)

    def store(self, id: str, inputs: Properties) -> State:
        """Write the file; the state that goes with it."""
        (self.folder / id).write_text(json.dumps(inputs))
        return State(id, {**inputs, "made": True})


class FailsOnCreate(Stored):
    """Fails before anything exists."""

    token = "probe:index:FailsOnCreate"

    def create(self, ctx: Context, inputs: Properties) -> State:
        raise ResourceError("the quota is 0 and 1 is needed: ask for more")


class HalfMade(Stored):
    """Exists after a failed create; an update finishes it once the file `repaired` is there."""

    token = "probe:index:HalfMade"

    def create(self, ctx: Context, inputs: Properties) -> State:
        state = self.store(ctx.name, inputs)
        raise PartialFailure(
            state.id, {**inputs, "made": False}, ["the container did not start", "its log is empty"]
        )

    def update(
        self, ctx: Context, id: str, state: Properties, old_inputs: Properties, news: Properties
    ) -> State:
        if not (self.folder / "repaired").exists():
            raise PartialFailure(id, {**news, "made": False}, ["still broken"])
        return super().update(ctx, id, state, old_inputs, news)


class Slow(Stored):
    """Takes a minute to create, unless interrupted: then it says what exists. An update finishes it."""

    token = "probe:index:Slow"

    def create(self, ctx: Context, inputs: Properties) -> State:
        self.store(ctx.name, inputs)
        (self.folder / "started").write_text(str(os.getpid()))
        ctx.status("stage 1 of 2, 0 s")
        if ctx.cancelled.wait(SLOW_SECONDS):
            raise PartialFailure(ctx.name, {**inputs, "made": False}, ["interrupted while it was starting"])
        return self.store(ctx.name, inputs)


class Buggy(Stored):
    """Has a bug in every operation."""

    token = "probe:index:Buggy"

    def create(self, ctx: Context, inputs: Properties) -> State:
        return State("never", {"value": inputs["no such key"]})


class Talkative(Stored):
    """Says one thing of each kind."""

    token = "probe:index:Talkative"

    def create(self, ctx: Context, inputs: Properties) -> State:
        ctx.status("a passing line")
        ctx.info("an information")
        ctx.warn("a warning")
        ctx.debug("a detail")
        return super().create(ctx, inputs)


class Add(Function):
    """Adds two numbers."""

    token = "probe:index:add"

    def call(self, ctx: Context, args: Properties) -> Properties:
        if "b" not in args:
            raise ResourceError("b is missing")
        return {"sum": args["a"] + args["b"]}


RESOURCES = (Stored, FailsOnCreate, HalfMade, Slow, Buggy, Talkative)


def main() -> NoReturn:
    """Serve the provider, with the folder that PROBE_FOLDER names."""
    from infra.plugin.server import serve

    folder = Path(os.environ["PROBE_FOLDER"])
    serve(NAME, VERSION, [resource(folder) for resource in RESOURCES], [Add()])


if __name__ == "__main__":
    main()

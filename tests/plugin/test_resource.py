"""Defaults of the interface that authors of resources rely on."""

from __future__ import annotations

from typing import Any

import pytest

from infra.plugin import UNKNOWN, Context, PartialFailure, Resource, ResourceError, State
from infra.plugin.engine import CallContext, EngineLog, resource_type
from infra.plugin.resource import Properties, changed_keys


class Least(Resource):
    """The least that a resource can be."""

    token = "probe:index:Least"

    def create(self, ctx: Context, inputs: Properties) -> State:
        return State("1", inputs)

    def read(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> State | None:
        return None

    def delete(self, ctx: Context, id: str, state: Properties, inputs: Properties) -> None:
        return None


CTX = CallContext(EngineLog(), "urn:pulumi:dev::shop::a:b:Parent$probe:index:Least::my::name", timeout=5)


def test_the_context_takes_the_urn_apart() -> None:
    assert (CTX.stack, CTX.project, CTX.name) == ("dev", "shop", "my::name")
    assert resource_type(CTX.urn) == "probe:index:Least"


def test_a_context_without_a_urn_has_empty_names() -> None:
    ctx = CallContext(EngineLog())

    assert (ctx.urn, ctx.stack, ctx.project, ctx.name, ctx.timeout) == ("", "", "", "", None)


def test_messages_without_an_engine_go_nowhere(capfd: pytest.CaptureFixture[str]) -> None:
    CallContext(EngineLog()).warn("nobody hears this")
    CallContext(EngineLog("127.0.0.1:1")).warn("nobody listens there")

    assert capfd.readouterr() == ("", "")


def test_the_default_check_accepts_everything() -> None:
    answer = Least().check(CTX, {}, {"a": UNKNOWN})

    assert (answer.inputs, answer.failures) == ({"a": UNKNOWN}, ())


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ({"a": 1}, {"a": 1}, ()),
        ({"a": 1}, {"a": 2}, ("a",)),
        ({"a": 1}, {}, ("a",)),
        ({}, {"a": 1, "b": 2}, ("a", "b")),
        ({"a": None}, {}, ()),
        ({"a": 1}, {"a": UNKNOWN}, ("a",)),
    ],
)
def test_the_default_diff_reports_what_differs_and_replaces_nothing(
    old: dict[str, Any], new: dict[str, Any], changed: tuple[str, ...]
) -> None:
    diff = Least().diff(CTX, "1", {}, old, new)

    assert (diff.changes, diff.changed, diff.replaces) == (bool(changed), changed, ())
    assert changed_keys(old, new) == changed


def test_the_default_update_refuses() -> None:
    with pytest.raises(ResourceError, match="probe:index:Least cannot be changed in place"):
        Least().update(CTX, "1", {}, {}, {})


def test_default_previews_echo_inputs_and_keep_outputs() -> None:
    assert Least().preview(CTX, {"a": 1}) == {"a": 1}
    assert Least().preview_update(CTX, "1", {"a": 1, "made": True}, {"a": 1}, {"a": 2}) == {
        "a": 2,
        "made": True,
    }


def test_a_partial_failure_needs_an_id() -> None:
    with pytest.raises(ValueError, match="raise ResourceError when nothing does"):
        PartialFailure("", {}, ["broken"])

"""Reading previews: both forms of the real engine's, and everything that is none."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.report.preview import UNKNOWN, Preview, Unreadable, clean, json_documents, read_preview

Json = dict[str, Any]
Fixture = Callable[[str], bytes]
FIXTURES = Path(__file__).parent / "fixtures"
NAMES = sorted(path.name.removesuffix(".events.json") for path in FIXTURES.glob("*.events.json"))
TOKEN = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"


def read(text: str | bytes | Json) -> Preview:
    data = json.dumps(text) if isinstance(text, dict) else text
    return read_preview(data.encode() if isinstance(data, str) else data, "preview.json")


def refused(text: str | bytes | Json) -> str:
    with pytest.raises(Unreadable) as caught:
        read(text)
    return str(caught.value)


def test_there_are_fixtures_of_every_kind() -> None:
    wanted = {
        "first",
        "same",
        "replicas",
        "container",
        "hardware",
        "spot",
        "several",
        "violation",
        "preflight",
    }
    assert set(NAMES) == wanted | {"budget", "large", "refusal", "crash", "destroy"}
    assert {f"{name}.json" for name in NAMES} <= {path.name for path in FIXTURES.iterdir()}


@pytest.mark.parametrize("path", sorted(FIXTURES.iterdir()), ids=lambda path: path.name)
def test_fixtures_tell_nothing_of_who_made_them(path: Path) -> None:
    text = path.read_text()
    assert not re.search(
        r"hf_[A-Za-z0-9]|/work/|/tmp/|/root/|/home/|pyenv|site-packages|v1:[A-Za-z0-9+/]{8}", text
    )
    assert len(text) < 40_000


@pytest.mark.parametrize("name", NAMES)
def test_both_forms_say_the_same(name: str, fixture: Fixture) -> None:
    digest = read_preview(fixture(f"{name}.json"), "digest")
    events = read_preview(fixture(f"{name}.events.json"), "events")
    assert (digest.project, digest.stack) == (events.project, events.stack) == ("vertex-vllm", "local")
    assert digest.config == events.config
    assert digest.counts == events.counts
    assert set(digest.diagnostics) == set(events.diagnostics)

    def changes(preview: Preview) -> set[tuple[Any, ...]]:
        # The digest leaves out what stays as it is.
        return {
            (step.op, step.urn, frozenset(step.reasons), frozenset(step.replaces))
            for step in preview.steps
            if step.op != "same"
        }

    assert changes(digest) == changes(events)
    assert digest.policies is None
    assert events.policies is not None


@pytest.mark.parametrize("name", ["container", "replicas", "same", "destroy"])
def test_what_a_refresh_read_before_the_program_ran_is_no_step_of_its_own(
    name: str, fixture: Fixture
) -> None:
    digest = json.loads(fixture(f"{name}.json"))
    before = [{**step, "op": "refresh", "newState": step.get("oldState")} for step in digest["steps"]]
    assert read({**digest, "steps": [*before, *digest["steps"]]}) == read(digest)


def test_events_hold_policies_and_new_outputs(fixture: Fixture) -> None:
    preview = read_preview(fixture("violation.events.json"), "events")
    assert preview.policies is not None
    assert {violation.policy for violation in preview.policies.violations} == {"required-labels"}
    assert all(violation.mandatory for violation in preview.policies.violations)
    assert "required-labels" not in preview.policies.kept
    assert "container-image-pinned" in preview.policies.kept
    assert preview.outputs_after is None  # it failed
    hardware = read_preview(fixture("hardware.events.json"), "events")
    assert hardware.outputs_before is not None
    assert hardware.outputs_after is not None
    assert (hardware.outputs_before["hourly_cost_usd"], hardware.outputs_after["hourly_cost_usd"]) == (
        1.1507,
        2.301,
    )
    assert hardware.outputs_after["endpoint"] == hardware.outputs_before["endpoint"]
    assert hardware.outputs_after["model"] == UNKNOWN


def test_a_replacement_is_one_step_with_both_sides(fixture: Fixture) -> None:
    for name in ("hardware.json", "hardware.events.json"):
        (step,) = read_preview(fixture(name), name).of_type("vertexserving:index:Deployment")
        assert step.op == "replace"
        assert step.old is not None
        assert step.new is not None
        assert step.old.inputs["machineSpec"]["machineType"] == "g2-standard-12"
        assert step.new.inputs["machineSpec"]["machineType"] == "g2-standard-24"
        assert step.new.inputs["model"] == UNKNOWN
        assert set(step.replaces) == {"machineSpec", "model"}


@pytest.mark.parametrize(
    "before", ["Installing policy pack vertex-vllm 1.0.0...\nFinished\n\n", "\ufeff", "\n\n"]
)
@pytest.mark.parametrize("name", ["hardware.json", "hardware.events.json"])
def test_lines_of_text_before_it_are_passed_over(before: str, name: str, fixture: Fixture) -> None:
    plain = fixture(name)
    assert read(before.encode() + plain + b"\nResources: 3 changes\n") == read(plain)


def test_powershells_encoding(fixture: Fixture) -> None:
    plain = fixture("replicas.json")
    assert read(plain.decode().encode("utf-16")) == read(plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", [".json", ".events.json"])
def test_cut_off_anywhere_it_is_refused_and_says_so(name: str, suffix: str, fixture: Fixture) -> None:
    data = fixture(name + suffix).rstrip()
    ends = [index for index, byte in enumerate(data) if byte == ord("\n")][:-1]
    places = {1, len(data) // 3, len(data) // 2, len(data) - 1, *ends[:: max(1, len(ends) // 20)]}
    for place in sorted(places):
        text = refused(data[:place])
        assert "cut off" in text or "ends before the preview does" in text, (place, text)
        assert text.startswith("preview.json: ")


NO_PREVIEW: list[tuple[str | bytes | Json, str]] = [
    (b"", "preview.json: is empty: the command that should have written it ended before"),
    ("  \n ", "is empty"),
    ("error: no stack selected\n", "is not JSON; it begins with: error: no stack selected"),
    ("<html><body>Sign in</body></html>", "is not JSON; it begins with: <html>"),
    ("[]", "is not JSON; it begins with: []"),
    ("null", "is not JSON"),
    (b"\xff\xfe\x00", "is not text"),
    (b"{\x80}", "is not text: invalid start byte at byte 1"),
    ("{'steps': []}", "is not JSON: Expecting property name"),
    ('{"steps": [1, }', "is not JSON"),
    ('{"duration": NaN}', "is not JSON: NaN is no number"),
    ('{"duration": ' + "9" * 5000 + "}", "is not JSON"),
    ('{"a":' * 100_000, "nested too deeply"),
    (
        {"version": 3, "deployment": {}},
        "is a stack's state (pulumi stack export).\n    fix: pulumi preview --json",
    ),
    (
        {"findings": [], "counts": {}},
        "is what `vertex-vllm preflight --json` writes; that goes to --preflight",
    ),
    ({"hello": 1, "world": 2}, "is JSON, but no preview; its keys: hello, world"),
    ({"steps": {"a": 1}}, "steps is no list"),
    ({"steps": [7]}, "steps[0]: is no object"),
    (
        {"steps": [{"urn": "urn:pulumi:a::b::c::d"}]},
        "steps[0]: has no op as Pulumi 3 writes it; an older Pulumi",
    ),
    ({"steps": [{"op": "create", "urn": "a::b"}]}, "steps[0]: has no urn as Pulumi 3 writes it"),
    ({"steps": [{"Op": "create", "URN": "a"}]}, "steps[0]: has no op"),
    ({"sequence": 1, "resourcePreEvent": {"op": "create"}}, "event 1: has no metadata as Pulumi 3 writes it"),
    (
        {"sequence": 9, "summaryEvent": {"isPreview": False, "resourceChanges": {}}},
        "are the events of an update, not of a preview",
    ),
]


@pytest.mark.parametrize(("text", "said"), NO_PREVIEW, ids=range(len(NO_PREVIEW)))
def test_what_is_no_preview_is_one_clear_error(text: str | bytes | Json, said: str) -> None:
    found = refused(text)
    assert said in found
    assert found.startswith("preview.json: ")
    assert len(found) < 400


def test_two_previews_are_refused(fixture: Fixture) -> None:
    assert "holds 2 previews" in refused(fixture("same.json") + fixture("same.json"))


def test_a_preview_of_another_program_is_refused() -> None:
    urn = "urn:pulumi:dev::shop::"
    steps = [
        {"op": "create", "urn": f"{urn}pulumi:pulumi:Stack::shop-dev"},
        {"op": "create", "urn": f"{urn}gcp:storage/bucket:Bucket::photos"},
    ]
    text = refused({"config": {"gcp:project": "x"}, "steps": steps})
    assert "is a preview of the Pulumi project shop, not of vertex-vllm" in text
    assert "gcp:storage/bucket:Bucket" in text
    assert "of another program" in refused({"duration": 1})


def test_an_empty_stack_of_ours_is_a_preview() -> None:
    preview = read({"config": {"vertex-vllm:stackFile": "x"}, "duration": 1})
    assert (preview.steps, preview.failed) == ((), False)


def test_secrets_and_tokens_never_come_out() -> None:
    secret = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": '"s3cret"'}
    inputs = {
        "hfToken": secret,
        "containerSpec": {"env": {"HF_TOKEN": TOKEN}, "args": [f"--hf-token={TOKEN}", "x"], TOKEN: 1},
    }
    urn = "urn:pulumi:dev::vertex-vllm::vertexserving:index:Model::m"
    digest = {
        "config": {"vertex-vllm:hfToken": TOKEN},
        "steps": [{"op": "create", "urn": urn, "newState": {"inputs": inputs, "id": TOKEN}}],
        "diagnostics": [{"severity": "error", "message": f"error: {TOKEN} is wrong"}],
    }
    event = {
        "sequence": 1,
        "resourcePreEvent": {"metadata": {"op": "create", "urn": urn, "new": {"inputs": inputs}}},
    }
    policy = {
        "sequence": 2,
        "policyEvent": {"policyName": "p", "message": TOKEN, "enforcementLevel": "advisory"},
    }
    end = {"sequence": 3, "summaryEvent": {"isPreview": True}}
    lines = "\n".join(json.dumps(each) for each in (event, policy, end))
    for preview in (read(digest), read(lines)):
        shown = repr(preview)
        assert TOKEN[3:] not in shown
        assert "s3cret" not in shown
        assert "[secret]" in shown


@pytest.mark.parametrize(
    "token",
    [TOKEN, "hf_verySecretToken", "ya29.a0AfH6SMBx-y_z12", "ghp_0123456789abcdefghij", "pul-" + "0a" * 20],
)
def test_what_looks_like_a_token_is_taken_out(token: str) -> None:
    assert clean(f"with {token}: no") == "with [secret]: no"


@pytest.mark.parametrize(
    "text", ["--hf_overrides={}", "hf_config_path", "HF_TOKEN", "half_open", "gh_pages", "a\tb\nc"]
)
def test_what_does_not_is_left(text: str) -> None:
    assert clean(text) == text


def test_colours_and_control_characters_go() -> None:
    assert clean("\x1b[31merror\x1b[0m: \x00 \u202e \ud800 ok\r\n") == "error: \ufffd \ufffd \ufffd ok\n"


def test_what_a_refresh_finds_counts() -> None:
    urn = "urn:pulumi:dev::vertex-vllm::vertexserving:index:Deployment::vllm"

    def event(kind: str, op: str) -> str:
        return json.dumps({"sequence": 1, kind: {"metadata": {"op": op, "urn": urn, "old": {"inputs": {}}}}})

    end = json.dumps({"sequence": 2, "summaryEvent": {"isPreview": True}})
    preview = read("\n".join((event("resourcePreEvent", "refresh"), event("resOutputsEvent", "delete"), end)))
    assert [step.op for step in preview.steps] == ["delete"]


@pytest.mark.parametrize(("found", "then"), [("refresh", "same"), ("update", "update"), ("delete", "create")])
def test_a_refresh_before_a_preview_counts_nothing_twice(found: str, then: str) -> None:
    urn = "urn:pulumi:dev::vertex-vllm::vertexserving:index:Deployment::vllm"
    steps = [
        ("resourcePreEvent", "refresh"),
        ("resOutputsEvent", found),
        ("resourcePreEvent", then),
        ("resOutputsEvent", then),
    ]
    events: list[Any] = [
        {"sequence": place, kind: {"metadata": {"op": op, "urn": urn, "old": {"inputs": {}}}}}
        for place, (kind, op) in enumerate(steps)
    ]
    events.append({"sequence": len(steps), "summaryEvent": {"isPreview": True}})
    preview = read("\n".join(map(json.dumps, events)))
    assert [step.op for step in preview.steps] == [then]


KEYS = [
    "config",
    "steps",
    "op",
    "urn",
    "oldState",
    "newState",
    "inputs",
    "outputs",
    "diagnostics",
    "message",
    "severity",
    "sequence",
    "resourcePreEvent",
    "metadata",
    "summaryEvent",
    "policyEvent",
    "resourceChanges",
    "changeSummary",
]


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        max_leaves=25,
    )
)
def test_whatever_json_it_is_it_is_read_or_refused(value: Any) -> None:
    with contextlib.suppress(Unreadable):
        read_preview(json.dumps(value).encode(), "any")


def test_documents_one_after_the_other() -> None:
    assert json_documents(b'{"a": 1}{"b": 2}\ntext\n{"c": 3}', "x") == [{"a": 1}, {"b": 2}, {"c": 3}]

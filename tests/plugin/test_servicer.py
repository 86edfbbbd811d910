"""The provider over a real gRPC channel, called as the engine calls it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2

from infra.plugin.protos import engine_pb2, plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2
from infra.plugin.values import SIGNATURE_KEY, UNKNOWN, from_struct, to_struct
from tests.plugin.conftest import RecordingEngine

Provider = provider_pb2_grpc.ResourceProviderStub


def urn(resource: str = "Stored", name: str = "one") -> str:
    """A URN of a resource below a component, as they mostly are."""
    return f"urn:pulumi:dev::shop::app:index:Parent$probe:index:{resource}::{name}"


def create(provider: Provider, resource: str, name: str = "one", preview: bool = False, **inputs: Any) -> Any:
    """Create a resource with these inputs."""
    request = provider_pb2.CreateRequest(
        urn=urn(resource, name), properties=to_struct(inputs), preview=preview
    )
    return provider.Create(request)


def details(error: grpc.RpcError) -> provider_pb2.ErrorResourceInitFailed:
    """What the engine unpacks from a partial failure."""
    metadata = {entry.key: entry.value for entry in error.trailing_metadata()}
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    failed = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(failed)
    return failed


def test_the_engine_is_told_that_secrets_outputs_and_resources_are_not_accepted(provider: Provider) -> None:
    shaken = provider.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address="127.0.0.1:1"))
    configured = provider.Configure(provider_pb2.ConfigureRequest())

    assert (shaken.accept_secrets, shaken.accept_outputs, shaken.accept_resources) == (False, False, False)
    assert (configured.acceptSecrets, configured.acceptOutputs, configured.acceptResources) == (False,) * 3
    assert configured.supportsPreview


def test_plugin_info_and_schema(provider: Provider) -> None:
    schema = json.loads(provider.GetSchema(provider_pb2.GetSchemaRequest()).schema)

    assert provider.GetPluginInfo(empty_pb2.Empty()).version == "1.2.3"
    assert (schema["name"], schema["version"]) == ("probe", "1.2.3")
    assert "probe:index:Stored" in schema["resources"]
    assert "probe:index:add" in schema["functions"]


def test_configuration_is_accepted_as_it_is_and_never_replaces(provider: Provider) -> None:
    old, new = to_struct({"project": "a"}), to_struct({"project": "b"})

    assert provider.CheckConfig(provider_pb2.CheckRequest(news=new)).inputs == new
    changed = provider.DiffConfig(provider_pb2.DiffRequest(old_inputs=old, news=new))
    same = provider.DiffConfig(provider_pb2.DiffRequest(old_inputs=old, news=old))
    assert (changed.changes, list(changed.replaces)) == (provider_pb2.DiffResponse.DIFF_SOME, [])
    assert same.changes == provider_pb2.DiffResponse.DIFF_NONE


def test_check_fills_in_defaults_and_reports_failures(provider: Provider) -> None:
    good = provider.Check(provider_pb2.CheckRequest(urn=urn(), news=to_struct({"size": 3})))
    bad = provider.Check(provider_pb2.CheckRequest(urn=urn(), news=to_struct({"size": "big"})))

    assert from_struct(good.inputs) == {"size": 3, "kind": "plain"}
    assert [(each.property, each.reason) for each in bad.failures] == [
        (
            "",
            "size: it must be a whole number, not 'big'.",
        )  # a property named here would be printed with its value
    ]


def test_unknown_inputs_pass_through_a_preview(provider: Provider) -> None:
    checked = provider.Check(provider_pb2.CheckRequest(urn=urn(), news=to_struct({"size": UNKNOWN})))
    planned = create(provider, "Stored", preview=True, size=UNKNOWN)

    assert from_struct(checked.inputs)["size"] is UNKNOWN
    assert planned.id == ""
    assert from_struct(planned.properties) == {"size": UNKNOWN, "made": UNKNOWN}


def test_a_preview_makes_nothing(provider: Provider, tmp_path: Path) -> None:
    create(provider, "Stored", preview=True, size=1)

    assert list(tmp_path.iterdir()) == []


def test_diff_names_what_changed_and_what_replaces(provider: Provider) -> None:
    def diff(old: dict[str, Any], new: dict[str, Any]) -> Any:
        return provider.Diff(
            provider_pb2.DiffRequest(id="one", urn=urn(), old_inputs=to_struct(old), news=to_struct(new))
        )

    same = diff({"size": 1, "kind": "a"}, {"size": 1, "kind": "a"})
    changed = diff({"size": 1, "kind": "a"}, {"size": 2, "kind": "a"})
    replaced = diff({"size": 1, "kind": "a"}, {"size": 2, "kind": "b"})
    assert (same.changes, list(same.diffs)) == (provider_pb2.DiffResponse.DIFF_NONE, [])
    assert (changed.changes, list(changed.diffs), list(changed.replaces)) == (2, ["size"], [])
    assert (list(replaced.diffs), list(replaced.replaces)) == (["kind", "size"], ["kind"])


def test_a_life(provider: Provider, tmp_path: Path) -> None:
    made = create(provider, "Stored", size=1)
    read = provider.Read(provider_pb2.ReadRequest(id="one", urn=urn(), properties=made.properties))
    updated = provider.Update(
        provider_pb2.UpdateRequest(id="one", urn=urn(), olds=made.properties, news=to_struct({"size": 2}))
    )
    planned = provider.Update(
        provider_pb2.UpdateRequest(
            id="one", urn=urn(), olds=updated.properties, news=to_struct({"size": 3}), preview=True
        )
    )
    provider.Delete(provider_pb2.DeleteRequest(id="one", urn=urn(), properties=updated.properties))
    gone = provider.Read(provider_pb2.ReadRequest(id="one", urn=urn(), properties=updated.properties))

    assert (made.id, from_struct(made.properties)) == ("one", {"size": 1, "made": True})
    assert (read.id, from_struct(read.inputs)) == ("one", {"size": 1})
    assert from_struct(updated.properties) == {"size": 2, "made": True}
    assert from_struct(planned.properties) == {"size": 3, "made": True}
    assert gone.id == ""
    assert list(tmp_path.iterdir()) == []


def test_a_resource_error_is_shown_as_it_is_and_means_that_nothing_was_changed(provider: Provider) -> None:
    with pytest.raises(grpc.RpcError) as error:
        create(provider, "FailsOnCreate")

    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert error.value.details() == "the quota is 0 and 1 is needed: ask for more"


def test_a_partial_failure_carries_what_exists(provider: Provider) -> None:
    with pytest.raises(grpc.RpcError) as error:
        create(provider, "HalfMade", size=1)

    failed = details(error.value)
    assert (failed.id, from_struct(failed.properties)) == ("one", {"size": 1, "made": False})
    assert list(failed.reasons) == ["the container did not start", "its log is empty"]
    assert error.value.details() == "the container did not start; its log is empty"


def test_an_update_may_fail_in_part_too(provider: Provider) -> None:
    request = provider_pb2.UpdateRequest(id="one", urn=urn("HalfMade"), news=to_struct({"size": 2}))

    with pytest.raises(grpc.RpcError) as error:
        provider.Update(request)

    failed = details(error.value)
    assert (failed.id, list(failed.reasons)) == ("one", ["still broken"])
    assert from_struct(failed.properties) == {"size": 2, "made": False}


def test_a_partial_failure_may_be_large(provider: Provider) -> None:
    with pytest.raises(grpc.RpcError) as error:
        create(provider, "HalfMade", log="x" * 1_000_000)

    assert len(from_struct(details(error.value).properties)["log"]) == 1_000_000


def test_a_bug_is_one_line_and_its_traceback_goes_to_the_debug_log(
    provider: Provider, engine: tuple[RecordingEngine, str]
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        create(provider, "Buggy")

    assert error.value.code() == grpc.StatusCode.INTERNAL
    assert error.value.details() == (
        "This is a bug in the provider probe, creating probe:index:Buggy: KeyError: 'no such key' "
        "(`pulumi up --debug` shows where; please report it)"
    )
    (message,) = engine[0].messages
    assert message.severity == engine_pb2.DEBUG
    assert 'inputs["no such key"]' in message.message


def test_messages_reach_the_engine_with_the_resource_they_are_about(
    provider: Provider, engine: tuple[RecordingEngine, str]
) -> None:
    create(provider, "Talkative")

    said = [(each.severity, each.message, each.ephemeral, each.urn) for each in engine[0].messages]
    about = urn("Talkative")
    assert said == [
        (engine_pb2.INFO, "a passing line", True, about),
        (engine_pb2.INFO, "an information", False, about),
        (engine_pb2.WARNING, "a warning", False, about),
        (engine_pb2.DEBUG, "a detail", False, about),
    ]


def test_messages_go_to_the_engine_that_attached_last(
    provider: Provider, engine: tuple[RecordingEngine, str]
) -> None:
    provider.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address="127.0.0.1:1"))
    provider.Attach(plugin_pb2.PluginAttach(address=engine[1]))

    create(provider, "Talkative")

    assert len(engine[0].messages) == 4


def test_an_archive_is_refused_with_its_path(provider: Provider) -> None:
    archive = {SIGNATURE_KEY: "0def7320c3a5731c473e5ecbe6d01bc7", "path": "a"}

    with pytest.raises(grpc.RpcError, match="x: an archive is not accepted here") as error:
        provider.Check(provider_pb2.CheckRequest(urn=urn(), news=to_struct({"x": archive})))

    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_type_that_is_not_there_is_named_beside_those_that_are(provider: Provider) -> None:
    with pytest.raises(grpc.RpcError) as error:
        create(provider, "Nothing")

    assert error.value.details() == (
        "The provider probe 1.2.3 that runs here has no resource type probe:index:Nothing. It has: "
        "probe:index:Buggy, probe:index:FailsOnCreate, probe:index:HalfMade, probe:index:Slow, "
        "probe:index:Stored, probe:index:Talkative. Ask for more."
    )


def test_functions(provider: Provider) -> None:
    answer = provider.Invoke(
        provider_pb2.InvokeRequest(tok="probe:index:add", args=to_struct({"a": 1, "b": 2}))
    )

    assert from_struct(getattr(answer, "return")) == {"sum": 3}
    with pytest.raises(grpc.RpcError, match="b is missing"):
        provider.Invoke(provider_pb2.InvokeRequest(tok="probe:index:add", args=to_struct({"a": 1})))
    with pytest.raises(grpc.RpcError, match="has no function probe:index:nothing"):
        provider.Invoke(provider_pb2.InvokeRequest(tok="probe:index:nothing"))


@pytest.mark.parametrize(
    ("method", "request_message"),
    [
        ("Parameterize", provider_pb2.ParameterizeRequest()),
        ("Construct", provider_pb2.ConstructRequest()),
        ("Call", provider_pb2.CallRequest()),
    ],
)
def test_what_a_provider_of_resources_has_not_is_unimplemented(
    provider: Provider, method: str, request_message: Any
) -> None:
    with pytest.raises(grpc.RpcError) as error:
        getattr(provider, method)(request_message)

    assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_slow_creates_block_nothing_and_a_cancel_ends_them(provider: Provider, tmp_path: Path) -> None:
    slow = [
        provider.Create.future(
            provider_pb2.CreateRequest(
                urn=urn("Slow", f"slow-{number}"), properties=to_struct({"size": number})
            )
        )
        for number in range(40)
    ]
    started = threading.Event()
    while not (tmp_path / "started").exists():
        assert not started.wait(0.01)
    quick = create(provider, "Stored", name="quick")
    assert quick.id == "quick"
    assert not any(call.done() for call in slow)

    provider.Cancel(empty_pb2.Empty())

    for number, call in enumerate(slow):
        error = call.exception(timeout=30)
        assert isinstance(error, grpc.RpcError)
        failed = details(error)
        assert (failed.id, list(failed.reasons)) == (f"slow-{number}", ["interrupted while it was starting"])

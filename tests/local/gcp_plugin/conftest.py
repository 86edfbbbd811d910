"""The stand-in plugin over a real gRPC channel, on a local cloud over a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf import empty_pb2

from infra.local.cloud.cli import environment
from infra.local.cloud.testing import PROJECT, LocalCloud, cloud_in_thread
from infra.local.gcp_plugin.plugin import servicer
from infra.plugin.protos import provider_pb2, provider_pb2_grpc, status_pb2
from infra.plugin.server import start
from infra.plugin.values import from_struct, to_struct

Properties = dict[str, Any]


class Failed(Exception):
    """A call of the plugin failed; `text` is what the user reads."""

    def __init__(self, error: grpc.RpcError) -> None:
        super().__init__(error.details())
        self.text = str(error.details())
        self.saved: provider_pb2.ErrorResourceInitFailed | None = None
        for entry in error.trailing_metadata():
            if entry.key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(entry.value)
                self.saved = provider_pb2.ErrorResourceInitFailed()
                assert status.details[0].Unpack(self.saved)


@dataclass
class Made:
    """A resource as the engine remembers it."""

    token: str
    name: str
    id: str
    inputs: Properties
    outputs: Properties

    @property
    def urn(self) -> str:
        """The resource's URN."""
        return urn(self.token, self.name)


def urn(token: str, name: str) -> str:
    """The URN of a resource in the stack `dev` of the project `shop`."""
    return f"urn:pulumi:dev::shop::{token}::{name}"


@dataclass
class Plugin:
    """The plugin, called as the engine calls it."""

    stub: provider_pb2_grpc.ResourceProviderStub

    def call(self, method: str, request: Any) -> Any:
        """One call; raises Failed."""
        try:
            return getattr(self.stub, method)(request)
        except grpc.RpcError as e:
            raise Failed(e) from None

    def configure(self, **settings: str) -> None:
        """Configure the provider."""
        variables = {f"gcp:config:{key}": value for key, value in settings.items()}
        self.call("Configure", provider_pb2.ConfigureRequest(variables=variables))

    def check(
        self, token: str, inputs: Properties, name: str = "one", olds: Properties | None = None
    ) -> tuple[Properties, list[str]]:
        """The checked inputs, and what is wrong with them."""
        request = provider_pb2.CheckRequest(
            urn=urn(token, name), news=to_struct(inputs), olds=to_struct(olds or {})
        )
        answer = self.call("Check", request)
        return from_struct(answer.inputs), [each.reason for each in answer.failures]

    def create(self, token: str, label: str = "one", /, **inputs: Any) -> Made:
        """Check and create; `label` is the resource's name in the program."""
        checked, failures = self.check(token, inputs, label)
        assert failures == []
        request = provider_pb2.CreateRequest(urn=urn(token, label), properties=to_struct(checked))
        answer = self.call("Create", request)
        return Made(token, label, answer.id, checked, from_struct(answer.properties))

    def diff(self, made: Made, /, **changes: Any) -> tuple[list[str], list[str], bool]:
        """What a change of inputs (None: taken away) means: changed, replaces, deleted before replaced."""
        news = {**made.inputs, **changes}
        checked, _ = self.check(made.token, news, made.name, olds=made.inputs)
        request = provider_pb2.DiffRequest(
            id=made.id,
            urn=made.urn,
            olds=to_struct(made.outputs),
            old_inputs=to_struct(made.inputs),
            news=to_struct(checked),
        )
        answer = self.call("Diff", request)
        assert (answer.changes == provider_pb2.DiffResponse.DIFF_SOME) == bool(answer.diffs)
        return list(answer.diffs), list(answer.replaces), answer.deleteBeforeReplace

    def update(self, made: Made, /, **changes: Any) -> Made:
        """Check and update."""
        checked, failures = self.check(made.token, {**made.inputs, **changes}, made.name, olds=made.inputs)
        assert failures == []
        request = provider_pb2.UpdateRequest(
            id=made.id,
            urn=made.urn,
            olds=to_struct(made.outputs),
            old_inputs=to_struct(made.inputs),
            news=to_struct(checked),
        )
        answer = self.call("Update", request)
        return Made(made.token, made.name, made.id, checked, from_struct(answer.properties))

    def refresh(self, made: Made) -> Made | None:
        """Read it back."""
        return self._read(made.token, made.name, made.id, made.inputs, made.outputs)

    def read(self, token: str, id: str, name: str = "one") -> Made | None:
        """Read it for an import."""
        return self._read(token, name, id, {}, {})

    def _read(self, token: str, name: str, id: str, inputs: Properties, outputs: Properties) -> Made | None:
        request = provider_pb2.ReadRequest(
            id=id, urn=urn(token, name), inputs=to_struct(inputs), properties=to_struct(outputs)
        )
        answer = self.call("Read", request)
        if not answer.id:
            return None
        return Made(token, name, answer.id, from_struct(answer.inputs), from_struct(answer.properties))

    def preview(self, token: str, /, **inputs: Any) -> Properties:
        """What a preview of a create shows."""
        request = provider_pb2.CreateRequest(
            urn=urn(token, "one"), properties=to_struct(inputs), preview=True
        )
        return from_struct(self.call("Create", request).properties)

    def delete(self, made: Made) -> None:
        """Delete it."""
        request = provider_pb2.DeleteRequest(
            id=made.id, urn=made.urn, properties=to_struct(made.outputs), old_inputs=to_struct(made.inputs)
        )
        self.call("Delete", request)

    def invoke(self, token: str, /, **arguments: Any) -> Properties:
        """Call a function."""
        request = provider_pb2.InvokeRequest(tok=token, args=to_struct(arguments))
        return from_struct(getattr(self.call("Invoke", request), "return"))

    def cancel(self) -> None:
        """What Ctrl-C does."""
        self.call("Cancel", empty_pb2.Empty())


@pytest.fixture(scope="module")
def running_cloud() -> Iterator[LocalCloud]:
    """One local cloud for a module: starting one takes longer than most tests here."""
    with cloud_in_thread() as running:
        yield running


@pytest.fixture
def cloud(running_cloud: LocalCloud) -> LocalCloud:
    """A local cloud in which nothing exists and whose operations end at once."""
    running_cloud.admin.reset()
    return running_cloud


@pytest.fixture
def plugin(cloud: LocalCloud) -> Iterator[Plugin]:
    """The plugin, configured for the local cloud through the environment."""
    server, port = start(servicer(environment(cloud.url)))
    options = [("grpc.max_metadata_size", 1024 * 1024)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        served = Plugin(provider_pb2_grpc.ResourceProviderStub(channel))
        served.configure(project=PROJECT)
        yield served
    server.stop(None)

"""What the engine does to a provider during a stack's life, without the engine: state, repetition, new processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from infra.plugin.engine import CHANNEL_OPTIONS, EngineLog
from infra.plugin.protos import provider_pb2, provider_pb2_grpc, status_pb2
from infra.plugin.server import start
from infra.plugin.servicer import Servicer
from infra.plugin.values import from_struct, to_struct

Json = dict[str, Any]


class Told(EngineLog):
    """Keeps what a provider says instead of sending it."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def attach(self, address: str) -> None:
        """There is no engine."""

    def send(self, severity: Any, message: str, urn: str, ephemeral: bool = False) -> None:
        """Keeps a message."""
        self.texts.append(message)


class Refused(Exception):
    """A call of the provider failed; `str(e)` is what the user reads."""


@dataclass
class Saved:
    """A resource in the state."""

    token: str
    id: str
    inputs: Json
    outputs: Json
    unfinished: bool = False


@dataclass
class Stack:
    """The state, over runs. Each run has a provider process of its own.

    Attributes:
        servicer: makes the provider of one run.
        config: its configuration.
        namespace: of that configuration.
        timeout: seconds that each call is given, 0 for the resource's own limit.
    """

    servicer: Callable[[EngineLog], Servicer]
    config: dict[str, str]
    namespace: str
    timeout: float = 0
    resources: dict[str, Saved] = field(default_factory=dict)
    told: Told = field(default_factory=Told)

    @contextmanager
    def run(self) -> Iterator[Run]:
        """One run of the engine."""
        server, port = start(self.servicer(self.told))
        options = [*CHANNEL_OPTIONS, ("grpc.max_metadata_size", 16 * 1024 * 1024)]
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                stub = provider_pb2_grpc.ResourceProviderStub(channel)
                variables = {f"{self.namespace}:config:{key}": value for key, value in self.config.items()}
                stub.Configure(provider_pb2.ConfigureRequest(variables=variables))
                yield Run(self, stub)
        finally:
            server.stop(None)


@dataclass
class Run:
    """The calls of one run."""

    stack: Stack
    stub: provider_pb2_grpc.ResourceProviderStub

    def put(self, name: str, token: str, wanted: Json) -> Saved:
        """Creates a resource, or compares it and updates it if there is a difference or it is unfinished."""
        state, urn = self.stack.resources, _urn(token, name)
        old = state.get(name)
        request = provider_pb2.CheckRequest(
            urn=urn, olds=to_struct(old.inputs if old else {}), news=to_struct(wanted)
        )
        checked = self.stub.Check(request)
        assert not checked.failures, checked.failures
        inputs = from_struct(checked.inputs)
        try:
            if old is None:
                create = provider_pb2.CreateRequest(
                    urn=urn, properties=checked.inputs, timeout=self.stack.timeout
                )
                answer = self.stub.Create(create)
                state[name] = Saved(token, answer.id, inputs, from_struct(answer.properties))
            elif self._differs(urn, old, inputs) or old.unfinished:
                update = provider_pb2.UpdateRequest(
                    id=old.id,
                    urn=urn,
                    olds=to_struct(old.outputs),
                    old_inputs=to_struct(old.inputs),
                    news=checked.inputs,
                    timeout=self.stack.timeout,
                )
                answer = self.stub.Update(update)
                state[name] = Saved(token, old.id, inputs, from_struct(answer.properties))
        except grpc.RpcError as error:
            partial = _partial(error)
            if partial is not None:
                id = partial.id or (old.id if old else "")
                state[name] = Saved(token, id, inputs, from_struct(partial.properties), unfinished=True)
            raise Refused(str(error.details())) from None
        return state[name]

    def read(self, name: str) -> Saved:
        """Refreshes a resource, which must be there."""
        old = self.stack.resources[name]
        request = provider_pb2.ReadRequest(
            id=old.id,
            urn=_urn(old.token, name),
            properties=to_struct(old.outputs),
            inputs=to_struct(old.inputs),
        )
        try:
            answer = self.stub.Read(request)
        except grpc.RpcError as error:
            raise Refused(str(error.details())) from None
        assert answer.id == old.id
        return Saved(old.token, answer.id, from_struct(answer.inputs), from_struct(answer.properties))

    def drop(self, name: str) -> None:
        """Deletes a resource, if it is in the state."""
        old = self.stack.resources.get(name)
        if old is None:
            return
        request = provider_pb2.DeleteRequest(
            id=old.id,
            urn=_urn(old.token, name),
            properties=to_struct(old.outputs),
            old_inputs=to_struct(old.inputs),
            timeout=self.stack.timeout,
        )
        try:
            self.stub.Delete(request)
        except grpc.RpcError as error:
            raise Refused(str(error.details())) from None
        del self.stack.resources[name]

    def rename(self, old: str, new: str) -> None:
        """Gives a resource in the state another name: the new one of a replacement becomes the old one's."""
        if old in self.stack.resources:
            self.stack.resources[new] = self.stack.resources.pop(old)

    def _differs(self, urn: str, old: Saved, inputs: Json) -> bool:
        request = provider_pb2.DiffRequest(
            id=old.id,
            urn=urn,
            olds=to_struct(old.outputs),
            old_inputs=to_struct(old.inputs),
            news=to_struct(inputs),
        )
        answer = self.stub.Diff(request)
        assert not answer.replaces, answer.replaces
        return bool(answer.changes == provider_pb2.DiffResponse.DIFF_SOME)


def _urn(token: str, name: str) -> str:
    return f"urn:pulumi:test::vertex-vllm::{token}::{name}"


def _partial(error: grpc.RpcError) -> provider_pb2.ErrorResourceInitFailed | None:
    for entry in error.trailing_metadata() or ():
        if entry.key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(entry.value)
            partial = provider_pb2.ErrorResourceInitFailed()
            assert status.details[0].Unpack(partial)
            return partial
    return None

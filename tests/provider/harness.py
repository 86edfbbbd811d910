"""The provider behind a real gRPC channel, on a local cloud behind a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import empty_pb2

from infra.local.cloud.testing import Admin, LocalCloud
from infra.plugin.engine import CHANNEL_OPTIONS, EngineLog
from infra.plugin.protos import engine_pb2, engine_pb2_grpc, provider_pb2, provider_pb2_grpc, status_pb2
from infra.plugin.server import start
from infra.plugin.servicer import Servicer
from infra.plugin.values import from_struct, to_struct
from infra.provider.bucket_disposal import BucketDisposal
from infra.provider.connect import Connector
from infra.provider.deployment import Deployment
from infra.provider.leftovers import LeftoverCheck
from infra.provider.model import Model
from infra.provider.retry import Pace
from tests.provider.samples import CONTAINER, ENDPOINT, MODEL

Json = dict[str, Any]

FAST = Pace(poll_first=0.02, poll_last=0.05, call=10.0, in_use=20.0, scale=0.01)


@dataclass
class Message:
    """What the provider told the engine."""

    severity: str
    text: str
    ephemeral: bool


class RecordingEngine(engine_pb2_grpc.EngineServicer):
    """Keeps the messages that the provider logs."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.arrived = threading.Condition()

    def Log(self, request: engine_pb2.LogRequest, context: grpc.ServicerContext) -> empty_pb2.Empty:
        with self.arrived:
            severity = engine_pb2.LogSeverity.Name(request.severity)
            self.messages.append(Message(severity, request.message, request.ephemeral))
            self.arrived.notify_all()
        return empty_pb2.Empty()

    def wait_for(self, text: str, seconds: float = 20.0) -> None:
        """Returns when a message with the text has arrived."""
        with self.arrived:
            found = self.arrived.wait_for(lambda: any(text in m.text for m in self.messages), seconds)
            assert found, f"no message with {text!r} in {[m.text for m in self.messages]}"


class Refused(Exception):
    """The provider answered with an error; `partial` is what it saves nevertheless."""

    def __init__(self, text: str, partial: provider_pb2.ErrorResourceInitFailed | None) -> None:
        super().__init__(text)
        self.text = text
        self.partial = partial

    @property
    def state(self) -> Json:
        """The outputs that are saved."""
        assert self.partial is not None, self.text
        return from_struct(self.partial.properties)

    @property
    def id(self) -> str:
        """The id that is saved."""
        assert self.partial is not None, self.text
        return self.partial.id


@dataclass
class Existing:
    """A resource as the engine remembers it."""

    id: str
    outputs: Json
    inputs: Json


@dataclass
class Harness:
    """Calls the provider the way the engine does."""

    stub: provider_pb2_grpc.ResourceProviderStub
    engine: RecordingEngine
    cloud: LocalCloud
    stack: str = "test"
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(4))

    @property
    def admin(self) -> Admin:
        """The local cloud's administrator."""
        return self.cloud.admin

    def urn(self, kind: str, name: str = "served") -> str:
        """The URN of a resource."""
        return f"urn:pulumi:{self.stack}::vertex-vllm::vertexserving:index:{kind}::{name}"

    def check(self, kind: str, news: Json, olds: Json | None = None) -> tuple[Json, list[tuple[str, str]]]:
        """The checked inputs, and the failures as (property, reason)."""
        request = provider_pb2.CheckRequest(
            urn=self.urn(kind), olds=to_struct(olds or {}), news=to_struct(news)
        )
        answer = self.stub.Check(request)
        return from_struct(answer.inputs), [(each.property, each.reason) for each in answer.failures]

    def checked(self, kind: str, news: Json, olds: Json | None = None) -> Json:
        """The checked inputs, which must be right."""
        inputs, failures = self.check(kind, news, olds)
        assert not failures, failures
        return inputs

    def diff(self, kind: str, old: Existing, news: Json) -> provider_pb2.DiffResponse:
        """The difference between what exists and new inputs."""
        answer: provider_pb2.DiffResponse = self.stub.Diff(
            provider_pb2.DiffRequest(
                id=old.id,
                urn=self.urn(kind),
                olds=to_struct(old.outputs),
                old_inputs=to_struct(old.inputs),
                news=to_struct(self.checked(kind, news, old.inputs)),
            )
        )
        return answer

    def create(self, kind: str, news: Json, *, timeout: float = 0) -> Existing:
        """Checks and creates."""
        inputs = self.checked(kind, news)
        request = provider_pb2.CreateRequest(
            urn=self.urn(kind), properties=to_struct(inputs), timeout=timeout
        )
        answer = _call(lambda: self.stub.Create(request))
        return Existing(answer.id, from_struct(answer.properties), inputs)

    def update(self, kind: str, old: Existing, news: Json) -> Existing:
        """Checks and updates."""
        inputs = self.checked(kind, news, old.inputs)
        request = provider_pb2.UpdateRequest(
            id=old.id,
            urn=self.urn(kind),
            olds=to_struct(old.outputs),
            old_inputs=to_struct(old.inputs),
            news=to_struct(inputs),
        )
        answer = _call(lambda: self.stub.Update(request))
        return Existing(old.id, from_struct(answer.properties), inputs)

    def read(self, kind: str, id: str, old: Existing | None = None) -> Existing | None:
        """Reads: a refresh with `old`, an import without."""
        request = provider_pb2.ReadRequest(
            id=id,
            urn=self.urn(kind),
            properties=to_struct(old.outputs if old else {}),
            inputs=to_struct(old.inputs if old else {}),
        )
        answer = _call(lambda: self.stub.Read(request))
        if not answer.id:
            return None
        return Existing(answer.id, from_struct(answer.properties), from_struct(answer.inputs))

    def delete(self, kind: str, old: Existing) -> None:
        """Deletes."""
        request = provider_pb2.DeleteRequest(
            id=old.id,
            urn=self.urn(kind),
            properties=to_struct(old.outputs),
            old_inputs=to_struct(old.inputs),
        )
        _call(lambda: self.stub.Delete(request))

    def cancel(self) -> None:
        """What the engine does when the user presses Ctrl-C."""
        self.stub.Cancel(empty_pb2.Empty())

    def meanwhile(self, call: Callable[[], Any]) -> Future[Any]:
        """Runs a call in a thread."""
        return self._threads.submit(call)

    def texts(self, severity: str, *, ephemeral: bool = False) -> list[str]:
        """What the provider said so far."""
        return [m.text for m in self.engine.messages if m.severity == severity and m.ephemeral is ephemeral]

    # The cloud, as a client of nobody's would see it

    def get(self, path: str) -> Json:
        """A resource as the API shows it."""
        answer = self.cloud.http.get(f"/v1/{path}")
        answer.raise_for_status()
        content: Json = answer.json()
        return content

    def post(self, path: str, body: Json) -> Json:
        """A call of the API, waited for if it starts an operation."""
        answer = self.cloud.http.post(f"/v1/{path}", json=body)
        assert answer.status_code < 300, answer.text
        content: Json = answer.json()
        return content

    def patch(self, path: str, mask: str, body: Json) -> Json:
        """A PATCH."""
        answer = self.cloud.http.patch(f"/v1/{path}", params={"updateMask": mask}, json=body)
        assert answer.status_code < 300, answer.text
        content: Json = answer.json()
        return content

    def endpoint(self) -> Json:
        """The endpoint."""
        return self.get(ENDPOINT)

    def deployed(self) -> list[str]:
        """The ids of what is deployed on the endpoint."""
        return [each["id"] for each in self.endpoint().get("deployedModels", ())]

    def sent(self, method: str, path: str) -> list[Json]:
        """The requests that reached the cloud."""
        return self.admin.requests(path=path, method=method)

    def finish(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        """Lets operations of the manual mode go on until `done`."""
        until(lambda: (bool(self.admin.advance()) and False) or done(), seconds)


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Returns when the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@contextmanager
def provider_on(cloud: LocalCloud, *, pace: Pace = FAST, stack: str = "test") -> Iterator[Harness]:
    """A provider process's worth of provider on a local cloud."""
    engine = RecordingEngine()
    log_server = grpc.server(ThreadPoolExecutor(4))
    engine_pb2_grpc.add_EngineServicer_to_server(engine, log_server)
    log_port = log_server.add_insecure_port("127.0.0.1:0")
    log_server.start()
    connector = Connector(pace)
    resources = [Model(connector), Deployment(connector), BucketDisposal(connector), LeftoverCheck(connector)]
    servicer = Servicer("vertexserving", "0", resources, engine=EngineLog(f"127.0.0.1:{log_port}"))
    server, port = start(servicer)
    options = [*CHANNEL_OPTIONS, ("grpc.max_metadata_size", 16 * 1024 * 1024)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        stub = provider_pb2_grpc.ResourceProviderStub(channel)
        config = {"apiEndpoint": f"{cloud.url}/v1beta1/", "accessToken": "local"}
        variables = {f"vertexserving:config:{key}": value for key, value in config.items()}
        stub.Configure(provider_pb2.ConfigureRequest(variables=variables))
        yield Harness(stub, engine, cloud, stack)
    server.stop(None)
    log_server.stop(None)


def _call(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except grpc.RpcError as error:
        answer: Any = error
        partial = None
        for key, value in answer.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                status = status_pb2.Status.FromString(value)
                partial = provider_pb2.ErrorResourceInitFailed()
                assert status.details[0].Unpack(partial)
        raise Refused(answer.details(), partial) from None


def other_model(provider: Harness) -> Existing:
    """A model with another container than the sample's."""
    spec = {**CONTAINER, "args": [*CONTAINER["args"], "--enforce-eager"]}
    return provider.create("Model", {**MODEL, "containerSpec": spec})

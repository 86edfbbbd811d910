"""The gRPC servicer: takes the engine's calls apart, finds the resource, answers.

Secrets: the provider says that it does not accept secrets. The engine then sends plain values and, on the way
back, marks every output as secret that has the path of a secret input. So the state stays encrypted as long
as outputs echo inputs under the same name, and nothing in a provider needs to know what is secret.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf import empty_pb2

from infra.plugin.engine import CallContext, EngineLog, resource_type
from infra.plugin.failures import failure_of, is_bug, traceback_of
from infra.plugin.protos import plugin_pb2, provider_pb2, provider_pb2_grpc
from infra.plugin.resource import Function, Resource, ResourceError
from infra.plugin.values import from_struct, to_struct

Answer = TypeVar("Answer")
Configure = Callable[[Mapping[str, str]], None]


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """Serves a set of resources and functions; see `infra.plugin.server.serve` for the arguments."""

    def __init__(
        self,
        name: str,
        version: str,
        resources: Iterable[Resource],
        functions: Iterable[Function] = (),
        configure: Configure | None = None,
        about: str = "",
        engine: EngineLog | None = None,
    ) -> None:
        self._name = name
        self._version = version
        self._resources = {resource.token: resource for resource in resources}
        self._functions = {function.token: function for function in functions}
        self._configure = configure
        self._about = about
        self._engine = engine or EngineLog()
        self._config: Mapping[str, str] = {}
        self._cancelled = threading.Event()

    # The provider as a whole

    def Handshake(self, request: provider_pb2.ProviderHandshakeRequest, context: grpc.ServicerContext) -> Any:
        self._engine.attach(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(
            accept_secrets=False, accept_resources=False, accept_outputs=False
        )

    def Attach(self, request: plugin_pb2.PluginAttach, context: grpc.ServicerContext) -> Any:
        self._engine.attach(request.address)
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: provider_pb2.GetSchemaRequest, context: grpc.ServicerContext) -> Any:
        schema = {
            "name": self._name,
            "version": self._version,
            "resources": {token: dict(resource.schema()) for token, resource in self._resources.items()},
            "functions": {token: dict(function.schema()) for token, function in self._functions.items()},
        }
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> Any:
        # A changed configuration never replaces the provider: that would replace every resource it made.
        changes = request.news != request.old_inputs
        return provider_pb2.DiffResponse(changes=_changes(changes))

    def Configure(self, request: provider_pb2.ConfigureRequest, context: grpc.ServicerContext) -> Any:
        config = {key.rpartition(":")[2]: value for key, value in request.variables.items()}

        def configure() -> Any:
            if self._configure is not None:
                self._configure(config)
            self._config = config
            return provider_pb2.ConfigureResponse(
                acceptSecrets=False, acceptResources=False, acceptOutputs=False, supportsPreview=True
            )

        return self._answer(context, "", "reading its configuration", configure)

    def Cancel(self, request: empty_pb2.Empty, context: grpc.ServicerContext) -> Any:
        self._cancelled.set()
        return empty_pb2.Empty()

    def Parameterize(
        self, request: provider_pb2.ParameterizeRequest, context: grpc.ServicerContext
    ) -> NoReturn:
        self._unimplemented(context, "takes no parameters")

    def Construct(self, request: provider_pb2.ConstructRequest, context: grpc.ServicerContext) -> NoReturn:
        self._unimplemented(context, "has no components")

    def Call(self, request: provider_pb2.CallRequest, context: grpc.ServicerContext) -> NoReturn:
        self._unimplemented(context, "has no methods")

    # One resource

    def Check(self, request: provider_pb2.CheckRequest, context: grpc.ServicerContext) -> Any:
        def check(resource: Resource) -> Any:
            answer = resource.check(
                self._context(request.urn), from_struct(request.olds), from_struct(request.news)
            )
            # The property goes into the text: were it named to the engine, the engine would print its value
            # beside it, and that of a secret in clear.
            reasons = [f"{key}: {why}" if key else why for key, why in answer.failures]
            failures = [provider_pb2.CheckFailure(reason=reason) for reason in reasons]
            return provider_pb2.CheckResponse(inputs=to_struct(answer.inputs), failures=failures)

        return self._on_resource(context, request.urn, "checking", check)

    def Diff(self, request: provider_pb2.DiffRequest, context: grpc.ServicerContext) -> Any:
        def diff(resource: Resource) -> Any:
            answer = resource.diff(
                self._context(request.urn),
                request.id,
                from_struct(request.olds),
                from_struct(request.old_inputs),
                from_struct(request.news),
            )
            return provider_pb2.DiffResponse(
                changes=_changes(answer.changes),
                replaces=answer.replaces,
                diffs=sorted({*answer.replaces, *answer.changed}),
                deleteBeforeReplace=answer.delete_before_replace,
            )

        return self._on_resource(context, request.urn, "comparing", diff)

    def Create(self, request: provider_pb2.CreateRequest, context: grpc.ServicerContext) -> Any:
        def create(resource: Resource) -> Any:
            ctx = self._context(request.urn, request.preview, request.timeout)
            inputs = from_struct(request.properties)
            if request.preview:
                return provider_pb2.CreateResponse(properties=to_struct(resource.preview(ctx, inputs)))
            state = resource.create(ctx, inputs)
            return provider_pb2.CreateResponse(id=state.id, properties=to_struct(state.outputs))

        return self._on_resource(context, request.urn, "creating", create)

    def Read(self, request: provider_pb2.ReadRequest, context: grpc.ServicerContext) -> Any:
        def read(resource: Resource) -> Any:
            state = resource.read(
                self._context(request.urn),
                request.id,
                from_struct(request.properties),
                from_struct(request.inputs),
            )
            if state is None:
                return provider_pb2.ReadResponse()
            return provider_pb2.ReadResponse(
                id=state.id,
                properties=to_struct(state.outputs),
                inputs=to_struct(state.inputs) if state.inputs is not None else request.inputs,
            )

        return self._on_resource(context, request.urn, "reading", read)

    def Update(self, request: provider_pb2.UpdateRequest, context: grpc.ServicerContext) -> Any:
        def update(resource: Resource) -> Any:
            ctx = self._context(request.urn, request.preview, request.timeout)
            state, old_inputs, news = (
                from_struct(request.olds),
                from_struct(request.old_inputs),
                from_struct(request.news),
            )
            if request.preview:
                outputs = resource.preview_update(ctx, request.id, state, old_inputs, news)
            else:
                outputs = resource.update(ctx, request.id, state, old_inputs, news).outputs
            return provider_pb2.UpdateResponse(properties=to_struct(outputs))

        return self._on_resource(context, request.urn, "updating", update)

    def Delete(self, request: provider_pb2.DeleteRequest, context: grpc.ServicerContext) -> Any:
        def delete(resource: Resource) -> Any:
            ctx = self._context(request.urn, timeout=request.timeout)
            resource.delete(ctx, request.id, from_struct(request.properties), from_struct(request.old_inputs))
            return empty_pb2.Empty()

        return self._on_resource(context, request.urn, "deleting", delete)

    # Functions

    def Invoke(self, request: provider_pb2.InvokeRequest, context: grpc.ServicerContext) -> Any:
        def invoke() -> Any:
            function = self._functions.get(request.tok)
            if function is None:
                raise ResourceError(self._not_here("function", request.tok, list(self._functions)))
            result = to_struct(function.call(self._context("", request.preview), from_struct(request.args)))
            response = provider_pb2.InvokeResponse()
            getattr(response, "return").CopyFrom(result)
            return response

        return self._answer(context, "", f"calling {request.tok}", invoke)

    # Common to all

    def _context(self, urn: str, preview: bool = False, timeout: float = 0) -> CallContext:
        return CallContext(
            log=self._engine,
            urn=urn,
            preview=preview,
            config=self._config,
            cancelled=self._cancelled,
            timeout=timeout or None,
        )

    def _on_resource(
        self, context: grpc.ServicerContext, urn: str, doing: str, call: Callable[[Resource], Answer]
    ) -> Answer:
        token = resource_type(urn)

        def on_resource() -> Answer:
            resource = self._resources.get(token)
            if resource is None:
                raise ResourceError(self._not_here("resource type", token, list(self._resources)))
            return call(resource)

        return self._answer(context, urn, f"{doing} {token}", on_resource)

    def _answer(
        self, context: grpc.ServicerContext, urn: str, doing: str, call: Callable[[], Answer]
    ) -> Answer:
        try:
            return call()
        except Exception as e:
            if is_bug(e):
                self._context(urn).debug(traceback_of(e))
            failure = failure_of(e, self._name, doing)
        context.abort_with_status(failure)
        raise AssertionError("abort_with_status raises")

    def _not_here(self, what: str, token: str, known: Sequence[str]) -> str:
        about = f" {self._about}" if self._about else ""
        return (
            f"The provider {self._name} {self._version} that runs here has no {what} {token}. "
            f"It has: {', '.join(sorted(known)) or 'none'}.{about}"
        )

    def _unimplemented(self, context: grpc.ServicerContext, why: str) -> NoReturn:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the provider {self._name} {why}")
        raise AssertionError("abort raises")


def _changes(changes: bool) -> provider_pb2.DiffResponse.DiffChanges.ValueType:
    return provider_pb2.DiffResponse.DIFF_SOME if changes else provider_pb2.DiffResponse.DIFF_NONE

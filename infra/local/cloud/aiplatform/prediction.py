"""PredictionService: predict, rawPredict, streamRawPredict, chat completions, invoke; shared and dedicated hosts."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from infra.local.cloud import payload, strict
from infra.local.cloud.aiplatform import container_spec
from infra.local.cloud.aiplatform.context import Api
from infra.local.cloud.aiplatform.endpoints import Endpoints
from infra.local.cloud.aiplatform.fleet import Fleet
from infra.local.cloud.aiplatform.messages import integral
from infra.local.cloud.aiplatform.names import found_errors, parse_model
from infra.local.cloud.aiplatform.registry import Registry
from infra.local.cloud.errors import GoogleError, failed_precondition, not_found
from infra.local.container.contract import Container, ContainerResponse

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]
_log = logging.getLogger(__name__)

#: Payload limits in MiB and time-outs in seconds of shared and dedicated endpoints (documentation, choose an endpoint
#: type; a dedicated endpoint's time-out is its clientConnectionConfig.inferenceTimeout, 10 minutes by default).
SHARED_LIMIT_MIB, DEDICATED_LIMIT_MIB = 1.5, 10.0
SHARED_TIMEOUT, DEDICATED_TIMEOUT = 60.0, 600.0
#: Longest that a request waits for a container that is coming back after a restart of the server, in seconds.
RESTART_WAIT = 30.0
ACCESS_LOG = "aiplatform.googleapis.com%2Fprediction_access"

#: The canonical code for a container's HTTP status, where Google's mapping is not one to one.
_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
#: Headers of a container's answer that go to the caller.
_PASSED = ("content-type", "content-encoding", "cache-control", "retry-after", "x-request-id")


@dataclass
class Target:
    """Where one request goes."""

    endpoint: Json
    deployed: Json
    model: Json
    container: Container
    timeout: float

    @property
    def endpoint_id(self) -> str:
        """The endpoint's own id."""
        return str(self.endpoint["name"]).rpartition("/")[2]

    @property
    def spec(self) -> Json:
        """The model's container specification."""
        spec: Json = self.model["containerSpec"]
        return spec

    @property
    def where(self) -> str:
        """How error texts name it."""
        return f"endpoint_id: {self.endpoint_id}, deployed_model_id: {self.deployed['id']}"


class Prediction:
    """Requests to deployed models."""

    def __init__(self, cloud: Cloud, endpoints: Endpoints, registry: Registry, fleet: Fleet) -> None:
        self.cloud, self.endpoints, self.registry, self.fleet = cloud, endpoints, registry, fleet
        self._random = random.SystemRandom()

    # Methods ---------------------------------------------------------------------------------------------------

    async def predict(self, api: Api) -> Json:
        """`endpoints.predict`: {"instances", "parameters"} to the predict route, its predictions back."""
        raw, document = await self._receive(api)
        form = payload.form_fields(api.call.request, raw)
        if form is not None:
            strict.check_query(form, ())
        request = payload.decode_json(raw)
        api.messages.check("PredictRequest", request)
        if not request.get("instances"):
            raise found_errors([("instances", "Required field is not set.")])
        target = await self._target(
            document, invoke=False, name=f"{api.here}/endpoints/{api.call.path['endpoint']}"
        )
        # Google's clients write every number of a google.protobuf.Value as a double (10.0); the service passes on 10.
        forwarded = {"instances": integral(request["instances"])}
        if request.get("parameters") is not None:
            forwarded["parameters"] = integral(request["parameters"])
        route = container_spec.predict_route(target.spec, target.endpoint_id, target.deployed["id"])
        body = json.dumps(forwarded, ensure_ascii=False).encode()
        answer = await self._send(target, route, {"content-type": "application/json"}, body)
        text = await _whole(answer)
        if answer.status >= 400:
            raise _container_error(answer.status, text)
        return self._predictions(target, text)

    def _predictions(self, target: Target, text: bytes) -> Json:
        try:
            content = payload.decode_json(text)
        except GoogleError:
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
            shown = text[:2000].decode(errors="replace")
            raise GoogleError(
                "INTERNAL",
                "Invalid response from prediction server - the response field predictions is missing. "
                f"Response: {shown}",
            )
        answer: Json = {
            "predictions": integral(content["predictions"]),
            "deployedModelId": target.deployed["id"],
            "model": target.deployed["model"],
            "modelDisplayName": target.model["displayName"],
            "modelVersionId": target.deployed["modelVersionId"],
        }
        if content.get("metadata") is not None:
            answer["metadata"] = integral(content["metadata"])
        return answer

    async def raw_predict(self, api: Api) -> Response:
        """`endpoints.rawPredict`: the bytes as they are, the container's answer as it is."""
        return await self._raw(api, stream=False)

    async def stream_raw_predict(self, api: Api) -> Response:
        """`endpoints.streamRawPredict`: as rawPredict, but the answer is passed on while it comes."""
        return await self._raw(api, stream=True)

    async def _raw(self, api: Api, *, stream: bool) -> Response:
        raw, document = await self._receive(api)
        content_type = api.call.request.headers.get("content-type", "application/json")
        target = await self._target(
            document, invoke=False, name=f"{api.here}/endpoints/{api.call.path['endpoint']}"
        )
        route = container_spec.predict_route(target.spec, target.endpoint_id, target.deployed["id"])
        answer = await self._send(target, route, {"content-type": content_type}, raw)
        return await self._pass(target, answer, stream=stream)

    async def chat_completions(self, api: Api) -> Response:
        """`endpoints/ID/chat/completions`: OpenAI's API, served by the container's own /v1/chat/completions."""
        if api.call.path["endpoint"] == "openapi":
            raise GoogleError(
                "UNIMPLEMENTED", "The local cloud has no models as a service; name one of your endpoints."
            )
        raw, document = await self._receive(api)
        target = await self._target(
            document, invoke=None, name=f"{api.here}/endpoints/{api.call.path['endpoint']}"
        )
        answer = await self._send(target, "/v1/chat/completions", {"content-type": "application/json"}, raw)
        return await self._pass(target, answer, stream=True)

    async def invoke(self, api: Api) -> Response:
        """`endpoints/ID/invoke/ROUTE`: any route of a container whose model sets invokeRoutePrefix."""
        raw, document = await self._receive(api)
        target = await self._target(
            document, invoke=True, name=f"{api.here}/endpoints/{api.call.path['endpoint']}"
        )
        content_type = api.call.request.headers.get("content-type", "application/json")
        answer = await self._send(target, f"/{api.call.path['route']}", {"content-type": content_type}, raw)
        return await self._pass(target, answer, stream=True)

    # Steps -----------------------------------------------------------------------------------------------------

    async def _receive(self, api: Api) -> tuple[bytes, Json]:
        """The request's body and the endpoint, after access, host and size checks."""
        endpoint_id = api.call.path["endpoint"]
        scope = api.enter("aiplatform.endpoints.predict", f"endpoints/{endpoint_id}")
        document = self.endpoints.document(scope.endpoint(endpoint_id))
        dns = getattr(api.call.request.state, "dedicated_dns", "")
        own = document.get("dedicatedEndpointDns", "")
        if dns and dns != own:
            raise not_found(f"Endpoint `{document['name']}` is not served at '{dns}'.")
        if own and not dns:
            raise failed_precondition(
                "This endpoint is a dedicated endpoint via CloudESF and cannot be accessed through the Vertex AI API. "
                f"Please access the endpoint using its dedicated dns name '{own}'"
            )
        mib = DEDICATED_LIMIT_MIB if own else SHARED_LIMIT_MIB
        raw = await _read(api, int(mib * 2**20))
        if len(raw) > mib * 2**20:
            raise failed_precondition(f"The request size ({len(raw)} bytes) exceeds {mib:.3f}MB limit.")
        return raw, document

    async def _target(self, document: Json, *, invoke: bool | None, name: str) -> Target:
        """The deployed model that the traffic split chooses, with its container.

        Args:
            document: the endpoint.
            invoke: whether the method needs (True), forbids (False) or ignores (None) invokeRoutePrefix.
            name: the endpoint as the request names it.
        """
        split = {key: value for key, value in document.get("trafficSplit", {}).items() if value > 0}
        if not split:
            raise failed_precondition(f"Endpoint {name} doesn't have traffic_split.")
        chosen = self._random.choices(list(split), weights=list(split.values()))[0]
        deployed = document["deployedModels"][chosen]
        versioned = f"{deployed['model']}@{deployed['modelVersionId']}"
        _, _, model = self.registry.find(parse_model(versioned, "model"))
        prefix = bool(model["containerSpec"].get("invokeRoutePrefix"))
        if invoke is not None and prefix != invoke:
            needed = (
                "does not set invoke_route_prefix" if invoke else "sets invoke_route_prefix; use /invoke/"
            )
            raise failed_precondition(f"DeployedModel {chosen} of Endpoint {name} {needed}.")
        container = await self.fleet.get(f"{document['name']}/{chosen}", RESTART_WAIT)
        dedicated = bool(document.get("dedicatedEndpointDns"))
        own = container_spec.seconds(document.get("clientConnectionConfig", {}).get("inferenceTimeout", ""))
        timeout = (own or DEDICATED_TIMEOUT) if dedicated else SHARED_TIMEOUT
        if container is None:
            where = f"endpoint_id: {document['name'].rpartition('/')[2]}, deployed_model_id: {chosen}"
            raise GoogleError("UNAVAILABLE", f"No healthy replica is available for {where}.")
        return Target(document, deployed, model, container, timeout)

    async def _send(
        self, target: Target, path: str, headers: Mapping[str, str], body: bytes
    ) -> ContainerResponse:
        """One request to the container; its answer within the endpoint's time-out."""
        place = f"/{target.endpoint['name']}/deployedModels/{target.deployed['id']}{path}"
        fault = self.cloud.faults.draw("POST", place, container=True)
        if fault is not None:
            planned = fault.action["container"]
            self._access(target, path, int(planned["status"]))
            headers = {"content-type": "application/json"}
            return ContainerResponse(int(planned["status"]), headers, planned["body"].encode())
        try:
            async with asyncio.timeout(target.timeout):
                answer = await target.container.handle("POST", path, headers, body)
        except TimeoutError:
            raise _too_slow(target) from None
        except Exception as error:
            _log.exception("the container of %s did not answer", target.where)
            raise GoogleError("UNAVAILABLE", f"502:Bad Gateway ({target.where})") from error
        self._access(target, path, answer.status)
        return answer

    def _access(self, target: Target, path: str, status: int) -> None:
        if not target.deployed.get("enableAccessLogging"):
            return
        _, number, _, location, _, endpoint_id = target.endpoint["name"].split("/")
        project = self.cloud.projects.find(number)
        self.cloud.logs.append(
            project.id if project else number,
            ACCESS_LOG,
            "aiplatform.googleapis.com/Endpoint",
            {"endpoint_id": endpoint_id, "location": location, "resource_container": f"projects/{number}"},
            [("INFO", f"POST {path} {status}")],
            {"deployed_model_id": target.deployed["id"]},
        )

    async def _pass(self, target: Target, answer: ContainerResponse, *, stream: bool) -> Response:
        """The container's answer to the caller, as a stream where it is one."""
        passed = {key: value for key, value in answer.headers.items() if key.lower() in _PASSED}
        passed |= {
            "x-vertex-ai-endpoint-id": target.endpoint_id,
            "x-vertex-ai-deployed-model-id": target.deployed["id"],
        }
        if isinstance(answer.body, bytes):
            return Response(answer.body, answer.status, passed)
        if not stream:
            async with asyncio.timeout(target.timeout):
                return Response(await _whole(answer), answer.status, passed)
        return StreamingResponse(_relay(answer.body, target.timeout), answer.status, passed)


async def _relay(body: AsyncIterator[bytes], timeout: float) -> AsyncIterator[bytes]:
    """Passes each piece on as it comes; ends the container's work when the client is gone or time is up.

    When time is up the exception breaks the connection: a stream that merely stopped would look complete to the client.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    iterator = aiter(body)
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                piece = await anext(iterator, None)
            if piece is None:
                return
            yield piece
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()


async def _read(api: Api, limit: int) -> bytes:
    """The request's body. Of one that is too long only the length matters, so no more than a piece is kept of it."""
    parts: list[bytes] = []
    size = 0
    async for part in payload.pieces(api.call.request):
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts = [b"\0" * size]
    return b"".join(parts)


async def _whole(answer: ContainerResponse) -> bytes:
    if isinstance(answer.body, bytes):
        return answer.body
    return b"".join([part async for part in answer.body])


def _too_slow(target: Target) -> GoogleError:
    return GoogleError("UNAVAILABLE", f"Took too long to respond when processing {target.where}")


def _container_error(status: int, text: bytes) -> GoogleError:
    """A container's error as predict answers it: the same HTTP status, the body as the message."""
    if status < 500:
        code = _CODES.get(status, "FAILED_PRECONDITION" if status == 400 else "INVALID_ARGUMENT")
    else:
        code = _CODES.get(status, "INTERNAL")
    return GoogleError(code, text.decode("utf-8", "replace"), http_status=status)

"""Routes of the local Vertex AI, v1 and v1beta1."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import BaseRoute

from infra.local.cloud.aiplatform import fleet as fleets
from infra.local.cloud.aiplatform import locations
from infra.local.cloud.aiplatform.accounting import Accounting
from infra.local.cloud.aiplatform.context import Api
from infra.local.cloud.aiplatform.deployments import Deployments
from infra.local.cloud.aiplatform.endpoints import Endpoints
from infra.local.cloud.aiplatform.fleet import Factory, Fleet
from infra.local.cloud.aiplatform.messages import MESSAGES
from infra.local.cloud.aiplatform.models import Models
from infra.local.cloud.aiplatform.operations_api import OperationsApi
from infra.local.cloud.aiplatform.prediction import Prediction
from infra.local.cloud.aiplatform.registry import Registry
from infra.local.cloud.errors import GoogleError, method_not_found
from infra.local.cloud.rest import Call, Method

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]
Answer = Json | Response
Handler = Callable[[Api], Answer | Awaitable[Answer]]

_LOCATION = "projects/{project}/locations/{location}"
_ENDPOINTS, _MODELS = f"{_LOCATION}/endpoints", f"{_LOCATION}/models"
_ENDPOINT, _MODEL = f"{_ENDPOINTS}/{{endpoint}}", f"{_MODELS}/{{model}}"
#: Prediction methods of the real service that have no meaning for the containers of the local cloud.
_UNSUPPORTED = (
    "directPredict", "directRawPredict", "serverStreamingPredict", "streamDirectPredict", "streamDirectRawPredict",
    "explain", "generateContent", "streamGenerateContent", "countTokens", "computeTokens",
)  # fmt: skip
_OPERATION_OWNERS = (("", ""), ("endpoints", "/endpoints/{owner}"), ("models", "/models/{owner}"))


def routes(cloud: Cloud, factory: Factory | None = None) -> list[BaseRoute]:
    """Everything that the service answers.

    Args:
        cloud: the local cloud.
        factory: makes the container of a deployed model; the configured backend's if None.
    """
    registry = Registry(cloud)
    models = Models(cloud, registry)
    endpoints = Endpoints(cloud)
    fleet = Fleet(cloud, registry, factory or fleets.make_container)
    deployments = Deployments(cloud, endpoints, registry, fleet, Accounting(cloud))
    prediction = Prediction(cloud, endpoints, registry, fleet)
    json_methods: list[tuple[str, str, Handler]] = [
        ("POST", f"{_MODELS}:upload", models.upload),
        ("GET", f"{_MODELS}", models.list_models),
        ("GET", f"{_MODEL}", models.get),
        ("PATCH", f"{_MODEL}", models.patch),
        ("DELETE", f"{_MODEL}", models.delete),
        ("GET", f"{_MODEL}:listVersions", models.list_versions),
        ("DELETE", f"{_MODEL}:deleteVersion", models.delete_version),
        ("POST", f"{_MODEL}:mergeVersionAliases", models.merge_version_aliases),
        ("POST", f"{_ENDPOINTS}", endpoints.create),
        ("GET", f"{_ENDPOINTS}", endpoints.list_endpoints),
        ("GET", f"{_ENDPOINT}", endpoints.get),
        ("PATCH", f"{_ENDPOINT}", endpoints.patch),
        ("POST", f"{_ENDPOINT}:update", endpoints.update),
        ("DELETE", f"{_ENDPOINT}", endpoints.delete),
        ("POST", f"{_ENDPOINT}:deployModel", deployments.deploy),
        ("POST", f"{_ENDPOINT}:undeployModel", deployments.undeploy),
        ("POST", f"{_ENDPOINT}:mutateDeployedModel", deployments.mutate),
    ]
    raw_methods: list[tuple[str, str, Handler]] = [
        ("POST", f"{_ENDPOINT}:predict", prediction.predict),
        ("POST", f"{_ENDPOINT}:rawPredict", prediction.raw_predict),
        ("POST", f"{_ENDPOINT}:streamRawPredict", prediction.stream_raw_predict),
        ("POST", f"{_ENDPOINT}/chat/completions", prediction.chat_completions),
        ("POST", f"{_ENDPOINT}/invoke/{{route**}}", prediction.invoke),
        *(("POST", f"{_ENDPOINT}:{verb}", _unsupported(verb)) for verb in _UNSUPPORTED),
    ]
    found: list[BaseRoute] = []
    for version in MESSAGES:
        for verb, template, handler in json_methods:
            managed = _management(_bound(handler, version))
            found.append(Method(cloud, verb, f"/{version}/{template}", managed, query=None))
        for verb, template, handler in raw_methods:
            bound = _bound(handler, version)
            found.append(Method(cloud, verb, f"/{version}/{template}", bound, query=None, json_body=False))
    return found + _operation_routes(cloud) + _location_routes(cloud)


def _bound(handler: Handler, version: str) -> Callable[[Call], Answer | Awaitable[Answer]]:
    return lambda call: handler(Api(call, version))


def _management(
    handler: Callable[[Call], Answer | Awaitable[Answer]],
) -> Callable[[Call], Awaitable[Answer]]:
    """Methods that are not predictions do not exist on the host of a dedicated endpoint."""

    async def served(call: Call) -> Answer:
        if getattr(call.request.state, "dedicated_dns", ""):
            raise method_not_found()
        result = handler(call)
        return await result if inspect.isawaitable(result) else result

    return served


def _unsupported(verb: str) -> Handler:
    def refuse(api: Api) -> Json:
        endpoint = api.call.path["endpoint"]
        api.enter("aiplatform.endpoints.predict", f"endpoints/{endpoint}")
        raise GoogleError(
            "UNIMPLEMENTED",
            f"The local cloud does not have {verb}; use predict, rawPredict, streamRawPredict or chat/completions.",
        )

    return refuse


def _operation_routes(cloud: Cloud) -> list[BaseRoute]:
    api = OperationsApi(cloud)
    found: list[BaseRoute] = []
    for prefix in (*MESSAGES, "ui"):
        version = "v1" if prefix == "ui" else prefix
        for kind, owner in _OPERATION_OWNERS:
            parent = f"/{prefix}/{_LOCATION}{owner}/operations"
            one = f"{parent}/{{operation}}"
            table: list[tuple[str, str, Callable[[Api, str, bool], Any], tuple[str, ...]]] = [
                ("GET", parent, api.list_operations, _LIST),
                ("GET", one, api.get, ("name",)),
                ("DELETE", one, api.delete, ("name",)),
                ("POST", f"{one}:wait", api.wait, ("name", "timeout")),
                ("POST", f"{one}:cancel", api.cancel, ("name",)),
            ]
            for verb, template, handler, query in table:
                bound = _operation(handler, version, kind, prefix == "ui")
                found.append(Method(cloud, verb, template, bound, query=query))
    return found


_LIST = ("filter", "pageSize", "page_size", "pageToken", "page_token", "name", "returnPartialSuccess")


def _operation(
    handler: Callable[[Api, str, bool], Any], version: str, kind: str, keep: bool
) -> Callable[[Call], Awaitable[Answer]]:
    return _management(lambda call: handler(Api(call, version), kind, keep))


def _location_routes(cloud: Cloud) -> list[BaseRoute]:
    listing = ("filter", "pageSize", "pageToken", "extraLocationTypes", "name")
    found: list[BaseRoute] = []
    for prefix in (*MESSAGES, "ui"):
        version = "v1" if prefix == "ui" else prefix
        one, many = _bound(locations.get, version), _bound(locations.list_, version)
        found += [
            Method(cloud, "GET", f"/{prefix}/{_LOCATION}", _management(one), query=("name",)),
            Method(
                cloud, "GET", f"/{prefix}/projects/{{project}}/locations", _management(many), query=listing
            ),
        ]
    return found

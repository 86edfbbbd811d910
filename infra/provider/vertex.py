"""Vertex AI as this provider needs it: plain JSON in, plain JSON or `ApiError` out.

Changes go through the clients of google-cloud-aiplatform, which check every request against the API's own messages.
What only reads is a plain GET: those clients take 2 to 6 s to import, and a preview reads what every resource is.
Operations are asked for at their documented address: over REST, release 2.7.0 of those clients asks at `/ui/...`, which
Google does not document, and fails on an operation whose messages it lacks.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.auth.transport.requests import AuthorizedSession

from infra.plugin import Context
from infra.provider.access import Access
from infra.provider.failures import ApiError, from_operation
from infra.provider.rest import Json, Rest, translate
from infra.provider.retry import Pace

if TYPE_CHECKING:
    import requests
    from google.cloud import aiplatform_v1 as v1

# Keeps two threads from importing Google's library at once.
_importing = threading.Lock()


class Clients:
    """Google's clients for one region, shared by concurrent calls; each is made when it is first needed.

    Attributes:
        url: Base address of the region, without a version.
        session: Plain HTTP with the caller's credentials.
    """

    def __init__(self, url: str, session: AuthorizedSession) -> None:
        self.url = url
        self.session = session

    @functools.cached_property
    def models(self) -> v1.ModelServiceClient:
        """The client of the registry."""
        client: v1.ModelServiceClient = _library().ModelServiceClient(**self._options)
        return client

    @functools.cached_property
    def endpoints(self) -> v1.EndpointServiceClient:
        """The client of endpoints and of what is deployed on them."""
        client: v1.EndpointServiceClient = _library().EndpointServiceClient(**self._options)
        return client

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "transport": "rest",
            "client_options": {"api_endpoint": self.url},
            "credentials": self.session.credentials,
        }


class Vertex(Rest):
    """Vertex AI in one region, for the length of one call of the engine.

    Methods that only read are repeated while Google is out of reach, and given up at once when the user interrupts.
    Methods that change something are sent once: whether to repeat them is decided after looking at what is there.

    Raises of every method: `ApiError`; of those that read also `Interrupted`.
    """

    def __init__(self, ctx: Context, clients: Clients, way: Access, pace: Pace) -> None:
        super().__init__(ctx, clients.session, way, pace)
        self._clients = clients
        self._url = clients.url

    def get_model(self, name: str) -> Json | None:
        """The model, or None if there is none of that name."""
        return self.or_none(lambda: self.request("GET", f"{self._url}/v1/{name}"))

    def upload_model(self, parent: str, model_id: str, model: Json, *, version_of: str = "") -> Json:
        """Starts the upload of a model under a chosen id, or of another version of one; answers the operation."""
        v1 = self._library()
        request = v1.UploadModelRequest(
            parent=parent,
            model_id="" if version_of else model_id,
            parent_model=version_of,
            model=_message(v1.Model, model),
        )
        return self._send(lambda: self._clients.models.upload_model(request=request, timeout=self.pace.call))

    def update_model(self, model: Json, mask: Sequence[str]) -> Json:
        """Changes the masked fields (named as in the API's messages, in snake case) of a model."""
        v1 = self._library()
        return self.repeating(
            lambda: _json(
                self._clients.models.update_model(
                    model=_message(v1.Model, model),
                    update_mask=_mask(mask),
                    timeout=self.pace.call,
                )
            )
        )

    def make_default(self, version: str) -> None:
        """Makes a version (`models/ID@VERSION`) the one that the model's plain name means."""
        self._library()
        translate(
            lambda: self._clients.models.merge_version_aliases(
                name=version, version_aliases=["default"], timeout=self.pace.call
            )
        )

    def delete_model(self, name: str) -> Json:
        """Starts the deletion of a model with all its versions; answers the operation."""
        self._library()
        return self._send(lambda: self._clients.models.delete_model(name=name, timeout=self.pace.call))

    def get_endpoint(self, name: str) -> Json | None:
        """The endpoint with its deployed models and traffic split, or None."""
        endpoint = self.or_none(lambda: self.request("GET", f"{self._url}/v1/{name}"))
        self.grants.made(str((endpoint or {}).get("createTime", "")))
        return endpoint

    def deploy_model(self, endpoint: str, deployed_model: Json, traffic: Mapping[str, int]) -> Json:
        """Starts a deployment; in `traffic`, "0" stands for the model being deployed."""
        v1 = self._library()
        request = v1.DeployModelRequest(
            endpoint=endpoint,
            deployed_model=_message(v1.DeployedModel, deployed_model),
            traffic_split=dict(traffic),
        )
        return self._send(
            lambda: self._clients.endpoints.deploy_model(request=request, timeout=self.pace.call)
        )

    def undeploy_model(self, endpoint: str, id: str) -> Json:
        """Starts an undeployment; Google refuses one that has traffic while others are deployed."""
        v1 = self._library()
        request = v1.UndeployModelRequest(endpoint=endpoint, deployed_model_id=id)
        return self._send(
            lambda: self._clients.endpoints.undeploy_model(request=request, timeout=self.pace.call)
        )

    def mutate_deployed_model(self, endpoint: str, deployed_model: Json, mask: Sequence[str]) -> Json:
        """Starts a change in place of the masked fields (in snake case) of a deployed model."""
        v1 = self._library()
        request = v1.MutateDeployedModelRequest(
            endpoint=endpoint,
            deployed_model=_message(v1.DeployedModel, deployed_model),
            update_mask=_mask(mask),
        )
        return self._send(
            lambda: self._clients.endpoints.mutate_deployed_model(request=request, timeout=self.pace.call)
        )

    def set_traffic(self, endpoint: str, traffic: Mapping[str, int], etag: str) -> None:
        """Replaces the endpoint's traffic split, unless somebody changed the endpoint since `etag`."""
        changed = self._library().Endpoint(name=endpoint, traffic_split=dict(traffic), etag=etag)
        mask = _mask(["traffic_split"])
        translate(
            lambda: self._clients.endpoints.update_endpoint(
                endpoint=changed, update_mask=mask, timeout=self.pace.call
            )
        )

    def raw_predict(self, endpoint: Json, body: Json) -> requests.Response:
        """One request to whichever deployed model the split chooses; its answer names that one in a header."""
        from infra.recipes.urls import endpoint_urls

        dns = str(endpoint.get("dedicatedEndpointDns") or "").removeprefix("https://").rstrip("/")
        name = str(endpoint["name"])
        urls = endpoint_urls(
            name, region=name.split("/")[3], dedicated_dns=dns or None, api_endpoint=self.way.api_endpoint
        )
        return self.answer("POST", urls.raw_predict_url, body)

    def operation(self, name: str) -> Json | None:
        """An operation as Google's JSON, or None if it is not known, or no more."""
        return self.or_none(lambda: self.request("GET", f"{self._url}/v1/{name}"))

    def operations(self, parent: str) -> Iterator[Json]:
        """The operations under a resource, finished ones too, as far as Google still knows them."""
        page = ""
        while True:
            # Not filtered by Google: which filters it takes here is not documented, and there are only a few.
            query = {"pageSize": "100", **({"pageToken": page} if page else {})}
            listing = functools.partial(self.request, "GET", f"{self._url}/v1/{parent}/operations", query)
            answer = self.or_none(listing) or {}
            yield from answer.get("operations", [])
            page = answer.get("nextPageToken", "")
            if not page:
                return

    def cancel_operation(self, name: str) -> None:
        """Asks for an operation to be cancelled; Google may or may not do so."""
        self.request("POST", f"{self._url}/v1/{name}:cancel", body={})

    def being_deployed(self, endpoint: str) -> frozenset[str] | None:
        """The ids of all deployed models of an endpoint, also of those not ready; None if Google does not say.

        The parameter is in Google's documentation but not in the API's messages, so nothing may depend on the answer.
        """
        try:
            answer = self.request("GET", f"{self._url}/v1/{endpoint}", {"allDeploymentStates": "true"})
        except ApiError:
            return None
        models = answer.get("deployedModels", [])
        return frozenset(str(model.get("id")) for model in models if isinstance(model, dict))

    def _library(self) -> Any:
        """google-cloud-aiplatform, loaded on the first change of a run."""
        if not _loaded():
            self._ctx.status("loading Google's client library")
        return _library()

    def _send(self, call: Callable[[], Any]) -> Json:
        """Sends what starts an operation and answers that operation; one that failed at once raises its error."""
        operation = translate(call).operation
        if operation.done and operation.HasField("error"):
            raise from_operation({"code": operation.error.code, "message": operation.error.message})
        return {"name": operation.name, "done": operation.done}


def _loaded() -> bool:
    return "google.cloud.aiplatform_v1" in sys.modules


def _library() -> Any:
    with _importing:
        from google.cloud import aiplatform_v1

        return aiplatform_v1


def _mask(paths: Sequence[str]) -> Any:
    from google.protobuf import field_mask_pb2

    return field_mask_pb2.FieldMask(paths=list(paths))


def _json(message: Any) -> Json:
    """A message as the REST API writes it: lower camel case, enums by name, 64-bit integers as text."""
    from google.protobuf import json_format

    return dict(json_format.MessageToDict(type(message).pb(message)))


def _message(kind: Any, content: Json) -> Any:
    """A message of google-cloud-aiplatform from the REST API's JSON; an unknown field is an error of this provider."""
    from google.protobuf import json_format

    message = kind()
    json_format.ParseDict(content, kind.pb(message))
    return message

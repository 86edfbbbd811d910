"""What every method of the service shares: the request in one API version, access checks, documents, etags."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from infra.local.cloud.aiplatform import machines
from infra.local.cloud.aiplatform.messages import MESSAGES, Messages
from infra.local.cloud.aiplatform.names import SERVICE, Scope, found_errors
from infra.local.cloud.errors import GoogleError, aborted
from infra.local.cloud.rest import Call

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]
MODELS, ENDPOINTS = "aiplatform_models", "aiplatform_endpoints"
GPU_TIME = "aiplatform_gpu_time"


@dataclass
class Api:
    """One request to one method of one API version.

    Attributes:
        call: the request as the front end read it.
        version: "v1" or "v1beta1".
    """

    call: Call
    version: str

    @property
    def cloud(self) -> Cloud:
        """The local cloud."""
        return self.call.cloud

    @property
    def messages(self) -> Messages:
        """The version's message definitions."""
        return MESSAGES[self.version]

    @cached_property
    def enum_ints(self) -> bool:
        """Whether the client asked for enums as integers (Google's GAPIC clients do)."""
        alt = self.call.query.get("$alt") or self.call.query.get("alt") or ""
        return "enum-encoding=int" in alt

    @property
    def here(self) -> str:
        """The location as the request names it, for error texts."""
        return f"projects/{self.call.path['project']}/locations/{self.call.path['location']}"

    def enter(self, permission: str, below: str = "") -> Scope:
        """The request's scope, after the access checks.

        Args:
            permission: e.g. "aiplatform.endpoints.get".
            below: the resource under the location, e.g. "endpoints/1"; "" for the location itself.

        Raises:
            GoogleError: PERMISSION_DENIED for an unknown project, location, a disabled API or a missing permission.
        """
        location = self.call.path["location"]
        project = self.cloud.project(self.call.path["project"], SERVICE)
        if location not in machines.regions():
            raise GoogleError(
                "PERMISSION_DENIED", f"Permission denied on 'locations/{location}' (or it may not exist)."
            )
        resource = f"{self.here}/{below}" if below else self.here
        self.cloud.require(self.call.principal, permission, resource, service=SERVICE)
        return Scope(self.version, project, location)

    def body(self, message: str, at: str = "") -> Json:
        """The request's body as canonical JSON; see `Messages.parse`."""
        return self.messages.parse(message, self.call.body, at)

    def query(self, message: str, *extra: str) -> Json:
        """The request's query parameters as canonical JSON; see `Messages.query`."""
        return self.messages.query(message, self.call.query, extra)

    def answer(self, message: str, value: Mapping[str, Any]) -> Json:
        """An answer in this version's shape, enums as the client asked."""
        return self.messages.render(message, value, enum_ints=self.enum_ints)


def check_required(
    api: Api, message: str, value: Mapping[str, Any], at: str, skip: tuple[str, ...] = ()
) -> None:
    """Raises for every required field that is not set.

    Args:
        api: the request.
        message: the message that `value` is, e.g. "Endpoint".
        value: canonical JSON.
        at: path of the message in the request.
        skip: paths that need not be set.
    """
    faults = [fault for fault in api.messages.required(message, value, at) if fault[0] not in skip]
    if faults:
        raise found_errors(faults)


def make_etag(name: str, revision: int) -> str:
    """An opaque etag in the service's form."""
    digest = hashlib.sha256(f"{name}#{revision}".encode()).digest()
    return "AMEw9y" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def check_etag(given: str, current: str) -> None:
    """Raises ABORTED when the caller read an older revision; no etag means overwrite."""
    if given and given != current:
        raise aborted(
            f"The provided etag {given} does not match the current etag {current}. Read the resource again and retry."
        )


def generic_operation(messages: Messages, name: str) -> Json:
    """The metadata message an operation starts with, e.g. for "DeployModelOperationMetadata"."""
    return {"@type": messages.type_url(name)}


def response(messages: Messages, name: str, value: Mapping[str, Any]) -> Json:
    """The response message of an operation, with its "@type"."""
    return {"@type": messages.type_url(name), **messages.render(name, value)}


EMPTY_RESPONSE: Json = {"@type": "type.googleapis.com/google.protobuf.Empty"}

"""google.cloud.location.Locations of the service."""

from __future__ import annotations

from typing import Any

from infra.local.cloud.aiplatform import machines
from infra.local.cloud.aiplatform.context import Api
from infra.local.cloud.aiplatform.filters import DEFAULT_PAGE, MAX_PAGE
from infra.local.cloud.aiplatform.names import SERVICE
from infra.local.cloud.errors import invalid
from infra.local.cloud.store import decode_token, encode_token

Json = dict[str, Any]


def _shape(number: str, region: str) -> Json:
    return {
        "name": f"projects/{number}/locations/{region}",
        "locationId": region,
        "labels": {"cloud.googleapis.com/region": region},
    }


def get(api: Api) -> Json:
    """`locations.get`."""
    scope = api.enter("aiplatform.locations.get")
    return _shape(scope.project.number, scope.location)


def list_(api: Api) -> Json:
    """`locations.list`: every region of online prediction."""
    query = api.call.query
    reference = api.call.path["project"]
    permission = "aiplatform.locations.list"
    project = api.cloud.require(api.call.principal, permission, f"projects/{reference}", service=SERVICE)
    try:
        size = min(int(query.get("pageSize") or 0) or DEFAULT_PAGE, MAX_PAGE)
    except ValueError as error:
        raise invalid(f"Invalid value at 'page_size' (TYPE_INT32), \"{query['pageSize']}\"") from error
    if size < 0:
        raise invalid(f"Invalid page_size {size}: it must not be negative.")
    after = decode_token(query.get("pageToken", ""))
    rest = [region for region in machines.regions() if region > after]
    answer: Json = {"locations": [_shape(project.number, region) for region in rest[:size]]}
    if len(rest) > size:
        answer["nextPageToken"] = encode_token(rest[size - 1])
    return answer

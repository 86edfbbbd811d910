"""google.longrunning.Operations under locations, endpoints and models.

Google's generated REST clients call these under /ui/, everybody else under the API version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from infra.local.cloud.aiplatform.context import Api
from infra.local.cloud.aiplatform.filters import DEFAULT_PAGE, MAX_PAGE, Fields, compile_filter
from infra.local.cloud.aiplatform.messages import MESSAGES
from infra.local.cloud.errors import invalid, not_found
from infra.local.cloud.operations import COLLECTION, view
from infra.local.cloud.store import decode_token, encode_token

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]
_TYPE = re.compile(r"type\.googleapis\.com/google\.cloud\.aiplatform\.(v1|v1beta1)\.(\w+)")
#: Longest that :wait holds a request, in seconds; clients ask again.
MAX_WAIT = 30.0
_DURATION = re.compile(r"(\d+(?:\.\d{1,9})?)s")

_FIELDS = Fields(
    values={
        "done": lambda item: "true" if item.get("done") else "false",
        "name": lambda item: str(item["name"]),
        "metadata.genericMetadata.createTime": lambda item: str(
            item["metadata"]["genericMetadata"]["createTime"]
        ),
    },
    operators={"done": ("=", "!="), "name": ("=", "!="), "metadata.genericMetadata.createTime": ("=", "!=")},
    labels=False,
)


class OperationsApi:
    """The operations of endpoints, models and locations as clients see them."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def _name(self, api: Api, kind: str) -> tuple[str, str]:
        """(parent's name, operation's name) after the access checks; `kind` is "endpoints", "models" or ""."""
        path = api.call.path
        below = f"{kind}/{path['owner']}" if kind else ""
        permission = f"aiplatform.{kind}.get" if kind else "aiplatform.operations.list"
        scope = api.enter(permission, below)
        parent = f"{scope.parent}/{below}" if below else scope.parent
        name = f"{parent}/operations/{path.get('operation', '')}"
        if not kind and "operation" in path:
            name = self._anywhere(scope.parent, path["operation"]) or name
        return parent, name

    def _anywhere(self, location: str, operation_id: str) -> str:
        """An operation named without its resource, which the service also finds."""
        for key, _ in self.cloud.store.items(COLLECTION, f"{location}/"):
            if key.endswith(f"/operations/{operation_id}"):
                return key
        return ""

    def _shape(self, api: Api, operation: Json, *, keep: bool) -> Json:
        """The operation in the request's version; as it was created where the path has none (/ui/)."""
        shaped = dict(operation)
        for field in ("metadata", "response"):
            content = operation.get(field)
            match = _TYPE.fullmatch(content["@type"]) if content else None
            if content is None or match is None:
                continue
            messages = MESSAGES[match[1] if keep else api.version]
            body = {key: value for key, value in content.items() if key != "@type"}
            shaped[field] = {
                "@type": messages.type_url(match[2]),
                **messages.render(match[2], body, enum_ints=api.enum_ints),
            }
        return shaped

    def get(self, api: Api, kind: str, keep: bool) -> Json:
        """`operations.get`."""
        _, name = self._name(api, kind)
        return self._shape(api, self._operation(name), keep=keep)

    def _operation(self, name: str) -> Json:
        if self.cloud.store.get(COLLECTION, name) is None:
            raise not_found(f"Operation {name} not found.")
        return self.cloud.operations.get(name)

    def list_operations(self, api: Api, kind: str, keep: bool) -> Json:
        """`operations.list`: newest last, with `filter` on done and name."""
        parent, _ = self._name(api, kind)
        query = api.call.query
        wanted = compile_filter(query.get("filter", ""), _FIELDS)
        try:
            size = int(query.get("pageSize") or query.get("page_size") or 0)
        except ValueError as error:
            raise invalid(
                f"Invalid value at 'page_size' (TYPE_INT32), \"{query.get('pageSize')}\""
            ) from error
        if size < 0:
            raise invalid(f"Invalid page_size {size}: it must not be negative.")
        size = min(size or DEFAULT_PAGE, MAX_PAGE)
        after = decode_token(query.get("pageToken") or query.get("page_token") or "")
        prefix = f"{parent}/operations/" if kind else f"{parent}/"
        found: list[Json] = []
        last = token = ""
        for key, record in self.cloud.store.items(COLLECTION, prefix, after):
            operation = view(record)
            if record.get("forgotten") or not wanted(operation):
                continue
            if len(found) == size:
                token = encode_token(last)
                break
            found.append(self._shape(api, operation, keep=keep))
            last = key
        return {**({"operations": found} if found else {}), **({"nextPageToken": token} if token else {})}

    async def wait(self, api: Api, kind: str, keep: bool) -> Json:
        """`operations.wait`: until it is done or the time is up, best effort."""
        _, name = self._name(api, kind)
        self._operation(name)
        text = api.call.query.get("timeout") or api.call.body.get("timeout") or f"{MAX_WAIT}s"
        match = _DURATION.fullmatch(str(text))
        if match is None:
            raise invalid(
                f"Invalid value at 'timeout' (type.googleapis.com/google.protobuf.Duration), \"{text}\""
            )
        operation = await self.cloud.operations.wait(name, min(float(match[1]), MAX_WAIT))
        return self._shape(api, operation, keep=keep)

    async def cancel(self, api: Api, kind: str, keep: bool) -> Json:
        """`operations.cancel`: best effort; the operation then ends with error code 1."""
        del keep
        _, name = self._name(api, kind)
        self._operation(name)
        await self.cloud.operations.cancel(name)
        return {}

    def delete(self, api: Api, kind: str, keep: bool) -> Json:
        """`operations.delete`: forgets the record; does not cancel."""
        del keep
        _, name = self._name(api, kind)
        self._operation(name)
        self.cloud.operations.delete(name)
        return {}

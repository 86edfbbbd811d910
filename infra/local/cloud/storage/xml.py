"""The one method of Cloud Storage's XML API that is here: reading an object at /BUCKET/OBJECT.

Google's Go client reads this way unless it is told otherwise, and with it Pulumi's `gs://` backend.
"""

from __future__ import annotations

import re
from typing import Final
from xml.sax.saxutils import escape

from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import GoogleError
from infra.local.cloud.rest import Handler, Method

#: First parts of paths that other services answer; on the real host they are hosts of their own.
_TAKEN: Final = re.compile(r"v\d+\w*|ui|upload|download|resumable|storage|dedicated|batch|_local")
_CODES: Final = {
    400: "InvalidArgument",
    401: "AuthenticationRequired",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
}


class ReadObject(Method):
    """GET /BUCKET/OBJECT, for buckets that exist; any other path is left to whoever has it."""

    def __init__(self, cloud: Cloud, handler: Handler) -> None:
        super().__init__(cloud, "GET", "/{bucket}/{object**}", handler, query=None, error_style=xml_error)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Full where the first part of the path is a bucket."""
        found, child = super().matches(scope)
        if found is Match.NONE:
            return found, child
        bucket = child["google_path"]["bucket"]
        if _TAKEN.fullmatch(bucket) or self.cloud.objects.bucket(bucket) is None:
            return Match.NONE, {}
        return found, child


def xml_error(error: GoogleError) -> Response:
    """A refusal in the XML API's form."""
    if error.http_status == 304:
        return Response(status_code=304)
    code = _CODES.get(error.http_status, "InternalError")
    body = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{code}</Code><Message>{escape(error.message)}</Message></Error>"
    )
    return Response(body, error.http_status, error.headers, media_type="application/xml; charset=UTF-8")

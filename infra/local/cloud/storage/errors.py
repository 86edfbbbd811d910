"""Cloud Storage's own error envelope and wording; it differs from every other Google API's."""

from __future__ import annotations

from starlette.responses import Response

from infra.local.cloud.errors import GoogleError
from infra.local.cloud.rest import GoogleJson

#: HTTP status -> the usual `reason`. Source: JSON API "HTTP status and error codes".
_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    500: "backendError",
    501: "notImplemented",
    503: "backendError",
}


def storage_error(error: GoogleError) -> Response:
    """`{"error": {code, message, errors: [{message, domain, reason, …}]}}`."""
    status, headers = error.http_status, error.headers
    if status == 304:
        return Response(status_code=304)
    if status == 401:
        error = GoogleError(
            "UNAUTHENTICATED", "Invalid Credentials", location=("header", "Authorization"), reason="authError"
        )
    entry = {
        "message": error.message,
        "domain": "global",
        "reason": error.reason or _REASONS.get(status, "invalid"),
    }
    if error.location:
        entry["locationType"], entry["location"] = error.location
    disabled = next((detail for detail in error.details if detail.get("reason") == "SERVICE_DISABLED"), None)
    if disabled:
        entry |= {"domain": "usageLimits", "reason": "accessNotConfigured"}
    body = {"error": {"code": status, "message": error.message, "errors": [entry]}}
    if disabled:
        body["error"] |= {"status": error.code, "details": error.details}
    return GoogleJson(body, status_code=status, headers=headers)


def media_error(error: GoogleError) -> Response:
    """A failed download: its text alone, as the real service answers there."""
    if error.http_status == 304:
        return Response(status_code=304)
    return Response(error.message, error.http_status, error.headers, media_type="text/html")

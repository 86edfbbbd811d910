"""Google's error model: canonical codes, HTTP statuses, the JSON envelope, and texts that several services share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

#: Canonical name -> (google.rpc.Code number, HTTP status). Source: googleapis google/rpc/code.proto.
CODES: Mapping[str, tuple[int, int]] = {
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "DATA_LOSS": (15, 500),
    "UNAUTHENTICATED": (16, 401),
}
NAMES: Mapping[int, str] = {number: name for name, (number, _) in CODES.items()}

#: Titles that Google's texts use for an API. Source: each API's service configuration.
SERVICE_TITLES: Mapping[str, str] = {
    "aiplatform.googleapis.com": "Vertex AI API",
    "cloudquotas.googleapis.com": "Cloud Quotas API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "compute.googleapis.com": "Compute Engine API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "logging.googleapis.com": "Cloud Logging API",
    "monitoring.googleapis.com": "Cloud Monitoring API",
    "serviceusage.googleapis.com": "Service Usage API",
    "storage.googleapis.com": "Google Cloud Storage JSON API",
}


class GoogleError(Exception):
    """An error that leaves the server in Google's envelope, or ends a long-running operation.

    Attributes:
        code: canonical name, a key of `CODES`.
        message: the text the caller reads.
        details: `google.rpc` detail messages as JSON, each with "@type".
        http_status: HTTP status; only where the service differs from the canonical one.
        reason: Cloud Storage's `errors[].reason`, where it is not the usual one for the status.
        location: Cloud Storage's (locationType, location), e.g. ("header", "If-Match").
        headers: headers of the answer, e.g. the content-range of a 416.
        lines: what the container of a failed deployment logged before; for planned faults.
    """

    def __init__(
        self,
        code: str,
        message: str,
        details: Iterable[Mapping[str, Any]] = (),
        *,
        http_status: int | None = None,
        reason: str | None = None,
        location: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = [dict(detail) for detail in details]
        self.http_status = CODES[code][1] if http_status is None else http_status
        self.reason = reason
        self.location = location
        self.headers = dict(headers or {})
        self.lines: Sequence[str] = ()

    def envelope(self) -> Json:
        """The body of an HTTP error answer."""
        error: Json = {"code": self.http_status, "message": self.message, "status": self.code}
        if self.details:
            error["details"] = self.details
        return {"error": error}

    def status(self) -> Json:
        """The `google.rpc.Status` of a failed operation (its code is the canonical number)."""
        status: Json = {"code": CODES[self.code][0], "message": self.message}
        if self.details:
            status["details"] = self.details
        return status


def from_status(status: Mapping[str, Any]) -> GoogleError:
    """The error a stored `google.rpc.Status` stands for."""
    return GoogleError(NAMES[int(status["code"])], str(status["message"]), status.get("details", ()))


def error_info(reason: str, domain: str, metadata: Mapping[str, str]) -> Json:
    """A `google.rpc.ErrorInfo` detail."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": domain,
        "metadata": dict(metadata),
    }


def bad_request(violations: Sequence[tuple[str, str]]) -> Json:
    """A `google.rpc.BadRequest` detail of (field, description) pairs."""
    return {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [
            {"field": field, "description": description} if field else {"description": description}
            for field, description in violations
        ],
    }


def invalid(message: str, violations: Sequence[tuple[str, str]] = ()) -> GoogleError:
    """INVALID_ARGUMENT with optional (field, description) violations."""
    return GoogleError("INVALID_ARGUMENT", message, [bad_request(violations)] if violations else ())


def not_found(message: str) -> GoogleError:
    """NOT_FOUND with the service's own text."""
    return GoogleError("NOT_FOUND", message)


def already_exists(message: str) -> GoogleError:
    """ALREADY_EXISTS with the service's own text."""
    return GoogleError("ALREADY_EXISTS", message)


def failed_precondition(message: str) -> GoogleError:
    """FAILED_PRECONDITION (HTTP 400) with the service's own text."""
    return GoogleError("FAILED_PRECONDITION", message)


def aborted(message: str) -> GoogleError:
    """ABORTED (HTTP 409), what a stale etag gets."""
    return GoogleError("ABORTED", message)


def denied(permission: str, resource: str, service: str) -> GoogleError:
    """PERMISSION_DENIED in the words of Google's IAM.

    Args:
        permission: e.g. "aiplatform.endpoints.get".
        resource: relative name, e.g. "projects/p/locations/us-central1/endpoints/1".
        service: e.g. "aiplatform.googleapis.com".
    """
    return GoogleError(
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource '//{service}/{resource}' (or it may not exist).",
        [error_info("IAM_PERMISSION_DENIED", service, {"permission": permission, "resource": resource})],
    )


def unknown_project(project: str, service: str) -> GoogleError:
    """What an API answers for a project that does not exist (or that the caller may not see)."""
    return GoogleError(
        "PERMISSION_DENIED",
        f"Permission denied on resource project {project}.",
        [
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [
                    {
                        "description": "Google developers console",
                        "url": "https://console.developers.google.com",
                    }
                ],
            },
            error_info(
                "CONSUMER_INVALID", "googleapis.com", {"consumer": f"projects/{project}", "service": service}
            ),
        ],
    )


def service_disabled(service: str, project_number: str) -> GoogleError:
    """What an API answers while it is not enabled in the project."""
    title = SERVICE_TITLES.get(service, service)
    url = f"https://console.developers.google.com/apis/api/{service}/overview?project={project_number}"
    message = (
        f"{title} has not been used in project {project_number} before or it is disabled. Enable it by visiting "
        f"{url} then retry. If you enabled this API recently, wait a few minutes for the action to propagate to "
        "our systems and retry."
    )
    return GoogleError(
        "PERMISSION_DENIED",
        message,
        [
            error_info(
                "SERVICE_DISABLED",
                "googleapis.com",
                {
                    "service": service,
                    "consumer": f"projects/{project_number}",
                    "containerInfo": project_number,
                    "serviceTitle": title,
                    "activationUrl": url,
                },
            ),
            {
                "@type": "type.googleapis.com/google.rpc.LocalizedMessage",
                "locale": "en-US",
                "message": message,
            },
            {
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{"description": "Google developers console API activation", "url": url}],
            },
        ],
    )


def unauthenticated(reason: str, service: str = "") -> GoogleError:
    """UNAUTHENTICATED, e.g. reason "ACCESS_TOKEN_EXPIRED"."""
    return GoogleError(
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
        "valid authentication credential. See "
        "https://developers.google.com/identity/sign-in/web/devconsole-project.",
        [error_info(reason, "googleapis.com", {"service": service} if service else {})],
    )


def method_not_found() -> GoogleError:
    """What Google's front end says of a path or verb that no API has."""
    return GoogleError("NOT_FOUND", "Method not found.")

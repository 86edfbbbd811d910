"""What went wrong at Google, sorted by what can be done about it, and told as an instruction. Pure.

The texts recognised here are those that users of Vertex AI report; an answer that none of them fits is shown as it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

# google.rpc.Code, which the error of an operation carries as a number.
_CODES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

# HTTP statuses of answers that carry no envelope, for example those of a proxy.
_BY_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ApiError(Exception):
    """Google refused a call, did not answer it, or ended an operation with an error.

    Attributes:
        status: The canonical code, for example "RESOURCE_EXHAUSTED".
        message: Google's text.
        details: The `details` of the error, as JSON.
        answered: False when no answer that can be read arrived, so that the call may or may not have had its effect.
        retry_after: Seconds that Google asks to wait before the call is repeated, or None.
        kind: What it is about, where that is known better than from the code and the text.
        stage: The last stage seen of the operation that was watched when it happened; empty where there was none.
    """

    def __init__(
        self,
        status: str,
        message: str,
        details: Sequence[Mapping[str, Any]] = (),
        *,
        answered: bool = True,
        retry_after: float | None = None,
        kind: Kind | None = None,
    ) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.details = details
        self.answered = answered
        self.retry_after = retry_after
        self.kind = kind
        self.stage = ""


def from_response(http: int, body: Any, text: str = "", headers: Mapping[str, str] | None = None) -> ApiError:
    """The error in an HTTP answer; `body` is its JSON, or anything else when it has none."""
    envelope = body.get("error") if isinstance(body, Mapping) else None
    wait = retry_after(headers or {})
    asked = "" if wait is None else f" (Google asks to wait {wait:.0f} s)"
    if isinstance(envelope, Mapping):
        status = envelope.get("status") or _BY_HTTP.get(http, "INTERNAL" if http >= 500 else "UNKNOWN")
        message = f"{envelope.get('message', '')}{asked}"
        return ApiError(str(status), message, _dicts(envelope.get("details")), retry_after=wait)
    status = _BY_HTTP.get(http, "INTERNAL" if http >= 500 else "UNKNOWN")
    # A proxy that gave up does not know what became of the request behind it; nor does one that found nothing (404)
    # know what exists: what Google says of a resource that is not there is an envelope.
    unknown = http >= 500 or http == 404
    status = "UNAVAILABLE" if http == 404 else status
    message = f"HTTP {http} {_plain(text)[:300]}{asked}".strip()
    return ApiError(status, message, answered=not unknown, retry_after=wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds in a Retry-After header (RFC 9110, 10.2.3: seconds or a date), None where there are none.

    A date is compared with the answer's own Date, so that this machine's clock does not matter.
    """
    given = next((value.strip() for key, value in headers.items() if key.lower() == "retry-after"), "")
    date = next((value for key, value in headers.items() if key.lower() == "date"), "")
    if re.fullmatch(r"\d{1,9}", given):
        return float(given)
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    try:
        now = parsedate_to_datetime(date)
    except ValueError:
        now = datetime.now(UTC)
    return max(0.0, math.ceil(until.timestamp() - now.timestamp()))


def _plain(text: str) -> str:
    """A page's text without its markup, its title not twice."""
    words = re.sub(r"<(script|style|title)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    return " ".join(words.split()) or " ".join(re.sub(r"<[^>]*>", " ", text).split())


def from_operation(error: Mapping[str, Any]) -> ApiError:
    """The error of an operation that ended."""
    code = error.get("code", 2)
    status = _CODES[code] if isinstance(code, int) and 0 <= code < len(_CODES) else "UNKNOWN"
    return ApiError(status, str(error.get("message", "")), _dicts(error.get("details")))


class Kind(Enum):
    """What a failure is about; the value is a heading for it."""

    QUOTA = "the quota is too small"
    STOCK_OUT = "the region has no such machine free at present"
    CONTAINER = "the container did not start"
    BUCKET = "the container may not read its bucket"
    SERVICE_ACCOUNT = "the service account cannot be used"
    PERMISSION = "permission is missing"
    PERIMETER = "VPC Service Controls forbid the call"
    BILLING = "billing is not enabled for the project"
    CREDENTIALS = "the credentials are not accepted"
    DISABLED = "the Vertex AI API is not ready in the project"
    EXISTS = "the name is taken"
    MISSING = "something named in the request does not exist"
    BUSY = "another operation is changing the same resource"
    RATE = "too many requests a minute"
    TRANSIENT = "Google had an internal problem"
    LOST = "Google does not know the operation any more"
    CANCELLED = "the operation was cancelled"
    INVALID = "the request was not accepted"


_TEXTS: tuple[tuple[Kind, str], ...] = (
    (
        Kind.DISABLED,
        "SERVICE_DISABLED|has not been used in project|service agents? (?:is|are) being provisioned",
    ),
    (Kind.PERIMETER, "vpcServiceControlsUniqueIdentifier|SECURITY_POLICY_VIOLATED"),
    (
        Kind.BILLING,
        "BILLING_DISABLED|requires billing to be enabled|billing account .* is disabled in state",
    ),
    (
        Kind.QUOTA,
        "quotas? (?:metrics? )?(?:is |are )?exceed|exceeded? quota|quota exceeded|QUOTA_EXCEEDED",
    ),
    (
        Kind.STOCK_OUT,
        r"temporarily unavailable[.,] (?:please deploy|machine type)|stock.?out|resources? pool exhausted"
        "|does not have enough resources available|insufficient capacity",
    ),
    (
        Kind.CONTAINER,
        "model server (?:exited|never became ready|terminated)|container (?:exited|failed|crashed)"
        "|failed to (?:pull|start) .*(?:image|container)|health check",
    ),
    (
        Kind.SERVICE_ACCOUNT,
        r"act as (?:the )?service account|iam\.serviceAccounts\.actAs|failed to add iam policy binding"
        "|service account .* (?:does not|may not) exist",
    ),
    (
        Kind.BUSY,
        "other operations? running|operation (?:is )?(?:already )?in progress|concurrent"
        "|deployed or being.deployed|being undeployed"
        "|is (?:already )?being (?:deployed|undeployed|deleted|updated|mutated|uploaded)",
    ),
)

_RATE = re.compile(r"RATE_LIMIT_EXCEEDED|\bper (?:minute|second|100 seconds)\b", re.IGNORECASE)

_BY_STATUS: Mapping[str, Kind] = {
    "PERMISSION_DENIED": Kind.PERMISSION,
    "UNAUTHENTICATED": Kind.CREDENTIALS,
    "ALREADY_EXISTS": Kind.EXISTS,
    "NOT_FOUND": Kind.MISSING,
    "ABORTED": Kind.BUSY,
    "RESOURCE_EXHAUSTED": Kind.RATE,
    "INTERNAL": Kind.TRANSIENT,
    "UNAVAILABLE": Kind.TRANSIENT,
    "DEADLINE_EXCEEDED": Kind.TRANSIENT,
    "UNKNOWN": Kind.TRANSIENT,
    "CANCELLED": Kind.CANCELLED,
}


def classify(error: ApiError) -> Kind:
    """What the failure is about: by Google's words first, then by the code, which covers several cases each."""
    if error.kind is not None:
        return error.kind
    if not error.answered:
        return Kind.TRANSIENT
    reasons = " ".join(str(detail.get("reason", "")) for detail in error.details)
    text = f"{error.message} {reasons}"
    if _RATE.search(text):  # "Quota exceeded for ... limit 'x per minute'": passes, unlike a quota of GPUs
        return Kind.RATE
    for kind, pattern in _TEXTS:
        if re.search(pattern, text, re.IGNORECASE):
            return kind
    return _BY_STATUS.get(error.status, Kind.INVALID)


@dataclass(frozen=True)
class Request:
    """What was asked for, as far as a remedy can name it; empty where it does not apply."""

    project: str = ""
    location: str = ""
    machine_type: str = ""
    accelerator_type: str = ""
    accelerators: int = 0
    replicas: int = 0
    service_account: str = ""

    @property
    def hardware(self) -> str:
        """For example "1 x g2-standard-12 with 1 x NVIDIA_L4"."""
        text = f"{self.replicas} x {self.machine_type}"
        return (
            f"{text} with {self.accelerators} x {self.accelerator_type} each" if self.accelerators else text
        )


def remedy(kind: Kind, message: str, request: Request) -> str:
    """What to do about a failure, in one or two sentences."""
    place = f"{request.location or 'the region'}"
    if kind is Kind.QUOTA:
        named = ", ".join(
            re.findall(r"\b[A-Z][A-Za-z0-9]*PerProjectPerRegion\b|[a-z]+\.googleapis\.com/\w+", message)
        )
        total = request.accelerators * request.replicas
        needed = f" It takes {total} {request.accelerator_type} in {place}." if total else ""
        which = named or "the quota for serving custom models"
        return (
            f"Ask for more of {which} in {place}:{needed} "
            f"https://console.cloud.google.com/iam-admin/quotas?project={request.project} ; or choose another "
            "hardware.machine_type, fewer replicas or another gcp:region. A deployment that failed may hold its quota "
            "for up to 30 minutes, and one that is being replaced holds its own until the new one serves."
        )
    if kind is Kind.STOCK_OUT:
        return (
            f"{request.hardware} cannot be had in {place} now: run `pulumi up` again later, or choose another "
            "hardware.machine_type, hardware.spot, or gcp:region."
        )
    if kind is Kind.CONTAINER:
        return (
            "Read the container's lines above: they say why it stopped. Then change the stack file and run "
            "`pulumi up` again."
        )
    if kind is Kind.BUCKET:
        account = request.service_account or "the deployment's service account"
        return (
            f"Grant {account} roles/storage.objectViewer on the bucket that weights: or lora: names. "
            "A grant takes two to seven minutes to work; then run `pulumi up` again."
        )
    if kind is Kind.SERVICE_ACCOUNT:
        account = request.service_account or "the service account"
        return (
            f"Grant yourself roles/iam.serviceAccountUser on {account}, and check that it exists. "
            "A grant takes two to seven minutes to work; then run `pulumi up` again."
        )
    if kind is Kind.PERMISSION:
        permission = re.search(r"[Pp]ermission '([^']+)'", message)
        which = permission[1] if permission else "named above"
        return (
            f"Grant the caller the permission {which} on project {request.project or 'in question'} "
            "(roles/aiplatform.user has those needed here). A grant takes two to seven minutes to work."
        )
    if kind is Kind.PERIMETER:
        return (
            "No role of the project changes that: show the identifier in Google's answer to whoever keeps the service "
            "perimeter, who can allow the call with an ingress rule; or run it from inside the perimeter."
        )
    if kind is Kind.BILLING:
        return (
            f"Link the project to an open billing account: https://console.cloud.google.com/billing/linkedaccount"
            f"?project={request.project} ; it takes a few minutes to work. Then run `pulumi up` again."
        )
    if kind is Kind.CREDENTIALS:
        return CREDENTIALS_REMEDY
    if kind is Kind.DISABLED:
        return (
            f"Run `gcloud services enable aiplatform.googleapis.com --project {request.project}`, wait a few minutes, "
            "then run `pulumi up` again."
        )
    return _OTHER.get(kind, "Correct what the message names, then run `pulumi up` again.")


CREDENTIALS_REMEDY = (
    "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to a key file. A token in "
    "GOOGLE_OAUTH_ACCESS_TOKEN or vertexserving:accessToken lasts an hour: "
    "`gcloud auth print-access-token` makes another."
)

_OTHER: Mapping[Kind, str] = {
    Kind.BUSY: "Wait until the other operation has ended, then run `pulumi up` again.",
    Kind.RATE: "Wait a minute, then run `pulumi up` again.",
    Kind.TRANSIENT: "Run `pulumi up` again; if it stays, see https://status.cloud.google.com.",
    Kind.CANCELLED: "Run `pulumi up` again.",
    Kind.LOST: "Run `pulumi up` again: it looks at what is there, and goes on from it.",
    Kind.MISSING: "Run `pulumi refresh`, so that the state agrees with what exists, then `pulumi up`.",
}


_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{6,}\b")


def redact(text: str, *secrets: str | None) -> str:
    """`text` without the given secrets, and without anything that looks like a Hugging Face token."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[secret]")
    return _TOKEN.sub("hf_[secret]", text)


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []

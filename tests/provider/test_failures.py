"""What a failure is about, and what the user is told to do about it."""

from __future__ import annotations

import pytest

from infra.diagnose import recognise
from infra.provider.failures import (
    ApiError,
    Kind,
    Request,
    classify,
    from_operation,
    from_response,
    redact,
    remedy,
)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (
            "RESOURCE_EXHAUSTED",
            "The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion 8",
            Kind.QUOTA,
        ),
        (
            "RESOURCE_EXHAUSTED",
            "The following quota metrics exceed quota limits: aiplatform.googleapis.com/x",
            Kind.QUOTA,
        ),
        ("RESOURCE_EXHAUSTED", "Resource exhausted, please try again later.", Kind.RATE),
        (
            "UNAVAILABLE",
            "Machine type temporarily unavailable, please deploy with a different machine type or retry.",
            Kind.STOCK_OUT,
        ),
        (
            "UNAVAILABLE",
            'Machine type temporarily unavailable. Machine type: "g2-standard-24".',
            Kind.STOCK_OUT,
        ),
        ("UNAVAILABLE", "The service is currently unavailable.", Kind.TRANSIENT),
        ("INTERNAL", "Internal error encountered.", Kind.TRANSIENT),
        (
            "FAILED_PRECONDITION",
            "Model server exited unexpectedly. Model server logs can be found at x",
            Kind.CONTAINER,
        ),
        ("FAILED_PRECONDITION", "model server never became ready. Please validate", Kind.CONTAINER),
        ("FAILED_PRECONDITION", "Endpoint x has deployed or being-deployed DeployedModel(s): y", Kind.BUSY),
        ("FAILED_PRECONDITION", "There are other operations running on the Endpoint", Kind.BUSY),
        ("ABORTED", "etag mismatch", Kind.BUSY),
        (
            "PERMISSION_DENIED",
            "You do not have permission to act as service account: a@b",
            Kind.SERVICE_ACCOUNT,
        ),
        ("PERMISSION_DENIED", "Permission 'aiplatform.endpoints.deploy' denied on resource", Kind.PERMISSION),
        (
            "PERMISSION_DENIED",
            "Vertex AI API has not been used in project 1 before or it is disabled.",
            Kind.DISABLED,
        ),
        ("FAILED_PRECONDITION", "Service agents are being provisioned", Kind.DISABLED),
        (
            "PERMISSION_DENIED",
            "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: AbC",
            Kind.PERIMETER,
        ),
        (
            "PERMISSION_DENIED",
            "This API method requires billing to be enabled. Please enable billing on project #1 by visiting x",
            Kind.BILLING,
        ),
        ("UNAUTHENTICATED", "Request had invalid authentication credentials.", Kind.CREDENTIALS),
        ("NOT_FOUND", "The Model does not exist.", Kind.MISSING),
        ("ALREADY_EXISTS", "already exists", Kind.EXISTS),
        ("INVALID_ARGUMENT", "List of found errors:\t1.Field: x", Kind.INVALID),
        ("CANCELLED", "The operation was cancelled.", Kind.CANCELLED),
    ],
)
def test_classify(status: str, message: str, kind: Kind) -> None:
    assert classify(ApiError(status, message)) is kind


def test_no_answer_is_transient_whatever_the_text() -> None:
    assert classify(ApiError("UNAVAILABLE", "quota exceeded", answered=False)) is Kind.TRANSIENT


def test_the_reason_in_the_details_counts() -> None:
    assert classify(ApiError("PERMISSION_DENIED", "no", [{"reason": "SERVICE_DISABLED"}])) is Kind.DISABLED


def test_the_code_comes_from_the_body_before_the_http_status() -> None:
    body = {
        "error": {"code": 400, "message": "m", "status": "FAILED_PRECONDITION", "details": [{"a": 1}, "x"]}
    }
    error = from_response(400, body)
    assert (error.status, error.message, error.details) == ("FAILED_PRECONDITION", "m", [{"a": 1}])


@pytest.mark.parametrize(
    ("http", "status"), [(502, "UNAVAILABLE"), (500, "INTERNAL"), (404, "UNAVAILABLE"), (418, "UNKNOWN")]
)
def test_an_answer_without_envelope(http: int, status: str) -> None:
    error = from_response(http, None, "<html>\n  Bad   Gateway</html>")
    assert error.status == status
    assert error.message == f"HTTP {http} Bad Gateway"
    assert error.answered is (http < 500 and http != 404)


@pytest.mark.parametrize(
    ("code", "status"), [(8, "RESOURCE_EXHAUSTED"), (14, "UNAVAILABLE"), (99, "UNKNOWN"), ("x", "UNKNOWN")]
)
def test_codes_of_operations(code: object, status: str) -> None:
    assert from_operation({"code": code, "message": "m"}).status == status


REQUEST = Request(
    "my-project", "us-central1", "g2-standard-24", "NVIDIA_L4", 2, 3, "sa@p.iam.gserviceaccount.com"
)


def test_the_quota_remedy_has_the_quota_the_number_and_the_address() -> None:
    text = remedy(
        Kind.QUOTA,
        "The following quotas are exceeded: CustomModelServingL4GPUsPerProjectPerRegion 8",
        REQUEST,
    )
    assert (
        "CustomModelServingL4GPUsPerProjectPerRegion in us-central1: It takes 6 NVIDIA_L4 in us-central1."
        in text
    )
    assert "https://console.cloud.google.com/iam-admin/quotas?project=my-project" in text


def test_every_kind_has_a_remedy() -> None:
    for kind in Kind:
        assert len(remedy(kind, "", REQUEST)) > 20
        assert remedy(kind, "", Request())


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (
            "ValueError: The model's max seq len (4096) is larger than the maximum number of tokens that can be "
            "stored in KV cache (2256). Try increasing `gpu_memory_utilization`",
            "set it to 2256 or less",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.91 GiB.",
            "lower vllm.max_num_seqs",
        ),
        ("OSError: You are trying to access a gated repo.", "vertex-vllm:hfToken"),
        ("api_server.py: error: unrecognized arguments: --swap-spce=16", "does not know --swap-spce=16"),
        ("ValueError: No available memory for the cache blocks.", "raise vllm.gpu_memory_utilization"),
        (
            "api_server.py: error: argument --dtype: invalid choice: 'x'",
            "its argument --dtype (invalid choice: 'x')",
        ),
    ],
)
def test_diagnose(line: str, advice: str) -> None:
    assert advice in recognise(["INFO something", line, "INFO more"])[0].sentence


def test_an_unknown_failure_has_no_diagnosis() -> None:
    assert not recognise(["Segmentation fault"])


def test_redact() -> None:
    text = redact("token hf_abcdEFGH123 and s3cret, hf_hub stays", "s3cret", None, "")
    assert text == "token hf_[secret] and [secret], hf_hub stays"

"""The APIs that the stack calls, against a local Google Cloud."""

from __future__ import annotations

from components.services import REQUIRED_SERVICES, TELEMETRY_SERVICES
from infra.preflight.finding import Status
from infra.preflight.google.services import REQUIRED, required, services

from .conftest import Place


def test_they_are_those_that_the_stack_enables() -> None:
    assert REQUIRED == REQUIRED_SERVICES


def test_telemetry_needs_one_more(ready: Place) -> None:
    subject = ready.subject(telemetry=True)
    assert required(subject) == REQUIRED_SERVICES + TELEMETRY_SERVICES
    assert ready.ask(services, subject)["services"].evidence == "6 of 6 APIs are enabled in local-project."


def test_enabled(ready: Place) -> None:
    found = ready.ask(services)["services"]
    assert (found.status, found.evidence) == (Status.PASS, "5 of 5 APIs are enabled in local-project.")
    assert found.by_hand == "gcloud services list --enabled --project=local-project"
    assert ready.asked() == ["GET /v1/projects/local-project/services:batchGet"]


def test_the_stack_will_enable_them(place: Place) -> None:
    found = place.ask(services)["services"]
    assert found.status is Status.PASS
    assert found.evidence == (
        "3 of 5 APIs are enabled in local-project; the stack will enable aiplatform.googleapis.com, "
        "compute.googleapis.com."
    )


def test_the_caller_may_not_enable_them(place: Place) -> None:
    login = place.account("roles/viewer")
    found = place.ask(services, place.subject(login=login))["services"]
    assert found.status is Status.WARN
    assert found.evidence == (
        "3 of 5 APIs are enabled in local-project, and you may not enable the others: aiplatform.googleapis.com, "
        "compute.googleapis.com."
    )
    assert found.remedy == (
        "Have somebody with roles/serviceusage.serviceUsageAdmin run: gcloud services enable aiplatform.googleapis.com "
        "compute.googleapis.com --project=local-project"
    )


def test_whether_the_caller_may_is_not_known(place: Place) -> None:
    place.admin.fault(":testIamPermissions", method="POST", status={"code": "UNAVAILABLE"})
    found = place.ask(services)["services"]
    assert found.status is Status.WARN
    assert "whether you may enable them cannot be read: 127.0.0.1 answers 503" in found.evidence
    assert found.remedy.startswith("gcloud services enable aiplatform.googleapis.com")


def test_no_answer_is_no_pass(ready: Place) -> None:
    found = ready.ask(services, ready.subject(login=ready.account()))["services"]
    assert found.status is Status.SKIP
    assert "403 Permission 'serviceusage.services.get' denied" in found.evidence
    assert found.remedy == "Have roles/serviceusage.serviceUsageViewer granted."
    ready.admin.fault("/services:batchGet", status={"code": "INTERNAL"})
    assert ready.ask(services)["services"].status is Status.SKIP
    found = ready.ask(services, ready.subject(project="no-such-project"))["services"]
    assert found.status is Status.SKIP
    assert "Permission denied on resource project no-such-project" in found.evidence

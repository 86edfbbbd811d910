"""An existing service account, against a local Google Cloud."""

from __future__ import annotations

from dataclasses import replace

from infra.preflight.finding import Status
from infra.preflight.google.service_account import service_account

from .conftest import Place

EMAIL = "serving@local-project.iam.gserviceaccount.com"
PATH = f"/v1/projects/local-project/serviceAccounts/{EMAIL}"


def test_an_account_that_the_stack_makes_is_not_asked_for(place: Place) -> None:
    assert place.ask(service_account) == {}
    assert place.asked("/serviceAccounts") == []


def test_there_and_enabled(place: Place) -> None:
    place.account(account_id="serving")
    found = place.ask(service_account, place.subject(service_account=EMAIL))
    assert {check: (each.status, each.evidence) for check, each in found.items()} == {
        "service-account": (Status.PASS, f"Service account {EMAIL} exists and is enabled."),
        "service-account-act-as": (Status.PASS, f"You may deploy with {EMAIL} (iam.serviceAccounts.actAs)."),
    }
    assert found["service-account"].by_hand == f"gcloud iam service-accounts describe {EMAIL}"


def test_one_that_google_made(ready: Place) -> None:
    email = "123456789012-compute@developer.gserviceaccount.com"
    found = ready.ask(service_account, ready.subject(service_account=email))
    assert found["service-account"].status is Status.PASS
    assert found["service-account-act-as"].status is Status.PASS


def test_there_is_none(place: Place) -> None:
    found = place.ask(service_account, place.subject(service_account=EMAIL))
    assert set(found) == {"service-account"}
    assert found["service-account"].status is Status.FAIL
    assert found["service-account"].evidence == (
        f"There is no service account {EMAIL} (vertex-vllm:serviceAccount)."
    )
    assert found["service-account"].remedy == (
        "Name an account that exists, or pulumi config rm vertex-vllm:serviceAccount to have one made."
    )


def test_disabled(place: Place) -> None:
    place.account(account_id="serving")
    place.cloud.http.post(f"{PATH}:disable", json={}).raise_for_status()
    found = place.ask(service_account, place.subject(service_account=EMAIL))["service-account"]
    assert (found.status, found.evidence) == (Status.FAIL, f"Service account {EMAIL} is disabled.")
    assert found.remedy == f"gcloud iam service-accounts enable {EMAIL}"


def test_the_caller_may_not_act_as_it(place: Place) -> None:
    place.account(account_id="serving")
    login = place.account("roles/iam.serviceAccountViewer")
    of = place.subject(service_account=EMAIL, login=login)
    found = place.ask(service_account, of)
    assert found["service-account"].status is Status.PASS
    act_as = found["service-account-act-as"]
    assert act_as.status is Status.FAIL
    assert act_as.evidence == f"You may not deploy with {EMAIL}: you lack iam.serviceAccounts.actAs on it."
    assert act_as.remedy == (
        f"Have granted: gcloud iam service-accounts add-iam-policy-binding {EMAIL} --member=user:YOU@EXAMPLE.COM "
        "--role=roles/iam.serviceAccountUser"
    )
    reader = replace(of, login=replace(login, previews_only=True))
    skipped = place.ask(service_account, reader)["service-account-act-as"]
    assert skipped.status is Status.SKIP
    assert "whether who runs pulumi up has it cannot be seen" in skipped.evidence
    place.grant(PATH, "stranger@local-project.iam.gserviceaccount.com", "roles/iam.serviceAccountUser")
    assert place.ask(service_account, of)["service-account-act-as"].status is Status.PASS


def test_one_that_may_not_be_read_is_no_pass_and_no_no(place: Place) -> None:
    place.account(account_id="serving")
    found = place.ask(service_account, place.subject(service_account=EMAIL, login=place.account()))
    assert found["service-account"].status is Status.SKIP
    assert "403 Permission 'iam.serviceAccounts.get' denied" in found["service-account"].evidence
    assert found["service-account"].remedy == "Have roles/iam.serviceAccountViewer granted."
    assert found["service-account-act-as"].status is Status.FAIL, "that is conclusive"


def test_no_answer_is_no_pass(place: Place) -> None:
    place.account(account_id="serving")
    place.admin.fault("/serviceAccounts/", method="GET", status={"code": "UNAVAILABLE"})
    place.admin.fault("/serviceAccounts/", method="POST", status={"code": "UNAVAILABLE"})
    found = place.ask(service_account, place.subject(service_account=EMAIL))
    assert {each.status for each in found.values()} == {Status.SKIP}
    place.disable("iam.googleapis.com")
    found = place.ask(service_account, place.subject(service_account=EMAIL))
    assert found["service-account"].status is Status.SKIP
    assert "is not enabled in projects/123456789012" in found["service-account"].evidence

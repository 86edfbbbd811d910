"""The caller's permissions, against a local Google Cloud in which they are taken away."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from infra.local.cloud.iam import roles
from infra.preflight.finding import Status
from infra.preflight.google.answers import curl
from infra.preflight.google.permissions import ON_BUCKET, ON_PROJECT, Permission, needed, permissions
from infra.preflight.google.services import services
from infra.preflight.subject import Login
from tests.preflight.subjects import LLAMA, ask, planned, subject

from .conftest import Place

#: What somebody needs who deploys a stack that makes everything itself.
ENOUGH = (
    "roles/aiplatform.user",
    "roles/resourcemanager.projectIamAdmin",
    "roles/iam.serviceAccountAdmin",
    "roles/iam.serviceAccountUser",
    "roles/serviceusage.serviceUsageAdmin",
    "roles/storage.admin",
)


@pytest.mark.parametrize("permission", [*ON_PROJECT, *ON_BUCKET], ids=lambda each: each.name)
def test_the_role_named_has_the_permission(permission: Permission) -> None:
    assert roles.holds(permission.role, permission.name)


def test_an_owner(place: Place) -> None:
    found = place.ask(permissions)
    assert set(found) == {"permissions"}
    assert (found["permissions"].status, found["permissions"].evidence) == (
        Status.PASS,
        "You have all 18 permissions that the plan needs in project local-project.",
    )


def test_the_least_that_is_enough(place: Place) -> None:
    found = place.ask(permissions, place.subject(login=place.account(*ENOUGH)))
    assert found["permissions"].status is Status.PASS, found["permissions"].evidence


def test_telemetry_needs_the_editor_of_monitoring_too(place: Place) -> None:
    lacking = place.subject(login=place.account(*ENOUGH), telemetry=True)
    found = place.ask(permissions, lacking)["permissions"]
    assert found.status is Status.FAIL
    assert "monitoring.dashboards.create (to make the dashboard)" in found.evidence
    assert found.remedy.endswith("--role=roles/monitoring.editor")


def test_the_least_that_is_enough_with_telemetry(place: Place) -> None:
    login = place.account(*ENOUGH, "roles/monitoring.editor")
    found = place.ask(permissions, place.subject(login=login, telemetry=True))
    assert found["permissions"].status is Status.PASS, found["permissions"].evidence


@pytest.mark.parametrize("taken", ENOUGH)
def test_a_role_that_is_missing_is_named(place: Place, taken: str) -> None:
    login = place.account(
        *(role for role in ENOUGH if role != taken), "roles/serviceusage.serviceUsageViewer"
    )
    found = place.ask(permissions, place.subject(login=login))["permissions"]
    assert found.status is Status.FAIL
    assert found.remedy.endswith(
        f"gcloud projects add-iam-policy-binding local-project --member=user:YOU@EXAMPLE.COM --role={taken}"
    )
    assert found.remedy.count("--role=") == 1


def test_what_is_missing_says_what_it_is_for(ready: Place) -> None:
    login = ready.account(*(role for role in ENOUGH if "iam.serviceAccount" not in role), "roles/viewer")
    found = ready.ask(permissions, ready.subject(login=login))["permissions"]
    assert found.evidence == (
        "You lack 2 of 17 permissions that the plan needs on project local-project: "
        "iam.serviceAccounts.create (to make the service account), "
        "iam.serviceAccounts.actAs (to deploy with the service account)."
    )
    binding = "gcloud projects add-iam-policy-binding local-project --member=user:YOU@EXAMPLE.COM --role="
    assert found.remedy == (
        f"Have granted: {binding}roles/iam.serviceAccountAdmin; {binding}roles/iam.serviceAccountUser"
    )
    asked = [each.name for each in needed(ready.subject(), enables=False)]
    assert found.by_hand == (
        'curl -s -H "Content-Type: application/json" -d \'' + json.dumps({"permissions": asked}) + "' "
        f"{ready.cloud.url}/v1/projects/local-project:testIamPermissions"
    )


def test_a_stack_that_serves_is_only_warned_of_what_making_it_needs(ready: Place) -> None:
    login = ready.account(*(role for role in ENOUGH if "iam.serviceAccountAdmin" not in role), "roles/viewer")
    of = ready.subject(login=login)
    first = ready.ask(permissions, of)["permissions"]
    assert first.status is Status.FAIL
    ready.deploy(of)
    found = ready.ask(permissions, of)["permissions"]
    assert found.status is Status.WARN
    assert "iam.serviceAccounts.create" in found.evidence
    assert found.evidence.endswith("only a change that makes something new needs them.")


def test_what_every_change_needs_stays_a_failure(ready: Place) -> None:
    login = ready.account(*(role for role in ENOUGH if "aiplatform" not in role), "roles/viewer")
    of = ready.subject(login=login)
    ready.deploy(of)
    assert ready.ask(permissions, of)["permissions"].status is Status.FAIL


def test_rights_of_an_account_that_only_previews_say_nothing(ready: Place) -> None:
    ready.bucket("mine")
    viewer = ready.account("roles/viewer")
    found = ready.ask(permissions, ready.subject(login=viewer, bucket="mine"))
    assert {finding.status for finding in found.values()} == {Status.FAIL}
    found = ready.ask(permissions, ready.subject(login=replace(viewer, previews_only=True), bucket="mine"))
    assert {finding.status for finding in found.values()} == {Status.SKIP}
    assert set(found) == {"permissions", "bucket-permissions"}
    assert found["permissions"].evidence.startswith("You lack ")
    assert found["permissions"].evidence.endswith(
        "You only preview (VERTEX_VLLM_PREVIEW_ONLY is set): whether who runs pulumi up has them cannot be seen."
    )
    owner = ready.subject(login=Login(previews_only=True))
    assert ready.ask(permissions, owner)["permissions"].status is Status.PASS


def test_by_hand_on_google(place: Place) -> None:
    assert curl(subject(), "https://iam.googleapis.com/v1/x:testIamPermissions", ask=["a.b.c"]) == (
        'curl -s -H "Authorization: Bearer $(gcloud auth print-access-token)" -H "Content-Type: application/json" '
        '-d \'{"permissions": ["a.b.c"]}\' https://iam.googleapis.com/v1/x:testIamPermissions'
    )


def test_enabling_is_asked_for_only_where_something_is_not_enabled(ready: Place) -> None:
    login = ready.account(
        *(role for role in ENOUGH if "serviceusage" not in role), "roles/serviceusage.serviceUsageViewer"
    )
    of = ready.subject(login=login)
    assert ready.ask(permissions, of)["permissions"].status is Status.PASS
    ready.disable("compute.googleapis.com")
    found = ready.ask(permissions, of)["permissions"]
    assert "serviceusage.services.enable (to enable the APIs that are not)" in found.evidence


def test_they_are_read_also_where_the_apis_are_not(ready: Place) -> None:
    ready.admin.fault("services:batchGet", status={"code": "UNAVAILABLE"})
    assert ready.ask(permissions)["permissions"].status is Status.PASS
    assert ready.admin.unmet_faults() == []


def test_an_existing_account_and_bucket_need_less_in_the_project(ready: Place) -> None:
    ready.bucket("mine")
    account = "serving@local-project.iam.gserviceaccount.com"
    login = ready.account(
        "roles/aiplatform.user",
        "roles/resourcemanager.projectIamAdmin",
        "roles/serviceusage.serviceUsageViewer",
    )
    of = ready.subject(login=login, service_account=account, bucket="mine")
    found = ready.ask(permissions, of)
    assert found["permissions"].status is Status.PASS, found["permissions"].evidence
    assert "all 13 permissions" in found["permissions"].evidence
    bucket = found["bucket-permissions"]
    assert bucket.status is Status.FAIL
    assert bucket.evidence == (
        "You lack 3 of 3 permissions that the plan needs on bucket gs://mine: storage.buckets.get (to look up the "
        "bucket), storage.buckets.getIamPolicy (to read the bucket's grants), storage.buckets.setIamPolicy (to let the "
        "service account read the bucket)."
    )
    assert bucket.remedy == (
        "Have granted: gcloud storage buckets add-iam-policy-binding gs://mine --member=user:YOU@EXAMPLE.COM "
        "--role=roles/storage.admin"
    )


def test_the_bucket_of_the_weights(place: Place) -> None:
    place.bucket("weights")
    of = place.subject(planned(LLAMA, weights="gs://weights/llama"), bucket=None)
    found = place.ask(permissions, of)
    assert found["weights-bucket-permissions"].status is Status.PASS
    assert "all 2 permissions" in found["weights-bucket-permissions"].evidence
    same = place.subject(planned(LLAMA, weights="gs://weights/llama"), bucket="weights")
    assert set(place.ask(permissions, same)) == {"permissions", "bucket-permissions"}
    gone = place.subject(planned(LLAMA, weights="gs://nowhere/llama"))
    assert place.ask(permissions, gone)["weights-bucket-permissions"].status is Status.SKIP


def test_the_buckets_of_adapters(place: Place) -> None:
    place.bucket("adapters")
    lora = {"sql": "gs://adapters/sql", "tone": "gs://adapters/tone", "hub": "me/adapter"}
    of = place.subject(planned(LLAMA, lora=lora, vllm={"enable_lora": True}), bucket=None)
    found = place.ask(permissions, of)
    assert set(found) == {"permissions", "lora-bucket-permissions-adapters"}
    assert found["lora-bucket-permissions-adapters"].status is Status.PASS


def test_owners_and_editors_are_not_told_that_they_lack_rights_on_a_bucket_to_be_made(place: Place) -> None:
    """They have storage.buckets.setIamPolicy on a new bucket alone, not in the project."""
    login = place.account("roles/owner")
    assert place.ask(permissions, place.subject(login=login))["permissions"].status is Status.PASS


def test_nothing_at_all(place: Place) -> None:
    found = place.ask(permissions, place.subject(login=place.account()))["permissions"]
    assert found.status is Status.FAIL
    assert found.evidence == (
        "You have none of the 17 permissions that the plan needs in project local-project; is it the right one?"
    )
    elsewhere = place.ask(permissions, place.subject(project="no-such-project"))["permissions"]
    assert elsewhere.status is Status.FAIL


def test_no_answer_is_no_pass(ready: Place) -> None:
    found = ready.ask(permissions, ready.subject(login=Login(token="expired")))["permissions"]
    assert found.status is Status.SKIP
    assert "answers 401" in found.evidence
    ready.admin.fault(":testIamPermissions", method="POST", status={"code": "RESOURCE_EXHAUSTED"})
    assert ready.ask(permissions)["permissions"].status is Status.SKIP


def test_which_apis_are_enabled_is_asked_once(ready: Place) -> None:
    ask([services, permissions], ready.subject())
    assert len(ready.asked("batchGet")) == 1

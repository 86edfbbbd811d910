"""What the plugin does when the services are slow, busy, gone, or say no. Every planned fault must have
struck.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local.cloud.testing import PROJECT, REGION, LocalCloud
from infra.local.gcp_plugin import grants, rest
from infra.plugin.values import from_struct
from tests.local.gcp_plugin.conftest import Failed, Plugin
from tests.local.gcp_plugin.test_objects import OBJECT
from tests.local.gcp_plugin.test_types import ACCOUNT, BUCKET, BUCKET_GRANT, ENDPOINT, GRANT, MEMBER, SERVICE

UNAVAILABLE = {"code": "UNAVAILABLE", "message": "The service is currently unavailable."}


@pytest.fixture(autouse=True)
def every_fault_strikes(cloud: LocalCloud) -> Iterator[None]:
    """Each test's planned faults must have been met."""
    yield
    assert cloud.admin.unmet_faults() == []


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of half a second instead of half a minute."""
    monkeypatch.setattr(rest, "BUSY_SECONDS", 0.5)
    monkeypatch.setattr(rest, "FIRST_DELAY_SECONDS", 0.2)
    monkeypatch.setattr(rest, "UNREACHABLE_SECONDS", 0.5)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL"])
def test_a_busy_service_is_asked_again(plugin: Plugin, cloud: LocalCloud, code: str) -> None:
    cloud.admin.fault("/storage/v1/b$", method="POST", times=2, status={"code": code, "message": "busy"})

    made = plugin.create(BUCKET, name="patient", location="EU")

    assert made.id == "patient"
    assert len(cloud.admin.requests("/storage/v1/b", "POST")) == 3


@pytest.mark.usefixtures("hurried")
def test_a_service_that_stays_busy_is_an_error_with_what_google_says(
    plugin: Plugin, cloud: LocalCloud
) -> None:
    cloud.admin.fault("/storage/v1/b$", method="POST", times=2, status=UNAVAILABLE)

    with pytest.raises(Failed) as error:
        plugin.create(BUCKET, name="patient", location="EU")

    assert error.value.saved is None
    assert f"POST {cloud.url}/storage/v1/b answered 503" in error.value.text
    assert "The service is currently unavailable. The service stayed unavailable" in error.value.text


@pytest.mark.parametrize("reset", ["before", "after"])
@pytest.mark.parametrize(
    ("token", "path", "inputs"),
    [
        (BUCKET, "/storage/v1/b$", {"name": "patient", "location": "EU"}),
        (ACCOUNT, "/serviceAccounts$", {"accountId": "serving"}),
        (
            ENDPOINT,
            "/endpoints$",
            {"name": "42", "location": REGION, "displayName": "Chat"},
        ),
    ],
)
def test_a_create_whose_connection_breaks_is_made_once(
    plugin: Plugin, cloud: LocalCloud, reset: str, token: str, path: str, inputs: dict[str, Any]
) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    cloud.admin.fault(path, method="POST", reset=reset)

    made = plugin.create(token, **inputs)

    assert plugin.refresh(made) == made


def test_a_bucket_whose_creation_went_unanswered_is_taken_for_what_it_is(
    plugin: Plugin, cloud: LocalCloud
) -> None:
    cloud.admin.fault("/storage/v1/b$", method="POST", body="garbled")
    with pytest.raises(Failed, match="something other than a JSON object") as error:
        plugin.create(BUCKET, name="mine", location="EU")
    assert "run `pulumi up` again: it looks at what there is" in error.value.text

    assert plugin.create(BUCKET, name="mine", location="EU").id == "mine"
    with pytest.raises(Failed, match="take it over with `pulumi import"):
        plugin.create(BUCKET, name="mine", location="EU", labels={"of": "another"})


@pytest.mark.parametrize(("http", "tries"), [(502, 2), (504, 1)])
def test_a_proxys_502_is_repeated_and_its_504_is_not(
    plugin: Plugin, cloud: LocalCloud, http: int, tries: int
) -> None:
    cloud.admin.fault("/storage/v1/b$", method="POST", proxy=http)
    if tries == 1:
        with pytest.raises(Failed, match=r"answered 504 Gateway Timeout: 504 Gateway Timeout proxy\. Run"):
            plugin.create(BUCKET, name="mine", location="EU")
    else:
        plugin.create(BUCKET, name="mine", location="EU")
    assert len(cloud.admin.requests("/storage/v1/b", "POST")) == tries


def test_a_rate_limit_in_the_form_of_a_403_is_waited_for(plugin: Plugin, cloud: LocalCloud) -> None:
    text = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute' of service 'iam.googleapis.com'"
    cloud.admin.fault(
        "/serviceAccounts$", method="POST", status={"code": "PERMISSION_DENIED", "message": text}
    )
    assert plugin.create(ACCOUNT, accountId="serving").id
    assert len(cloud.admin.requests("/serviceAccounts", "POST")) == 2


@pytest.mark.parametrize("how", ["running", "dropped"])
def test_a_lost_operation_is_found_or_made_again_by_the_next_run(
    plugin: Plugin, cloud: LocalCloud, how: str
) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    inputs = {"name": "42", "location": REGION, "displayName": "Chat"}
    cloud.admin.fault("/endpoints$", method="POST", operationLost=how)
    with pytest.raises(Failed, match="The operation is lost") as error:
        plugin.create(ENDPOINT, **inputs)
    assert error.value.saved is not None
    assert plugin.create(ENDPOINT, **inputs).id == error.value.saved.id


def test_a_stale_etag_starts_the_edit_again(plugin: Plugin, cloud: LocalCloud) -> None:
    stale = {"code": "ABORTED", "message": "There were concurrent policy changes."}
    cloud.admin.fault(":setIamPolicy$", times=2, status=stale)
    made = plugin.create(GRANT, project=PROJECT, role="roles/viewer", member="user:a@example.com")

    assert plugin.refresh(made) == made
    assert len(cloud.admin.requests(":getIamPolicy", "POST")) >= 3


def test_concurrent_grants_all_arrive(plugin: Plugin, cloud: LocalCloud) -> None:
    plugin.create(BUCKET, name="shared", location="EU")
    roles = [f"roles/storage.{name}" for name in ("admin", "objectViewer", "objectCreator", "objectAdmin")]
    made = []

    def grant(role: str) -> None:
        made.append(
            plugin.create(BUCKET_GRANT, role, bucket="shared", role=role, member="user:a@example.com")
        )

    threads = [threading.Thread(target=grant, args=(role,)) for role in roles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(made) == len(roles)
    assert all(plugin.refresh(each) for each in made)


def test_a_grant_that_is_seen_late_is_waited_for(plugin: Plugin, cloud: LocalCloud) -> None:
    cloud.admin.timing(iamPropagationSeconds=0.3)

    made = plugin.create(GRANT, project=PROJECT, role="roles/viewer", member="user:a@example.com")

    assert plugin.refresh(made) is not None


def test_a_change_that_is_never_seen_is_saved_and_the_next_update_finishes_it(
    plugin: Plugin, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "_holds", lambda *arguments: False)
    monkeypatch.setattr(grants, "ATTEMPTS", 2)
    with pytest.raises(Failed, match="the change was not seen in 2 reads") as error:
        plugin.create(GRANT, project=PROJECT, role="roles/viewer", member="user:a@example.com")
    assert error.value.saved is not None
    assert error.value.saved.id == f"{PROJECT}/roles/viewer/user:a@example.com"
    assert from_struct(error.value.saved.properties)["role"] == "roles/viewer"


def test_an_operation_that_fails_makes_nothing_and_says_why(plugin: Plugin, cloud: LocalCloud) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    cloud.admin.fault(
        "/endpoints$", method="POST", operationError={"code": "INTERNAL", "message": "No room today."}
    )

    with pytest.raises(Failed) as error:
        plugin.create(ENDPOINT, name="42", location=REGION, displayName="Chat")

    assert error.value.text == (
        "creating the endpoint 42 failed: No room today. (code 13). Correct what the message names, if anything, "
        "then run `pulumi up` again."
    )
    assert error.value.saved is None


def test_an_interrupted_create_of_an_endpoint_is_saved_and_finished_by_the_next_update(
    plugin: Plugin, cloud: LocalCloud
) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    cloud.admin.timing(mode="manual")
    interrupt = threading.Timer(0.5, plugin.cancel)
    interrupt.start()

    with pytest.raises(
        Failed, match=r"creating the endpoint 42: interrupted; the operation .* goes on"
    ) as error:
        plugin.create(ENDPOINT, name="42", location=REGION, displayName="Chat")

    saved = error.value.saved
    assert saved is not None
    assert saved.id == f"projects/{PROJECT}/locations/{REGION}/endpoints/42"
    assert from_struct(saved.properties)["displayName"] == "Chat"


def test_an_update_makes_an_endpoint_that_an_interrupted_create_did_not(
    plugin: Plugin, cloud: LocalCloud
) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    made = plugin.create(ENDPOINT, name="42", location=REGION, displayName="Chat")
    plugin.delete(made)

    again = plugin.update(made)

    assert again.id == made.id
    assert plugin.refresh(again) is not None


def test_a_disabled_api_is_googles_message(plugin: Plugin) -> None:
    with pytest.raises(Failed) as error:
        plugin.create(ENDPOINT, name="42", location=REGION, displayName="Chat")

    assert "answered 403 PERMISSION_DENIED" in error.value.text
    assert "aiplatform.googleapis.com" in error.value.text


def test_a_caller_without_permission_is_told_which(plugin: Plugin, cloud: LocalCloud) -> None:
    account = plugin.create(ACCOUNT, accountId="serving")
    plugin.configure(project=PROJECT, accessToken=f"sa:{account.outputs['email']}")

    with pytest.raises(Failed) as error:
        plugin.create(BUCKET, name="mine", location="EU")

    assert "storage.buckets.create" in error.value.text
    assert "Let the caller have what the message names" in error.value.text


def test_an_expired_token_is_named_with_its_setting(plugin: Plugin) -> None:
    plugin.configure(project=PROJECT, accessToken="expired")

    with pytest.raises(Failed, match="answered 401") as error:
        plugin.create(BUCKET, name="mine", location="EU")

    assert "set gcp:accessToken or GOOGLE_OAUTH_ACCESS_TOKEN" in error.value.text


@pytest.mark.usefixtures("hurried")
def test_nobody_at_the_endpoint(plugin: Plugin) -> None:
    plugin.configure(project=PROJECT, storageCustomEndpoint="http://127.0.0.1:9/storage/v1/")

    with pytest.raises(Failed) as error:
        plugin.create(BUCKET, name="mine", location="EU")

    assert error.value.text.startswith("Nothing answers at http://127.0.0.1:9/storage/v1/b (")
    assert error.value.text.endswith(
        "Is the local Google Cloud running? `make up` starts it; the address of Cloud Storage comes from "
        "gcp:storageCustomEndpoint or GOOGLE_STORAGE_CUSTOM_ENDPOINT."
    )


def test_an_endpoint_that_is_something_else(plugin: Plugin, cloud: LocalCloud) -> None:
    plugin.configure(project=PROJECT, storageCustomEndpoint=f"{cloud.url}/elsewhere/")

    with pytest.raises(Failed, match="answered 404"):
        plugin.create(BUCKET, name="mine", location="EU")


def test_an_interrupt_ends_the_retries(plugin: Plugin, cloud: LocalCloud) -> None:
    cloud.admin.fault("/storage/v1/b$", method="POST", status=UNAVAILABLE)
    plugin.cancel()

    with pytest.raises(Failed, match=r"interrupted while waiting to try again\. Last answer: .* 503"):
        plugin.create(BUCKET, name="mine", location="EU")


def test_deleting_an_endpoint_with_a_deployed_model_says_what_to_do(
    plugin: Plugin, cloud: LocalCloud
) -> None:
    cloud.admin.enable("aiplatform.googleapis.com")
    made = plugin.create(ENDPOINT, name="42", location=REGION, displayName="Chat")
    busy = {
        "code": "FAILED_PRECONDITION",
        "message": "Endpoint has deployed or being-deployed DeployedModels.",
    }
    cloud.admin.fault("/endpoints/42$", method="DELETE", status=busy)

    with pytest.raises(Failed, match="undeploy what the message names, then try again"):
        plugin.delete(made)


def test_a_type_outside_the_list_names_the_list_and_the_official_plugin(plugin: Plugin) -> None:
    with pytest.raises(Failed) as error:
        plugin.check("gcp:compute/instance:Instance", {})

    assert error.value.text == (
        "The provider gcp 10.2.0 that runs here has no resource type gcp:compute/instance:Instance. It has: "
        "gcp:monitoring/alertPolicy:AlertPolicy, gcp:monitoring/dashboard:Dashboard, "
        f"{GRANT}, {SERVICE}, {ACCOUNT}, {BUCKET}, {BUCKET_GRANT}, {OBJECT}, {ENDPOINT}. This is the local stand-in "
        "of the "
        "gcp plugin; the official plugin has them all. Use the official one with a real project, or add "
        "the type "
        "in infra/local/gcp_plugin."
    )
    with pytest.raises(Failed, match="has no function gcp:compute/getImage:getImage"):
        plugin.invoke("gcp:compute/getImage:getImage")


def test_no_project_anywhere(plugin: Plugin) -> None:
    plugin.configure()

    _, failures = plugin.check(BUCKET, {"location": "EU"})

    assert failures == [
        "project: no project is set: give it here, or run `pulumi config set gcp:project PROJECT`."
    ]


def test_members_are_refused_by_the_service_with_its_words(plugin: Plugin) -> None:
    with pytest.raises(Failed, match="answered 400"):
        plugin.create(GRANT, project=PROJECT, role="roles/viewer", member=MEMBER)

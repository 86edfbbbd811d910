"""The existing bucket, against a local Google Cloud."""

from __future__ import annotations

from typing import Any

import pytest

from infra.preflight.finding import Status
from infra.preflight.google.bucket import bucket

from .conftest import Place

BY_HAND = "gcloud storage buckets describe gs://mine"


def test_a_bucket_that_the_stack_makes_is_not_asked_for(place: Place) -> None:
    assert place.ask(bucket) == {}
    assert place.asked("/storage/") == []


def test_in_the_region_and_closed(place: Place) -> None:
    place.bucket("mine")
    found = place.ask(bucket, place.subject(bucket="mine"))
    assert {check: finding.status for check, finding in found.items()} == {
        "bucket": Status.PASS,
        "bucket-access": Status.PASS,
    }
    assert found["bucket"].evidence == "Bucket gs://mine is in us-central1, the region that serves."
    assert found["bucket"].by_hand == BY_HAND
    assert found["bucket-access"].evidence == (
        "Uniform bucket-level access of gs://mine is on, public access prevention is enforced."
    )


@pytest.mark.parametrize(
    ("location", "move"), [("EUROPE-WEST4", ", or pulumi config set gcp:region europe-west4"), ("US", "")]
)
def test_elsewhere(place: Place, location: str, move: str) -> None:
    place.bucket("mine", location)
    found = place.ask(bucket, place.subject(bucket="mine"))["bucket"]
    assert found.status is Status.FAIL
    assert found.evidence == f"Bucket gs://mine is in {location.lower()}, the model is served in us-central1."
    assert found.remedy == (
        f"Name a bucket in us-central1, or pulumi config rm vertex-vllm:bucket to have one made{move}."
    )


@pytest.mark.parametrize(
    ("settings", "evidence", "flags"),
    [
        (
            {"publicAccessPrevention": "enforced"},
            "access of gs://mine is off, public access prevention is enforced: its objects can have rights of",
            "--uniform-bucket-level-access",
        ),
        (
            {"uniformBucketLevelAccess": {"enabled": True}},
            "access of gs://mine is on, public access prevention is not enforced: a grant can make it public",
            "--public-access-prevention",
        ),
        (
            {},
            "access of gs://mine is off, public access prevention is not enforced: its objects can have",
            "--uniform-bucket-level-access --public-access-prevention",
        ),
    ],
)
def test_open(place: Place, settings: dict[str, Any], evidence: str, flags: str) -> None:
    place.bucket("mine", iamConfiguration=settings)
    found = place.ask(bucket, place.subject(bucket="mine"))
    assert found["bucket"].status is Status.PASS
    assert found["bucket-access"].status is Status.WARN
    assert evidence in found["bucket-access"].evidence
    assert found["bucket-access"].remedy == f"gcloud storage buckets update gs://mine {flags}"


def test_there_is_none(place: Place) -> None:
    found = place.ask(bucket, place.subject(bucket="mine"))
    assert set(found) == {"bucket"}
    assert found["bucket"].status is Status.FAIL
    assert found["bucket"].evidence == "There is no bucket gs://mine (vertex-vllm:bucket)."
    assert found["bucket"].remedy == (
        "Name a bucket that exists, or pulumi config rm vertex-vllm:bucket to have one made."
    )


def test_one_that_may_not_be_read_is_no_pass(place: Place) -> None:
    place.bucket("mine")
    found = place.ask(bucket, place.subject(bucket="mine", login=place.account()))
    assert set(found) == {"bucket"}
    assert found["bucket"].status is Status.SKIP
    assert "403 stranger@local-project.iam.gserviceaccount.com does not have storage.buckets.get access" in (
        found["bucket"].evidence
    )
    assert "roles/storage.bucketViewer" in found["bucket"].remedy


def test_no_answer_is_no_pass(place: Place) -> None:
    place.bucket("mine")
    place.admin.fault("/storage/v1/b/mine", status={"code": "UNAVAILABLE"})
    found = place.ask(bucket, place.subject(bucket="mine"))
    assert (found["bucket"].status, set(found)) == (Status.SKIP, {"bucket"})
    assert "answers 503" in found["bucket"].evidence

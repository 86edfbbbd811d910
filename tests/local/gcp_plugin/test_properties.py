"""The property tables against the official SDK, and the checks and comparisons that come from them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pulumi_gcp as gcp
import pytest

import infra.local.gcp_plugin
from infra.local.gcp_plugin.base import Gcp, GcpResource
from infra.local.gcp_plugin.buckets import Bucket, GetBucket, GetBucketObjectContent
from infra.local.gcp_plugin.plugin import RESOURCES, VERSION
from infra.local.gcp_plugin.properties import Property, ignoring_case, problems
from infra.local.gcp_plugin.settings import APIS
from infra.plugin.values import UNKNOWN, Asset
from tests.local.gcp_plugin.conftest import Failed

OFFICIAL: dict[str, Any] = {
    "gcp:projects/service:Service": gcp.projects.Service,
    "gcp:serviceaccount/account:Account": gcp.serviceaccount.Account,
    "gcp:projects/iAMMember:IAMMember": gcp.projects.IAMMember,
    "gcp:storage/bucket:Bucket": gcp.storage.Bucket,
    "gcp:storage/bucketIAMMember:BucketIAMMember": gcp.storage.BucketIAMMember,
    "gcp:storage/bucketObject:BucketObject": gcp.storage.BucketObject,
    "gcp:vertex/aiEndpoint:AiEndpoint": gcp.vertex.AiEndpoint,
    "gcp:monitoring/dashboard:Dashboard": gcp.monitoring.Dashboard,
    "gcp:monitoring/alertPolicy:AlertPolicy": gcp.monitoring.AlertPolicy,
}


def wire_names(cls: type) -> set[str]:
    """The names on the wire of a class of the SDK: its getters carry them."""
    return {
        value.fget._pulumi_name
        for _, value in inspect.getmembers(cls, lambda member: isinstance(member, property))
        if hasattr(value.fget, "_pulumi_name")
    }


def test_the_types_are_those_of_the_contract() -> None:
    assert {resource.token for resource in RESOURCES} == set(OFFICIAL)
    for token, cls in OFFICIAL.items():
        assert cls.pulumi_type == token


def test_the_version_is_that_of_the_sdk() -> None:
    import importlib.metadata

    assert importlib.metadata.version("pulumi-gcp") == VERSION


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.token)
def test_every_output_of_the_official_type_is_an_output_here_and_no_other(
    resource: type[GcpResource],
) -> None:
    here = {*resource.absent, *resource.computed, *(each.name for each in resource.properties)}

    assert here == wire_names(OFFICIAL[resource.token])


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.token)
def test_every_input_is_one_of_the_official_type(resource: type[GcpResource]) -> None:
    arguments = inspect.signature(OFFICIAL[resource.token]._internal_init).parameters
    official = {name.replace("_", "").lower() for name in arguments}

    assert {each.name.lower() for each in resource.properties} <= official


def test_the_function_answers_what_the_sdk_expects(plugin: Any, cloud: Any) -> None:
    made = plugin.create(Bucket.token, name="known-bucket", location="US-CENTRAL1")
    answer = plugin.invoke(GetBucket.token, name=made.id)

    assert set(answer) == wire_names(gcp.storage.GetBucketResult)


def test_an_object_is_read_as_the_sdk_expects(plugin: Any, cloud: Any) -> None:
    plugin.create(Bucket.token, name="templates", location="US-CENTRAL1")
    text = "{{ 'caf\u00e9' }}\n"
    name = "chat/a b.jinja"
    upload = {"uploadType": "media", "name": name}
    url = "/upload/storage/v1/b/templates/o"
    cloud.http.post(url, params=upload, content=text.encode()).raise_for_status()
    answer = plugin.invoke(GetBucketObjectContent.token, bucket="templates", name=name)

    assert answer["content"] == text
    assert set(answer) == wire_names(gcp.storage.GetBucketObjectContentResult)
    with pytest.raises(
        Failed, match=r"no object 'gone\.jinja' in the bucket 'templates': name one that exists"
    ):
        plugin.invoke(GetBucketObjectContent.token, bucket="templates", name="gone.jinja")


@pytest.mark.parametrize(
    ("value", "kind", "problem"),
    [
        ("a", "string", None),
        (3, "string", "it must be text, not 3."),
        (True, "integer", "it must be a whole number, not True."),
        (1.5, "integer", "it must be a whole number, not 1.5."),
        (1, "boolean", "it must be true or false, not 1."),
        ([], "object", "it must be a map, not []."),
        ({}, "array", "it must be a list, not {}."),
        (Asset(path="a"), "asset", None),
        ("a", "asset", "it must be a pulumi.FileAsset or a pulumi.StringAsset, not 'a'."),
        (UNKNOWN, "integer", None),
    ],
)
def test_kinds(value: Any, kind: str, problem: str | None) -> None:
    assert Property("x", kind=kind).problem(value) == problem


@pytest.mark.parametrize(
    ("prop", "old", "new", "equal"),
    [
        (Property("x"), "a", "a", True),
        (Property("x"), "a", "b", False),
        (Property("x"), None, "", True),
        (Property("x"), "a", None, False),
        (Property("x", computed=True), "a", None, True),
        (Property("x", default="STANDARD"), None, "STANDARD", True),
        (Property("x", kind="boolean", default=False), False, None, True),
        (Property("x", kind="boolean", default=False), None, True, False),
        (Property("x", kind="object"), {}, None, True),
        (Property("x"), "a", UNKNOWN, False),
        (Property("x", kind="object"), {"a": "1"}, {"a": UNKNOWN}, False),
        (Property("x", same=ignoring_case), "us-central1", "US-CENTRAL1", True),
        (Property("x", kind="array"), [1], [1, 2], False),
    ],
)
def test_what_is_no_change(prop: Property, old: Any, new: Any, equal: bool) -> None:
    assert prop.equal(old, new) is equal


def test_an_unsupported_property_is_named_beside_the_supported_ones_nearest_first() -> None:
    (problem,) = problems(
        "gcp:a:B", [Property("location"), Property("labels"), Property("name")], {"label": {}}
    )

    assert problem == (
        "label",
        "this local stand-in of the gcp plugin does not support it on gcp:a:B. Supported: labels, "
        "location, name. "
        "Leave it out here; the official plugin may have it.",
    )


def test_a_missing_property_is_asked_for() -> None:
    assert problems("gcp:a:B", [Property("location", required=True)], {}) == [
        ("location", "gcp:a:B needs it; give a value.")
    ]


def test_labels_of_others_are_no_drift_and_ours_are() -> None:
    bucket = Bucket(Gcp())

    def live(labels: dict[str, str] | None, given: dict[str, str] | None) -> Any:
        inputs = {"labels": given} if given else {}
        return bucket.live_inputs(inputs, {"labels": labels}, importing=False).get("labels")

    assert live({"a": "1", "other": "x"}, {"a": "1"}) == {"a": "1"}
    assert live({"a": "2"}, {"a": "1"}) == {"a": "2"}
    assert live(None, {"a": "1"}) is None
    assert live({"goog-pulumi-provisioned": "true"}, None) is None
    imported = bucket.live_inputs(
        {}, {"labels": {"a": "1", "goog-pulumi-provisioned": "true"}}, importing=True
    )
    assert imported == {"labels": {"a": "1"}}


def test_the_readme_lists_exactly_what_is_supported() -> None:
    readme = Path(infra.local.gcp_plugin.__file__).with_name("README.md").read_text()
    rows = re.findall(r"^\| `(\S+)` \| (.+) \|$", readme, re.MULTILINE)

    listed = {token: set(inputs.replace("`", "").split()) for token, inputs in rows}

    assert listed == {resource.token: {each.name for each in resource.properties} for resource in RESOURCES}
    assert GetBucket.token in readme
    assert GetBucketObjectContent.token in readme
    assert all(f"gcp:{setting}" in readme for setting, _ in APIS.values())

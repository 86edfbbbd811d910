"""The stand-in gcp plugin with the real engine and the official SDK, on a local cloud."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local.cloud.testing import NUMBER, PROJECT, REGION, LocalCloud
from infra.local.engine.pulumi import Engine
from tests.engine.bare import bare_stack, write_program
from tests.engine.support import EngineStack

PROGRAM = f"""
import pulumi
import pulumi_gcp as gcp

service = gcp.projects.Service("service", service="aiplatform.googleapis.com", disable_on_destroy=False)
account = gcp.serviceaccount.Account("account", account_id="serving", display_name="Serving")
bucket = gcp.storage.Bucket(
    "weights",
    location="{REGION.upper()}",
    uniform_bucket_level_access=True,
    public_access_prevention="enforced",
    versioning={{"enabled": False}},
    soft_delete_policy={{"retention_duration_seconds": 0}},
    lifecycle_rules=[{{"action": {{"type": "Delete"}}, "condition": {{"age": 7, "matches_prefixes": ["staging/"]}}}}],
    labels={{"team": "ml"}},
)
for role in ("roles/aiplatform.user", "roles/logging.logWriter"):
    gcp.projects.IAMMember(role, project="{PROJECT}", role=role, member=account.member)
for role in ("roles/storage.objectViewer", "roles/storage.objectCreator"):
    gcp.storage.BucketIAMMember(role, bucket=bucket.name, role=role, member=account.member)
endpoint = gcp.vertex.AiEndpoint(
    "endpoint",
    name="123456789",
    location="{REGION}",
    region="{REGION}",
    display_name="Chat",
    labels={{"team": "ml"}},
    opts=pulumi.ResourceOptions(depends_on=[service], ignore_changes=["trafficSplit"]),
)
found = gcp.storage.get_bucket_output(name=bucket.name)
pulumi.export("bucket", bucket.name)
pulumi.export("url", bucket.url)
pulumi.export("number", bucket.project_number)
pulumi.export("retention", bucket.soft_delete_policy.retention_duration_seconds)
pulumi.export("email", account.email)
pulumi.export("endpoint", endpoint.id)
pulumi.export("dns", endpoint.dedicated_endpoint_dns)
pulumi.export("models", endpoint.deployed_models)
pulumi.export("found", found.location)
"""
Make = Callable[[str], EngineStack]


@pytest.fixture
def bare(tmp_path: Path, engine: Engine, pulumi_home: Path, cloud: LocalCloud) -> Make:
    """Makes the stack of a throw-away program."""

    def make(program: str) -> EngineStack:
        return bare_stack(tmp_path / "a stack", engine, pulumi_home, cloud, program)

    return make


def test_a_life_with_every_type(bare: Make, cloud: LocalCloud) -> None:
    stack = bare(PROGRAM)

    preview = stack.preview()
    assert preview.has("+ 9 to create", f'"serving@{PROJECT}.iam.gserviceaccount.com"')
    assert stack.up().has("+ 9 created")
    outputs = stack.outputs()
    bucket = outputs["bucket"]
    assert outputs == {
        "bucket": bucket,
        "url": f"gs://{bucket}",
        "number": int(NUMBER),
        "retention": 0,
        "email": f"serving@{PROJECT}.iam.gserviceaccount.com",
        "endpoint": f"projects/{PROJECT}/locations/{REGION}/endpoints/123456789",
        "dns": "",
        "models": [],
        "found": REGION.upper(),
    }
    stack.preview("--expect-no-changes")
    assert stack.refresh("--expect-no-changes").has("9 unchanged")

    cloud.http.patch(f"/storage/v1/b/{bucket}", json={"labels": {"team": "web"}}).raise_for_status()
    assert stack.refresh().has("~ 1 updated")
    assert stack.up("--diff").has("~ 1 updated", '"web" => "ml"')
    cloud.http.delete(f"/v1beta1/{outputs['endpoint']}").raise_for_status()
    assert stack.refresh().has("- 1 deleted")
    assert stack.up().has("+ 1 created")

    assert stack.destroy().has("- 9 deleted")
    state = cloud.admin.state()
    assert (state["buckets"], state["service accounts"], state["endpoints"]) == ([], [], [])
    assert f"{PROJECT}: aiplatform.googleapis.com" in state["enabled services"]


def test_what_the_stand_in_does_not_have_is_said_before_anything_is_created(
    bare: Make, cloud: LocalCloud
) -> None:
    stack = bare('import pulumi_gcp as gcp\ngcp.pubsub.Topic("topic")\n')

    preview = stack.preview(ok=False)

    assert preview.has(
        "has no resource type gcp:pubsub/topic:Topic", "This is the local stand-in of the gcp plugin"
    )
    write_program(
        stack, 'import pulumi_gcp as gcp\ngcp.storage.Bucket("bucket", location="EU", requester_pays=True)\n'
    )
    assert stack.preview(ok=False).has(
        "resource 'bucket' has a problem: requesterPays: this local stand-in of the gcp plugin does not support it"
    )
    assert cloud.admin.state()["buckets"] == []


def test_a_replacement_under_the_same_name_deletes_first(bare: Make) -> None:
    program = 'import pulumi_gcp as gcp\ngcp.storage.Bucket("b", name="fixed-name", location="{}")\n'
    stack = bare(program.format("EU"))
    stack.up()

    write_program(stack, program.format("US"))

    assert stack.up().has("+-1 replaced")
    (bucket,) = stack.resources("gcp:storage/bucket:Bucket")
    assert bucket["outputs"]["location"] == "US"


def test_import(bare: Make, cloud: LocalCloud) -> None:
    body = {"name": "made-by-hand", "location": "EU", "labels": {"team": "ml"}}
    cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=body).raise_for_status()
    stack = bare(
        "import pulumi\nimport pulumi_gcp as gcp\n"
        'gcp.storage.Bucket("b", name="made-by-hand", location="EU", labels={"team": "ml"},\n'
        '    opts=pulumi.ResourceOptions(import_="made-by-hand"))\n'
    )

    assert stack.up().has("= 1 imported")
    stack.preview("--expect-no-changes")
    assert stack.destroy().has("- 2 deleted")
    assert cloud.admin.state()["buckets"] == []


def test_import_by_command(bare: Make, cloud: LocalCloud) -> None:
    body = {"name": "made-by-hand", "location": "EU", "labels": {"team": "ml"}}
    cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=body).raise_for_status()
    stack = bare("")

    # The language host built from modules writes no programs; the official one does, from the plugin's schema.
    bucket = ("gcp:storage/bucket:Bucket", "b", "made-by-hand")
    imported = stack("import", *bucket, "--yes", "--skip-preview", "--generate-code=false")

    assert imported.has("= 1 imported")
    assert not imported.has("warning")
    assert len(stack.resources("gcp:storage/bucket:Bucket")) == 1


def test_the_schema_is_one_that_the_engine_accepts(bare: Make, pulumi_home: Path) -> None:
    plugin = pulumi_home / "plugins" / "resource-gcp-v10.2.0" / "pulumi-resource-gcp"

    schema = bare("")("package", "get-schema", str(plugin))

    assert schema.has('"gcp:storage/bucket:Bucket"', '"gcp:storage/getBucket:getBucket"')

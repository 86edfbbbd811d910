"""Every rule: what satisfies it, what violates it, a property that is missing, one that a preview cannot know.

Proves the rules on their own. That the engine starts the pack and hands it these inputs is proved in
`tests/engine/test_program.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pulumi_policy import PolicyConfigSchema
from pulumi_policy.proxy import (
    UNKNOWN_ARRAY_VALUE,
    UNKNOWN_BOOLEAN_VALUE,
    UNKNOWN_NUMBER_VALUE,
    UNKNOWN_OBJECT_VALUE,
    UNKNOWN_STRING_VALUE,
    unknown_checking_proxy,
)
from rules.pack import RULES, policies
from rules.rule import Resource, Rule

BUCKET = "gcp:storage/bucket:Bucket"
BUCKET_MEMBER = "gcp:storage/bucketIAMMember:BucketIAMMember"
BUCKET_BINDING = "gcp:storage/bucketIAMBinding:BucketIAMBinding"
PROJECT_MEMBER = "gcp:projects/iAMMember:IAMMember"
PROJECT_BINDING = "gcp:projects/iAMBinding:IAMBinding"
ENDPOINT = "gcp:vertex/aiEndpoint:AiEndpoint"
MODEL = "vertexserving:index:Model"
DEPLOYMENT = "vertexserving:index:Deployment"

IMAGE = "us-docker.pkg.dev/p/r/pytorch-vllm-serve"
DIGEST = "@sha256:" + "a" * 64
ACCOUNT = "serviceAccount:vllm@p.iam.gserviceaccount.com"


def check(
    rule: str, kind: str, props: dict[str, Any], config: Mapping[str, Any] | None = None, stack: str = "dev"
) -> list[str]:
    found: Rule = next(each for each in RULES if each.name == rule)
    resource = Resource(type=kind, name="x", stack=stack, props=unknown_checking_proxy(props))
    return found.violations(resource, config)


def image(uri: Any) -> dict[str, Any]:
    return {"containerSpec": {"imageUri": uri, "env": {}, "args": []}}


def env(**variables: Any) -> dict[str, Any]:
    return {"containerSpec": {"imageUri": IMAGE, "env": variables}}


PRIVATE = {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": True}

COMPLIANT: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("bucket-not-public", BUCKET, PRIVATE, {}),
    ("bucket-not-public", BUCKET_MEMBER, {"member": ACCOUNT}, {}),
    ("bucket-not-public", BUCKET_BINDING, {"members": [ACCOUNT]}, {}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/aiplatform.user", "member": ACCOUNT}, {}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/storage.admin", "member": ACCOUNT}, {}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/owner", "member": "user:a@example.com"}, {}),
    (
        "no-broad-project-roles",
        PROJECT_MEMBER,
        {"role": "roles/run.admin", "member": ACCOUNT},
        {"except": ["roles/run.admin"]},
    ),
    ("least-project-roles", PROJECT_MEMBER, {"role": "roles/aiplatform.user", "member": ACCOUNT}, {}),
    (
        "least-project-roles",
        PROJECT_MEMBER,
        {"role": "roles/logging.viewer", "member": ACCOUNT},
        {"allowed": ["roles/logging.viewer"]},
    ),
    ("container-image-pinned", MODEL, image(f"{IMAGE}:20241001_0916_RC00"), {}),
    ("container-image-pinned", MODEL, image(f"{IMAGE}{DIGEST}"), {}),
    ("container-image-pinned", MODEL, image(f"{IMAGE}:latest{DIGEST}"), {}),
    ("container-image-pinned", MODEL, image("localhost:5000/vllm:1.0"), {}),
    ("no-token-in-clear", MODEL, env(MODEL_ID="meta-llama/Llama-3.2-1B", DEPLOY_SOURCE="vertex-vllm"), {}),
    ("no-token-in-clear", MODEL, env(TOKENIZERS_PARALLELISM="false", MAX_TOKENS="5"), {}),
    ("replica-ceiling", DEPLOYMENT, {"minReplicaCount": 1, "maxReplicaCount": 10}, {}),
    ("replica-ceiling", DEPLOYMENT, {"minReplicaCount": 1, "maxReplicaCount": 40}, {"maxReplicas": 40}),
    ("allowed-regions", DEPLOYMENT, {"location": "asia-east1"}, {}),
    ("allowed-regions", BUCKET, {"location": "US-CENTRAL1"}, {"regions": ["us-central1"]}),
    ("allowed-accelerators", DEPLOYMENT, {"machineSpec": {"acceleratorType": "NVIDIA_B200"}}, {}),
    (
        "allowed-accelerators",
        DEPLOYMENT,
        {"machineSpec": {"acceleratorType": "NVIDIA_L4"}},
        {"accelerators": ["NVIDIA_L4"]},
    ),
    ("required-labels", BUCKET, {"labels": {"owner": "me"}}, {}),
    ("required-labels", MODEL, {"labels": {"team": "a", "cost": "b"}}, {"labels": ["team", "cost"]}),
    ("required-labels", MODEL, {}, {"labels": []}),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": False}, {}),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": True}, {"stacks": ["dev"]}),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": False}, {"stacks": ["prod"]}),
]

VIOLATING: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    (
        "bucket-not-public",
        BUCKET,
        {**PRIVATE, "publicAccessPrevention": "inherited"},
        {},
        'publicAccessPrevention is "inherited"; set it to "enforced"',
    ),
    (
        "bucket-not-public",
        BUCKET,
        {**PRIVATE, "uniformBucketLevelAccess": False},
        {},
        "uniformBucketLevelAccess is off, so single objects can be made public; set it to true",
    ),
    (
        "bucket-not-public",
        BUCKET_MEMBER,
        {"member": "allUsers"},
        {},
        "allUsers is everybody on the internet; grant to a named service account, group or user",
    ),
    (
        "bucket-not-public",
        BUCKET_BINDING,
        {"members": [ACCOUNT, "allAuthenticatedUsers"]},
        {},
        "allAuthenticatedUsers is everybody on the internet; grant to a named service account, group or user",
    ),
    (
        "no-broad-project-roles",
        PROJECT_MEMBER,
        {"role": "roles/editor", "member": ACCOUNT},
        {},
        "roles/editor on the whole project is too broad for a service account; grant a narrower role, "
        "or on one resource",
    ),
    (
        "no-broad-project-roles",
        PROJECT_BINDING,
        {"role": "roles/resourcemanager.projectIamAdmin", "members": [ACCOUNT, "user:a@example.com"]},
        {},
        "roles/resourcemanager.projectIamAdmin on the whole project is too broad for a service account; "
        "grant a narrower role, or on one resource",
    ),
    (
        "no-broad-project-roles",
        PROJECT_MEMBER,
        {"role": "roles/storage.admin", "member": ACCOUNT},
        {"except": []},
        "roles/storage.admin on the whole project is too broad for a service account; grant a narrower role, "
        "or on one resource",
    ),
    (
        "least-project-roles",
        PROJECT_MEMBER,
        {"role": "roles/storage.admin", "member": ACCOUNT},
        {},
        "roles/storage.admin on the project is more than serving needs (roles/aiplatform.user); "
        "pulumi config set vertex-vllm:grants least",
    ),
    (
        "container-image-pinned",
        MODEL,
        image(IMAGE),
        {},
        f"{IMAGE} has no tag, so it is a different image tomorrow; pin one: {IMAGE}:TAG",
    ),
    (
        "container-image-pinned",
        MODEL,
        image("localhost:5000/vllm"),
        {},
        "localhost:5000/vllm has no tag, so it is a different image tomorrow; pin one: localhost:5000/vllm:TAG",
    ),
    (
        "container-image-pinned",
        MODEL,
        image(f"{IMAGE}:latest"),
        {},
        f"{IMAGE}:latest: the tag latest moves, so it is a different image tomorrow; pin a dated tag or a digest",
    ),
    (
        "no-token-in-clear",
        MODEL,
        env(HF_TOKEN="x"),
        {},
        "containerSpec.env.HF_TOKEN holds a credential in clear; "
        "pulumi config set --secret vertex-vllm:hfToken and remove the variable",
    ),
    (
        "no-token-in-clear",
        MODEL,
        env(GREETING="hf_abcdefgh12345678"),
        {},
        "containerSpec.env.GREETING holds a credential in clear; "
        "pulumi config set --secret vertex-vllm:hfToken and remove the variable",
    ),
    (
        "no-token-in-clear",
        MODEL,
        {"containerSpec": {"args": ["python", "--hf-token=hf_abcdefgh12345678"]}},
        {},
        "containerSpec.args[1] holds a token in clear; "
        "pulumi config set --secret vertex-vllm:hfToken and remove the argument",
    ),
    (
        "replica-ceiling",
        DEPLOYMENT,
        {"minReplicaCount": 1, "maxReplicaCount": 11},
        {},
        "up to 11 replicas, and at most 10 are allowed; lower replicas.max_replica_count in the stack file",
    ),
    (
        "allowed-regions",
        DEPLOYMENT,
        {"location": "us-east4"},
        {"regions": ["us-central1", "europe-west4"]},
        "us-east4 is not an allowed region (us-central1, europe-west4); pulumi config set gcp:region us-central1",
    ),
    (
        "allowed-accelerators",
        DEPLOYMENT,
        {"machineSpec": {"acceleratorType": "NVIDIA_B200"}},
        {"accelerators": ["NVIDIA_L4"]},
        "NVIDIA_B200 is not an allowed accelerator (NVIDIA_L4); change hardware.accelerator_type in the stack file",
    ),
    (
        "required-labels",
        ENDPOINT,
        {"labels": {"team": "a"}},
        {"labels": ["team", "owner", "cost"]},
        "labels missing: owner, cost; pulumi config set --path vertex-vllm:labels.owner VALUE",
    ),
    (
        "dedicated-endpoint",
        ENDPOINT,
        {"dedicatedEndpointEnabled": False},
        {"stacks": ["prod", "dev"]},
        "stack dev needs a dedicated endpoint; set endpoint.dedicated: true in the stack file",
    ),
]

# Rule, type, properties without the one that the rule reads, and how many violations that makes.
MISSING: list[tuple[str, str, dict[str, Any], int]] = [
    ("bucket-not-public", BUCKET, {}, 2),
    ("bucket-not-public", BUCKET_MEMBER, {}, 0),
    ("no-broad-project-roles", PROJECT_MEMBER, {"member": ACCOUNT}, 0),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/owner"}, 1),
    ("least-project-roles", PROJECT_MEMBER, {"member": ACCOUNT}, 0),
    ("container-image-pinned", MODEL, {}, 0),
    ("no-token-in-clear", MODEL, {}, 0),
    ("no-token-in-clear", MODEL, {"containerSpec": {"env": None}}, 0),
    ("replica-ceiling", DEPLOYMENT, {}, 0),
    ("allowed-regions", DEPLOYMENT, {}, 0),
    ("allowed-accelerators", DEPLOYMENT, {"machineSpec": {}}, 0),
    ("required-labels", BUCKET, {}, 1),
    ("required-labels", BUCKET, {"labels": {"owner": ""}}, 1),
    ("dedicated-endpoint", ENDPOINT, {}, 1),
]

UNKNOWN: list[tuple[str, str, dict[str, Any]]] = [
    (
        "bucket-not-public",
        BUCKET,
        {"publicAccessPrevention": UNKNOWN_STRING_VALUE, "uniformBucketLevelAccess": UNKNOWN_BOOLEAN_VALUE},
    ),
    ("bucket-not-public", BUCKET_BINDING, {"members": [UNKNOWN_STRING_VALUE]}),
    ("bucket-not-public", BUCKET_BINDING, {"members": UNKNOWN_ARRAY_VALUE}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": UNKNOWN_STRING_VALUE, "member": ACCOUNT}),
    ("least-project-roles", PROJECT_MEMBER, {"role": UNKNOWN_STRING_VALUE, "member": ACCOUNT}),
    ("container-image-pinned", MODEL, image(UNKNOWN_STRING_VALUE)),
    ("container-image-pinned", MODEL, {"containerSpec": UNKNOWN_OBJECT_VALUE}),
    (
        "no-token-in-clear",
        MODEL,
        {"containerSpec": {"env": UNKNOWN_OBJECT_VALUE, "args": [UNKNOWN_STRING_VALUE]}},
    ),
    ("replica-ceiling", DEPLOYMENT, {"maxReplicaCount": UNKNOWN_NUMBER_VALUE}),
    ("allowed-regions", DEPLOYMENT, {"location": UNKNOWN_STRING_VALUE}),
    ("allowed-accelerators", DEPLOYMENT, {"machineSpec": {"acceleratorType": UNKNOWN_STRING_VALUE}}),
    ("required-labels", BUCKET, {"labels": UNKNOWN_OBJECT_VALUE}),
    ("required-labels", BUCKET, {"labels": {"owner": UNKNOWN_STRING_VALUE}}),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": UNKNOWN_BOOLEAN_VALUE}),
]

STRICT = {
    "allowed-regions": {"regions": ["us-central1"]},
    "allowed-accelerators": {"accelerators": ["NVIDIA_L4"]},
    "dedicated-endpoint": {"stacks": ["dev"]},
}


@pytest.mark.parametrize(("rule", "kind", "props", "config"), COMPLIANT)
def test_compliant(rule: str, kind: str, props: dict[str, Any], config: dict[str, Any]) -> None:
    assert check(rule, kind, props, config) == []


@pytest.mark.parametrize(("rule", "kind", "props", "config", "text"), VIOLATING)
def test_violating(rule: str, kind: str, props: dict[str, Any], config: dict[str, Any], text: str) -> None:
    assert check(rule, kind, props, config) == [text]


@pytest.mark.parametrize(("rule", "kind", "props", "count"), MISSING)
def test_missing_property(rule: str, kind: str, props: dict[str, Any], count: int) -> None:
    assert len(check(rule, kind, props, STRICT.get(rule))) == count


@pytest.mark.parametrize(("rule", "kind", "props"), UNKNOWN)
def test_unknown_property_waits_for_the_update(rule: str, kind: str, props: dict[str, Any]) -> None:
    assert check(rule, kind, props, STRICT.get(rule)) == []


def test_role_of_an_account_that_is_not_known_yet_is_checked() -> None:
    props = {"role": "roles/owner", "member": UNKNOWN_STRING_VALUE}
    assert len(check("no-broad-project-roles", PROJECT_MEMBER, props)) == 1


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_other_types_are_left_alone(rule: str) -> None:
    assert check(rule, "gcp:projects/service:Service", {"service": "x"}, STRICT.get(rule)) == []


def test_every_table_covers_every_rule() -> None:
    names = {rule.name for rule in RULES}
    for table in (COMPLIANT, VIOLATING, MISSING, UNKNOWN):
        assert {row[0] for row in table} == names


def test_every_rule_becomes_a_policy_with_its_schema() -> None:
    made = policies()
    assert [policy.name for policy in made] == [rule.name for rule in RULES]
    for rule, policy in zip(RULES, made, strict=True):
        assert policy.description == rule.description
        assert policy.enforcement_level is not None
        assert policy.enforcement_level.value == rule.level
        schema = policy.config_schema
        assert (schema.properties if isinstance(schema, PolicyConfigSchema) else {}) == rule.config


def test_only_the_guides_roles_are_advisory() -> None:
    assert [rule.name for rule in RULES if rule.level == "advisory"] == ["least-project-roles"]

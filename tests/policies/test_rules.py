"""Every rule: what satisfies it, what violates it, a property that is missing, one that a preview cannot know.

Proves the rules on their own. That the engine starts the pack and hands it these inputs is proved in
`tests/engine/test_policies.py`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_policy import PolicyConfigSchema
from pulumi_policy.proxy import (
    UNKNOWN_ARRAY_VALUE,
    UNKNOWN_BOOLEAN_VALUE,
    UNKNOWN_NUMBER_VALUE,
    UNKNOWN_OBJECT_VALUE,
    UNKNOWN_STRING_VALUE,
    unknown_checking_proxy,
)
from rules import labels
from rules.capacity import COUNTS
from rules.pack import RULES, policies
from rules.rule import Resource, Rule

from infra.metrics import METRICS

POLICIES = Path(__file__).resolve().parents[2] / "policies"

BUCKET = "gcp:storage/bucket:Bucket"
BUCKET_MEMBER = "gcp:storage/bucketIAMMember:BucketIAMMember"
BUCKET_BINDING = "gcp:storage/bucketIAMBinding:BucketIAMBinding"
BUCKET_POLICY = "gcp:storage/bucketIAMPolicy:BucketIAMPolicy"
BUCKET_LIST = "gcp:storage/bucketACL:BucketACL"
BUCKET_ENTRY = "gcp:storage/bucketAccessControl:BucketAccessControl"
PROJECT_MEMBER = "gcp:projects/iAMMember:IAMMember"
PROJECT_BINDING = "gcp:projects/iAMBinding:IAMBinding"
PROJECT_POLICY = "gcp:projects/iAMPolicy:IAMPolicy"
FOLDER_MEMBER = "gcp:folder/iAMMember:IAMMember"
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


def deployment(
    machine: Any = "g2-standard-12", kind: Any = "NVIDIA_L4", count: Any = 1, **more: Any
) -> dict[str, Any]:
    spec = {"machineType": machine, "acceleratorType": kind, "acceleratorCount": count}
    return {
        "location": "us-central1",
        "machineSpec": spec,
        "minReplicaCount": 1,
        "maxReplicaCount": 1,
        **more,
    }


def metrics(*specs: tuple[Any, Any], low: Any = 1, high: Any = 3) -> dict[str, Any]:
    """A deployment between two numbers of replicas; each spec is a metric and its target."""
    found = [{"metricName": name, "target": target} for name, target in specs]
    return {"minReplicaCount": low, "maxReplicaCount": high, "autoscalingMetricSpecs": found}


def policy_of(role: str, *members: str) -> dict[str, Any]:
    return {"policyData": json.dumps({"bindings": [{"role": role, "members": list(members)}]})}


DUTY_CYCLE = "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle"
WAITING = "prometheus.googleapis.com/vertex_vllm_num_requests_waiting"
# Stack `dev` is production here.
IN_PROD = {"environments": {"dev": "prod"}}
LABELS = {"owner": "me", "environment": "dev", "expiry": "never"}
PRIVATE = {"publicAccessPrevention": "enforced", "uniformBucketLevelAccess": True}

COMPLIANT: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("bucket-not-public", BUCKET, PRIVATE, {}),
    ("bucket-not-public", BUCKET_MEMBER, {"member": ACCOUNT}, {}),
    ("bucket-not-public", BUCKET_BINDING, {"members": [ACCOUNT]}, {}),
    ("bucket-not-public", BUCKET_POLICY, policy_of("roles/storage.objectViewer", ACCOUNT), {}),
    ("bucket-not-public", BUCKET_POLICY, {"policyData": "not JSON"}, {}),
    ("bucket-not-public", BUCKET_LIST, {"roleEntities": ["READER:user-a@example.com"]}, {}),
    ("bucket-not-public", BUCKET_LIST, {"predefinedAcl": "private"}, {}),
    ("bucket-not-public", BUCKET_ENTRY, {"entity": "user-a@example.com"}, {}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/aiplatform.user", "member": ACCOUNT}, {}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/storage.admin", "member": ACCOUNT}, {}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/owner", "member": "user:a@example.com"}, {}),
    (
        "no-broad-project-roles",
        PROJECT_MEMBER,
        {"role": "roles/run.admin", "member": ACCOUNT},
        {"except": ["roles/run.admin"]},
    ),
    ("no-broad-project-roles", PROJECT_POLICY, policy_of("roles/owner", "user:a@example.com"), {}),
    ("no-broad-project-roles", FOLDER_MEMBER, {"role": "roles/owner", "member": "group:a@example.com"}, {}),
    ("no-broad-project-roles", PROJECT_MEMBER, {"role": "roles/aiplatform.user", "member": ACCOUNT}, IN_PROD),
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
    ("container-image-pinned", MODEL, image(f"{IMAGE}{DIGEST}"), {"requireDigest": True}),
    ("no-token-in-clear", MODEL, env(MODEL_ID="meta-llama/Llama-3.2-1B", DEPLOY_SOURCE="vertex-vllm"), {}),
    ("no-token-in-clear", MODEL, env(TOKENIZERS_PARALLELISM="false", MAX_TOKENS="5"), {}),
    ("no-token-in-clear", MODEL, {**env(MODEL_ID="x"), "hfToken": "hf_abcdefgh12345678"}, {}),
    ("no-token-in-clear", MODEL, env(MODEL_ID="x"), IN_PROD),
    ("no-token-in-clear", MODEL, {**env(), "hfToken": "hf_abcdefgh1234"}, {**IN_PROD, "production": []}),
    ("budget", DEPLOYMENT, deployment(), {}),
    ("budget", DEPLOYMENT, deployment("a3-highgpu-8g", "NVIDIA_H100_80GB", 8), {}),  # 101.01 of 120
    ("budget", DEPLOYMENT, deployment(maxReplicaCount=3), {"maxUsdPerHour": 3.45}),  # 3 x 1.15069
    # 0.71247 with the management fee of spot
    ("budget", DEPLOYMENT, deployment(spot=True), {"maxUsdPerHour": 0.72}),
    ("budget", DEPLOYMENT, deployment("n1-standard-8", "NVIDIA_TESLA_T4", 2), {"maxUsdPerHour": 1.25}),
    ("budget", DEPLOYMENT, deployment(maxReplicaCount=500), {"maxUsdPerHour": 0}),
    ("budget", DEPLOYMENT, deployment(maxReplicaCount=500), {"maxUsdPerHourByEnvironment": {"dev": 600}}),
    ("budget", DEPLOYMENT, deployment("a4x-highgpu-4g", "NVIDIA_GB200", 4), {"maxUsdPerHour": 0}),
    ("budget", DEPLOYMENT, deployment("a4x-highgpu-4g", "NVIDIA_GB200", 4), {"unknownPrice": "allow"}),
    ("replica-ceiling", DEPLOYMENT, {"minReplicaCount": 1, "maxReplicaCount": 2}, {}),
    ("replica-ceiling", DEPLOYMENT, {"minReplicaCount": 1, "maxReplicaCount": 10}, IN_PROD),
    (
        "replica-ceiling",
        DEPLOYMENT,
        {"minReplicaCount": 1, "maxReplicaCount": 40},
        {"maxReplicasByEnvironment": {}, "maxReplicas": 40},
    ),
    ("reachable-scale", DEPLOYMENT, {"minReplicaCount": 2, "maxReplicaCount": 2}, {}),
    ("reachable-scale", DEPLOYMENT, {"minReplicaCount": 2, "autoscalingMetricSpecs": []}, {}),
    ("reachable-scale", DEPLOYMENT, metrics((DUTY_CYCLE, 99), (WAITING, 5000)), {}),
    ("allowed-regions", DEPLOYMENT, {"location": "asia-east1"}, {}),
    ("allowed-regions", BUCKET, {"location": "US-CENTRAL1"}, {"regions": ["us-central1"]}),
    ("allowed-accelerators", DEPLOYMENT, {"machineSpec": {"acceleratorType": "NVIDIA_B200"}}, {}),
    (
        "allowed-accelerators",
        DEPLOYMENT,
        {"machineSpec": {"acceleratorType": "NVIDIA_L4"}},
        {"accelerators": ["NVIDIA_L4"]},
    ),
    ("required-labels", BUCKET, {"labels": LABELS}, {}),
    ("required-labels", BUCKET, {"labels": {**LABELS, "expiry": "2027-01-15"}}, {}),  # today
    ("required-labels", BUCKET, {"labels": {**LABELS, "expiry": "8h"}}, {"allowNever": False}),
    ("required-labels", BUCKET, {"labels": {**LABELS, "environment": "production"}}, IN_PROD),
    ("required-labels", BUCKET, {"labels": {**LABELS, "environment": "sandbox"}}, {}),
    ("required-labels", BUCKET, {"labels": {"owner": "me", "expiry": "soon"}}, {"labels": ["owner"]}),
    ("required-labels", MODEL, {"labels": {"team": "a", "cost": "b"}}, {"labels": ["team", "cost"]}),
    ("required-labels", MODEL, {}, {"labels": []}),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": False}, {}),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": True}, IN_PROD),
    ("dedicated-endpoint", ENDPOINT, {"network": "projects/1/global/networks/inner"}, IN_PROD),
    (
        "dedicated-endpoint",
        ENDPOINT,
        {"privateServiceConnectConfig": {"enablePrivateServiceConnect": True}},
        IN_PROD,
    ),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": False}, {**IN_PROD, "production": []}),
    ("deployment-logs", DEPLOYMENT, {}, {}),
    ("deployment-logs", DEPLOYMENT, {"disableContainerLogging": False, "enableContainerLogging": True}, {}),
    ("deployment-logs", MODEL, env(VLLM_LOGGING_LEVEL="DEBUG", VLLM_CONFIGURE_LOGGING="1"), {}),
    ("deployment-logs", MODEL, env(VLLM_LOGGING_LEVEL="WARNING"), {"silentLevels": ["CRITICAL"]}),
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
        "bucket-not-public",
        BUCKET_POLICY,
        policy_of("roles/storage.objectViewer", ACCOUNT, "allUsers"),
        {},
        "allUsers is everybody on the internet; grant to a named service account, group or user",
    ),
    (
        "bucket-not-public",
        BUCKET_LIST,
        {"roleEntities": ["OWNER:user-a@example.com", "READER:allUsers"]},
        {},
        "allUsers is everybody on the internet; grant to a named service account, group or user",
    ),
    (
        "bucket-not-public",
        BUCKET_ENTRY,
        {"entity": "allAuthenticatedUsers", "role": "READER"},
        {},
        "allAuthenticatedUsers is everybody on the internet; grant to a named service account, group or user",
    ),
    (
        "bucket-not-public",
        BUCKET_LIST,
        {"predefinedAcl": "publicRead"},
        {},
        "predefinedAcl publicRead lets everybody on the internet read; grant to a named service account, group or user",
    ),
    (
        "no-broad-project-roles",
        PROJECT_POLICY,
        policy_of("roles/iam.serviceAccountTokenCreator", ACCOUNT),
        {},
        "roles/iam.serviceAccountTokenCreator on the whole project is too broad for a service account; grant a "
        "narrower role, or on one resource",
    ),
    (
        "no-broad-project-roles",
        FOLDER_MEMBER,
        {"role": "roles/aiplatform.user", "member": ACCOUNT},
        {},
        "roles/aiplatform.user on a whole folder is too broad for a service account; grant it on one resource",
    ),
    (
        "no-broad-project-roles",
        PROJECT_MEMBER,
        {"role": "roles/storage.admin", "member": ACCOUNT},
        IN_PROD,
        "roles/storage.admin on the whole project is too broad for a service account; grant a narrower role, "
        "or on one resource (pulumi config set vertex-vllm:grants least)",
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
        "container-image-pinned",
        MODEL,
        image(f"{IMAGE}:20241001_0916_RC00"),
        {"requireDigest": True},
        f"{IMAGE}:20241001_0916_RC00 is no digest; write it as {IMAGE}:20241001_0916_RC00@sha256:DIGEST, which the "
        "registry shows beside the tag",
    ),
    (
        "no-token-in-clear",
        MODEL,
        {**env(MODEL_ID="x"), "hfToken": "hf_abcdefgh12345678"},
        IN_PROD,
        "hfToken becomes the variable HF_TOKEN of the model, in clear for everybody who may read it; in prod put the "
        "weights of a gated model into a bucket (weights: gs://BUCKET/PREFIX in the stack file) and "
        "pulumi config rm vertex-vllm:hfToken",
    ),
    (
        "no-token-in-clear",
        MODEL,
        {"containerSpec": {"command": ["env", "T=hf_abcdefgh12345678"]}},
        {},
        "containerSpec.command[1] holds a token in clear; "
        "pulumi config set --secret vertex-vllm:hfToken and remove the argument",
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
        "budget",
        DEPLOYMENT,
        deployment(maxReplicaCount=3),
        {"maxUsdPerHour": 3.44},
        "3 g2-standard-12 in us-central1 cost 3.45 US dollars an hour, and at most 3.44 are allowed; "
        "lower replicas.max_replica_count or choose a cheaper machine in the stack file",
    ),
    (
        "budget",
        DEPLOYMENT,
        deployment("a3-highgpu-8g", "NVIDIA_H100_80GB", 8, maxReplicaCount=2),
        {},
        "2 a3-highgpu-8g in us-central1 cost 202.01 US dollars an hour, and at most 120.00 are allowed; "
        "lower replicas.max_replica_count or choose a cheaper machine in the stack file",
    ),
    (
        "budget",
        DEPLOYMENT,
        deployment(spot=True, minReplicaCount=4, maxReplicaCount=None),
        {"maxUsdPerHour": 2.5},  # 4 x 0.562408 is below it; the management fee is above
        "4 spot g2-standard-12 in us-central1 cost 2.85 US dollars an hour, and at most 2.50 are allowed; "
        "lower replicas.max_replica_count or choose a cheaper machine in the stack file",
    ),
    (
        "budget",
        DEPLOYMENT,
        deployment(),
        {"maxUsdPerHourByEnvironment": {"dev": 1}},
        "1 g2-standard-12 in us-central1 cost 1.15 US dollars an hour, and at most 1.00 are allowed; "
        "lower replicas.max_replica_count or choose a cheaper machine in the stack file",
    ),
    (
        "budget",
        DEPLOYMENT,
        deployment("a4x-highgpu-4g", "NVIDIA_GB200", 4),
        {},
        "no price is known of a4x-highgpu-4g in us-central1, so the budget of 120.00 US dollars an hour cannot be "
        "held; choose a machine whose price is known (vertex-vllm explain names them), or set option unknownPrice of "
        "this policy to allow",
    ),
    (
        "replica-ceiling",
        DEPLOYMENT,
        {"minReplicaCount": 1, "maxReplicaCount": 11},
        IN_PROD,
        "up to 11 replicas, and at most 10 are allowed in prod; lower replicas.max_replica_count in the stack file",
    ),
    (
        "replica-ceiling",
        DEPLOYMENT,
        {"minReplicaCount": 3, "maxReplicaCount": UNKNOWN_NUMBER_VALUE},
        {},
        "up to 3 replicas, and at most 2 are allowed in dev; lower replicas.max_replica_count in the stack file",
    ),
    (
        "reachable-scale",
        DEPLOYMENT,
        {"minReplicaCount": 3, "maxReplicaCount": 2},
        {},
        "at least 3 replicas are asked for, and at most 2; replicas.max_replica_count: 3 in the stack file",
    ),
    (
        "reachable-scale",
        DEPLOYMENT,
        metrics((DUTY_CYCLE, 60), low=2, high=2),
        {},
        "nothing scales while at least and at most are both 2; raise replicas.max_replica_count in the stack file, "
        "or remove replicas.autoscaling",
    ),
    (
        "reachable-scale",
        DEPLOYMENT,
        metrics((WAITING, 200), (DUTY_CYCLE, 100)),
        {},
        f"{DUTY_CYCLE} is a percentage and never exceeds its target 100, so no replica is ever added; "
        "set the target in replicas.autoscaling to 60 or so",
    ),
    (
        "reachable-scale",
        DEPLOYMENT,
        metrics((UNKNOWN_STRING_VALUE, 200), (DUTY_CYCLE, 60), (DUTY_CYCLE, 70)),
        {},
        f"{DUTY_CYCLE} is there twice; remove one of the two from replicas.autoscaling in the stack file",
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
        "labels missing: owner, cost; pulumi config set --path vertex-vllm:labels.owner VALUE && "
        "pulumi config set --path vertex-vllm:labels.cost VALUE",
    ),
    (
        "required-labels",
        ENDPOINT,
        {"labels": {**LABELS, "environment": "prod"}},
        {},
        "label environment is prod, but stack dev is held to the policies of dev; pulumi config set --path "
        'vertex-vllm:labels.environment dev, or option environments of the policies: {"dev": "prod"}',
    ),
    (
        "required-labels",
        ENDPOINT,
        {"labels": LABELS},
        IN_PROD,
        "label environment is dev, but stack dev is held to the policies of prod; pulumi config set --path "
        'vertex-vllm:labels.environment prod, or option environments of the policies: {"dev": "dev"}',
    ),
    (
        "required-labels",
        MODEL,
        {"labels": {**LABELS, "expiry": "2027-01-14"}},
        {},
        "the stack expired on 2027-01-14; pulumi destroy, or pulumi config set --path vertex-vllm:labels.expiry with a "
        "later day",
    ),
    (
        "required-labels",
        MODEL,
        {"labels": {**LABELS, "expiry": "2027-02-30"}},
        {},
        "label expiry is 2027-02-30, which is no day and no duration; pulumi config set --path "
        "vertex-vllm:labels.expiry YYYY-MM-DD or never, or expires_after: 8h in the stack file",
    ),
    (
        "required-labels",
        MODEL,
        {"labels": {**LABELS, "expiry": "20270930"}},
        {"allowNever": False},
        "label expiry is 20270930, which is no day and no duration; pulumi config set --path "
        "vertex-vllm:labels.expiry YYYY-MM-DD, or expires_after: 8h in the stack file",
    ),
    (
        "required-labels",
        MODEL,
        {"labels": LABELS},
        {"allowNever": False},
        "label expiry is never, which is not allowed; pulumi config set --path vertex-vllm:labels.expiry YYYY-MM-DD",
    ),
    (
        "dedicated-endpoint",
        ENDPOINT,
        {"dedicatedEndpointEnabled": False},
        IN_PROD,
        "stack dev needs a dedicated or a private endpoint; pulumi config set vertex-vllm:dedicatedEndpoint true",
    ),
    (
        "deployment-logs",
        DEPLOYMENT,
        {"disableContainerLogging": True},
        {},
        "disableContainerLogging is true, so a failure leaves no line behind; remove it",
    ),
    (
        "deployment-logs",
        DEPLOYMENT,
        {"enableContainerLogging": False},
        {},
        "enableContainerLogging is false, so a failure leaves no line behind; set it to true",
    ),
    (
        "deployment-logs",
        MODEL,
        env(VLLM_LOGGING_LEVEL="error"),
        {},
        "containerSpec.env.VLLM_LOGGING_LEVEL is error, so vLLM does not say how it starts; set it to INFO or "
        "remove it",
    ),
    (
        "deployment-logs",
        MODEL,
        env(VLLM_CONFIGURE_LOGGING="0"),
        {},
        "containerSpec.env.VLLM_CONFIGURE_LOGGING is 0, so vLLM does not say how it starts; remove it",
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
    ("no-token-in-clear", MODEL, {"hfToken": None}, 0),
    ("budget", DEPLOYMENT, {}, 0),
    ("budget", DEPLOYMENT, {"location": "us-central1", "maxReplicaCount": 3}, 0),
    ("budget", DEPLOYMENT, {"machineSpec": {"machineType": "g2-standard-12"}}, 0),
    # One replica is what Vertex AI takes where none are given.
    ("budget", DEPLOYMENT, {**deployment(), "minReplicaCount": None, "maxReplicaCount": None}, 1),
    ("replica-ceiling", DEPLOYMENT, {}, 0),
    ("replica-ceiling", DEPLOYMENT, {"minReplicaCount": 11}, 1),
    ("reachable-scale", DEPLOYMENT, {}, 0),
    ("reachable-scale", DEPLOYMENT, {"maxReplicaCount": 2, "autoscalingMetricSpecs": [{"target": 100}]}, 0),
    ("reachable-scale", DEPLOYMENT, {"autoscalingMetricSpecs": [{"metricName": DUTY_CYCLE}]}, 1),
    ("allowed-regions", DEPLOYMENT, {}, 0),
    ("allowed-accelerators", DEPLOYMENT, {"machineSpec": {}}, 0),
    ("required-labels", BUCKET, {}, 1),
    ("required-labels", BUCKET, {"labels": {**LABELS, "owner": ""}}, 1),
    ("required-labels", BUCKET, {"labels": {"owner": "me"}}, 1),
    ("dedicated-endpoint", ENDPOINT, {}, 1),
    ("dedicated-endpoint", ENDPOINT, {"privateServiceConnectConfig": {}}, 1),
    ("deployment-logs", DEPLOYMENT, {}, 0),
    ("deployment-logs", MODEL, {"containerSpec": {"env": None}}, 0),
    ("deployment-logs", MODEL, {}, 0),
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
    ("no-token-in-clear", MODEL, {"hfToken": UNKNOWN_STRING_VALUE}),
    ("no-broad-project-roles", PROJECT_POLICY, {"policyData": UNKNOWN_STRING_VALUE}),
    ("bucket-not-public", BUCKET_POLICY, {"policyData": UNKNOWN_STRING_VALUE}),
    ("bucket-not-public", BUCKET_LIST, {"roleEntities": [UNKNOWN_STRING_VALUE]}),
    ("budget", DEPLOYMENT, {**deployment(), "machineSpec": UNKNOWN_OBJECT_VALUE}),
    ("budget", DEPLOYMENT, deployment(UNKNOWN_STRING_VALUE)),
    ("budget", DEPLOYMENT, deployment(kind=UNKNOWN_STRING_VALUE)),
    ("budget", DEPLOYMENT, deployment(location=UNKNOWN_STRING_VALUE)),
    ("budget", DEPLOYMENT, deployment(spot=UNKNOWN_BOOLEAN_VALUE)),
    ("budget", DEPLOYMENT, deployment(maxReplicaCount=UNKNOWN_NUMBER_VALUE)),
    ("reachable-scale", DEPLOYMENT, {"autoscalingMetricSpecs": UNKNOWN_ARRAY_VALUE}),
    ("reachable-scale", DEPLOYMENT, metrics((DUTY_CYCLE, UNKNOWN_NUMBER_VALUE))),
    ("reachable-scale", DEPLOYMENT, metrics((DUTY_CYCLE, 60), low=2, high=UNKNOWN_NUMBER_VALUE)),
    ("replica-ceiling", DEPLOYMENT, {"maxReplicaCount": UNKNOWN_NUMBER_VALUE}),
    ("allowed-regions", DEPLOYMENT, {"location": UNKNOWN_STRING_VALUE}),
    ("allowed-accelerators", DEPLOYMENT, {"machineSpec": {"acceleratorType": UNKNOWN_STRING_VALUE}}),
    ("required-labels", BUCKET, {"labels": UNKNOWN_OBJECT_VALUE}),
    ("required-labels", BUCKET, {"labels": {**LABELS, "owner": UNKNOWN_STRING_VALUE}}),
    ("required-labels", BUCKET, {"labels": {**LABELS, "expiry": UNKNOWN_STRING_VALUE}}),
    ("dedicated-endpoint", ENDPOINT, {"dedicatedEndpointEnabled": UNKNOWN_BOOLEAN_VALUE}),
    ("dedicated-endpoint", ENDPOINT, {"network": UNKNOWN_STRING_VALUE}),
    ("dedicated-endpoint", ENDPOINT, {"privateServiceConnectConfig": UNKNOWN_OBJECT_VALUE}),
    ("deployment-logs", DEPLOYMENT, {"disableContainerLogging": UNKNOWN_BOOLEAN_VALUE}),
    ("deployment-logs", MODEL, env(VLLM_LOGGING_LEVEL=UNKNOWN_STRING_VALUE)),
    ("deployment-logs", MODEL, {"containerSpec": {"env": UNKNOWN_OBJECT_VALUE}}),
]

STRICT: dict[str, dict[str, Any]] = {
    "budget": {"maxUsdPerHour": 1},
    "allowed-regions": {"regions": ["us-central1"]},
    "allowed-accelerators": {"accelerators": ["NVIDIA_L4"]},
    "dedicated-endpoint": IN_PROD,
    "no-token-in-clear": IN_PROD,
    "no-broad-project-roles": IN_PROD,
}


@pytest.fixture(autouse=True)
def day(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day on which the labels of these tables are read."""
    monkeypatch.setattr(labels, "today", lambda: date(2027, 1, 15))


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


@pytest.mark.parametrize(
    ("stack", "environments", "environment"),
    [
        ("prod", {}, "prod"),
        ("prod-eu", {}, "prod"),
        ("production.eu", {}, "production"),
        ("dev_anna", {}, "dev"),
        ("eu-prod", {}, "eu"),
        ("eu-prod", {"eu-prod": "prod"}, "prod"),
        ("prod-copy", {"prod-copy": "dev"}, "dev"),
        ("preprod", {}, "preprod"),
    ],
)
def test_the_environment_is_told_from_the_stacks_name(
    stack: str, environments: dict[str, str], environment: str
) -> None:
    resource = Resource(type=MODEL, name="x", stack=stack, props={})
    assert resource.environment({"environments": environments}) == environment


def test_a_production_stack_by_another_name_is_found_out_by_its_label() -> None:
    prod = {**LABELS, "environment": "prod"}
    [text] = check("required-labels", BUCKET, {"labels": prod}, stack="eu-prod")
    assert 'option environments of the policies: {"eu-prod": "prod"}' in text
    assert (
        check("required-labels", BUCKET, {"labels": prod}, {"environments": {"eu-prod": "prod"}}, "eu-prod")
        == []
    )


def test_every_default_keeps_to_its_own_schema() -> None:
    kinds = {"array": list, "boolean": bool, "integer": int, "number": int, "object": dict, "string": str}
    for rule in RULES:
        for name, schema in rule.config.items():
            assert isinstance(schema["default"], kinds[schema["type"]]), (rule.name, name)
            assert schema["default"] in schema.get("enum", [schema["default"]])


def test_every_rule_and_option_is_documented() -> None:
    """In the table of the pack's README, and in the docstring of the rule's module."""
    table = (POLICIES / "README.md").read_text()
    for rule in RULES:
        [line] = [line for line in table.splitlines() if line.startswith(f"| `{rule.name}` | {rule.level} |")]
        about = sys.modules[rule.check.__module__].__doc__ or ""
        assert f"`{rule.name}`" in about
        assert "Satisfied by: " in about
        assert "Violated by: " in about
        for option in rule.config:
            assert f"`{option}`" in line, (rule.name, option)
    named = re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)
    assert named == [rule.name for rule in RULES]


@pytest.mark.parametrize("name", ["local", "dev", "prod"])
def test_the_labels_of_the_shipped_environments_are_those_required(name: str) -> None:
    config = yaml.safe_load((POLICIES.parent / f"Pulumi.{name}.yaml").read_text())["config"]
    assert check("required-labels", BUCKET, {"labels": config["vertex-vllm:labels"]}, stack=name) == []


def test_the_metrics_that_are_counts_are_those_of_the_stack_files() -> None:
    """The pack knows of one more, which only version v1beta1 of the API takes."""
    known = {name for name, percentage in METRICS.items() if not percentage}
    assert known <= COUNTS
    assert not {name for name, percentage in METRICS.items() if percentage} & COUNTS


@pytest.mark.parametrize("rule", [each.name for each in RULES])
def test_an_option_that_there_is_not_is_said_of_the_stack(rule: str) -> None:
    stack = "pulumi:pulumi:Stack"
    assert check(rule, stack, {}) == []
    (text,) = check(rule, stack, {}, {"maxUsdPerHourr": 1})
    assert text.startswith(f"{rule} has no option maxUsdPerHourr: it has ")
    assert check(rule, "gcp:storage/bucket:Bucket", {"labels": {}}, {"maxUsdPerHourr": 1}) == check(
        rule, "gcp:storage/bucket:Bucket", {"labels": {}}
    )

"""The inputs that each resource takes. Pure data; sources of the limits are named beside them."""

from __future__ import annotations

from infra.metrics import DUTY_CYCLE, METRICS
from infra.provider.fields import Flag, Items, Record, Table, Text, Whole

# google.cloud.aiplatform.v1.AcceleratorType of google-cloud-aiplatform 2.7.0; a test compares.
ACCELERATORS = (
    "NVIDIA_L4",
    "NVIDIA_TESLA_T4",
    "NVIDIA_TESLA_A100",
    "NVIDIA_A100_80GB",
    "NVIDIA_H100_80GB",
    "NVIDIA_H100_MEGA_80GB",
    "NVIDIA_H200_141GB",
    "NVIDIA_B200",
    "NVIDIA_GB200",
    "NVIDIA_RTX_PRO_6000",
    "NVIDIA_TESLA_V100",
    "NVIDIA_TESLA_P100",
    "NVIDIA_TESLA_P4",
    "NVIDIA_TESLA_K80",
    "TPU_V2",
    "TPU_V3",
    "TPU_V4_POD",
    "TPU_V5_LITEPOD",
)

LONGEST_START = 7200  # seconds; Google's limit of ModelContainerSpec.deployment_timeout
LONGEST_WAIT = 12 * 3600
DEFAULT_WAIT = 1800
STRATEGIES = ("auto", "surge", "recreate")
"""What a replacement does: the old one stays until the new one serves, goes first, or what the quota allows."""

PROJECT = Text(
    'a project id (for example "my-project") or a project number',
    pattern=r"(?:[a-z][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]{1,19}",
)
LOCATION = Text('a region, for example "us-central1"', pattern=r"[a-z]+-[a-z]+[0-9]{1,2}")
DISPLAY_NAME = Text("1 to 128 characters of text", pattern=r"(?s:.+)", longest=128)
LABELS = Table(  # Google: up to 64 labels of at most 63 characters, of which two are the provider's
    key=Text(
        "a label's key: a lower-case letter, then at most 62 lower-case letters, digits, _ or -",
        pattern=r"[^\W\d_A-Z](?:[^\WA-Z]|-){0,62}",
    ),
    value=Text(
        "a label's value: at most 63 lower-case letters, digits, _ or -", pattern=r"(?:[^\WA-Z]|-){0,63}"
    ),
    most=62,
)
ROUTE = Text('a path that begins with "/"', pattern=r"/\S*")

CONTAINER = Record(
    {
        "imageUri": Text(
            'a container image, for example "us-docker.pkg.dev/project/repository/image:tag"',
            pattern=r"[A-Za-z0-9][A-Za-z0-9._:/@-]+",
        ),
        "command": Items(Text()),
        "args": Items(Text()),
        "env": Table(
            key=Text("the name of an environment variable", pattern=r"[A-Za-z_][A-Za-z0-9_]*"), value=Text()
        ),
        "ports": Items(Whole(1, 65535), most=1),  # Google uses the first one only
        "predictRoute": ROUTE,
        "healthRoute": ROUTE,
        "sharedMemorySizeMb": Whole(1, 4 * 1024 * 1024, "MB"),
        "deploymentTimeoutSeconds": Whole(1, LONGEST_START, "seconds (Google's limit is 2 hours)"),
    },
    required={"imageUri": "give the image that serves the model."},
)

MODEL = Record(
    {
        "project": PROJECT,
        "location": LOCATION,
        "displayName": DISPLAY_NAME,
        "modelId": Text(
            'a model id: a lower-case letter or "_", then at most 62 lower-case letters, digits, _ or -',
            pattern=r"[a-z_][a-z0-9_-]{0,62}",
        ),
        "containerSpec": CONTAINER,
        "hfToken": Text("a Hugging Face token: characters without white space", pattern=r"\S+", secret=True),
        "artifactUri": Text(
            'a place in Cloud Storage, for example "gs://bucket/models/llama"',
            pattern=r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](?:/.*)?",
        ),
        "labels": LABELS,
        "keepVersions": Flag(),
    },
    required={
        "project": "give the Google Cloud project.",
        "location": 'give a region, for example "us-central1".',
        "displayName": "give a name to show in the console.",
        "containerSpec": "give at least its imageUri.",
    },
)

DEPLOYMENT = Record(
    {
        "project": PROJECT,
        "location": LOCATION,
        "endpoint": Text(
            "an endpoint: its id, or projects/PROJECT/locations/LOCATION/endpoints/ID",
            pattern=r"(?:projects/[^/\s]+/locations/[^/\s]+/endpoints/)?(?:[1-9][0-9]*|[a-z](?:[a-z0-9-]*[a-z0-9])?)",
        ),
        "model": Text(
            "a model's full name: projects/PROJECT/locations/LOCATION/models/ID",
            pattern=r"projects/[^/\s]+/locations/[^/\s]+/models/[^/@\s]+(?:@[^/@\s]+)?",
        ),
        "displayName": DISPLAY_NAME,
        "machineSpec": Record(
            {
                "machineType": Text(
                    'a machine type, for example "g2-standard-12"', pattern=r"[a-z][a-z0-9]*(?:-[a-z0-9]+)+"
                ),
                "acceleratorType": Text("an accelerator", choices=ACCELERATORS),
                "acceleratorCount": Whole(1, 64),
            },
            required={"machineType": 'give one, for example "g2-standard-12".'},
        ),
        "spot": Flag(),
        "minReplicaCount": Whole(1, 1000, "replicas (version v1 of the API cannot scale to zero)"),
        "maxReplicaCount": Whole(1, 1000, "replicas"),
        "autoscalingMetricSpecs": Items(
            Record(
                {
                    "metricName": Text("a metric for autoscaling", choices=METRICS),
                    "target": Whole(1, 1_000_000),
                },
                required={
                    "metricName": f'give one, for example "{DUTY_CYCLE}".',
                    "target": "give a whole number.",
                },
            )
        ),
        "serviceAccount": Text(
            "the e-mail address of a service account", pattern=r"[^@\s/]+@[^@\s/]+\.[^@\s/]+"
        ),
        "expiry": Text('hours or days, for example "8h"', pattern=r"[1-9][0-9]{0,3}[hd]"),
        "deployRequestTimeoutSeconds": Whole(1, LONGEST_WAIT, "seconds"),
        "trafficPercent": Whole(1, 100, "percent of the endpoint's traffic"),
        "rollout": Record(
            {
                "strategy": Text("a strategy", choices=STRATEGIES),
                "smoke": Flag(),
                "steps": Items(Whole(1, 99, "percent of the stack's own traffic")),
                "bakeSeconds": Whole(0, LONGEST_WAIT, "seconds"),
                "maxErrorPercent": Whole(0, 100, "errors of a hundred answers"),
            }
        ),
    },
    required={
        "project": "give the Google Cloud project.",
        "location": 'give a region, for example "us-central1".',
        "endpoint": "give the endpoint that is to serve the model.",
        "model": "give the full name of a model, for example the name of a vertexserving Model.",
        "displayName": "give a name to show in the console.",
        "machineSpec": "give at least its machineType.",
    },
)

BUCKET_DISPOSAL = Record(
    {"project": PROJECT, "policy": Text("a policy", choices=("if_empty", "keep", "delete"))},
    required={"project": "give the Google Cloud project."},
)

LEFTOVER_CHECK = Record(
    {
        "project": PROJECT,
        "location": LOCATION,
        "endpoint": Text(
            "an endpoint's full name: projects/PROJECT/locations/LOCATION/endpoints/ID",
            pattern=r"projects/[^/\s]+/locations/[^/\s]+/endpoints/[^/\s]+",
        ),
    },
    required={
        "project": "give the Google Cloud project.",
        "location": 'give a region, for example "us-central1".',
    },
)

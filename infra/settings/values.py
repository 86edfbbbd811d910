"""The single values of one environment: each read, checked on its own and refused with the line that mends it.

Owns the keys and what each may be. What they mean together (a region for this stack file, a token for this model, a
budget for this machine) is put together in `infra.settings`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from components.artifacts import OnDestroy
from components.identity import Grants
from infra import naming
from infra.provider.names import endpoint_name, same_project
from infra.recipes import catalog
from infra.recipes.errors import ABSENT, SettingsError, nearest, raise_problems

KEYS: tuple[str, ...] = (
    "bucket",
    "dedicatedEndpoint",
    "endpoint",
    "endpointId",
    "grants",
    "hfToken",
    "labels",
    "localCloud",
    "maxUsdPerHour",
    "notificationChannels",
    "onDestroyBucket",
    "preflight",
    "serviceAccount",
    "stackFile",
    "stopped",
    "telemetry",
)
"""Every key of the namespace `vertex-vllm`; `Pulumi.yaml` describes each."""

LOCAL_CLOUD_VARIABLE = "LOCAL_CLOUD_URL"
ENDPOINT_KEY = "gcp:vertexAiCustomEndpoint"
ENDPOINT_VARIABLE = "GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT"
OWN_ENDPOINT_KEY = "vertexserving:apiEndpoint"

Preflight = Literal["warn", "enforce", "off"]
"""What a preview does with the answers of the preflight checks: show them, fail on a no, or ask nothing."""

_ENDPOINT_ID = re.compile(r"[1-9][0-9]*|[a-z](?:[a-z0-9-]*[a-z0-9])?")
_OWN_ENDPOINT_ID = re.compile(r"[1-9][0-9]*")
_CHANNEL = re.compile(r"projects/[^/\s]+/notificationChannels/[0-9]+")

MAX_LABELS = 57
"""The platform takes 64 on a resource; four of ours, the expiry and two of the plugins are added to the user's."""


@dataclass(frozen=True, kw_only=True)
class RawSettings:
    """What the engine and the environment hold, before any check.

    Attributes:
        pulumi_project: Name of the Pulumi project.
        stack: Name of the Pulumi stack; its file is `Pulumi.STACK.yaml`.
        config: Every configuration value as text, by full key; objects are JSON.
        secret_keys: Full keys whose value is encrypted.
        environment: Environment variables.
    """

    pulumi_project: str
    stack: str
    config: Mapping[str, str] = field(repr=False)
    secret_keys: frozenset[str]
    environment: Mapping[str, str]


class Values:
    """The values of one environment; every method returns a checked one or raises a `SettingsError`."""

    def __init__(self, raw: RawSettings) -> None:
        self.raw = raw
        self.file = f"Pulumi.{raw.stack}.yaml"
        self.warnings: list[str] = []

    def own(self, key: str) -> str | None:
        """A value of our namespace; the empty defaults of `Pulumi.yaml` mean that it is not set."""
        return self.raw.config.get(f"vertex-vllm:{key}", "").strip() or None

    def error(
        self, key: str, value: object, problem: str, remedy: str, choices: Sequence[str] = ()
    ) -> SettingsError:
        return SettingsError(
            f"{problem}.", file=self.file, key=key, value=value, remedy=remedy, choices=choices
        )

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """One of the choices; the first is the default."""
        value = self.own(key) or choices[0]
        if value not in choices:
            near = nearest(value, choices)
            raise self.error(
                f"vertex-vllm:{key}",
                value,
                "not one of the choices",
                f"pulumi config set vertex-vllm:{key} {near[0]}",
                near,
            )
        return value

    def unknown_keys(self) -> list[SettingsError]:
        """One error for each key of our namespace that means nothing."""
        found = []
        for full in sorted(self.raw.config):
            namespace, _, key = full.partition(":")
            if namespace == "vertex-vllm" and key not in KEYS:
                near = [f"vertex-vllm:{name}" for name in nearest(key, KEYS)]
                remedy = f"pulumi config rm {full}, and set {near[0]} if that was meant"
                found.append(self.error(full, ABSENT, "there is no such setting", remedy, near))
        return found

    # Where

    def project(self) -> str:
        value = self.raw.config.get("gcp:project", "").strip()
        remedy = "pulumi config set gcp:project YOUR_PROJECT_ID"
        if not value:
            raise self.error("gcp:project", ABSENT, "the Google Cloud project is not set", remedy)
        if value.isdigit():
            raise self.error("gcp:project", value, "a project number, where the project id is needed", remedy)
        if not naming.is_project_id(value):
            raise self.error(
                "gcp:project",
                value,
                "not a project id: 6 to 30 lower-case letters, digits and hyphens, a letter first, no hyphen last",
                remedy,
            )
        return value

    def region(self) -> str:
        value = self.raw.config.get("gcp:region", "").strip()
        regions = sorted(catalog().regions())
        if value in regions:
            return value
        near = nearest(value, regions)
        if not value:
            near = ("us-central1", *(region for region in regions if region != "us-central1"))
            problem = "the region is not set"
        elif value.rpartition("-")[0] in regions:
            near = (value.rpartition("-")[0],)
            problem = "a zone, where a region is needed"
        else:
            problem = "not a region where Vertex AI serves models on GPUs"
        raise self.error(
            "gcp:region", value or ABSENT, problem, f"pulumi config set gcp:region {near[0]}", near
        )

    def local_cloud(self) -> None:
        """A local stack must never reach the real cloud, and a real one should know when it does not."""
        key = "vertex-vllm:localCloud"
        wanted = self.choice("localCloud", ("false", "true")) == "true"
        url = self.raw.environment.get(LOCAL_CLOUD_VARIABLE, "")
        remedy = "run `. .local/env` in this shell first (`make up` writes that file)"
        if not wanted:
            if url:
                self.warnings.append(f"{LOCAL_CLOUD_VARIABLE} is set: stack {self.raw.stack} goes to {url}")
        elif not url:
            raise self.error(
                key,
                True,
                f"this stack is for the local Google Cloud, but {LOCAL_CLOUD_VARIABLE} is not set",
                remedy,
            )
        elif not naming.is_loopback(url):
            raise self.error(
                key, True, f"{LOCAL_CLOUD_VARIABLE}={url} is not an address of this machine", remedy
            )
        else:
            endpoint = self.endpoint_setting()
            if endpoint is None or naming.api_origin(endpoint) != naming.api_origin(url):
                where = endpoint or "its real address"
                raise self.error(
                    key,
                    True,
                    f"the local Google Cloud is at {url}, but Vertex AI would be called at {where}",
                    remedy,
                )

    def endpoint_setting(self) -> str | None:
        return self.raw.config.get(ENDPOINT_KEY) or self.raw.environment.get(ENDPOINT_VARIABLE) or None

    def api_endpoint(self) -> str | None:
        value = self.endpoint_setting()
        if value is None:
            return None
        configured = bool(self.raw.config.get(ENDPOINT_KEY))
        where = ENDPOINT_KEY if configured else ENDPOINT_VARIABLE
        origin = naming.api_origin(value)
        if origin is None:
            raise self.error(
                where, value, "not the address of an API", "write it as http://127.0.0.1:8099/v1beta1/"
            )
        own = self.raw.config.get(OWN_ENDPOINT_KEY) or self.raw.environment.get(ENDPOINT_VARIABLE) or ""
        if naming.api_origin(own) != origin:
            raise self.error(
                OWN_ENDPOINT_KEY,
                own or ABSENT,
                f"{where} sends endpoints to {origin}; models and deployments would go to {own or 'the real address'}",
                f"pulumi config set {OWN_ENDPOINT_KEY} {origin}",
            )
        return origin

    def endpoint_id(self) -> str | None:
        """Id of an endpoint that was imported; None for the one that is derived."""
        key = "vertex-vllm:endpointId"
        value = self.own("endpointId")
        if value is not None and self.own("endpoint") is not None:
            raise self.error(
                key,
                value,
                "vertex-vllm:endpoint is set too: an endpoint is another's (endpoint) or the stack's own (endpointId)",
                f"pulumi config rm {key}, or rm vertex-vllm:endpoint",
            )
        if value is not None and not _OWN_ENDPOINT_ID.fullmatch(value):
            raise self.error(
                key,
                value,
                "not the id of an endpoint: digits, the first not 0",
                f"pulumi config rm {key}, or write the last part of projects/P/locations/R/endpoints/ID",
            )
        return value

    def dedicated_endpoint(self) -> bool | None:
        """What the environment wants, whatever the stack file says; None when it leaves the choice to it."""
        if self.own("dedicatedEndpoint") is None:
            return None
        return self.choice("dedicatedEndpoint", ("false", "true")) == "true"

    def preflight(self) -> Preflight:
        return cast(Preflight, self.choice("preflight", get_args(Preflight)))

    def stopped(self) -> bool:
        """Whether the stack is without its deployment: `vertex-vllm stop` sets it, `start` takes it away."""
        return self.choice("stopped", ("false", "true")) == "true"

    # Who watches

    def telemetry(self) -> bool:
        return self.choice("telemetry", ("false", "true")) == "true"

    def notification_channels(self) -> tuple[str, ...]:
        """Names of the channels that alerts go to; with telemetry alone, for nothing else reads them."""
        key = "vertex-vllm:notificationChannels"
        text = self.own("notificationChannels") or "[]"
        example = "projects/PROJECT/notificationChannels/ID"
        remedy = f"pulumi config set --path '{key}[0]' {example} (gcloud beta monitoring channels list has the names)"
        try:
            names: Any = json.loads(text)
        except json.JSONDecodeError:
            names = None
        if not isinstance(names, list):
            raise self.error(key, text, "not a list of names", remedy)
        for name in names:
            if not (isinstance(name, str) and _CHANNEL.fullmatch(name)):
                raise self.error(key, name, f"not the name of a channel, {example}", remedy)
        if names and self.own("telemetry") != "true":
            raise self.error(
                key,
                text,
                "without telemetry there are no alerts",
                "pulumi config set vertex-vllm:telemetry true",
            )
        return tuple(dict.fromkeys(names))

    # Whose, and for how much

    def grants(self) -> Grants:
        return cast(Grants, self.choice("grants", get_args(Grants)))

    def labels(self) -> dict[str, str]:
        key = "vertex-vllm:labels"
        text = self.own("labels") or "{}"
        try:
            labels: Any = json.loads(text)
        except json.JSONDecodeError:
            labels = None
        if not isinstance(labels, dict):
            raise self.error(
                key, text, "not a map of names to values", f"pulumi config set --path {key}.owner NAME"
            )
        if len(labels) > MAX_LABELS:
            raise self.error(
                key, ABSENT, f"{len(labels)} labels, and at most {MAX_LABELS} fit", "remove some of them"
            )
        wrong = [error for name, value in labels.items() if (error := self.label_error(name, value))]
        raise_problems(wrong, file=self.file, kind=SettingsError)
        return labels

    def label_error(self, name: str, value: object) -> SettingsError | None:
        key = f"vertex-vllm:labels.{name}"
        if name.startswith(("vertex-vllm-", "goog")):
            return self.error(
                key, value, "names that begin with vertex-vllm- or goog are taken", "rename the label"
            )
        if not naming.is_label_name(name):
            problem = "not a label name: 1 to 63 lower-case letters, digits, hyphens and underscores, a letter first"
            return self.error(key, value, problem, "rename the label")
        if not isinstance(value, str):
            quoted = json.dumps(json.dumps(value))
            return self.error(key, value, "not text", f"put it in quotes: {name}: {quoted}")
        if not naming.is_label_value(value):
            problem = "not a label value: at most 63 lower-case letters, digits, hyphens and underscores"
            return self.error(key, value, problem, f"write it as {naming.label_value(value) or 'none'}")
        return None

    def bucket(self) -> str | None:
        key = "vertex-vllm:bucket"
        value = self.own("bucket")
        if value is None:
            return None
        name, _, rest = value.removeprefix("gs://").partition("/")
        if rest:
            raise self.error(key, value, "a path in a bucket", f"pulumi config set {key} {name}")
        problem = naming.bucket_name_problem(name)
        if problem:
            raise self.error(
                key, value, problem, f"name an existing bucket, or pulumi config rm {key} to have one made"
            )
        return name

    def endpoint(self, project: str | None, region: str | None) -> str | None:
        """Full name of the endpoint to serve behind; None where one is made."""
        key = "vertex-vllm:endpoint"
        value = self.own("endpoint")
        if value is None or project is None or region is None:
            return None
        name = endpoint_name(value, project, region)
        remove = f"pulumi config rm {key} to have one made"
        if name is None or not _ENDPOINT_ID.fullmatch(name.id):
            example = f"projects/{project}/locations/{region}/endpoints/ID"
            raise self.error(
                key, value, "not an endpoint's id or full name", f"write {example} or its ID, or {remove}"
            )
        if name.location != region:
            raise self.error(
                key,
                value,
                f"the endpoint is in {name.location}, the model is served in {region}",
                f"pulumi config set gcp:region {name.location}, or {remove}",
            )
        if not same_project(name.project, project):
            raise self.error(
                key,
                value,
                f"the endpoint is in project {name.project}, the stack in {project}",
                f"pulumi config set gcp:project {name.project}, or {remove}",
            )
        return f"{name.parent}/endpoints/{name.id}"

    def on_destroy(self, bucket: str | None) -> OnDestroy:
        value = cast(OnDestroy, self.choice("onDestroyBucket", get_args(OnDestroy)))
        if bucket and value == "delete":
            raise self.error(
                "vertex-vllm:onDestroyBucket",
                value,
                f"the existing bucket {bucket} (vertex-vllm:bucket) is never deleted by a stack",
                "pulumi config rm vertex-vllm:onDestroyBucket, or rm vertex-vllm:bucket to have one made",
            )
        return value

    def service_account(self) -> str | None:
        key = "vertex-vllm:serviceAccount"
        value = self.own("serviceAccount")
        if value is not None and not naming.is_service_account(value):
            bare = value.removeprefix("serviceAccount:")
            example = bare if naming.is_service_account(bare) else "NAME@PROJECT.iam.gserviceaccount.com"
            raise self.error(
                key, value, "not the email of a service account", f"pulumi config set {key} {example}"
            )
        return value

    def budget(self) -> float | None:
        key = "vertex-vllm:maxUsdPerHour"
        text = self.own("maxUsdPerHour")
        if text is None:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(key, text, "not a number of US dollars an hour", f"pulumi config set {key} 5")
        if value < 0:
            problem = "a budget is more than 0 US dollars an hour (0 is none)"
            raise self.error(key, text, problem, f"pulumi config rm {key}")
        return value or None

    def token(self) -> str | None:
        """The token; its value is never part of an error text."""
        key = "vertex-vllm:hfToken"
        value = self.own("hfToken")
        if value is None:
            return None
        if key not in self.raw.secret_keys:
            raise self.error(
                key,
                ABSENT,
                "the token stands in clear; revoke it, it has been on a disk and perhaps in a repository",
                f"pulumi config set --secret {key}, and give it a new token",
            )
        if not value.startswith("hf_") or not value.isascii() or any(char.isspace() for char in value):
            raise self.error(
                key,
                ABSENT,
                "not a Hugging Face token: those begin with hf_",
                f"pulumi config set --secret {key}",
            )
        return value

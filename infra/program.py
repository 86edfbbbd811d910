"""The program: settings, preflight, then one served model, then its outputs.

Owns the order of them, the few values that are made from several settings (ids, labels, display name) and what a
stack exports. Nothing is registered before every setting has been checked and preflight has had its say.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pulumi
import pulumi_gcp as gcp
from pulumi.runtime.settings import SETTINGS

from components.serving import ServedModel, ServedModelArgs
from infra import expiry, naming, settings
from infra.ids import endpoint_id
from infra.recipes import EndpointUrls, StackError, catalog, endpoint_urls
from infra.recipes.costs import cost_outputs
from infra.recipes.errors import SettingsError
from infra.settings import Settings

if TYPE_CHECKING:
    from infra.preflight.run import Report

ROOT = Path(__file__).resolve().parents[1]

NAME = "vllm"
"""Name of the one served model in every stack. Constant: a name made from the model would replace bucket and endpoint
whenever the model changes."""

EXIT_AFTER_MESSAGE = 32
"""Exit status that tells Pulumi's Python host that the error was shown already. Any other makes it add a second one,
`program exited with non-zero exit code`."""


def run() -> None:
    """Run the program in the engine's process; a problem of the input ends it with one clean error."""
    try:
        checked = settings.read(ROOT)
        report = preflight(checked)
        if report is not None:
            _keep(checked, report)
        if checked.bucket is not None and not _bucket_is_good(report):
            check_bucket(checked, checked.bucket)
        checked = with_chat_template(checked)
    except StackError as problem:
        _stop(str(problem))
    if report is not None:
        _show(checked, report)
    if checked.stopped:
        pulumi.log.info(
            f"stopped: endpoint, DNS and model stay, nothing is deployed; ./vertex-vllm start --stack {checked.stack}"
        )
    for note in checked.plan.notes:
        pulumi.log.info(note)
    # A duration counts from the deployment, which only the provider knows, and which says so itself. Of a stopped stack
    # a sweep undeploys nothing; the preview of a start warns.
    ending = expiry.warning(checked.labels.get(expiry.LABEL, ""), None, datetime.now(UTC))
    if ending and not checked.stopped:
        pulumi.log.warn(ending)
    for warning in checked.warnings:
        pulumi.log.warn(warning)
    for name, value in outputs(checked, serve(checked)).items():
        pulumi.export(name, value)


def preflight(checked: Settings) -> Report | None:
    """Ask what the deployment needs, as the stack's settings want it; None for nothing asked."""
    if checked.preflight == "off" or checked.stopped:  # nothing is deployed that could need anything
        return None
    from infra.preflight import run as checks  # httpx, and the checks themselves

    return checks.run(settings.subject(checked))


def _bucket_is_good(report: Report | None) -> bool:
    """Whether preflight has seen the existing bucket where it should be: then it is not looked up again."""
    return report is not None and any(finding.check == "bucket" for finding in report.passed)


def _keep(checked: Settings, report: Report) -> None:
    """End the program on a no of a check, where the settings want that."""
    if report.failed and checked.preflight == "enforce":
        from infra.preflight import words

        _stop(words.refusal(report, checked.stack))


def _show(checked: Settings, report: Report) -> None:
    """Say what preflight found: a line for each warning, and one in all."""
    from infra.preflight import words

    for finding in (*report.failed, *report.warnings):
        pulumi.log.warn(words.line(finding))
    pulumi.log.info(f"{words.summary(report)}; ./vertex-vllm preflight --stack {checked.stack} shows each")


def serve(checked: Settings) -> ServedModel:
    """Register everything that one stack is made of."""
    labels = stack_labels(checked)
    return ServedModel(
        NAME,
        ServedModelArgs(
            project=checked.project,
            plan=checked.plan,
            display_name=display_name(checked),
            endpoint_id=stack_endpoint_id(checked),
            account_id=naming.account_id(checked.pulumi_project, checked.stack),
            existing_service_account=checked.service_account,
            existing_endpoint=checked.endpoint,
            existing_bucket=checked.bucket,
            weights_buckets=read_buckets(checked),
            grants=checked.grants,
            on_destroy_bucket=checked.on_destroy_bucket,
            hf_token=None if checked.hf_token is None else pulumi.Output.secret(checked.hf_token),
            labels=labels,
            stopped=checked.stopped,
            telemetry=checked.telemetry,
            notification_channels=checked.notification_channels,
        ),
    )


def outputs(checked: Settings, served: ServedModel) -> dict[str, Any]:
    """What the stack exports, by name."""

    def url(field: str) -> pulumi.Output[str]:
        return pulumi.Output.all(served.endpoint, served.dedicated_endpoint_dns).apply(
            lambda known: getattr(_urls(checked, *known), field)
        )

    return {
        "endpoint": served.endpoint,
        "deployed_model_id": served.deployed_model_id,
        "model": served.model,
        "openai_base_url": url("openai_base_url"),
        "predict_url": url("predict_url"),
        "curl": url("curl"),
        "snippets": url("openai_base_url").apply(_snippets),
        "dedicated_endpoint_dns": served.dedicated_endpoint_dns,
        "bucket": served.bucket,
        "model_uri": served.model_uri,
        "staging_uri": served.staging_uri,
        "service_account": served.service_account,
        **({"lora": served.adapters.apply(_lora(checked))} if checked.plan.stack.lora else {}),
        **({"dashboard": served.dashboard.apply(_dashboard_url(checked))} if checked.telemetry else {}),
        "region": checked.region,
        **({"stopped": True} if checked.stopped else {}),
        **cost_outputs(checked.plan, stopped=checked.stopped),
        "warnings": list(checked.warnings),
    }


def display_name(checked: Settings) -> str:
    """Name in the console: the model and the stack.

    Not the stack file's: a deployment cannot be renamed, and a renamed file would pay for another GPU.
    """
    return f"{checked.plan.model.id.rpartition('/')[2]} ({checked.stack})"[:128]


def stack_labels(checked: Settings) -> dict[str, str]:
    """The owner's labels and those by which a sweep finds what belongs to a stack."""
    return {
        **checked.labels,
        "vertex-vllm-project": naming.label_value(checked.pulumi_project),
        "vertex-vllm-stack": naming.label_value(checked.stack),
        "vertex-vllm-model": naming.label_value(checked.plan.model.id.rpartition("/")[2]),
    }


def stack_endpoint_id(checked: Settings) -> str:
    """Id of the existing endpoint, else the chosen one of the stack's own.

    Whether an endpoint is dedicated cannot be changed, so the two kinds have ids of their own: the new endpoint is made
    while the old one still answers. An endpoint that was imported keeps the id that it was made with.
    """
    if checked.endpoint is not None:
        return checked.endpoint.rpartition("/")[2]
    if checked.endpoint_id is not None:
        return checked.endpoint_id
    kind = "/dedicated" if checked.plan.endpoint.dedicated else ""
    return endpoint_id(checked.project, checked.region, f"{checked.pulumi_project}/{checked.stack}{kind}")


def read_buckets(checked: Settings) -> tuple[str, ...]:
    """Buckets that the stack file makes the container read: those of the weights and of LoRA adapters."""
    places = (checked.plan.weights_uri or "", *checked.plan.stack.lora.values())
    uris = [place.removeprefix("gs://") for place in places if place.startswith("gs://")]
    return tuple(dict.fromkeys(uri.split("/", 1)[0] for uri in uris))


def with_chat_template(checked: Settings) -> Settings:
    """Put the text of a chat template in a bucket into the container's arguments: vLLM cannot read ``gs://``.

    Raises:
        StackError: the object cannot be read, or is no template.
    """
    uri = checked.plan.chat_template_uri
    if uri is None:
        return checked
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    file, key = f"{checked.plan.name}.yaml", "vllm.chat_template"
    try:
        found = gcp.storage.get_bucket_object_content(bucket=bucket, name=name)
    except Exception as error:
        # The SDK raises bare exceptions for whatever a provider answers to a look-up.
        _forget_failed_calls()
        raise StackError(
            f"cannot be read: {_reason(error)}",
            file=file,
            key=key,
            value=uri,
            remedy="name an object that exists and that you may read, or a .jinja file beside the stack file",
        ) from None
    try:
        return dataclasses.replace(checked, plan=checked.plan.with_chat_template(found.content))
    except StackError as problem:
        raise StackError(problem.problem, file=file, key=key, value=uri, remedy=problem.remedy) from None


def check_bucket(checked: Settings, bucket: str) -> None:
    """Refuse an existing bucket that is not there or lies in another region than the one that serves.

    Raises:
        SettingsError: With both regions.
    """
    file, key = f"Pulumi.{checked.stack}.yaml", "vertex-vllm:bucket"
    remove = f"pulumi config rm {key} to have one made"
    try:
        found = gcp.storage.get_bucket(name=bucket)
    except Exception as error:
        # The SDK raises bare exceptions for whatever a provider answers to a look-up.
        _forget_failed_calls()
        raise SettingsError(
            f"cannot be looked up: {_reason(error)}",
            file=file,
            key=key,
            value=bucket,
            remedy=f"name a bucket that exists and that you may read, or {remove}",
        ) from None
    location = (found.location or "").lower()
    if location != checked.region:
        move = f", or pulumi config set gcp:region {location}" if location in catalog().regions() else ""
        raise SettingsError(
            f"the bucket is in {location or 'an unknown region'}, the model is served in {checked.region}.",
            file=file,
            key=key,
            value=bucket,
            remedy=f"name a bucket in {checked.region}, or {remove}{move}",
        )


def _forget_failed_calls() -> None:
    """Keep the SDK from raising a failed look-up that was caught a second time, with its traceback, at the end."""
    manager = SETTINGS.rpc_manager
    manager.unhandled_exception = manager.exception_traceback = None
    manager.rpcs = [
        call
        for call in manager.rpcs
        if not (
            isinstance(call, asyncio.Future) and call.done() and not call.cancelled() and call.exception()
        )
    ]


def _reason(error: Exception) -> str:
    """What a provider answered, on one line, without what SDK and engine put around it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^(invo\w+ (of )?gcp:\S+ (failed|returned an error)(: |$))+", "", text)[:400]


def _lora(checked: Settings) -> Callable[[Mapping[str, str]], dict[str, str]]:
    """What requests say in `lora_id`, by the names of the stack file: uploaded adapters by where they are now."""
    return lambda uploaded: {**checked.plan.stack.lora, **uploaded}


def _dashboard_url(checked: Settings) -> Callable[[str | None], str]:
    """The page of a dashboard in the console, from its resource name."""
    console = "https://console.cloud.google.com/monitoring/dashboards/builder"
    return lambda name: f"{console}/{(name or '').rpartition('/')[2]}?project={checked.project}"


def _snippets(openai_base_url: str) -> dict[str, str]:
    """Ready lines for the clients that people use, by client."""
    from infra.client.snippets import snippets  # only where there is an address: not in a first preview

    return snippets(openai_base_url, local=naming.is_loopback(openai_base_url))


def _urls(checked: Settings, endpoint: str, dedicated_dns: str | None) -> EndpointUrls:
    return endpoint_urls(
        endpoint,
        region=checked.region,
        dedicated_dns=dedicated_dns,
        api_endpoint=checked.api_endpoint,
    )


def _stop(message: str) -> NoReturn:
    pulumi.log.error(message)
    sys.exit(EXIT_AFTER_MESSAGE)

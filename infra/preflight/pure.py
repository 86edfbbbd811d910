"""Checks that need no network: what the catalogue, the plan and the memory prediction already know.

Most of what they look at is refused before preflight, in `infra.recipes.plan` and `infra.settings`; a check then says
with which numbers it passed. What is new here are the time-outs and the endpoint's kind.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Final

from infra.fit import Fit, Outcome
from infra.preflight.finding import Finding, Status
from infra.preflight.net import Net
from infra.preflight.subject import Subject
from infra.recipes.costs import over_budget, to_cents
from infra.recipes.regions import Elsewhere, elsewhere
from infra.recipes.templates import NO_CHAT

__all__ = ["CHECKS"]

_NAMED: Final = 3

DOWNLOAD_MB_S: Final = 118.9
"""MB/s (10^6 bytes) from Hugging Face into vLLM: 521 s for the 62 GB of Qwen3-32B, the average of three runs.

github.com/matrixhub-ai/matrixhub, website/blog/2026-07-29-llmd-qwen3-32b-matrixhub-cache.md. Slow on purpose: on Vertex
AI itself some 700 MB/s were seen (400 GiB of Llama 3.1 405B in about 10 minutes,
huggingface.co/blog/llama31-on-vertex-ai)."""

START_S: Final = 201
"""Seconds from the end of the download until vLLM is ready: 722 s less the 521 s, in the same three runs."""

MACHINE_S: Final = 1080
"""Seconds in which the platform gets the machine and the image: 18 minutes.

huggingface.co/blog/llama31-on-vertex-ai: 25 to 30 minutes in all on Vertex AI, of them 10 for the download and 2 for
the loading."""

LONGEST_DEPLOYMENT_S: Final = 7200
"""The longest deployment time-out of a container that Vertex AI takes (docs, custom-container-requirements)."""


async def region(subject: Subject, net: Net) -> Sequence[Finding]:
    """Whether the region serves the accelerator, and which others do."""
    plan = subject.plan
    kind, machine = plan.hardware.accelerator_type, plan.hardware.machine_type
    others = elsewhere(plan.hardware, plan.region)
    spot = "spot " if plan.hardware.spot else ""
    here = "price unknown" if plan.price is None else f"{plan.price.usd_per_hour:.2f} USD an hour a replica"
    evidence = f"{plan.region} serves {plan.hardware.accelerator_count} {kind} on {spot}{machine} ({here})"
    if others:
        evidence += f"; nearest others: {_listed(others)}"
        priced = sorted(
            (each for each in others if each.usd_per_hour is not None),
            key=lambda each: each.usd_per_hour or 0,
        )
        evidence += f"; cheapest: {_listed(priced)}" if priced else ""
    name = kind.lower().replace("_", "-") if machine.startswith("n1-") else machine
    what = "accelerator-types" if machine.startswith("n1-") else "machine-types"
    by_hand = f'gcloud compute {what} list --filter="name={name} AND zone~{plan.region}"'
    return [_pass("region", f"{evidence}.", by_hand)]


def _listed(regions: Sequence[Elsewhere]) -> str:
    return ", ".join(each.words for each in regions[:_NAMED])


async def fit(subject: Subject, net: Net) -> Sequence[Finding]:
    """Whether the model fits into the GPUs' memory, by the plan's own prediction."""
    plan, found = subject.plan, subject.plan.fit
    by_hand = f"./vertex-vllm fit {shlex.quote(subject.path)} --explain-terms"
    if found is None:
        why = (
            f"no vLLM version is known for {plan.container.image_uri}"
            if plan.vllm_version is None
            else f"the memory of {plan.hardware.accelerator_type} is not known"
        )
        remedy = "container.vllm_version: the image's version" if plan.vllm_version is None else ""
        return [_finding("fit", Status.SKIP, f"Not predicted: {why}.", remedy, by_hand)]
    numbers = (
        f"the KV cache gets {found.kv_cache:.2f} GiB a GPU (90 % interval {found.kv_low:.2f} to {found.kv_high:.2f}),"
        f" one request of {found.max_model_len} tokens takes {found.kv_needed:.2f};"
        f" weights {found.weights:.2f}, activations {found.activation:.2f} of {found.total:.2f} GiB"
    )
    if not found.ok:
        # Of a stack that is refused, vertex-vllm preflight puts the refusal in this place.
        remedy = f"./vertex-vllm explain {shlex.quote(subject.path)} names what would fit"
        evidence = f"Does not fit by the prediction ({_failure(found)}): {numbers}."
        return [_finding("fit", Status.WARN, evidence, remedy, by_hand)]
    if found.outcome_low is not Outcome.OK:
        shown = f"./vertex-vllm explain {shlex.quote(subject.path)} shows the parts"
        remedy = f"a lower max_model_len or max_num_seqs; {shown}"
        evidence = f"Fits, but not at the low end of the interval: {numbers}."
        return [_finding("fit", Status.WARN, evidence, remedy, by_hand)]
    return [_pass("fit", f"Fits: {numbers}.", by_hand)]


def _failure(found: Fit) -> str:
    return {
        Outcome.OUT_OF_MEMORY: "out of memory",
        Outcome.NO_KV_CACHE: "no room for a KV cache",
        Outcome.KV_TOO_SMALL: "the KV cache is too small",
    }.get(found.failure, found.failure.value)


async def chat_template(subject: Subject, net: Net) -> Sequence[Finding]:
    """Whether chat completions have a template."""
    plan = subject.plan
    chosen = plan.vllm.chat_template
    if chosen == NO_CHAT:
        evidence = "No chat, as the stack file says: completions and the default predict route only."
    elif chosen is not None:
        where = chosen if len(chosen) <= 80 and "\n" not in chosen else "the text in the stack file"
        evidence = f"Chat completions use {where} (vllm.chat_template)."
    else:
        evidence = f"{plan.model.id} has a chat template of its own in its repository."
    return [_pass("chat-template", evidence, f"./vertex-vllm models show {plan.model.id}")]


async def flags(subject: Subject, net: Net) -> Sequence[Finding]:
    """Whether the image's vLLM takes the container's arguments; the plan has refused those that it does not."""
    plan = subject.plan
    count = len(plan.container.args)
    by_hand = f"./vertex-vllm explain {shlex.quote(subject.path)} --json | jq .arguments"
    if plan.vllm_version is None:
        evidence = (
            f"{count} arguments are not checked: no vLLM version is known for {plan.container.image_uri}."
        )
        return [
            _finding("flags", Status.SKIP, evidence, "container.vllm_version: the image's version", by_hand)
        ]
    return [_pass("flags", f"vLLM {plan.vllm_version} takes all {count} arguments.", by_hand)]


async def timeouts(subject: Subject, net: Net) -> Sequence[Finding]:
    """Whether the time-outs are long enough for the bytes of the weights, at a slow download."""
    plan = subject.plan
    size, by_hand = plan.model.weights.bytes, f"./vertex-vllm models show {plan.model.id}"
    if size is None:
        evidence = f"The size of the weights of {plan.model.id} is not in the catalogue."
        return [_finding("timeouts", Status.SKIP, evidence, "", by_hand)]
    download = size / 1e6 / DOWNLOAD_MB_S
    container = math.ceil(download + START_S)
    evidence = (
        f"{size / 1e9:.1f} GB of weights at a slow {DOWNLOAD_MB_S} MB/s and {START_S} s to start take the container"
        f" {container} s of its deployment_timeout of {plan.container.deployment_timeout_seconds} s"
    )
    whole = container + MACHINE_S
    limit = plan.deploy_request_timeout
    waiting = f"with {MACHINE_S} s for the machine {whole} s of the deploy_request_timeout of {limit} s"
    if container > plan.container.deployment_timeout_seconds:
        longest = min(LONGEST_DEPLOYMENT_S, _rounded(container))
        remedy = f"container.deployment_timeout: {longest}"
        if container > LONGEST_DEPLOYMENT_S:
            remedy += " (the longest there is), and weights from a bucket in the region: weights: gs://BUCKET/PREFIX"
        return [_finding("timeouts", Status.WARN, f"Short: {evidence}.", remedy, by_hand)]
    if whole > limit:
        remedy = (
            f"deploy_request_timeout: {_rounded(whole)}; else pulumi up may end before the deployment does, which goes"
            " on: the next pulumi up waits for it again"
        )
        return [_finding("timeouts", Status.WARN, f"{evidence}, but {waiting}.", remedy, by_hand)]
    return [_pass("timeouts", f"{evidence}, {waiting}.", by_hand)]


def _rounded(seconds: float) -> int:
    """Up to whole ten minutes."""
    return math.ceil(seconds / 600) * 600


async def endpoint(subject: Subject, net: Net) -> Sequence[Finding]:
    """Whether the endpoint's kind suits chat completions, streaming and long answers."""
    plan = subject.plan
    by_hand = (
        f"gcloud ai endpoints list --region={plan.region} --format='table(name, dedicatedEndpointEnabled)'"
    )
    if plan.endpoint.dedicated:
        evidence = "Dedicated: requests of up to 10 MB and 3600 s, streaming, chat completions."
        return [_pass("endpoint", evidence, by_hand)]
    shared = "Shared: a request ends after 60 s and has at most 1.5 MB"
    if subject.hosts.local:
        evidence = f"{shared}; the local Google Cloud streams and chats on shared endpoints too."
        return [_finding("endpoint", Status.SKIP, evidence, "", by_hand)]
    if plan.vllm.chat_template == NO_CHAT:
        return [_pass("endpoint", f"{shared}; no chat completions are asked for.", by_hand)]
    evidence = (
        f"{shared}; Google's guide sends chat completions to it, other pages of Google's name the dedicated endpoint"
        " for them, for streaming and for longer answers."
    )
    remedy = "pulumi config set vertex-vllm:dedicatedEndpoint true"
    return [_finding("endpoint", Status.WARN, evidence, remedy, by_hand)]


async def budget(subject: Subject, net: Net) -> Sequence[Finding]:
    """Whether all replicas at most stay within the budget; a preview refuses what does not."""
    plan, limit = subject.plan, subject.max_usd_per_hour
    count, key = plan.replicas.max_replica_count, "vertex-vllm:maxUsdPerHour"
    by_hand = f"./vertex-vllm explain {shlex.quote(subject.path)} --region {plan.region}"
    if plan.price is None:
        spot = "spot " if plan.hardware.spot else ""
        evidence = f"No price is known for {spot}{plan.hardware.machine_type} in {plan.region}."
        return [_finding("budget", Status.SKIP, evidence, "", by_hand)]
    total = plan.price.usd_per_hour * count
    what = f"{to_cents(total)} USD an hour for {count} replica{'s' if count != 1 else ''} at most"
    if limit is None:
        return [
            _finding(
                "budget", Status.SKIP, f"{what}; no budget is set.", f"pulumi config set {key} USD", by_hand
            )
        ]
    if over_budget(total, limit):
        evidence = f"{what}, over the budget of {to_cents(limit)}."
        remedy = f"pulumi config set {key} {to_cents(total)}"
        return [_finding("budget", Status.FAIL, evidence, remedy, by_hand)]
    return [_pass("budget", f"{what}, of a budget of {to_cents(limit)}.", by_hand)]


def _pass(check: str, evidence: str, by_hand: str = "") -> Finding:
    return Finding(check=check, status=Status.PASS, evidence=evidence, by_hand=by_hand)


def _finding(check: str, status: Status, evidence: str, remedy: str = "", by_hand: str = "") -> Finding:
    return Finding(check=check, status=status, evidence=evidence, remedy=remedy, by_hand=by_hand)


CHECKS: Final = (region, fit, chat_template, flags, timeouts, endpoint, budget)
"""The checks of this module."""

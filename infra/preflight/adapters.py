"""The LoRA adapters that the stack file names: there, readable, and such that the model and vLLM's options take them.

An adapter is fetched when a request first names it, not when the container starts. So one that is not there yet is a
warning; one that is there and that vLLM would refuse is a no: every request that names it would fail. Adapters beside
the stack file were judged by `infra.recipes` already.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from typing import Final
from urllib.parse import quote

from infra.cards.adapter import CONFIG, WEIGHTS, AdapterError, parse_config
from infra.preflight.finding import Finding, Status
from infra.preflight.google.answers import opens
from infra.preflight.hub import Hub, No
from infra.preflight.net import Net, Unread
from infra.preflight.objects import Gone, base_of, list_folder, split
from infra.preflight.subject import Subject
from infra.recipes.adapters import is_local, max_lora_rank, objections
from infra.recipes.arguments import LORA_BIAS, passed

__all__ = ["CHECKS", "adapters"]

_WEIGHTS: Final = (WEIGHTS, "adapter_model.bin", "adapter_model.pt")


async def adapters(subject: Subject, net: Net) -> Sequence[Finding]:
    """Each adapter of the stack file; nothing to say where it names none."""
    return await asyncio.gather(
        *(_adapter(subject, net, name, place) for name, place in subject.plan.stack.lora.items())
    )


CHECKS: Final = (adapters,)


async def _adapter(subject: Subject, net: Net, name: str, place: str) -> Finding:
    check = f"lora-{name}"
    if is_local(place):
        return _staged(subject, check, name, place)
    if place.startswith("gs://"):
        return await _in_bucket(subject, net, check, place)
    return await _on_hub(subject, net, check, place)


def _staged(subject: Subject, check: str, name: str, place: str) -> Finding:
    staged = next(each for each in subject.plan.adapters if each.name == name)
    size = f"{len(staged.files)} files of {staged.bytes / 1e6:.1f} MB"
    evidence = f"{place} has {size}, which pulumi up uploads into the stack's bucket."
    return Finding(check=check, status=Status.PASS, evidence=evidence, by_hand=f"ls -l {staged.path('')}")


async def _in_bucket(subject: Subject, net: Net, check: str, place: str) -> Finding:
    bucket, prefix = split(place)
    base, by_hand = base_of(subject, bucket), f"gcloud storage ls --long gs://{bucket}/{prefix}"
    try:
        folder = await list_folder(net, prefix, base)
        if CONFIG not in folder.sizes:
            return _absent(check, f"gs://{bucket}/{prefix}", folder.sizes, by_hand)
        answer = await net.get(f"{base}/o/{quote(prefix + CONFIG, safe='')}", params={"alt": "media"})
        if not answer.ok:
            raise Unread(f"Cloud Storage answers {answer.status} {answer.message[:200]}".rstrip())
    except Gone:
        return Finding(
            check=check,
            status=Status.FAIL,
            evidence=f"There is no bucket gs://{bucket}, which pulumi up is to let the container read.",
            remedy=f"write the bucket and prefix that hold the adapter, or ./FOLDER beside the stack file: "
            f"lora.{check.removeprefix('lora-')}",
            by_hand=by_hand,
        )
    except Unread as reason:
        why = f"{place} cannot be looked at: {reason}"
        return _skip(check, why, by_hand, opens("roles/storage.objectViewer", reason))
    return _judged(subject, check, place, json.dumps(answer.data).encode(), folder.sizes, by_hand)


async def _on_hub(subject: Subject, net: Net, check: str, place: str) -> Finding:
    if not subject.hf_endpoint:
        why = "This stack is on the local Google Cloud, whose containers have a simulated hub"
        return _skip(check, f"{why}; huggingface.co is not asked")
    hub = Hub(subject, place, what="adapter")
    try:
        listing = await net.thread(lambda: hub.listing(net.left_s))
        if CONFIG not in listing.names:
            return _absent(check, place, listing.names, hub.by_hand())
        content = await net.thread(lambda: hub.read(CONFIG, listing.commit, net.left_s))
    except Unread as reason:
        return _skip(check, f"{hub.host} cannot be asked for {place}: {reason}", hub.by_hand())
    except No as no:
        status = Status.WARN if no.about == "repository" else Status.FAIL
        return Finding(
            check=check, status=status, evidence=no.evidence, remedy=no.remedy, by_hand=hub.by_hand()
        )
    return _judged(subject, check, place, content, listing.names, hub.by_hand())


def _judged(
    subject: Subject, check: str, place: str, content: bytes, names: Collection[str], by_hand: str
) -> Finding:
    """What the rules of `infra.recipes` say of an adapter's configuration, and whether it has weights."""
    plan = subject.plan

    def finding(status: Status, evidence: str, remedy: str = "") -> Finding:
        return Finding(check=check, status=status, evidence=evidence, remedy=remedy, by_hand=by_hand)

    try:
        config = parse_config(content)
    except AdapterError as error:
        # No FAIL: that it is not something else that answers can be told from a whole configuration only.
        return finding(Status.WARN, f"{place}: {error.problem}", error.remedy)
    rank = max_lora_rank(plan.vllm)
    biases = LORA_BIAS in passed(plan.vllm)
    found = objections(config, plan.model, max_rank=rank, version=plan.vllm_version, biases=biases)
    fatal = [each for each in found if each.fatal]
    if fatal:
        evidence = "; ".join(each.text.rstrip(".") for each in fatal)
        return finding(Status.FAIL, f"{place}: {evidence}.", "; ".join(each.remedy for each in fatal))
    if not any(each in names for each in _WEIGHTS):
        return _absent(check, place, names, by_hand, WEIGHTS)
    if found:
        evidence = "; ".join(each.text.rstrip(".") for each in found)
        return finding(Status.WARN, f"{place}: {evidence}.", "; ".join(each.remedy for each in found))
    of = f", trained on {config.base_model}" if config.base_model else ""
    evidence = f"{place} is a LoRA adapter of rank {config.rank}{of}; the container takes ranks up to {rank}."
    return finding(Status.PASS, evidence)


def _absent(check: str, where: str, names: Collection[str], by_hand: str, missing: str = CONFIG) -> Finding:
    count = len(names)
    return Finding(
        check=check,
        status=Status.WARN,
        evidence=f"{where} has {count} file{'' if count == 1 else 's'} and no {missing}: requests that name it fail"
        " until it is there.",
        remedy=f"upload the adapter as PEFT's save_pretrained writes it, {CONFIG} and {WEIGHTS}",
        by_hand=by_hand,
    )


def _skip(check: str, why: str, by_hand: str = "", remedy: str = "") -> Finding:
    evidence = f"{why.rstrip('.')}."
    return Finding(check=check, status=Status.SKIP, evidence=evidence, remedy=remedy, by_hand=by_hand)

"""Subjects of preflight checks, and how a test asks one module's checks."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from infra.preflight.finding import Finding
from infra.preflight.run import Check, run
from infra.preflight.subject import HUGGING_FACE, Subject, hosts
from infra.recipes import ServingPlan, plan
from infra.recipes.stackfile import parse_stack

PROJECT, REGION = "local-project", "us-central1"
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
TOKEN = "hf_" + "x" * 34  # opens nothing


@functools.cache
def _plan(content: str) -> ServingPlan:
    stack = parse_stack(json.loads(content), file="stacks/test.yaml", lines={})
    return plan(stack, region=REGION, source="stacks/test.yaml")


def planned(model: str = LLAMA, **keys: Any) -> ServingPlan:
    """The plan of a stack file with these keys."""
    return _plan(json.dumps({"model": model, **keys}))


def subject(serving: ServingPlan | None = None, *, local: str | None = None, **changes: Any) -> Subject:
    """A subject: on Google, or with every service at ``local``, an address of this machine."""
    environ = {"GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT": f"{local}/v1beta1/"} if local else {}
    made = Subject(
        plan=serving or planned(),
        path="stacks/test.yaml",
        project=PROJECT,
        region=REGION,
        pulumi_project="vertex-vllm",
        stack="test",
        bucket=None,
        service_account=None,
        grants="least",
        hf_token=None,
        max_usd_per_hour=None,
        hosts=hosts({}, environ, region=REGION),
        hf_endpoint="" if local else HUGGING_FACE,
    )
    return replace(made, **changes)


def ask(checks: Iterable[Check], of: Subject, *, deadline_s: float = 5.0) -> dict[str, Finding]:
    """What the checks say, by id."""
    report = run(of, checks, deadline_s=deadline_s)
    found = {finding.check: finding for finding in report.findings}
    assert len(found) == len(report.findings), "two findings with one id"
    return found

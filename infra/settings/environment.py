"""The settings of one environment, read once and checked to the last key before anything is registered.

The only reader of Pulumi's configuration and of the environment. Owns what the single values (`values`) and the
stack file (`infra.recipes`) mean together. `parse` is pure but for the stack file it loads, so tests and tools can
check an environment without an engine; `read` feeds it from a running program.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pulumi
from pulumi.runtime.config import CONFIG

from components.artifacts import OnDestroy
from components.identity import Grants
from infra import expiry
from infra.preflight.subject import Hosts, Login, Subject, hosts, hub, login
from infra.recipes import ServingPlan, StackFile, load_stack_file, plan
from infra.recipes.costs import over_budget, to_cents
from infra.recipes.errors import (
    ABSENT,
    DoesNotFit,
    OverBudget,
    SettingsError,
    StackError,
    nearest,
    raise_problems,
)
from infra.settings.values import Preflight, RawSettings, Values

T = TypeVar("T")

STACK_FILE_VARIABLE = "VERTEX_VLLM_STACK_FILE"
"""Replaces `stackFile` of a local stack: `make up STACK_FILE=…` leaves the committed `Pulumi.local.yaml` alone."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One environment, checked.

    Attributes:
        pulumi_project: Name of the Pulumi project.
        stack: Name of the Pulumi stack.
        project: Google Cloud project id.
        region: Region that serves.
        stack_file: The stack file, with what the environment overrides.
        path: Its path below the folder of `Pulumi.yaml`.
        plan: What is served on what.
        labels: Labels of the owner; `expiry` is the stack file's where that has one.
        usd_per_hour: Price of all replicas at most, None when it is not known.
        max_usd_per_hour: Budget for them, None for none.
        endpoint: Full name of an existing endpoint, None to make one.
        endpoint_id: Id of an endpoint that was imported, None for the derived one.
        bucket: Existing bucket, None to make one.
        service_account: Existing account, None to make one.
        grants: Which set of roles.
        on_destroy_bucket: What destroy does with a bucket of ours.
        hf_token: Hugging Face token in clear, None when the weights need none.
        api_endpoint: `http(s)://host[:port]` that replaces the regional Vertex AI host, None for the real one.
        telemetry: Whether a dashboard and alerts are made.
        notification_channels: Channels that the alerts go to.
        stopped: Whether endpoint, model and the rest are kept without a deployment.
        preflight: What a preview does with the answers of the preflight checks.
        hosts: Where these ask Google's services.
        login: As whom.
        hf_endpoint: Where they ask for the model's repository, empty for nowhere.
        warnings: What deserves a look and stops nothing.
    """

    pulumi_project: str
    stack: str
    project: str
    region: str
    stack_file: StackFile
    path: str
    plan: ServingPlan
    labels: Mapping[str, str]
    usd_per_hour: float | None
    max_usd_per_hour: float | None
    endpoint: str | None
    endpoint_id: str | None
    bucket: str | None
    service_account: str | None
    grants: Grants
    on_destroy_bucket: OnDestroy
    hf_token: str | None = field(repr=False)
    api_endpoint: str | None
    telemetry: bool
    notification_channels: tuple[str, ...]
    stopped: bool
    preflight: Preflight
    hosts: Hosts
    login: Login
    hf_endpoint: str
    warnings: tuple[str, ...]


def read(root: Path) -> Settings:
    """Settings of the running Pulumi program.

    Args:
        root: Folder of `Pulumi.yaml`.

    Raises:
        StackError: Every problem found, in one text.
    """
    config = {key: str(value) for key, value in CONFIG.get().items()}
    raw = RawSettings(
        pulumi_project=pulumi.get_project(),
        stack=pulumi.get_stack(),
        config=config,
        secret_keys=frozenset(key for key in config if pulumi.runtime.is_config_secret(key)),
        environment=os.environ,
    )
    return parse(raw, root)


def parse(raw: RawSettings, root: Path, *, refusals: list[StackError] | None = None) -> Settings:
    """Check everything that a stack's configuration says.

    Args:
        raw: Configuration and environment.
        root: Folder that `stackFile` is relative to and must stay in.
        refusals: Takes a `DoesNotFit` or an `OverBudget` where nothing else is wrong: such a stack has a plan all the
            same. By default they are raised.

    Raises:
        StackError: Every problem found, in one text.
    """
    return _Parser(raw, root, refusals).settings()


def subject(settings: Settings) -> Subject:
    """What the preflight checks look at."""
    return Subject(
        plan=settings.plan,
        path=settings.path,
        project=settings.project,
        region=settings.region,
        pulumi_project=settings.pulumi_project,
        stack=settings.stack,
        endpoint=settings.endpoint,
        bucket=settings.bucket,
        service_account=settings.service_account,
        grants=settings.grants,
        hf_token=settings.hf_token,
        max_usd_per_hour=settings.max_usd_per_hour,
        hosts=settings.hosts,
        hf_endpoint=settings.hf_endpoint,
        login=settings.login,
        telemetry=settings.telemetry,
    )


class _Parser(Values):
    """Collects every problem of one environment, so that one run shows them all."""

    def __init__(self, raw: RawSettings, root: Path, refusals: list[StackError] | None) -> None:
        super().__init__(raw)
        self.refusals = refusals
        self.root = root.resolve()
        self.problems: list[StackError] = []

    def settings(self) -> Settings:
        self.problems.extend(self.unknown_keys())
        self.attempt(self.local_cloud)
        project = self.attempt(self.project)
        region = self.attempt(self.region)
        labels = self.attempt(self.labels) or {}
        bucket = self.attempt(self.bucket)
        account = self.attempt(self.service_account)
        grants = self.attempt(self.grants)
        on_destroy = self.attempt(lambda: self.on_destroy(bucket))
        endpoint = self.attempt(lambda: self.endpoint(project, region))
        api_endpoint = self.attempt(self.api_endpoint)
        endpoint_id = self.attempt(self.endpoint_id)
        dedicated = self.attempt(self.dedicated_endpoint)
        budget = self.attempt(self.budget)
        telemetry = self.attempt(self.telemetry)
        channels = self.attempt(self.notification_channels)
        stopped = self.attempt(self.stopped)
        preflight = self.attempt(self.preflight)
        token = self.attempt(self.token)
        loaded = self.attempt(self.stack_file)
        stack_file: StackFile | None = None
        serving: ServingPlan | None = None
        price: float | None = None
        if loaded and region:
            path, stack_file = loaded
            if dedicated is not None:
                own = stack_file.endpoint.model_copy(update={"dedicated": dedicated})
                stack_file = stack_file.model_copy(update={"endpoint": own})
            serving = self.attempt(lambda: self.plan(stack_file, region, path))
            if serving:
                self.attempt(lambda: self.require_token(serving, path))
                price = self.attempt(lambda: self.price(serving, path, budget))
                self.warnings.extend(serving.warnings)
                self.expiry(labels, stack_file, path)
        if self.refusals is not None and all(map(_refuses, self.problems)):
            self.refusals.extend(self.problems)
        else:
            raise_problems(self.problems, file=self.file, kind=SettingsError)
        # Whatever is None here has put its problem on the list above.
        if project is None or region is None or stack_file is None or serving is None:
            raise SettingsError("cannot be read.", file=self.file)
        where = hosts(self.raw.config, self.raw.environment, region=region)
        return Settings(
            pulumi_project=self.raw.pulumi_project,
            stack=self.raw.stack,
            project=project,
            region=region,
            stack_file=stack_file,
            path=path.as_posix(),
            plan=serving,
            labels=labels,
            usd_per_hour=price,
            max_usd_per_hour=budget,
            endpoint=endpoint,
            endpoint_id=endpoint_id,
            bucket=bucket,
            service_account=account,
            grants=grants or "least",
            on_destroy_bucket=on_destroy or "if_empty",
            # A token that nothing reads would lie in the model's environment for nothing.
            hf_token=token if serving.reads_hugging_face else None,
            api_endpoint=api_endpoint,
            telemetry=bool(telemetry),
            notification_channels=channels or (),
            stopped=bool(stopped),
            preflight=preflight or "warn",
            hosts=where,
            login=login(self.raw.config, self.raw.environment),
            hf_endpoint=hub(self.raw.environment, local=where.local),
            warnings=tuple(self.warnings),
        )

    def attempt(self, check: Callable[[], T]) -> T | None:
        """The checked value, or None with its problems kept for later."""
        try:
            return check()
        except StackError as error:
            self.problems.extend(error.problems)
            return None

    def stack_file(self) -> tuple[Path, StackFile]:
        key, value = "vertex-vllm:stackFile", self.own("stackFile")
        override = self.raw.environment.get(STACK_FILE_VARIABLE, "").strip()
        if override and self.own("localCloud") == "true":
            if value not in (None, override):
                self.warnings.append(
                    f"{STACK_FILE_VARIABLE}={override} replaces {value} of {self.file}; "
                    "make up without STACK_FILE takes it away"
                )
            key, value = STACK_FILE_VARIABLE, override
        elif override:
            self.warnings.append(
                f"{STACK_FILE_VARIABLE} is set and ignored: stack {self.raw.stack} is not for the local Google Cloud"
            )
        shipped = sorted(path.relative_to(self.root).as_posix() for path in self.root.glob("stacks/*.yaml"))
        near = nearest(value, shipped)
        example = near[0] if near else "stacks/NAME.yaml"
        remedy = (
            f"make up STACK_FILE={example}"
            if key == STACK_FILE_VARIABLE
            else f"pulumi config set {key} {example}"
        )
        if value is None:
            raise self.error(key, ABSENT, "no stack file is chosen", remedy, near)
        try:
            path = (self.root / value).resolve()
            exists = path.is_file()
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a character that no path has
            raise self.error(key, value, "not a path", remedy, near) from None
        if not path.is_relative_to(self.root):
            raise self.error(
                key, value, "outside the project: a stack file lies below Pulumi.yaml", remedy, near
            )
        if path.suffix not in (".yaml", ".yml"):
            raise self.error(key, value, "not a YAML file", remedy, near)
        if not exists:
            raise self.error(key, value, "there is no such file", remedy, near)
        return path.relative_to(self.root), load_stack_file(path)

    def plan(self, stack_file: StackFile, region: str, path: Path) -> ServingPlan:
        """The plan; of a model that does not fit too, where refusals are only taken down."""
        source = str(self.root / path)
        try:
            return plan(stack_file, region=region, source=source)
        except StackError as error:
            if self.refusals is None or not all(map(_refuses, error.problems)):
                raise
            self.problems.extend(error.problems)
            return plan(stack_file.model_copy(update={"fit": "warn"}), region=region, source=source)

    def require_token(self, serving: ServingPlan, path: Path) -> None:
        if serving.needs_token and self.own("hfToken") is None:
            raise self.error(
                "vertex-vllm:hfToken",
                ABSENT,
                f"{serving.model.id} is gated and {path} takes its weights from Hugging Face: a read token is needed",
                f"pulumi config set --secret vertex-vllm:hfToken, or write weights: gs://BUCKET/PREFIX in {path}",
            )

    def expiry(self, labels: dict[str, str], stack_file: StackFile, path: Path) -> None:
        """The stack file's `expires_after` becomes the label, which is the only thing that others read."""
        given, wanted = labels.get(expiry.LABEL), stack_file.expires_after
        if wanted is None:
            return
        if given not in (None, expiry.NEVER, wanted):
            self.warnings.append(
                f"expires_after: {wanted} in {path} replaces vertex-vllm:labels.expiry {given} of {self.file}"
            )
        labels[expiry.LABEL] = wanted

    def price(self, serving: ServingPlan, path: Path, budget: float | None) -> float | None:
        """US dollars an hour of all replicas at most, held against the budget."""
        key = "vertex-vllm:maxUsdPerHour"
        hardware, replicas, price = serving.hardware, serving.replicas.max_replica_count, serving.price
        what = f"{'spot ' if hardware.spot else ''}{hardware.machine_type} in {serving.region}"
        if price is None:
            if budget is not None:
                self.warnings.append(
                    f"{self.file}: {key} = {budget:g} is not checked: no price is known for {what}"
                )
            return None
        total = price.usd_per_hour * replicas
        if budget is not None and over_budget(total, budget):
            affordable = int(budget // price.usd_per_hour)
            fewer = f", or max_replica_count: {affordable} in {path}" if 0 < affordable < replicas else ""
            times = f" a replica, {to_cents(total)} for {replicas} replicas" if replicas > 1 else ""
            raise OverBudget(
                f"{what} costs {to_cents(price.usd_per_hour)} US dollars an hour{times}, which is over the budget.",
                file=self.file,
                key=key,
                value=budget,
                remedy=f"pulumi config set {key} {to_cents(total)}{fewer}, or choose a smaller machine",
            )
        return total


def _refuses(problem: StackError) -> bool:
    """Whether a problem leaves a plan to look at."""
    return isinstance(problem, DoesNotFit | OverBudget)

"""The local cloud as its services see it: one object that holds what they share."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request

from infra.local.cloud.clock import Clock
from infra.local.cloud.cloudlogging.store import Logs
from infra.local.cloud.errors import denied, service_disabled, unauthenticated, unknown_project
from infra.local.cloud.faults import Faults
from infra.local.cloud.iam.policies import Policies
from infra.local.cloud.identity import OWNER, Principal, caller
from infra.local.cloud.operations import Operations, Timing
from infra.local.cloud.projects import Project, Projects
from infra.local.cloud.quotas import Capacity, QuotaDefinition, Quotas
from infra.local.cloud.serviceusage.store import EnabledServices
from infra.local.cloud.storage.reader import Reader
from infra.local.cloud.storage.store import ObjectStore
from infra.local.cloud.store import Store

Json = dict[str, Any]
AsyncHook = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class CloudConfig:
    """How this server process was started; nothing of it is kept in the state folder.

    Attributes:
        state_dir: folder of everything that lasts.
        container: backend of deployed containers: "simulated", "vllm" or an http:// address.
        stage_seconds: length of one operation stage unless the operation says otherwise.
        mode: "timed", "immediate" or "manual" operations.
    """

    state_dir: Path
    container: str = "simulated"
    stage_seconds: float = 0.4
    mode: str = "timed"


class Cloud:
    """Everything that the services share. Built once per process; all handlers run on one loop.

    Attributes:
        config: how the process was started.
        store: durable JSON documents.
        clock: time.
        timing: operation mode, stage length, IAM propagation; durable, changed by an administrator.
        operations: long-running operations.
        projects, services, policies, quotas, capacity, logs, faults: see their classes.
        objects: object bytes and metadata of Cloud Storage.
    """

    def __init__(self, config: CloudConfig) -> None:
        self.config = config
        self.store = Store(config.state_dir)
        self.clock = Clock()
        self.timing = Timing(config.mode, config.stage_seconds)
        self._load_timing()
        self.operations = Operations(self.store, self.clock, self.timing)
        self.projects = Projects(self.store, self.clock)
        self.services = EnabledServices(self.store)
        self.policies = Policies(self.store, self.clock, self.timing)
        self._seed()
        self.quotas = Quotas(self.store, catalogue_quotas)
        self.capacity = Capacity(self.store)
        self.logs = Logs(self.store, self.clock)
        self.faults = Faults(self.store, self.clock)
        self.operations.fault_met = self.faults.met
        self.faults.cleared = self.operations.release
        self.objects = ObjectStore(self.store, self.clock, config.state_dir / "objects")
        self._start: list[AsyncHook] = []
        self._stop: list[AsyncHook] = []
        self._reset: list[AsyncHook] = []
        self._summaries: dict[str, Callable[[], Any]] = {}

    # Life cycle ------------------------------------------------------------------------------------------------

    def on_start(self, hook: AsyncHook) -> None:
        """Runs `hook` when the loop is up, before operations of an earlier process are resumed."""
        self._start.append(hook)

    def on_stop(self, hook: AsyncHook) -> None:
        """Runs `hook` when the server shuts down in order."""
        self._stop.append(hook)

    def on_reset(self, hook: AsyncHook) -> None:
        """Runs `hook` when everything is forgotten, before the store is emptied."""
        self._reset.append(hook)

    def on_summary(self, name: str, summary: Callable[[], Any]) -> None:
        """Adds `name` to what `GET /_local/state` says exists; an empty value means nothing does."""
        self._summaries[name] = summary

    async def start(self) -> None:
        """Runs the start hooks and resumes operations."""
        for hook in self._start:
            await hook()
        self.operations.resume()

    async def stop(self) -> None:
        """Stops operations and runs the stop hooks; the state stays."""
        await self.operations.stop()
        for hook in self._stop:
            with contextlib.suppress(Exception):
                await hook()
        self.store.close()

    async def reset(self) -> None:
        """Forgets everything that exists; timing and clock go back to what the process was started with."""
        await self.operations.stop()
        for hook in self._reset:
            await hook()
        with self.store.transaction():
            self.store.clear()
        self.objects.clear()
        self.clock.offset = 0.0
        self.timing.mode, self.timing.stage_seconds = self.config.mode, self.config.stage_seconds
        self.timing.iam_propagation_seconds = 0.0
        self.projects = Projects(self.store, self.clock)
        self._seed()

    def summary(self) -> Json:
        """What exists, by kind."""
        return {name: summary() for name, summary in self._summaries.items()}

    def make_project(self, project_id: str, number: str) -> Project:
        """The project, made (with its owner) if it does not exist."""
        project = self.projects.ensure(project_id, number)
        self._seed()
        return project

    def _seed(self) -> None:
        for project in self.projects.all():
            if not self.policies.exists(f"projects/{project.id}"):
                self.policies.add(f"projects/{project.id}", "roles/owner", OWNER.member)

    # Timing ----------------------------------------------------------------------------------------------------

    def set_timing(self, **changes: Any) -> None:
        """Changes fields of `Timing`, durably, and lets sleeping operations look again."""
        for name, value in changes.items():
            setattr(self.timing, name, value)
        self.store.put("_settings", "timing", asdict(self.timing))
        self.operations.wake()

    def _load_timing(self) -> None:
        stored = self.store.get("_settings", "timing")
        if stored:
            self.timing.__dict__.update(stored)

    def reader(self, email: str | None) -> Reader:
        """Reads gs:// objects with the rights of a service account; None reads as the project's owner."""
        return Reader(
            self.objects, self.policies, self.projects, OWNER if email is None else Principal(email)
        )

    def principal(self, request: Request) -> Principal:
        """Who calls.

        Raises:
            GoogleError: UNAUTHENTICATED for a bad token, also for that of a disabled service account.
        """
        principal = caller(request)
        account = self.store.get("service_accounts", principal.email)
        if account is not None and account.get("disabled"):
            raise unauthenticated("ACCOUNT_STATE_INVALID")
        return principal

    # Access ----------------------------------------------------------------------------------------------------

    def project(self, reference: str, service: str) -> Project:
        """The project a request names by id or number.

        Raises:
            GoogleError: PERMISSION_DENIED (CONSUMER_INVALID) as Google answers for a project that isn't there.
        """
        found = self.projects.find(reference)
        if found is None:
            raise unknown_project(reference, service)
        return found

    def require(
        self,
        principal: Principal,
        permission: str,
        resource: str,
        *,
        service: str,
        extra_policies: Iterable[str] = (),
    ) -> Project:
        """Checks, in Google's order: project exists, API enabled, permission held. Answers the project.

        Args:
            principal: the caller.
            permission: e.g. "aiplatform.endpoints.deploy".
            resource: relative name that starts "projects/{id or number}"; it stands in the error text as given.
            service: e.g. "aiplatform.googleapis.com".
            extra_policies: policy keys (beside the project's) that may grant it.

        Raises:
            GoogleError: PERMISSION_DENIED in each of the three forms.
        """
        project = self.project(resource.split("/")[1], service)
        if not self.services.enabled(project.number, service):
            raise service_disabled(service, project.number)
        if not self.policies.allows(principal, permission, [f"projects/{project.id}", *extra_policies]):
            raise denied(permission, resource, service)
        return project


def catalogue_quotas() -> Iterable[QuotaDefinition]:
    """The quota table of the catalogue (documented defaults with their source)."""
    from infra.local.cloud.catalogue import definitions

    return definitions()

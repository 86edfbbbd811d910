"""The containers of deployed models: started by a deployment, kept while it lasts, brought back after a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from infra.local.cloud.aiplatform import container_spec
from infra.local.cloud.aiplatform.context import ENDPOINTS
from infra.local.cloud.aiplatform.names import parse_model
from infra.local.cloud.aiplatform.registry import Registry
from infra.local.cloud.errors import GoogleError
from infra.local.container.contract import Container, ContainerRequest, LogLine

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]
_log = logging.getLogger(__name__)
#: Makes a container: (request, backend, what reads gs:// for it).
Factory = Callable[[ContainerRequest, str, Any], Container]

#: Log id of what containers write.
CONTAINER_LOG = "aiplatform.googleapis.com%2Fprediction_container"
NEVER_READY = (
    "Model server never became ready. "
    "Please validate that your model file or container configuration are valid."
)
EXITED = "Model server exited unexpectedly."
#: Seconds before a container that did not come back is started again; twice as long each time.
FIRST_PAUSE = 5.0
LONGEST_PAUSE = 300.0


def make_container(request: ContainerRequest, backend: str, objects: Any) -> Container:
    """The container of the configured backend."""
    from infra.local.container import make_container as make

    return make(request, backend=backend, objects=objects)


class Fleet:
    """Every running container, by "ENDPOINT NAME/DEPLOYED MODEL ID"."""

    def __init__(self, cloud: Cloud, registry: Registry, factory: Factory) -> None:
        self.cloud, self.registry, self.factory = cloud, registry, factory
        self._running: dict[str, Container] = {}
        self._starting: dict[str, asyncio.Task[None]] = {}
        cloud.on_start(self._restore)
        cloud.on_stop(self.stop_all)
        cloud.on_reset(self.stop_all)

    async def start(self, endpoint: str, deployed: Json) -> None:
        """Starts the container of a deployed model and waits until it is healthy; its log lines go to Cloud Logging.

        Raises:
            GoogleError: FAILED_PRECONDITION when it exits or does not become healthy in its deployment timeout.
        """
        key = f"{endpoint}/{deployed['id']}"
        await self.stop(key)
        self._running[key] = await self._launch(endpoint, deployed)

    async def _launch(self, endpoint: str, deployed: Json) -> Container:
        _, _, model = self.registry.find(parse_model(_versioned(deployed), "deployed_model.model"))
        request = _request(endpoint, deployed, model)
        objects = self.cloud.reader(deployed.get("serviceAccount") or _default_account(endpoint))
        container = self.factory(request, self.cloud.config.container, objects)
        try:
            async with asyncio.timeout(container_spec.deployment_timeout(model["containerSpec"])):
                result = await container.start()
        except TimeoutError:
            await container.stop()
            raise _failed(endpoint, NEVER_READY) from None
        except BaseException:
            await container.stop()
            raise
        self.write(endpoint, deployed, result.lines)
        if not result.ok:
            await container.stop()
            raise _failed(endpoint, result.error or EXITED)
        return container

    def write(self, endpoint: str, deployed: Json, lines: Iterable[LogLine]) -> None:
        """Container logs as the service sends them; nothing when the deployment switched them off."""
        if not deployed.get("_logging", True):
            return
        _, number, _, location, _, endpoint_id = endpoint.split("/")
        project = self.cloud.projects.find(number)
        self.cloud.logs.append(
            project.id if project else number,
            CONTAINER_LOG,
            "aiplatform.googleapis.com/Endpoint",
            {"endpoint_id": endpoint_id, "location": location, "resource_container": f"projects/{number}"},
            [(line.severity, line.text) for line in lines],
            {"deployed_model_id": deployed["id"], "replica_id": f"{deployed['id']}-0"},
        )

    async def stop(self, key: str) -> None:
        """Stops the container, if there is one."""
        task = self._starting.pop(key, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        container = self._running.pop(key, None)
        if container is not None:
            with contextlib.suppress(Exception):
                await container.stop()

    async def stop_all(self) -> None:
        """Stops every container; what is deployed stays deployed and comes back with the next start."""
        for key in [*self._starting, *self._running]:
            await self.stop(key)

    async def get(self, key: str, timeout: float) -> Container | None:
        """The running container; waits while it is coming back after a restart. None when it isn't running."""
        task = self._starting.get(key)
        if task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), timeout)
        return self._running.get(key)

    async def _restore(self) -> None:
        for endpoint, document in self.cloud.store.items(ENDPOINTS):
            for deployed in document["deployedModels"].values():
                key = f"{endpoint}/{deployed['id']}"
                self._starting[key] = asyncio.get_running_loop().create_task(
                    self._bring_back(key, endpoint, deployed)
                )

    async def _bring_back(self, key: str, endpoint: str, deployed: Json) -> None:
        """Starts a container until it is there, less and less often, as the platform does with one that exits."""
        pause = FIRST_PAUSE
        try:
            while key not in self._running:
                try:
                    self._running[key] = await self._launch(endpoint, deployed)
                except GoogleError as error:
                    _log.warning(
                        "the container of %s did not come back, it is tried again in %.0f s: %s",
                        key,
                        pause,
                        error.message,
                    )
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE)
        except Exception:
            _log.exception("the container of %s did not come back", key)
        finally:
            if self._starting.get(key) is asyncio.current_task():
                del self._starting[key]


def _versioned(deployed: Json) -> str:
    return f"{deployed['model']}@{deployed['modelVersionId']}"


def _default_account(endpoint: str) -> str:
    """Who a container runs as when no service account was named: Google's own, without rights in the project."""
    return f"custom-online-prediction@t{endpoint.split('/')[1]}-tp.iam.gserviceaccount.com"


def _request(endpoint: str, deployed: Json, model: Json) -> ContainerRequest:
    _, number, _, _, _, endpoint_id = endpoint.split("/")
    spec = model["containerSpec"]
    machine = deployed["dedicatedResources"]["machineSpec"]
    variables = container_spec.environment(model, deployed, endpoint_id, number)
    return ContainerRequest(
        image_uri=spec["imageUri"],
        command=tuple(container_spec.expand(word, variables) for word in spec.get("command", [])),
        args=tuple(container_spec.expand(word, variables) for word in spec.get("args", [])),
        env=variables,
        port=container_spec.port(spec),
        predict_route=container_spec.predict_route(spec, endpoint_id, deployed["id"]),
        health_route=container_spec.health_route(spec, endpoint_id, deployed["id"]),
        shared_memory_size_mb=int(spec["sharedMemorySizeMb"]) if "sharedMemorySizeMb" in spec else None,
        artifact_uri=model.get("artifactUri"),
        machine_type=machine["machineType"],
        accelerator_type=machine.get("acceleratorType"),
        accelerator_count=int(machine.get("acceleratorCount", 0)),
        service_account=deployed.get("serviceAccount"),
        endpoint_id=endpoint_id,
        deployed_model_id=deployed["id"],
    )


def _failed(endpoint: str, text: str) -> GoogleError:
    return GoogleError(
        "FAILED_PRECONDITION", f"{text.rstrip()} Model server logs can be found at {logs_url(endpoint)}"
    )


def logs_url(endpoint: str) -> str:
    """Where the console shows an endpoint's container logs."""
    _, number, _, location, _, endpoint_id = endpoint.split("/")
    query = (
        'resource.type="aiplatform.googleapis.com/Endpoint"\n'
        f'resource.labels.endpoint_id="{endpoint_id}"\nresource.labels.location="{location}"'
    )
    return (
        f"https://console.cloud.google.com/logs/viewer?project={number}"
        f"&resource=aiplatform.googleapis.com%2FEndpoint&advancedFilter={quote(query, safe='')}"
    )

"""What deployments take from serving quotas, and whether there is room for more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from infra.local.cloud.aiplatform import machines
from infra.local.cloud.aiplatform.context import ENDPOINTS, GPU_TIME
from infra.local.cloud.errors import GoogleError

if TYPE_CHECKING:
    from infra.local.cloud.core import Cloud

Json = dict[str, Any]


def replicas(resources: Mapping[str, Any]) -> int:
    """Replicas that quotas are charged for: what it may grow to (field comment of max_replica_count)."""
    return max(int(resources.get("maxReplicaCount", 0)), int(resources.get("minReplicaCount", 0)))


def exceeded(message_ids: list[str]) -> GoogleError:
    """The operation's error when quotas have no room."""
    return GoogleError("RESOURCE_EXHAUSTED", f"The following quotas are exceeded: {', '.join(message_ids)}")


class Accounting:
    """Quota usage, counted from what is deployed and what is being deployed; and when GPUs ran."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        cloud.quotas.usage_source = self.usage

    def starts(self, name: str, resources: Json) -> None:
        """GPUs begin to run, and to bill, for `name`, an "ENDPOINT/ID"; with another number of them, if they did."""
        self.ends(name)
        gpus = int(resources.get("machineSpec", {}).get("acceleratorCount", 0))
        count = int(resources.get("minReplicaCount", 0))
        number = self.cloud.store.next_number(GPU_TIME)
        stretch = {"deployedModel": name, "gpus": gpus * count, "from": self.cloud.clock.now(), "to": None}
        self.cloud.store.put(GPU_TIME, f"{number:08d}", stretch)

    def ends(self, name: str) -> None:
        """GPUs of `name` run no more; nothing where they did not."""
        for key, stretch in self.cloud.store.items(GPU_TIME):
            if stretch["deployedModel"] == name and stretch["to"] is None:
                self.cloud.store.put(GPU_TIME, key, {**stretch, "to": self.cloud.clock.now()})

    def usage(self, project_number: str, quota_id: str, region: str, without: str = "") -> int:
        """Units in use.

        Args:
            project_number: whose.
            quota_id: e.g. "CustomModelServingL4GPUsPerProjectPerRegion".
            region: where.
            without: name of an operation, or "ENDPOINT/ID" of a deployed model, that is not to be counted.
        """
        prefix = f"projects/{project_number}/locations/{region}/"
        return sum(
            machines.needs(resources, count).get(quota_id, 0)
            for resources, count in self._in_use(prefix, without)
        )

    def _in_use(self, prefix: str, without: str) -> Iterator[tuple[Json, int]]:
        for name, document in self.cloud.store.items(ENDPOINTS, prefix):
            for deployed in document["deployedModels"].values():
                resources = deployed.get("dedicatedResources", {})
                if f"{name}/{deployed['id']}" != without:
                    yield resources, replicas(resources)
        for operation in self.cloud.operations.running(prefix, "deployModel"):
            if operation.name != without and operation.args.get("granted"):
                resources = operation.args["deployed"]["dedicatedResources"]
                yield resources, replicas(resources)

    def check(self, project_number: str, region: str, resources: Json, count: int, without: str = "") -> None:
        """Raises RESOURCE_EXHAUSTED when `count` replicas do not fit beside what is in use.

        A quota for which neither a default is documented nor a limit set does not refuse anything.
        """
        full = []
        for quota_id, units in machines.needs(resources, count).items():
            definition = self.cloud.quotas.definitions().get(quota_id)
            documented = definition is not None and region in definition.defaults
            if not documented and not self.cloud.quotas.overridden(quota_id, region):
                continue
            used = self.usage(project_number, quota_id, region, without)
            if used + units > self.cloud.quotas.limit(quota_id, region):
                full.append(quota_id)
        if full:
            raise exceeded(full)

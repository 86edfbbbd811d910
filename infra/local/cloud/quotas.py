"""Serving quotas by region, and machine stock: limits from the catalogue, changed by an administrator.

Usage is not counted here: the aiplatform service says what it uses, through `usage_source`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.cloud.store import Store

Json = dict[str, Any]
COLLECTION = "quota_overrides"
STOCK = "capacity"
SERVICE = "aiplatform.googleapis.com"
#: (project number, quota id, region) -> units in use.
UsageSource = Callable[[str, str, str], int]


@dataclass(frozen=True)
class QuotaDefinition:
    """One quota: its id in Cloud Quotas, its metric in Service Usage, its documented default by region."""

    quota_id: str
    metric: str
    display_name: str
    unit: str
    defaults: Mapping[str, int]


class Quotas:
    """Limits and usage of every serving quota, for each project and region."""

    def __init__(self, store: Store, definitions: Callable[[], Iterable[QuotaDefinition]]) -> None:
        self._store, self._load = store, definitions
        self._definitions: dict[str, QuotaDefinition] | None = None
        self.usage_source: UsageSource = lambda _project, _quota, _region: 0

    def definitions(self) -> Mapping[str, QuotaDefinition]:
        """Quota id -> definition; read from the catalogue once."""
        if self._definitions is None:
            self._definitions = {definition.quota_id: definition for definition in self._load()}
        return self._definitions

    def regions(self, quota_id: str) -> list[str]:
        """Regions for which the quota has a documented default or an override."""
        definition = self.definitions().get(quota_id)
        named = {key.split("/")[1] for key, _ in self._store.items(COLLECTION, f"{quota_id}/")}
        return sorted(set(definition.defaults if definition else ()) | named)

    def limit(self, quota_id: str, region: str) -> int:
        """The limit in force: an override, else the documented default, else 0."""
        override = self._store.get(COLLECTION, f"{quota_id}/{region}")
        return int(override["limit"]) if override else self.default(quota_id, region)

    def default(self, quota_id: str, region: str) -> int:
        """The documented default; 0 where none is documented."""
        definition = self.definitions().get(quota_id)
        return definition.defaults.get(region, 0) if definition else 0

    def overridden(self, quota_id: str, region: str) -> bool:
        """Whether somebody set this limit."""
        return self._store.get(COLLECTION, f"{quota_id}/{region}") is not None

    def set_limit(self, quota_id: str, region: str, limit: int | None) -> None:
        """Overrides a limit; None takes the override away."""
        if limit is None:
            self._store.delete(COLLECTION, f"{quota_id}/{region}")
        else:
            self._store.put(COLLECTION, f"{quota_id}/{region}", {"limit": limit})

    def overrides(self) -> dict[str, dict[str, int]]:
        """Quota id -> region -> overridden limit."""
        found: dict[str, dict[str, int]] = {}
        for key, document in self._store.items(COLLECTION):
            quota_id, _, region = key.partition("/")
            found.setdefault(quota_id, {})[region] = int(document["limit"])
        return found

    def usage(self, project_number: str, quota_id: str, region: str) -> int:
        """Units in use now."""
        return self.usage_source(project_number, quota_id, region)

    def exceeded(self, project_number: str, region: str, needs: Mapping[str, int]) -> list[str]:
        """Ids of the quotas that `needs` (quota id -> additional units) would exceed, in order."""
        return [
            quota_id
            for quota_id, units in needs.items()
            if units > 0
            and self.usage(project_number, quota_id, region) + units > self.limit(quota_id, region)
        ]


class Capacity:
    """Which machines a region is out of; everything is in stock unless an administrator says otherwise."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def set(self, region: str, machine: str, available: int | None) -> None:
        """How many more replicas on `machine` (a machine or accelerator type) the region can start; None: any."""
        key = f"{region}/{machine}"
        if available is None:
            self._store.delete(STOCK, key)
        else:
            self._store.put(STOCK, key, {"available": available})

    def all(self) -> dict[str, dict[str, int]]:
        """Region -> machine or accelerator type -> replicas left."""
        found: dict[str, dict[str, int]] = {}
        for key, document in self._store.items(STOCK):
            region, _, machine = key.partition("/")
            found.setdefault(region, {})[machine] = int(document["available"])
        return found

    def take(self, region: str, machine_type: str, accelerator_type: str, replicas: int) -> bool:
        """Takes `replicas` from the stock; False (and nothing taken) when there are not so many."""
        keys = [f"{region}/{name}" for name in (machine_type, accelerator_type) if name]
        documents = {key: self._store.get(STOCK, key) for key in keys}
        limited = {key: int(document["available"]) for key, document in documents.items() if document}
        if any(left < replicas for left in limited.values()):
            return False
        with self._store.transaction():
            for key, left in limited.items():
                self._store.put(STOCK, key, {"available": left - replicas})
        return True

    def give_back(self, region: str, machine_type: str, accelerator_type: str, replicas: int) -> None:
        """Returns to a limited stock what `take` took."""
        for name in (machine_type, accelerator_type):
            document = self._store.get(STOCK, f"{region}/{name}") if name else None
            if document:
                self._store.put(
                    STOCK, f"{region}/{name}", {"available": int(document["available"]) + replicas}
                )

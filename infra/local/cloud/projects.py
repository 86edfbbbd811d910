"""The projects of the local cloud; requests may name one by id or number, answers mostly use the number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.local.cloud.clock import Clock
from infra.local.cloud.store import Store

Json = dict[str, Any]
COLLECTION = "projects"
DEFAULT_ID = "local-project"
DEFAULT_NUMBER = "123456789012"


@dataclass(frozen=True)
class Project:
    """One project; `number` is decimal text."""

    id: str
    number: str
    create_time: str


class Projects:
    """All projects. "local-project" (123456789012) always exists."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self.ensure(DEFAULT_ID, DEFAULT_NUMBER)

    def ensure(self, project_id: str, number: str) -> Project:
        """The project, made if it does not exist."""
        if self._store.get(COLLECTION, project_id) is None:
            self._store.put(COLLECTION, project_id, {"number": number, "createTime": self._clock.timestamp()})
        found = self.find(project_id)
        assert found is not None
        return found

    def find(self, reference: str) -> Project | None:
        """By id or by number; None if there is none."""
        document = self._store.get(COLLECTION, reference)
        if document is not None:
            return Project(reference, document["number"], document["createTime"])
        if reference.isdigit():
            return next((project for project in self.all() if project.number == reference), None)
        return None

    def all(self) -> list[Project]:
        """Every project, by id."""
        return [
            Project(key, document["number"], document["createTime"])
            for key, document in self._store.items(COLLECTION)
        ]

"""Log entries, in the order in which they were received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from infra.local.cloud.clock import Clock
from infra.local.cloud.store import Store

Json = dict[str, Any]
COLLECTION = "log_entries"


class Logs:
    """Every log entry of every project."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def append(
        self,
        project_id: str,
        log: str,
        resource_type: str,
        resource_labels: Mapping[str, str],
        lines: Iterable[tuple[str, str]],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Writes (severity, text) lines of one resource, stamped now.

        Args:
            project_id: the project the entries belong to.
            log: log id, e.g. "aiplatform.googleapis.com%2Fprediction_container".
            resource_type: monitored resource type, e.g. "aiplatform.googleapis.com/Endpoint".
            resource_labels: e.g. {"endpoint_id": …, "location": …}; project_id is added.
            lines: severity is one of Cloud Logging's names (DEFAULT, DEBUG, INFO, …).
            labels: the entry's own labels.
        """
        self.write(
            project_id,
            [
                {
                    "logName": f"projects/{project_id}/logs/{log}",
                    "resource": {
                        "type": resource_type,
                        "labels": {"project_id": project_id, **resource_labels},
                    },
                    "severity": severity,
                    "textPayload": text,
                    **({"labels": dict(labels)} if labels else {}),
                }
                for severity, text in lines
            ],
        )

    def write(self, project_id: str, entries: Iterable[Json]) -> None:
        """Stores complete entries, adding timestamp, receiveTimestamp and insertId where they lack.

        An entry of a log that comes again with the same timestamp and insertId is kept once, as Google keeps it.
        """
        with self._store.transaction():
            for entry in entries:
                number = self._store.next_number("log_entries")
                now = self._clock.timestamp()
                entry = {
                    "timestamp": now,
                    "insertId": f"local{number:012d}",
                    **entry,
                    "receiveTimestamp": now,
                }
                # Numbers made here sort in order of writing within one microsecond.
                key = f"{project_id}/{entry['timestamp']}/{entry['insertId']}/{entry['logName']}"
                self._store.put(COLLECTION, key, entry)

    def entries(self, project_id: str) -> Iterable[tuple[str, Json]]:
        """(key, entry) pairs of the project in order of time; keys are stable and sort like the entries."""
        return self._store.items(COLLECTION, f"{project_id}/")

"""What a stack made and its state does not know: a plugin died while it created it, and Pulumi kept no trace of it.

Pulumi forgets a create whose plugin dies (it counts as failed, with no pending operation). Models, deployments,
service accounts and grants have chosen ids, so that the next `pulumi up` finds them. The kinds here it would make a
second time, or be refused to. None of them serves anything while the state does not know it: an endpoint is a stray
only while no model is deployed on it, a bucket only while it is empty.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from infra.client.errors import NoAnswer
from infra.ids import endpoint_id
from infra.provider.names import stack_labels

__all__ = ["ServiceDisabled", "Stray", "known_ids", "strays"]

Json = dict[str, Any]


class Cloud(Protocol):
    """What `infra.recovery.cloud.Google` answers."""

    def vertex(self, location: str, path: str, **query: str) -> Json | None: ...
    def operations(self, location: str, parent: str, kind: str) -> list[str]: ...
    def buckets(self, project: str) -> list[Json]: ...
    def holds_objects(self, bucket: str) -> bool: ...
    def dashboards(self, project: str) -> list[Json]: ...
    def alert_policies(self, project: str) -> list[Json]: ...


class ServiceDisabled(NoAnswer):
    """The service is not enabled in the project, as before a first `pulumi up`: it holds nothing that bills."""


@dataclass(frozen=True)
class Stray:
    """One of them.

    Attributes:
        kind: endpoint, bucket, dashboard or alert policy.
        name: Its resource name.
        title: As the console shows it.
    """

    kind: str
    name: str
    title: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" ({self.title})" if self.title else "")


def known_ids(deployment: Mapping[str, Any]) -> frozenset[str]:
    """The last part of every id in a state, pending operations included; projects have ids and numbers."""
    resources = [
        *(deployment.get("resources") or ()),
        *(each["resource"] for each in deployment.get("pending_operations") or ()),
    ]
    return frozenset(str(each["id"]).rpartition("/")[2] for each in resources if each.get("id"))


def strays(
    cloud: Cloud, *, config: Mapping[str, str], project: str, stack: str, known: Collection[str]
) -> tuple[list[Stray], list[str]]:
    """What has the stack's labels, or shows its endpoint, and is in no state.

    Args:
        cloud: Where it is looked for.
        config: The stack's configuration by full key.
        project: Name of the Pulumi project.
        stack: Name of the stack.
        known: As `known_ids` says.

    Returns:
        What was found, and what the user should know: what bills unseen, and which kinds could not be looked for.
    """
    where, region = config.get("gcp:project"), config.get("gcp:region")
    if not where or not region:
        return [], ["not looked for: gcp:project or gcp:region is not in the stack's settings"]
    labels = stack_labels(project, stack).items()
    ids = [endpoint_id(where, region, f"{project}/{stack}{kind}") for kind in ("", "/dedicated")]
    found: list[Stray] = []
    notes: list[str] = []

    def endpoints() -> None:
        for id in ids:
            live = cloud.vertex(region, f"projects/{where}/locations/{region}/endpoints/{id}")
            if not live or not labels <= (live.get("labels") or {}).items():
                continue
            name = str(live["name"])
            deployed = [str(each.get("id")) for each in live.get("deployedModels") or ()]
            notes.extend(
                f"deployed model {each} of endpoint {id} is in no state, and bills: pulumi up takes it over, or "
                f"replaces it. Run it before pulumi destroy."
                for each in deployed
                if each not in known
            )
            under_way = cloud.operations(region, name, "DeployModelOperationMetadata")
            if id not in known and not deployed and not under_way:
                found.append(Stray("endpoint", name, str(live.get("displayName", ""))))

    def buckets() -> None:
        for each in cloud.buckets(where):
            name = str(each["name"])
            if (
                name not in known
                and labels <= (each.get("labels") or {}).items()
                and not cloud.holds_objects(name)
            ):
                found.append(Stray("bucket", name, ""))

    def dashboards() -> None:
        for each in cloud.dashboards(where):
            text = str(each)
            title, name = str(each.get("displayName", "")), str(each.get("name", ""))
            shows = any(f'endpoint_id="{id}"' in text for id in ids)
            if title.startswith("vLLM: ") and shows and name.rpartition("/")[2] not in known:
                found.append(Stray("dashboard", name, title))

    def alert_policies() -> None:
        for each in cloud.alert_policies(where):
            name = str(each.get("name", ""))
            ours = labels <= (each.get("userLabels") or {}).items()
            if ours and name.rpartition("/")[2] not in known:
                found.append(Stray("alert policy", name, str(each.get("displayName", ""))))

    for look in (endpoints, buckets, dashboards, alert_policies):
        try:
            look()
        except ServiceDisabled:
            continue
        except NoAnswer as error:
            notes.append(
                f"not looked for: {look.__name__.replace('_', ' ')}: {str(error).partition(chr(10))[0]}"
            )
    return found, notes

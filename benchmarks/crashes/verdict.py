"""What a site looks like, beside what it should look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.crashes.world import Site

Json = dict[str, Any]

#: APIs stay enabled after a destroy on purpose, and cost nothing.
_FREE = "enabled services"
#: Between the end of one stretch of GPU time and the begin of the next, in seconds, when replicas are changed.
_SAME = 0.05


@dataclass(frozen=True)
class Picture:
    """What a run that nobody killed leaves.

    Attributes:
        counts: How many of each kind exist in the cloud.
        deployed: The deployed models: id, replicas, traffic.
        ids: Ids of every model that was deployed at some time.
        resources: URNs in the state.
        seconds: How long the command took.
    """

    counts: dict[str, int]
    deployed: list[tuple[str, int, int, int]]
    ids: frozenset[str]
    resources: frozenset[str]
    seconds: float


def picture(site: Site, seconds: float) -> Picture:
    """The picture of a site."""
    return Picture(
        counts(site),
        deployed(site),
        frozenset(id for id, _, _, _ in stretches(site)),
        frozenset(each["urn"] for each in site.stack.resources()),
        seconds,
    )


def counts(site: Site) -> dict[str, int]:
    """How many of each kind exist in the cloud."""
    return {kind: len(items) for kind, items in site.cloud.admin.state().items() if kind != _FREE}


def deployed(site: Site) -> list[tuple[str, int, int, int]]:
    """Id, least and most replicas and traffic of each deployed model."""
    found = []
    for name in site.cloud.admin.state()["endpoints"]:
        endpoint: Json = site.cloud.http.get(f"/v1/{name}").raise_for_status().json()
        for each in endpoint.get("deployedModels") or ():
            size = each["dedicatedResources"]
            share = int((endpoint.get("trafficSplit") or {}).get(each["id"], 0))
            found.append(
                (each["id"], int(size.get("minReplicaCount", 0)), int(size.get("maxReplicaCount", 0)), share)
            )
    return sorted(found)


def stretches(site: Site) -> list[tuple[str, float, float, float]]:
    """Id, begin, end and GPU-seconds of each deployment that ran; a change of replicas does not end it."""
    answer = site.cloud.admin.gpu_time()
    found: list[tuple[str, float, float, float]] = []
    for used in answer["used"]:
        id, begin, end = used["deployedModel"].rpartition("/")[2], used["from"], used["to"] or answer["now"]
        gpu_seconds = used["gpus"] * (end - begin)
        before = next((each for each in reversed(found) if each[0] == id), None)
        if before is not None and abs(before[2] - begin) < _SAME:
            found[found.index(before)] = (id, before[1], end, before[3] + gpu_seconds)
        else:
            found.append((id, begin, end, gpu_seconds))
    return found


def waste(site: Site, wanted: Picture) -> tuple[int, float]:
    """Deployments too many, and their GPU-seconds: of models that no run deploys, and of all but the last of each."""
    last = {id: number for number, (id, _, _, _) in enumerate(stretches(site))}
    extra = [
        each
        for number, each in enumerate(stretches(site))
        if each[0] not in wanted.ids or last[each[0]] != number
    ]
    return len(extra), sum(each[3] for each in extra)


def orphans(site: Site, wanted: dict[str, int]) -> list[str]:
    """What exists in the cloud beside what should."""
    found = counts(site)
    return [
        f"{found[kind]} {kind} instead of {wanted.get(kind, 0)}"
        for kind in found
        if found[kind] > wanted.get(kind, 0)
    ]


def differences(site: Site, wanted: Picture) -> list[str]:
    """Where a site is not as a run that nobody killed leaves it; empty where it has converged."""
    wrong = []
    state = site.stack.state()
    if state.get("pending_operations"):
        wrong.append("pending operations")
    wrong += [
        f"{each['urn'].rpartition('::')[2]} is unfinished in the state"
        for each in state.get("resources") or ()
        if each.get("delete") or each.get("initErrors")
    ]
    urns = {each["urn"] for each in state.get("resources") or ()}
    if urns != wanted.resources:
        wrong.append(f"state: {sorted(urn.rpartition('::')[2] for urn in urns ^ wanted.resources)}")
    if deployed(site) != wanted.deployed:
        wrong.append(f"deployed: {deployed(site)} instead of {wanted.deployed}")
    missing = [kind for kind, number in wanted.counts.items() if counts(site)[kind] < number]
    return wrong + [f"missing: {kind}" for kind in missing]


def answers(site: Site) -> bool:
    """Whether the endpoint answers a prediction."""
    name = site.cloud.admin.state()["endpoints"][0]
    body = {"instances": [{"prompt": "A car is", "max_tokens": 5}]}
    return site.cloud.http.post(f"/v1/{name}:predict", json=body).status_code == 200

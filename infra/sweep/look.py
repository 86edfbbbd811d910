"""What exists in a project with labels of ours, as Google's services list it. Reads only.

A service or a region that does not answer is a note, never an empty list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from infra.client.errors import NoAnswer
from infra.client.logs import printable
from infra.expiry import LABEL
from infra.rfc3339 import parse_time
from infra.sweep.found import Thing, belongs_to, deployed, described, key_of

__all__ = ["Ask", "Look", "Place", "Unanswered", "everything", "in_region", "objects_in", "runs_as"]

Json = dict[str, Any]

_AT_ONCE: Final = 8  # regions that are asked at the same time
_MOST_PAGES: Final = 200
_DEPLOY: Final = "DeployModelOperationMetadata"


class Unanswered(NoAnswer):
    """A service did not answer, or refused; ``str(e)`` is which and why.

    Attributes:
        status: HTTP status; 0 where there was no answer.
        disabled: Whether the service is not enabled in the project, so that there is nothing of it.
    """

    def __init__(self, text: str, status: int = 0, *, disabled: bool = False) -> None:
        super().__init__(text)
        self.status = status
        self.disabled = disabled


Ask = Callable[[str, str, Mapping[str, str], Json | None], Json]
"""Method, URL, query and body to the JSON of the answer. Raises `Unanswered`."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the services are.

    Attributes:
        project: Project id or number.
        vertex: Region to Vertex AI's base address, v1.
        storage: Base address of Cloud Storage's JSON API.
        iam: Of IAM, v1.
        monitoring: Of Cloud Monitoring, without a version.
        resource_manager: Of Resource Manager, v1.
    """

    project: str
    vertex: Mapping[str, str]
    storage: str
    iam: str
    monitoring: str
    resource_manager: str


@dataclass(frozen=True)
class Look:
    """What was found.

    Attributes:
        things: What carries labels of ours, and deployments that touch it.
        others: Deployments of other owners, which bill as well.
        unanswered: What could not be asked, and why.
        absent: Services that are not enabled, so that there is nothing of them.
        at: When.
    """

    things: tuple[Thing, ...]
    others: tuple[Thing, ...]
    unanswered: tuple[str, ...]
    absent: tuple[str, ...]
    at: datetime


def everything(ask: Ask, place: Place) -> Look:
    """Every thing of ours in a project: in its regions, and what has no region."""
    at = datetime.now(UTC)
    jobs: list[tuple[str, Callable[[], Sequence[Thing]]]] = [
        (region, lambda region=region, base=base: in_region(ask, base, place.project, region, at))  # type: ignore[misc]
        for region, base in place.vertex.items()
    ]
    jobs += [
        ("buckets", lambda: _buckets(ask, place, at)),
        ("service accounts", lambda: _accounts(ask, place)),
        ("alert policies", lambda: _alerts(ask, place, at)),
        ("dashboards", lambda: _dashboards(ask, place)),
    ]
    things: list[Thing] = []
    others: list[Thing] = []
    unanswered: list[str] = []
    absent: dict[str, None] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [(name, pool.submit(job)) for name, job in jobs]
        for name, future in running:
            try:
                found = future.result()
            except Unanswered as error:
                if error.disabled:
                    absent[str(error)] = None
                else:
                    unanswered.append(f"{name}: {error}")
                continue
            for thing in found:
                (things if thing.stack_label else others).append(thing)
    return Look(tuple(things), tuple(others), tuple(unanswered), tuple(absent), at)


def in_region(ask: Ask, base: str, project: str, region: str, at: datetime) -> list[Thing]:
    """Endpoints, models and deployments of a region; deployments of other owners are without labels.

    Raises:
        Unanswered: Vertex AI cannot be asked there.
    """
    parent = f"{base}/projects/{project}/locations/{region}"
    endpoints = list(_pages(ask, f"{parent}/endpoints", "endpoints"))
    models = list(_pages(ask, f"{parent}/models", "models"))
    labels = {key_of(str(each.get("name"))): each.get("labels") or {} for each in models}
    found = [_thing("model", each, region, at) for each in models if belongs_to(each.get("labels"))]
    for endpoint in endpoints:
        ours = belongs_to(endpoint.get("labels"))
        if ours:
            found.append(_thing("endpoint", endpoint, region, at))
            found += under_way(ask, base, endpoint, labels, region, at)
        found += [
            deployed(endpoint, each, labels, region, at) for each in endpoint.get("deployedModels") or ()
        ]
    return found


def under_way(
    ask: Ask,
    base: str,
    endpoint: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    region: str,
    at: datetime,
) -> list[Thing]:
    """Deployments that Google is making on an endpoint of ours, and that no listing shows yet.

    Args:
        ask: How Google is asked.
        base: Vertex AI's address in the region.
        endpoint: The endpoint.
        models: Labels of every model of the region, by key: another stack may deploy on our endpoint.
        region: The region.
        at: The present time.

    Raises:
        Unanswered: Vertex AI cannot be asked.
    """
    name = str(endpoint.get("name"))
    running = [
        each
        for each in _pages(ask, f"{base}/{name}/operations", "operations")
        if not each.get("done")
        and str((each.get("metadata") or {}).get("@type", "")).rpartition(".")[2] == _DEPLOY
    ]
    if not running:
        return []
    shown = {str(each.get("id")) for each in endpoint.get("deployedModels") or ()}
    try:
        # Documented for the REST API, and not among its messages: an answer without it says nothing.
        full = ask("GET", f"{base}/{name}", {"allDeploymentStates": "true"}, None)
    except Unanswered:
        full = {}
    hidden = [each for each in full.get("deployedModels") or () if str(each.get("id")) not in shown]
    owner = belongs_to(endpoint.get("labels")) or ("", "")
    seen = [deployed(endpoint, each, models, region, at) for each in hidden]
    told = len(seen) == len(running)  # an operation does not name its model
    mixed = len({(each.project_label, each.stack_label, each.shared) for each in seen}) > 1
    things = []
    for place, operation in enumerate(running):
        began = parse_time(
            str(((operation.get("metadata") or {}).get("genericMetadata") or {}).get("createTime") or "")
        )
        hours = None if began is None else max((at - began).total_seconds() / 3600, 0.0)
        thing = Thing(
            kind="deployment",
            name=f"{name}/operations/{str(operation.get('name')).rpartition('/')[2]}",
            display=printable(str((operation.get("metadata") or {}).get("deploymentStage") or "")),
            region=region,
            project_label=owner[0],
            stack_label=owner[1],
            created=began,
            hours=hours,
            expiry=str((endpoint.get("labels") or {}).get(LABEL) or ""),
            operation=str(operation.get("name")),
        )
        if told and not mixed:
            known = seen[place]
            thing = replace(
                thing,
                name=known.name,
                project_label=known.project_label,
                stack_label=known.stack_label,
                expiry=known.expiry,
                shared=known.shared,
                host=known.host,
                deployment=known.deployment and replace(known.deployment, created=began, hours=hours),
            )
        elif mixed:
            thing = replace(thing, shared="which of the deployments under way is whose is not known")
        things.append(thing)
    return things


def objects_in(ask: Ask, storage: str, bucket: str) -> bool:
    """Whether a bucket holds anything, old versions of objects included.

    Raises:
        Unanswered: Cloud Storage cannot be asked.
    """
    query = {"versions": "true", "maxResults": "1", "fields": "items/name"}
    return bool(ask("GET", f"{storage}/b/{bucket}/o", query, None).get("items"))


def runs_as(ask: Ask, base: str, project: str, region: str, email: str) -> Iterator[tuple[str, str]]:
    """Ids of the deployed models of a region that run as a service account, and of their endpoints.

    Raises:
        Unanswered: Vertex AI cannot be asked there.
    """
    for endpoint in _pages(ask, f"{base}/projects/{project}/locations/{region}/endpoints", "endpoints"):
        for each in endpoint.get("deployedModels") or ():
            if each.get("serviceAccount") == email:
                yield str(each.get("id")), str(endpoint.get("name")).rpartition("/")[2]


def _buckets(ask: Ask, place: Place, at: datetime) -> list[Thing]:
    query = {"project": place.project, "fields": "items(name,labels,timeCreated,location),nextPageToken"}
    return [
        _thing(
            "bucket",
            {**each, "createTime": each.get("timeCreated")},
            str(each.get("location", "")).lower(),
            at,
        )
        for each in _pages(ask, f"{place.storage}/b", "items", query, size="maxResults")
        if belongs_to(each.get("labels"))
    ]


def _accounts(ask: Ask, place: Place) -> list[Thing]:
    found = []
    for each in _pages(ask, f"{place.iam}/projects/{place.project}/serviceAccounts", "accounts"):
        pairs = described(each)
        if belongs_to(pairs):
            account = {**each, "labels": pairs}
            found.append(_thing("service account", account, "", datetime.now(UTC)))
    return found


def _alerts(ask: Ask, place: Place, at: datetime) -> list[Thing]:
    return [
        _thing(
            "alert policy",
            {
                **each,
                "labels": each.get("userLabels"),
                "createTime": (each.get("creationRecord") or {}).get("mutateTime"),
            },
            "",
            at,
        )
        for each in _pages(
            ask, f"{place.monitoring}/v3/projects/{place.project}/alertPolicies", "alertPolicies"
        )
        if belongs_to(each.get("userLabels"))
    ]


def _dashboards(ask: Ask, place: Place) -> list[Thing]:
    return [
        _thing("dashboard", each, "", datetime.now(UTC))
        for each in _pages(ask, f"{place.monitoring}/v1/projects/{place.project}/dashboards", "dashboards")
        if belongs_to(each.get("labels"))
    ]


def _thing(kind: str, found: Mapping[str, Any], region: str, at: datetime) -> Thing:
    project, stack = belongs_to(found.get("labels")) or ("", "")
    created = parse_time(str(found.get("createTime") or ""))
    return Thing(
        kind=kind,
        name=str(found.get("name") or ""),
        display=printable(str(found.get("displayName") or "")),
        region=region,
        project_label=project,
        stack_label=stack,
        created=created,
        hours=None if created is None else max((at - created).total_seconds() / 3600, 0.0),
        expiry=str((found.get("labels") or {}).get(LABEL) or ""),
    )


def _pages(
    ask: Ask, url: str, key: str, query: Mapping[str, str] | None = None, *, size: str = "pageSize"
) -> Iterator[Json]:
    """Every entry of a listing.

    Raises:
        Unanswered: Also of a listing that does not end, which would hide what comes after.
    """
    page = ""
    for _ in range(_MOST_PAGES):
        asked = {size: "100", **(query or {}), **({"pageToken": page} if page else {})}
        try:
            answer = ask("GET", url, asked, None)
        except Unanswered as error:
            if error.status == 404 and key == "operations":
                return
            raise
        yield from (each for each in answer.get(key) or () if isinstance(each, dict))
        page = str(answer.get("nextPageToken") or "")
        if not page:
            return
    raise Unanswered(f"{url} has more than {_MOST_PAGES} pages")

"""The limit of a serving quota in this project: what Service Usage enforces, else what Cloud Quotas says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import quote

from infra.preflight.google.answers import Json, beta, body, object_, objects, text, texts, whole
from infra.preflight.net import Net, Unread
from infra.preflight.subject import Place
from infra.recipes import QuotaRef

__all__ = ["SERVICE", "Limit", "read_limit"]

SERVICE: Final = "aiplatform.googleapis.com"

_UNIT: Final = "1/{project}/{region}"
_UNLIMITED: Final = 2**62
"""Service Usage writes no limit as -1, and older quotas of it as the largest int64."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A limit in one region.

    Attributes:
        amount: GPUs or vCPUs; None: no limit.
        metric: Name of the quota's metric; empty where it is not known.
        source: The API that said so, and why not the other one.
        elsewhere: Amounts of the regions that the API lists, None: no limit.
    """

    amount: int | None
    metric: str
    source: str
    elsewhere: Mapping[str, int | None] = field(default_factory=dict)


async def read_limit(subject: Place, net: Net, ref: QuotaRef) -> Limit:
    """The limit of a quota in the region that serves.

    Service Usage comes first: it is enabled in new projects, Cloud Quotas is not. But it knows quotas by their metric
    only, and the names of some are not published.

    Raises:
        Unread: Neither API says it; the reason of each.
    """
    instead, kind = "", Unread
    if ref.metric:
        try:
            return await _service_usage(subject, net, ref.metric)
        except Unread as reason:
            instead, kind = f"Service Usage cannot be read: {reason}", type(reason)
    try:
        limit = await _cloud_quotas(subject, net, ref)
    except Unread as reason:
        kind = kind if kind is not Unread else type(reason)
        raise kind("; ".join(filter(None, (instead, f"Cloud Quotas cannot be read: {reason}")))) from None
    return replace(limit, source=f"{limit.source}, as {instead}") if instead else limit


async def _service_usage(subject: Place, net: Net, metric: str) -> Limit:
    base = f"{beta(subject.hosts.service_usage)}/projects/{subject.project}/services/{SERVICE}"
    answer = await net.get(f"{base}/consumerQuotaMetrics/{quote(metric, safe='')}", params={"view": "FULL"})
    limits = [limit for limit in objects(body(answer), "consumerQuotaLimits") if limit.get("unit") == _UNIT]
    if not limits:
        raise Unread(f"no limit by region of {metric}")
    buckets = _buckets(limits[0])
    # The bucket without dimensions is that of every region that has none of its own.
    place = subject.region if subject.region in buckets else ""
    if place not in buckets:
        raise Unread(f"no limit for {subject.region} of {metric}")
    regions = {region: amount for region, amount in buckets.items() if region}
    return Limit(amount=buckets[place], metric=metric, source="Service Usage", elsewhere=regions)


def _buckets(limit: Json) -> dict[str, int | None]:
    """Region ("" for every other) -> amount."""
    found: dict[str, int | None] = {}
    for bucket in objects(limit, "quotaBuckets"):
        dimensions = object_(bucket, "dimensions")
        if set(dimensions) <= {"region"}:
            found[str(dimensions.get("region", ""))] = _amount(bucket.get("effectiveLimit"))
    return found


async def _cloud_quotas(subject: Place, net: Net, ref: QuotaRef) -> Limit:
    base = f"{subject.hosts.cloud_quotas}/projects/{subject.project}/locations/global/services/{SERVICE}"
    data = body(await net.get(f"{base}/quotaInfos/{ref.quota_id}"))
    found: dict[str, int | None] = {}
    for info in objects(data, "dimensionsInfos"):
        dimensions, details = object_(info, "dimensions"), object_(info, "details")
        named = {str(dimensions["region"])} if "region" in dimensions else texts(info, "applicableLocations")
        for region in named:
            if "region" in dimensions or region not in found:
                found[region] = _amount(details.get("value"))
    if subject.region not in found:
        raise Unread(f"no limit for {subject.region} of {ref.quota_id}")
    metric = text(data, "metric") or ref.metric
    return Limit(amount=found[subject.region], metric=metric, source="Cloud Quotas", elsewhere=found)


def _amount(value: object) -> int | None:
    amount = whole(value)
    return None if amount < 0 or amount >= _UNLIMITED else amount

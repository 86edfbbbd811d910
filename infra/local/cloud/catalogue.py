"""Quota definitions of the local cloud, from the catalogue's table of documented defaults."""

from __future__ import annotations

import re

from infra.local.cloud.quotas import QuotaDefinition
from infra.recipes.catalog import catalog


def definitions() -> list[QuotaDefinition]:
    """Every serving quota with its documented default by region; sources stand in the catalogue."""
    found = catalog()
    regions = found.regions()
    return [
        QuotaDefinition(
            quota.quota_id,
            quota.metric or f"aiplatform.googleapis.com/{_snake(quota.quota_id)}",
            " ".join(_words(quota.quota_id)) + " per region",
            "1/{project}/{region}",
            {
                region: default
                for region in regions
                if (default := found.quota_default(quota.quota_id, region)) is not None
            },
        )
        for quota in sorted(found.quotas(), key=lambda quota: quota.quota_id)
    ]


def _words(quota_id: str) -> list[str]:
    return re.findall(
        r"[GC]PUs|TPU|[A-Z][a-z]+|[A-Z0-9]+?(?=[GC]PUs|TPU|$)", quota_id.removesuffix("PerProjectPerRegion")
    )


def _snake(quota_id: str) -> str:
    """A metric name for the quotas whose metric isn't published, e.g. custom_model_serving_cpus."""
    return "_".join(_words(quota_id)).lower()

"""Which deployed model gets how much of an endpoint's traffic. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def share(endpoint: Mapping[str, Any], id: str) -> int:
    """The percentage of the endpoint's traffic that a deployed model gets."""
    return int((endpoint.get("trafficSplit") or {}).get(id, 0))


def others(endpoint: Mapping[str, Any], id: str) -> list[Mapping[str, Any]]:
    """The endpoint's other deployed models."""
    return [model for model in endpoint.get("deployedModels", ()) if str(model.get("id")) != id]


def without(endpoint: Mapping[str, Any], id: str) -> dict[str, int] | None:
    """The split that takes all traffic from a deployed model, or None if none has to be given.

    Its share goes to those that have traffic already, in proportion; if none has, to the newest one. Nothing has to be
    given for a model without traffic, nor for the last one on an endpoint: Google empties the split itself.
    """
    gone = share(endpoint, id)
    rest = others(endpoint, id)
    if not gone or not rest:
        return None
    shares = {str(model["id"]): share(endpoint, str(model["id"])) for model in rest}
    if not any(shares.values()):
        newest = max(rest, key=lambda model: str(model.get("createTime", "")))
        return {str(newest["id"]): 100}
    return _scaled({each: percent for each, percent in shares.items() if percent})


def _scaled(shares: Mapping[str, int]) -> dict[str, int]:
    """Whole percentages in the same proportions, with the sum 100 that Google insists on."""
    total = sum(shares.values())
    scaled = {each: percent * 100 // total for each, percent in shares.items()}
    by_loss: Sequence[str] = sorted(shares, key=lambda each: (-(shares[each] * 100 % total), each))
    for each in by_loss[: 100 - sum(scaled.values())]:
        scaled[each] += 1
    return scaled

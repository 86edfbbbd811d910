"""Fixtures: a local cloud with Vertex AI enabled and test containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.cloud.aiplatform import fleet
from infra.local.cloud.testing import cloud_in_thread, cloud_process

from .double import Double
from .helpers import FULL, Vertex, model


@pytest.fixture
def doubles(monkeypatch: pytest.MonkeyPatch) -> type[Double]:
    """Deployed models get test containers."""
    monkeypatch.setattr(fleet, "make_container", lambda request, backend, objects: Double(request))
    for each in (Double.made, Double.streamed, Double.closed):
        each.clear()
    return Double


@pytest.fixture(scope="module")
def shared() -> Iterator[Vertex]:
    """For tests that change nothing: m1 deployed as 1 on ep1, m2 (two versions), empty endpoints ep2 and ded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleet, "make_container", lambda request, backend, objects: Double(request))
        with cloud_in_thread() as running:
            vertex = Vertex(running)
            vertex.enable()
            vertex.served()
            vertex.upload("m2")
            vertex.done("POST", "models:upload", {"parentModel": f"{FULL}/models/m2", "model": model("m2")})
            vertex.endpoint("ep2")
            vertex.endpoint("ded", dedicatedEndpointEnabled=True)
            yield vertex


@pytest.fixture
def vertex(doubles: type[Double]) -> Iterator[Vertex]:
    """A local cloud with the API enabled; operations end at once."""
    with cloud_in_thread() as running:
        vertex = Vertex(running)
        vertex.enable()
        yield vertex


__all__ = ["cloud_process", "doubles", "shared", "vertex"]

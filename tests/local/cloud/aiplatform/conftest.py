"""Fixtures: a local cloud with Vertex AI enabled and test containers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from infra.local.cloud.aiplatform import fleet
from infra.local.cloud.testing import LocalCloud, cloud_in_thread, cloud_process

from .double import Double
from .helpers import FULL, Vertex, model

__all__ = ["cloud_process", "server", "shared", "vertex"]


@contextlib.contextmanager
def with_doubles() -> Iterator[LocalCloud]:
    """A local cloud whose deployed models get test containers; servers of other tests get the usual ones."""
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as while_routes_are_built:
            while_routes_are_built.setattr(
                fleet, "make_container", lambda request, backend, objects: Double(request)
            )
            running = stack.enter_context(cloud_in_thread())
        yield running


@pytest.fixture(scope="session")
def server() -> Iterator[LocalCloud]:
    """One server for all tests; each starts it over."""
    with with_doubles() as running:
        yield running


@pytest.fixture
def vertex(server: LocalCloud) -> Vertex:
    """An empty local cloud with the API enabled; operations end at once."""
    server.admin.reset()
    for each in (Double.made, Double.streamed, Double.closed, Double.bodies):
        each.clear()
    vertex = Vertex(server)
    vertex.enable()
    return vertex


@pytest.fixture(scope="module")
def shared() -> Iterator[Vertex]:
    """For tests that change nothing: m1 deployed as 1 on ep1, m2 (two versions), empty endpoints ep2 and ded."""
    with with_doubles() as running:
        vertex = Vertex(running)
        vertex.enable()
        vertex.served()
        vertex.upload("m2")
        vertex.done("POST", "models:upload", {"parentModel": f"{FULL}/models/m2", "model": model("m2")})
        vertex.endpoint("ep2")
        vertex.endpoint("ded", dedicatedEndpointEnabled=True)
        yield vertex

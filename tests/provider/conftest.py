"""A provider on a fresh local cloud with an endpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.local.cloud.testing import LocalCloud, cloud_in_thread
from tests.provider.harness import Existing, Harness, provider_on
from tests.provider.samples import ENDPOINT, MODEL, deployment


@pytest.fixture(scope="session")
def running_cloud() -> Iterator[LocalCloud]:
    """One server for all tests; `cloud` empties it."""
    with cloud_in_thread() as cloud:
        yield cloud


@pytest.fixture
def cloud(running_cloud: LocalCloud) -> LocalCloud:
    """An empty cloud with the API enabled, immediate operations and one endpoint."""
    running_cloud.admin.reset()
    running_cloud.admin.enable("aiplatform.googleapis.com", "compute.googleapis.com")
    parent, _, id = ENDPOINT.rpartition("/")
    answer = running_cloud.http.post(f"/v1/{parent}", params={"endpointId": id}, json={"displayName": "e"})
    assert answer.status_code == 200, answer.text
    return running_cloud


@pytest.fixture
def provider(cloud: LocalCloud) -> Iterator[Harness]:
    """The provider."""
    with provider_on(cloud) as harness:
        yield harness


@pytest.fixture
def model(provider: Harness) -> Existing:
    """An uploaded model."""
    return provider.create("Model", MODEL)


@pytest.fixture
def served(provider: Harness, model: Existing) -> Existing:
    """A deployed model."""
    return provider.create("Deployment", deployment(model.id))


@pytest.fixture
def manual(cloud: LocalCloud, provider: Harness, model: Existing) -> Iterator[LocalCloud]:
    """The cloud with operations that wait to be let go on; the model is uploaded already."""
    assert provider.cloud is cloud
    assert model.id
    cloud.admin.timing(mode="manual")
    yield cloud
    cloud.admin.timing(mode="immediate")

"""A local cloud for every test that asks for one, and Google's own storage client on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from infra.local.cloud.testing import LocalCloud, cloud, cloud_process

__all__ = ["account", "cloud", "cloud_process", "storage"]


@pytest.fixture
def storage(cloud: LocalCloud) -> Any:
    """google.cloud.storage.Client of the project's owner."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client  # type: ignore[import-untyped]

    return Client(
        project="local-project",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": cloud.url},
    )


@pytest.fixture
def account(cloud: LocalCloud) -> Callable[..., httpx.Client]:
    """Makes a service account with project roles; answers a client that calls as it."""

    def make(account_id: str, *roles: str) -> httpx.Client:
        made = cloud.http.post("/v1/projects/local-project/serviceAccounts", json={"accountId": account_id})
        email = made.raise_for_status().json()["email"]
        policy = cloud.http.post("/v1/projects/local-project:getIamPolicy", json={}).json()
        for role in roles:
            policy["bindings"].append({"role": role, "members": [f"serviceAccount:{email}"]})
        cloud.http.post("/v1/projects/local-project:setIamPolicy", json={"policy": policy}).raise_for_status()
        return cloud.as_account(email)

    return make

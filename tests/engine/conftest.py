"""Fixtures of the engine tests: the engine, a local cloud and a stack on it, fresh for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.local.cloud.testing import LocalCloud, cloud, cloud_process
from infra.local.engine.environment import PYTHON
from infra.local.engine.pulumi import Engine, installed_engine
from infra.local.gcp_plugin.install import install
from tests.engine.support import EngineStack, copy_project

__all__ = ["cloud", "cloud_process"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder drives the engine."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that `make setup` installed."""
    found = installed_engine()
    if not found:
        pytest.fail("there is no Pulumi engine; `make setup` installs it")
    return found


@pytest.fixture(scope="session")
def pulumi_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine home with the stand-in gcp plugin, one for a test process."""
    home = tmp_path_factory.mktemp("pulumi-home")
    install(home, PYTHON)
    return home


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project, whose path has a space in it."""
    return copy_project(tmp_path / "a project")


@pytest.fixture
def stack(engine: Engine, project: Path, pulumi_home: Path, cloud: LocalCloud) -> EngineStack:
    """A stack on a fresh local cloud whose operations end at once; nothing deployed yet."""
    return EngineStack(engine, project, pulumi_home, cloud)

"""For every test: an environment that holds nothing of the user's clouds, proxies or stacks."""

from __future__ import annotations

import os

import hypothesis
import pytest

hypothesis.settings.register_profile("repository", deadline=None, print_blob=True)
hypothesis.settings.load_profile("repository")

#: Variables that lead a client, the engine or a plugin somewhere; `. .local/env` sets most of them.
_LEADING = ("GOOGLE_", "CLOUDSDK_", "PULUMI_", "OPENAI_", "VERTEX_VLLM_", "LOCAL_CLOUD_")


@pytest.fixture(autouse=True, scope="session")
def _neutral_environment() -> None:
    """Tests say where they go; whatever the shell says is forgotten."""
    for name in list(os.environ):
        if name.startswith(_LEADING) or name == "STORAGE_EMULATOR_HOST" or name.lower() == "all_proxy":
            del os.environ[name]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

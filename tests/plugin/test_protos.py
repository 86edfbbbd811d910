"""What the import of Pulumi's stubs costs and needs. Each in a process of its own, for imports cannot be
undone.
"""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_plugin_process_imports_neither_the_sdk_nor_google_clients_nor_httpx() -> None:
    result = run(
        "import sys, infra.local.gcp_plugin.plugin, infra.plugin.server\n"
        "print([m for m in sys.modules if m == 'pulumi' or m.startswith(('pulumi.', 'google.cloud.', "
        "'google.api_core',"
        "'google.auth', 'httpx', 'pydantic', 'yaml'))])"
    )

    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("first", ["pulumi, pulumi.runtime.proto", "infra.plugin.protos"])
def test_the_stubs_are_those_of_the_sdk_whichever_is_imported_first(first: str) -> None:
    result = run(
        f"import {first}\n"
        "import pulumi\n"
        "from pulumi.runtime.proto import provider_pb2\n"
        "from infra.plugin import protos\n"
        "print(protos.provider_pb2.CreateRequest is provider_pb2.CreateRequest)"
    )

    assert result.stdout.strip() == "True", result.stderr


def test_google_status_and_the_stubs_live_in_one_process() -> None:
    result = run(
        "import pulumi, pulumi_policy\n"
        "import google.rpc.status_pb2, google.api_core.exceptions, google.api_core.operations_v1\n"
        "import infra.plugin.server\n"
        "print('fine')"
    )

    assert result.stdout.strip() == "fine", result.stderr


def test_the_clash_of_google_status_is_still_there() -> None:
    """When this fails, Pulumi's SDK has no second copy of google.rpc.Status any more.

    Then `pulumi.provider` may be imported beside Google's libraries, and the warning in
    infra/plugin/protos.py and this test can go.
    """
    result = run("import google.rpc.status_pb2, pulumi.runtime.proto.status_pb2")

    assert result.returncode == 1
    assert "TypeError: Couldn't build proto file into descriptor pool" in result.stderr


def test_provider_code_never_imports_the_module_that_clashes() -> None:
    result = run(
        "import sys, pulumi, infra.plugin.server\n"
        "print('pulumi.provider' in sys.modules, 'pulumi.runtime.proto.status_pb2' in sys.modules)"
    )

    assert result.stdout.strip() == "False False", result.stderr

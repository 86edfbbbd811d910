"""The installed executable works from every folder and without an activated environment."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import grpc
from google.protobuf import empty_pb2

from infra.local.gcp_plugin.install import install
from infra.plugin.protos import provider_pb2_grpc


def test_the_executable_serves_the_plugin(tmp_path: Path) -> None:
    home = tmp_path / "a home"
    executable = install(home)
    # It stays in the folder that it is started in, whose modules are not its own.
    (tmp_path / "infra").mkdir()
    (tmp_path / "infra" / "__init__.py").write_text("raise SystemExit('another project')")

    assert executable == home / "plugins" / "resource-gcp-v10.2.0" / "pulumi-resource-gcp"
    process = subprocess.Popen(
        [executable, "127.0.0.1:1"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        info = provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty())
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == ""
    assert (info.version, process.returncode) == ("10.2.0", 0)


def test_installing_again_replaces_the_script(tmp_path: Path) -> None:
    executable = install(tmp_path)
    executable.write_text("broken")

    install(tmp_path, Path("/elsewhere/python"))

    assert "exec /elsewhere/python -P -m infra.local.gcp_plugin" in executable.read_text()
    assert [path.name for path in executable.parent.iterdir()] == ["pulumi-resource-gcp"]
    assert executable.stat().st_mode & 0o111
    assert sys.executable in install(tmp_path).read_text()

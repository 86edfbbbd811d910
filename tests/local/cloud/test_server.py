"""The server as a process: one a folder, loopback only, ends in order, and survives being killed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from infra.local.cloud import cli
from infra.local.cloud.server import AlreadyRunning, listen, lock, read_record, running
from infra.local.cloud.testing import CloudProcess, LocalCloud

_ROOT = Path(__file__).resolve().parents[3]


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "infra.local.cloud", *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_life_of_a_process(cloud_process: CloudProcess) -> None:
    cloud = cloud_process.start()
    state = str(cloud_process.state_dir)
    record = read_record(cloud_process.state_dir)
    assert cloud_process.process is not None
    assert record["pid"] == cloud_process.process.pid
    assert record["url"] == cloud.url == f"http://127.0.0.1:{record['port']}"
    assert running(cloud_process.state_dir) == record

    second = _command("serve", "--port", "0", "--state", state)
    assert second.returncode == 1
    assert f"already served by process {record['pid']} at {cloud.url}" in second.stderr
    assert "--state" in second.stderr

    taken = _command("serve", "--port", str(record["port"]), "--state", state + "-other")
    assert taken.returncode == 1
    assert f"Port {record['port']} of 127.0.0.1 cannot be used" in taken.stderr

    cloud.http.put("/_local/quotas", json={"Q": {"us-central1": 3}}).raise_for_status()
    assert "empty" in _command("status", "--state", state).stdout
    assert json.loads(_command("status", "--json", "--state", state).stdout)["url"] == cloud.url
    cloud.http.post("/v1/projects/local-project/serviceAccounts", json={"accountId": "abcdef"})
    assert "abcdef@local-project" in _command("status", "--state", state).stdout
    assert _command("reset", "--url", cloud.url).returncode == 0
    assert "empty" in _command("status", "--state", state).stdout
    assert f"export LOCAL_CLOUD_URL={cloud.url}" in _command("endpoints", "--env", "--state", state).stdout

    assert cloud_process.stop() == 0
    assert running(cloud_process.state_dir) is None
    assert read_record(cloud_process.state_dir) == {}
    gone = _command("status", "--state", state)
    assert gone.returncode == 1
    assert "python -m infra.local.cloud serve" in gone.stderr


def test_nothing_but_loopback_is_bound(cloud_process: CloudProcess) -> None:
    cloud = cloud_process.start()
    port = int(cloud.url.rsplit(":", 1)[1])
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        if Path(table).exists()
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
    ]
    if not listening:
        pytest.skip("this system does not list its sockets in /proc/net/tcp")
    assert listening == [f"0100007F:{port:04X}"]


def test_the_start_imports_no_google_client() -> None:
    code = (
        "import sys, pathlib, tempfile\n"
        "from infra.local.cloud.core import Cloud, CloudConfig\n"
        "from infra.local.cloud import app, cli, server\n"
        "app.build(Cloud(CloudConfig(pathlib.Path(tempfile.mkdtemp()))))\n"
        "print([name for name in sys.modules if name.startswith(('google.cloud.', 'google.api_core', 'grpc'))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def test_killed_in_the_middle_of_writes_it_comes_back_consistent(cloud_process: CloudProcess) -> None:
    cloud = cloud_process.start()
    cloud.http.post("/storage/v1/b?project=local-project", json={"name": "kill-bucket"}).raise_for_status()
    acknowledged: list[tuple[int, int]] = []
    enough = threading.Event()

    def write(worker: int) -> None:
        client = httpx.Client(base_url=cloud.url, trust_env=False)
        for number in range(10_000):
            data = os.urandom(40_000)
            name = f"{worker}-{number % 7}"
            try:
                answer = client.post(
                    f"/upload/storage/v1/b/kill-bucket/o?uploadType=media&name={name}", content=data
                )
            except httpx.TransportError:
                return
            assert answer.status_code == 200
            acknowledged.append((worker, number))
            if len(acknowledged) > 40:
                enough.set()

    workers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    assert enough.wait(30)
    cloud_process.kill()
    for worker in workers:
        worker.join(10)

    again = cloud_process.start()
    assert again.url == cloud.url
    items = again.http.get("/storage/v1/b/kill-bucket/o").json()["items"]
    written = {f"{worker}-{number % 7}" for worker, number in acknowledged}
    assert written <= {item["name"] for item in items}
    for item in items:
        data = again.http.get(f"/storage/v1/b/kill-bucket/o/{item['name']}?alt=media").content
        assert len(data) == int(item["size"])
        assert base64.b64encode(hashlib.md5(data).digest()).decode() == item["md5Hash"]
    # Nothing is left of the uploads that the kill interrupted.
    files = [path.name for path in (cloud_process.state_dir / "objects").iterdir()]
    assert len(files) == len(items)


def test_policies_accounts_and_settings_survive_a_kill(cloud_process: CloudProcess) -> None:
    cloud = cloud_process.start()
    cloud.admin.timing(stageSeconds=3)
    cloud.admin.quota("Q", "us-central1", 5)
    cloud.admin.fault("/x", status={"code": "INTERNAL"})
    made = cloud.http.post("/v1/projects/local-project/serviceAccounts", json={"accountId": "abcdef"}).json()
    policy = cloud.http.post("/v1/projects/local-project:getIamPolicy", json={}).json()
    policy["bindings"].append({"role": "roles/viewer", "members": [f"serviceAccount:{made['email']}"]})
    written = cloud.http.post("/v1/projects/local-project:setIamPolicy", json={"policy": policy}).json()
    cloud_process.kill()
    again = cloud_process.start()
    assert again.http.post("/v1/projects/local-project:getIamPolicy", json={}).json() == written
    account = again.http.get(f"/v1/projects/local-project/serviceAccounts/{made['email']}").json()
    assert account == made
    assert again.admin.call("GET", "timing")["stageSeconds"] == 3
    assert again.admin.call("GET", "quotas") == {"Q": {"us-central1": 5}}
    assert len(again.admin.unmet_faults()) == 1


def test_the_lock_is_let_go_of(tmp_path: Path) -> None:
    with lock(tmp_path):
        refused = pytest.raises(AlreadyRunning, match="another process")
        with refused, lock(tmp_path):
            pass
    with lock(tmp_path):
        assert (tmp_path / "server.lock").exists()


def test_only_a_free_port_is_taken() -> None:
    with listen(0) as sock:
        with pytest.raises(OSError, match="--port 0"):
            listen(sock.getsockname()[1])
        assert sock.getsockname()[0] == "127.0.0.1"


def test_many_clients_at_once(cloud: LocalCloud) -> None:
    cloud.http.post("/storage/v1/b?project=local-project", json={"name": "many-bucket"})
    problems: list[object] = []

    def work(number: int) -> None:
        client = httpx.Client(base_url=cloud.url, trust_env=False)
        for step in range(10):
            path = "/upload/storage/v1/b/many-bucket/o?uploadType=media&name=same&ifGenerationMatch=0"
            status = client.post(path, content=f"{number}-{step}".encode()).status_code
            if status not in {200, 412}:
                problems.append(status)
            if status == 200:
                winners.append(number)

    winners: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(winners) == 1


def test_settings_for_googles_own_provider() -> None:
    lines = cli.configuration("http://127.0.0.1:1", "local")
    assert "pulumi config set --stack local gcp:iamBetaCustomEndpoint http://127.0.0.1:1/v1/" in lines
    assert "pulumi config set --stack local gcp:storageCustomEndpoint http://127.0.0.1:1/storage/v1/" in lines
    variables = cli.environment("http://127.0.0.1:1")
    assert variables["GOOGLE_VERTEX_AI_CUSTOM_ENDPOINT"] == "http://127.0.0.1:1/v1beta1/"
    assert variables["GOOGLE_CLOUD_RESOURCE_MANAGER_CUSTOM_ENDPOINT"] == "http://127.0.0.1:1/v1/"
    assert variables["GOOGLE_OAUTH_ACCESS_TOKEN"] == "local"

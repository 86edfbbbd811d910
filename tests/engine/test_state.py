"""A whole life on each backend that can be had here; the token is nowhere in clear, whatever is logged.

One thing is the engine's and not ours to mend: at -v=9 it hides the secrets of its configuration, and writes as it is a
token that was in the configuration before and is in the state still (docs/state.md).
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from infra.local.cloud.testing import PROJECT, REGION
from infra.local.stack.report import billable
from tests.engine.pulumi_cloud import PulumiCloud, pulumi_cloud
from tests.engine.support import LIMIT, EngineStack, kill_group
from tests.provider.harness import until

TOKEN = "hf_distinctiveOfTheStateTests"
DENIED = "hf_deniedDistinctiveOfTheStateTests"
STATE_BUCKET = "state-of-the-tests"


#: A line of the engine's verbose log: level, date, time, thread, file.
_VERBOSE = re.compile(r"[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [a-z_0-9]+\.go:\d+\]")


class Watched:
    """Runs the engine with every log there is, and keeps all that could hold a secret."""

    def __init__(self, stack: EngineStack, folder: Path, service: PulumiCloud | None = None) -> None:
        self.stack = stack
        self.folder = folder
        self.service = service
        self.kept: dict[str, str] = {}
        self.arguments: set[str] = set()
        self.rotated = False
        folder.mkdir()

    def __call__(self, command: str, *options: str, ok: bool = True) -> str:
        """One command with verbose engine log, provider log and, where it has one, event log."""
        number = len(self.kept)
        events = self.folder / f"{number}.events"
        logged = ("--event-log", str(events)) if command != "import" else ()
        child = self.stack.start(
            *(command, *options, *logged),
            *("-v=9", "--logtostderr", "--logflow", "--non-interactive", "--color", "never"),
            *(("--yes", "--skip-preview") if command != "preview" else ()),
        )
        done = threading.Event()
        looking = threading.Thread(target=self._look, args=(child.pid, done), daemon=True)
        looking.start()
        try:
            output, _ = child.communicate(timeout=LIMIT)
        finally:
            done.set()
            looking.join()
            kill_group(child)
        assert (child.returncode == 0) is ok, output[-6000:]
        if self.rotated:
            # See the module's text. What is not the engine's verbose log is held to it all the same.
            output = "\n".join(line for line in output.splitlines() if not _VERBOSE.match(line))
        self.kept[f"{number} {command} {' '.join(options)}"] = output
        if logged:
            self.kept[f"{number} {command}: events"] = events.read_text()
        return output

    def keep(self, what: str, text: str) -> None:
        """Adds what something else said."""
        self.kept[f"{len(self.kept)} {what}"] = text

    def _look(self, session: int, done: threading.Event) -> None:
        """The arguments of every process of a session, as anybody on the machine may read them."""
        while not done.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    of = int((process / "stat").read_text().rpartition(")")[2].split()[3])
                    if of == session:
                        self.arguments.add((process / "cmdline").read_bytes().decode(errors="replace"))
                except (OSError, ValueError, IndexError):
                    continue

    def assert_secret(self, *tokens: str) -> None:
        """No token is in anything that was kept."""
        found = [
            f"{what}: …{text[max(0, text.index(token) - 300) : text.index(token) + 40]}…"
            for what, text in (*self.kept.items(), *(("arguments", each) for each in self.arguments))
            for token in tokens
            if token in text
        ]
        assert not found, "\n\n".join(found)


@pytest.fixture
def service() -> Iterator[PulumiCloud]:
    """A stand-in of Pulumi Cloud."""
    with pulumi_cloud() as running:
        yield running


@pytest.fixture(params=["file", "gs", "service"])
def watched(
    request: pytest.FixtureRequest, stack: EngineStack, service: PulumiCloud, tmp_path: Path
) -> Watched:
    """A stack on one of the backends; the setting of its token is encrypted."""
    if request.param == "service":
        log_in(stack, service)
    if request.param == "gs":
        stack.cloud.admin.enable("storage.googleapis.com")
        bucket = {"name": STATE_BUCKET, "location": REGION.upper()}
        stack.cloud.http.post("/storage/v1/b", params={"project": PROJECT}, json=bucket).raise_for_status()
        stack.extra_environment |= {
            "PULUMI_BACKEND_URL": f"gs://{STATE_BUCKET}",
            "STORAGE_EMULATOR_HOST": stack.cloud.url.removeprefix("http://"),
        }
        stack("stack", "select", "--create", stack.name)
    # The engine takes --event-log only then.
    stack.extra_environment["PULUMI_DEBUG_COMMANDS"] = "true"
    set_token(stack, TOKEN)
    stack.configure(maxUsdPerHour=None)
    return Watched(stack, tmp_path / "kept", service if request.param == "service" else None)


def log_in(stack: EngineStack, service: PulumiCloud) -> None:
    """Makes the stack one of the service, which then encrypts its secrets."""
    stack.extra_environment |= {
        "PULUMI_BACKEND_URL": service.url,
        "PULUMI_ACCESS_TOKEN": service.token,
        "PULUMI_CONSOLE_DOMAIN": "console.invalid",  # without it pulumi tells the address of api.pulumi.com only
    }
    path = stack.folder / f"Pulumi.{stack.name}.yaml"
    settings = yaml.safe_load(path.read_text())
    del settings["encryptionsalt"], settings["config"]["vertex-vllm:hfToken"]
    path.write_text(yaml.safe_dump(settings))
    stack("login", service.url)
    stack("stack", "init", stack.name)


def set_token(stack: EngineStack, token: str) -> None:
    """Types the token where `pulumi config set --secret` asks for it."""
    subprocess.run(
        [str(stack.engine.command), "config", "set", "--secret", "vertex-vllm:hfToken"],
        cwd=stack.folder,
        env=stack.env,
        input=token,
        text=True,
        check=True,
        capture_output=True,
        timeout=60,
    )


def stored(stack: EngineStack, service: PulumiCloud | None) -> dict[str, str]:
    """Every file of the backend, or all that the service was given to keep."""
    if service is not None:
        return {f"call {number}": text for number, text in enumerate(service.stored)}
    if "PULUMI_BACKEND_URL" not in stack.extra_environment:
        return {
            str(path): path.read_text(errors="replace") for path in stack.backend.rglob("*") if path.is_file()
        }
    http = stack.cloud.http
    listing = http.get(f"/storage/v1/b/{STATE_BUCKET}/o").raise_for_status().json()
    return {
        each["name"]: http.get(f"/{STATE_BUCKET}/{each['name']}").raise_for_status().text
        for each in listing["items"]
    }


def test_a_life_keeps_the_token_secret(watched: Watched) -> None:
    stack = watched.stack
    watched("preview", "--diff")
    watched("up", "--diff", "--debug")
    first = stack.outputs()
    watched("preview", "--expect-no-changes")

    stack.change_stack_file({"replicas": {"max_replica_count": 2}})
    watched("up")
    watched("refresh", "--diff")

    # A roll that fails: the repository refuses the token, the first deployment goes on serving.
    set_token(stack, DENIED)
    watched.rotated = True
    failed = watched("up", ok=False)
    assert "Hugging Face refused the download" in failed
    live = stack.cloud.http.get(f"/v1/{first['endpoint']}").raise_for_status().json()
    assert [each["id"] for each in live["deployedModels"]] == [first["deployed_model_id"]]
    watched.keep("state of a failed roll", stack("stack", "export").output)
    set_token(stack, TOKEN)
    watched("up")
    assert stack.outputs()["deployed_model_id"] == first["deployed_model_id"]

    watched.rotated = False

    # The state loses the deployment and imports it.
    exported = stack("stack", "export").output
    (urn,) = {
        each["urn"]
        for each in json.loads(exported)["deployment"]["resources"]
        if each["type"] == "vertexserving:index:Deployment"
    }
    stack("state", "delete", "--yes", urn)
    parent = urn.rpartition("$")[0] + "::vllm"
    watched(
        "import",
        *("vertexserving:index:Deployment", "vllm"),
        f"{first['endpoint']}/deployedModels/{first['deployed_model_id']}",
        *("--parent", f"deployment={parent}", "--protect=false", "--generate-code=false"),
    )
    watched("preview", "--diff")

    watched.keep("export", stack("stack", "export").output)
    watched.keep("outputs", stack("stack", "output", "--json").output)
    watched.keep("requests", str(stack.cloud.admin.requests()))
    assert len(stored(stack, watched.service)) > 5
    for name, text in stored(stack, watched.service).items():
        watched.keep(name, text)
    watched("destroy")
    for name, text in stored(stack, watched.service).items():
        watched.keep(name, text)
    left = billable(stack.cloud.admin.state())
    assert STATE_BUCKET in str(left) or left == {}
    assert watched.arguments
    watched.assert_secret(TOKEN, DENIED)


def test_the_services_secrets_and_its_lock(stack: EngineStack, service: PulumiCloud) -> None:
    """Who is killed leaves a run that the service takes for alive; `recover` and `sweep` see it."""
    log_in(stack, service)
    set_token(stack, TOKEN)
    stack.configure(maxUsdPerHour=None)
    settings = (stack.folder / f"Pulumi.{stack.name}.yaml").read_text()
    assert "secure: " in settings
    assert "encryptionsalt" not in settings
    stack.up()
    (kept,) = service.stacks.values()
    outputs = stack.outputs()
    undeploy = {"deployedModelId": outputs["deployed_model_id"]}
    stack.cloud.http.post(f"/v1/{outputs['endpoint']}:undeployModel", json=undeploy).raise_for_status()
    assert not kept.active
    stack.cloud.admin.timing(mode="manual")
    child = stack.start("up", "--yes", "--skip-preview", "--non-interactive")
    try:
        until(lambda: len(stack.cloud.admin.requests(path=":deployModel")) > 1, LIMIT)
    finally:
        kill_group(child)
    assert kept.active
    stack.cloud.admin.timing(mode="immediate")
    stack.cloud.admin.advance()

    assert stack.up(ok=False).has("Another update is currently in progress")
    swept = command(stack, "sweep", "--stack", stack.name, "--project", PROJECT, "--json")
    assert "an update is in progress" in swept.stdout, swept.stdout + swept.stderr
    refused = command(stack, "recover", "--stack", stack.name)
    assert refused.returncode == 9, refused.stdout + refused.stderr
    assert kept.active
    recovered = command(stack, "recover", "--stack", stack.name, "--yes")
    assert recovered.returncode == 0, recovered.stdout + recovered.stderr
    assert not kept.active

    stack.up()
    stack.preview("--expect-no-changes")
    assert len(stack.cloud.admin.requests(path=":deployModel")) == 2
    deployment = kept.deployment["deployment"]
    assert deployment["secrets_providers"]["type"] == "service"
    (model,) = [each for each in deployment["resources"] if each["type"] == "vertexserving:index:Model"]
    secret = base64.b64decode(model["inputs"]["hfToken"]["ciphertext"])
    assert kept.key.decrypt(secret).decode().strip('"') == TOKEN
    stack.destroy()
    assert billable(stack.cloud.admin.state()) == {}
    assert not [text for text in service.stored if TOKEN in text]
    stack("stack", "rm", "--yes")
    assert not service.stacks


def command(stack: EngineStack, *words: str) -> subprocess.CompletedProcess[str]:
    """`vertex-vllm` in the copy of the project."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *words],
        cwd=stack.folder,
        env=stack.env | {"PYTHONPATH": str(stack.folder), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )

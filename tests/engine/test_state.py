"""A whole life on each backend that can be had here; the token is nowhere in clear, whatever is logged.

One thing is the engine's and not ours to mend: at -v=9 it hides the secrets of its configuration, and writes as it is a
token that was in the configuration before and is in the state still (docs/state.md).
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
from pathlib import Path

import pytest

from infra.local.cloud.testing import PROJECT, REGION
from infra.local.stack.report import billable
from tests.engine.support import LIMIT, EngineStack, kill_group

TOKEN = "hf_distinctiveOfTheStateTests"
DENIED = "hf_deniedDistinctiveOfTheStateTests"
STATE_BUCKET = "state-of-the-tests"


#: A line of the engine's verbose log: level, date, time, thread, file.
_VERBOSE = re.compile(r"[IWE]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [a-z_0-9]+\.go:\d+\]")


class Watched:
    """Runs the engine with every log there is, and keeps all that could hold a secret."""

    def __init__(self, stack: EngineStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
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


@pytest.fixture(params=["file", "gs"])
def watched(request: pytest.FixtureRequest, stack: EngineStack, tmp_path: Path) -> Watched:
    """A stack on one of the backends; the setting of its token is encrypted."""
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
    return Watched(stack, tmp_path / "kept")


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


def stored(stack: EngineStack) -> dict[str, str]:
    """Every file of the backend."""
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
    assert len(stored(stack)) > 5
    for name, text in stored(stack).items():
        watched.keep(name, text)
    watched("destroy")
    for name, text in stored(stack).items():
        watched.keep(name, text)
    left = billable(stack.cloud.admin.state())
    assert STATE_BUCKET in str(left) or left == {}
    assert watched.arguments
    watched.assert_secret(TOKEN, DENIED)

"""What our code costs in a warm `pulumi preview`: the local stack against a bare program with the same resources.

Both previews run with the same engine, the same gcp plugin, the same home and backend, alternating in one run, so that
whatever slows the machine slows both. The bare program declares the stack's pulumi-gcp resources with literal arguments
and nothing else: no components, no settings, no stack file, no vertexserving provider, no policies.

    make benchmark
    .venv/bin/python benchmarks/preview.py --rounds 9 --json .local/preview.json
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from infra.local.cloud.testing import cloud_in_thread
from infra.local.engine.environment import PYTHON, VENV
from infra.local.engine.pulumi import Engine, installed_engine
from infra.local.engine.steps import ROOT
from infra.local.gcp_plugin.install import install
from infra.local.stack import environment

#: What we promise: preview of the stack over preview of the bare program.
TARGET = 1.35

BARE_PROJECT = """\
name: bare
runtime:
  name: python
  options:
    toolchain: pip
    virtualenv: {venv}
options:
  refresh: always
"""

#: What a user would write without this project, resource by resource; `main` checks that it is the same.
BARE_PROGRAM = """\
import pulumi
import pulumi_gcp as gcp

PROJECT, REGION = "local-project", "us-central1"
LABELS = {"owner": "local", "model": "meta-llama-3-1-8b-instruct"}

services = [
    gcp.projects.Service(name, project=PROJECT, service=f"{name}.googleapis.com", disable_on_destroy=False)
    for name in ("aiplatform", "cloudresourcemanager", "compute", "iam", "storage")
]
after = pulumi.ResourceOptions(depends_on=services)
account = gcp.serviceaccount.Account("account", project=PROJECT, account_id="bare-serving", opts=after)
member = account.email.apply(lambda email: f"serviceAccount:{email}")
gcp.projects.IAMMember("user", project=PROJECT, role="roles/aiplatform.user", member=member)
bucket = gcp.storage.Bucket(
    "bucket",
    project=PROJECT,
    location=REGION.upper(),
    storage_class="STANDARD",
    uniform_bucket_level_access=True,
    public_access_prevention="enforced",
    labels=LABELS,
    opts=after,
)
gcp.storage.BucketIAMMember("reader", bucket=bucket.name, role="roles/storage.objectViewer", member=member)
endpoint = gcp.vertex.AiEndpoint(
    "endpoint",
    name="123456789",
    project=PROJECT,
    location=REGION,
    region=REGION,
    display_name="bare",
    labels=LABELS,
    opts=after,
)
pulumi.export("endpoint", endpoint.id)
pulumi.export("bucket", bucket.name)
"""


class Side:
    """One of the two programs: a stack with a backend and a local cloud of its own."""

    def __init__(
        self, name: str, engine: Engine, folder: Path, stack: str, home: Path, backend: Path, url: str
    ) -> None:
        self.name, self.folder, self.stack = name, folder, stack
        self._engine = engine
        own = environment.variables(url, home=home, backend=backend)
        self._env = environment.child_environment(engine, own)
        backend.mkdir()
        self.run("stack", "select", "--create", stack)

    def run(self, *arguments: str) -> str:
        """One command of the engine; raises with its output where it fails."""
        done = subprocess.run(
            [str(self._engine.command), *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(
                f"pulumi {' '.join(arguments)} of the {self.name} program failed:\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def preview(self) -> float:
        """Wall time of one preview, in seconds."""
        begun = time.perf_counter()
        self.run("preview", "--stack", self.stack)
        return time.perf_counter() - begun

    def kinds(self) -> list[str]:
        """Types of the pulumi-gcp resources that a preview plans, sorted."""
        plan = json.loads(self.run("preview", "--stack", self.stack, "--json"))
        steps = [step["newState"]["type"] for step in plan["steps"] if "newState" in step]
        return sorted(kind for kind in steps if kind.startswith("gcp:"))


def main() -> int:
    """Measures both, prints a table, writes JSON where asked; 1 where the target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="previews of each program in each state (default 7)"
    )
    parser.add_argument("--json", type=Path, help="file for the result, every time included")
    options = parser.parse_args()
    engine = installed_engine()
    if not engine:
        sys.exit("There is no Pulumi engine; make setup installs it.")
    with (
        tempfile.TemporaryDirectory(prefix="preview-") as scratch,
        cloud_in_thread() as own_cloud,
        cloud_in_thread() as bare_cloud,
    ):
        ours, bare = _sides(engine, Path(scratch), own_cloud.url, bare_cloud.url)
        kinds = ours.kinds()  # before anything is deployed: later previews list changes only
        if not kinds or kinds != bare.kinds():
            sys.exit(f"not the same pulumi-gcp resources:\nstack {kinds}\nbare  {bare.kinds()}")
        results = [_measure("nothing deployed", ours, bare, options.rounds)]
        for side in (ours, bare):
            side.run("up", "--stack", side.stack, "--yes", "--skip-preview")
        results.append(_measure("all deployed", ours, bare, options.rounds))
    _print(results, len(kinds))
    if options.json:
        machine = {
            "python": platform.python_version(),
            "engine": engine.version,
            "machine": platform.platform(),
        }
        document = {"target": TARGET, **machine, "gcp_resources": kinds, "results": results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(result["ratio"] <= TARGET for result in results) else 1


def _sides(engine: Engine, scratch: Path, own_url: str, bare_url: str) -> tuple[Side, Side]:
    home = scratch / "home"
    install(home, PYTHON)
    program = scratch / "bare"
    program.mkdir()
    (program / "Pulumi.yaml").write_text(BARE_PROJECT.format(venv=json.dumps(str(VENV))))
    (program / "__main__.py").write_text(BARE_PROGRAM)
    return (
        Side("stack's", engine, ROOT, "local", home, scratch / "own-state", own_url),
        Side("bare", engine, program, "bare", home, scratch / "bare-state", bare_url),
    )


def _measure(state: str, ours: Side, bare: Side, rounds: int) -> dict[str, Any]:
    times: dict[str, list[float]] = {"stack": [], "bare": []}
    ours.preview(), bare.preview()  # warm: bytecode, page cache
    for number in range(rounds):
        pair = [("stack", ours), ("bare", bare)]
        for name, side in pair if number % 2 else reversed(pair):
            times[name].append(side.preview())
    stack, alone = statistics.median(times["stack"]), statistics.median(times["bare"])
    return {"state": state, "stack_s": stack, "bare_s": alone, "ratio": stack / alone, "times": times}


def _print(results: list[dict[str, Any]], resources: int) -> None:
    table = Table(title=f"warm pulumi preview, median of {len(results[0]['times']['bare'])}, seconds")
    for column in ("state", "stack", "bare program", "ratio", "target"):
        table.add_column(column, justify="left" if column == "state" else "right")
    for result in results:
        colour = "green" if result["ratio"] <= TARGET else "red"
        ratio = f"[{colour}]{result['ratio']:.2f}[/]"
        cells = (f"{result['stack_s']:.2f}", f"{result['bare_s']:.2f}", ratio, f"{TARGET:.2f}")
        table.add_row(result["state"], *cells)
    Console().print(table)
    print(
        f"Both declare the same {resources} pulumi-gcp resources; the stack also its model, deployment and components."
    )


if __name__ == "__main__":
    sys.exit(main())

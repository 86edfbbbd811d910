"""Run the comparison: ``python -m infra.local.container.compare [--report FILE] [--only PATTERN]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

from infra.local.container import Container, ContainerRequest, make_container
from infra.local.container.arguments import ArgumentsRefused, parse
from infra.local.container.compare import report
from infra.local.container.compare.cases import ARGUMENTS, GROUPS, Case, Group
from infra.local.container.compare.report import Difference
from infra.local.container.compare.shapes import answer, differences
from infra.local.container.launch import Launch
from infra.local.container.real import environment

_HERE: Final = Path(__file__).resolve().parent
_IMAGE: Final = f"docker.io/vllm/vllm-openai:v{environment.VLLM_VERSION}"


def request_of(group: Group) -> ContainerRequest:
    """Return the container of a group: an upstream image with the group's arguments on one L4."""
    return ContainerRequest(
        _IMAGE,
        args=(group.model, *group.arguments),
        env={"HF_TOKEN": "hf_local"},
        health_route="/health",
        machine_type="g2-standard-12",
        accelerator_type="NVIDIA_L4",
        accelerator_count=1,
    )


async def ask(container: Container, case: Case) -> dict[str, Any]:
    """Send one case to a started container and return what is compared of its answer."""
    reply = await container.handle(case.method, case.path, case.headers, case.content())
    body = reply.body if isinstance(reply.body, bytes) else b"".join([chunk async for chunk in reply.body])
    return answer(reply.status, reply.headers.get("content-type", ""), body)


async def compare_requests(group: Group, only: str, say: Console) -> list[tuple[str, list[Difference]]]:
    """Start both containers of a group, send its cases to both, and return the differences of each case.

    Raises:
        SystemExit: one of them does not start.
    """
    cases = [case for case in group.cases if fnmatchcase(case.name, only)]
    found: list[tuple[str, list[Difference]]] = []
    if not cases:
        return found
    simulated = make_container(request_of(group), backend="simulated")
    real = make_container(request_of(group), backend="vllm")
    try:
        for name, container in (("simulated", simulated), ("real", real)):
            begun = time.monotonic()
            result = await container.start()
            if not result.ok:
                tail = "\n".join(line.text for line in result.lines[-15:])
                raise SystemExit(f"the {name} container does not start: {result.error}\n{tail}")
            say.print(f"{group.name}: {name} container started in {time.monotonic() - begun:.1f} s")
        for case in cases:
            one, other = await ask(simulated, case), await ask(real, case)
            found.append((case.name, [Difference(*item) for item in differences(one, other)]))
    finally:
        await real.stop()
        await simulated.stop()
    return found


def compare_arguments(only: str) -> list[tuple[str, list[Difference]]]:
    """Give every argument list to both parsers and return the differences.

    Raises:
        SystemExit: the real parser cannot be run.
    """
    command = [str(environment.python()), str(_HERE / "real_parser.py")]
    settings = {"PATH": "/usr/bin:/bin", "VLLM_LOGGING_LEVEL": "ERROR", "HOME": str(Path.home())}
    text = json.dumps(ARGUMENTS)
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=settings, check=False)
    line = next((row for row in done.stdout.splitlines() if row.startswith("RESULT ")), None)
    if line is None:
        raise SystemExit(f"the real parser failed:\n{done.stderr[-2000:]}")
    found = []
    for words, refusal in zip(ARGUMENTS, json.loads(line.removeprefix("RESULT ")), strict=True):
        name = "arguments: " + " ".join(words)
        if not fnmatchcase(name, only):
            continue
        try:
            parse(Launch("openai", "vllm serve", tuple(words[1:]), False, words[0]), environment.VLLM_VERSION)
            ours = ""
        except ArgumentsRefused as refused:
            ours = refused.lines[-1]
        found.append((name, [] if ours == refusal else [Difference("refusal", ours, refusal)]))
    return found


def main() -> int:
    """Compare, print the table, write the report; 1 when a difference is not explained."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.container.compare", description=__doc__)
    parser.add_argument("--report", type=Path, help="write the findings to this Markdown file")
    parser.add_argument("--only", default="*", help="shell pattern of case names")
    arguments = parser.parse_args()
    console = Console()
    environment.ensure(console.print)
    explanations = yaml.safe_load((_HERE / "explanations.yaml").read_text(encoding="utf-8"))
    results = []
    for group in GROUPS:
        results += asyncio.run(compare_requests(group, arguments.only, console))
    results += compare_arguments(arguments.only)
    rows = report.judge(results, explanations)
    table = Table("case", "result", "where", "simulated", "real", "why")
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    unexplained = [row for row in rows if row.verdict == "UNEXPLAINED"]
    unused = report.unused(results, explanations) if arguments.only == "*" else []
    for entry in unused:
        console.print(f"explanation without a difference: {entry['case']} {entry['where']}")
    counts = report.counts(rows)
    console.print(counts)
    if arguments.report:
        arguments.report.write_text(report.markdown(rows, counts), encoding="utf-8")
    return 1 if unexplained or unused else 0


if __name__ == "__main__":
    sys.exit(main())

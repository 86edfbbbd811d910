"""Command line of the local cloud: serve, reset, status, endpoints."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DEFAULT_STATE = Path(".local/cloud")
DEFAULT_PORT = 8099
TOKEN = "local"
#: Pulumi configuration key of Google's provider -> path below the server. Recorded with Google's own provider: for
#: service accounts it is iamBeta that counts (iamCustomEndpoint is not read there).
ENDPOINTS = {
    "storageCustomEndpoint": "storage/v1/",
    "serviceUsageCustomEndpoint": "v1/",
    "resourceManagerCustomEndpoint": "v1/",
    "cloudResourceManagerCustomEndpoint": "v1/",
    "iamBetaCustomEndpoint": "v1/",
    "vertexAiCustomEndpoint": "v1beta1/",
    # Without a version: dashboards are of v1, alert policies of v3.
    "monitoringCustomEndpoint": "",
}


def environment(url: str) -> dict[str, str]:
    """Environment variables that point Google's provider, Google's clients and this program at the server."""
    variables = {
        "LOCAL_CLOUD_URL": url,
        "GOOGLE_OAUTH_ACCESS_TOKEN": TOKEN,
        "STORAGE_EMULATOR_HOST": url,
    }
    for key, path in ENDPOINTS.items():
        snake = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in key)
        variables[f"GOOGLE_{snake}"] = f"{url}/{path}"
    return variables


def configuration(url: str, stack: str | None = None) -> list[str]:
    """`pulumi config set` lines that point the real gcp plugin at the server."""
    option = f" --stack {stack}" if stack else ""
    lines = [f"pulumi config set{option} gcp:{key} {url}/{path}" for key, path in ENDPOINTS.items()]
    return [*lines, f"pulumi config set{option} gcp:accessToken {TOKEN}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; answers the exit status (0 well, 1 not, 2 wrong use)."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (OSError, RuntimeError) as error:
        print(f"error: {getattr(error, 'strerror', None) or error}", file=sys.stderr)
        return 1
    return status


def _serve(options: argparse.Namespace) -> int:
    from infra.local.cloud.core import CloudConfig
    from infra.local.cloud.server import AlreadyRunning, Running, serve

    def ready(running: Running) -> None:
        print(f"local cloud ready at {running.url}", flush=True)

    config = CloudConfig(options.state.resolve(), options.container, options.stage_seconds, options.mode)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(config, options.port, ready))
    except AlreadyRunning as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _reset(options: argparse.Namespace) -> int:
    _call(options, "POST", "reset")
    print("local cloud is empty")
    return 0


def _status(options: argparse.Namespace) -> int:
    url = _url(options)
    state = _call(options, "GET", "state")
    if options.json:
        print(json.dumps({"url": url, "state": state}, indent=2))
        return 0
    print(f"local cloud at {url}")
    existing = {name: items for name, items in state.items() if items}
    if not set(existing) - {"enabled services"}:
        print("  empty: nothing exists in it that costs or grants anything")
    for name, items in existing.items():
        print(f"  {name}")
        for item in items if isinstance(items, list) else [items]:
            print(f"    {item}")
    return 0


def _endpoints(options: argparse.Namespace) -> int:
    url = _url(options)
    if options.env:
        print("\n".join(f"export {name}={value}" for name, value in environment(url).items()))
    else:
        print("\n".join(configuration(url, options.stack)))
    return 0


def _url(options: argparse.Namespace) -> str:
    from infra.local.cloud.server import running

    if options.url:
        return str(options.url).rstrip("/")
    record = running(options.state.resolve())
    if not record:
        raise RuntimeError(
            f"no local cloud serves the state folder {options.state}. Start one with "
            f"`python -m infra.local.cloud serve --state {options.state}`, or name it with --url."
        )
    return str(record["url"])


def _call(options: argparse.Namespace, method: str, path: str) -> dict[str, Any]:
    url = _url(options)
    request = urllib.request.Request(f"{url}/_local/{path}", method=method)
    # Never through a proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
    except urllib.error.URLError as error:
        raise RuntimeError(f"the local cloud at {url} does not answer: {error.reason}") from error
    return answer


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.local.cloud", description="A Google Cloud on this machine's loopback address."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="serve until SIGTERM; prints one line when ready")
    serve.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"port on 127.0.0.1 (default {DEFAULT_PORT}, 0: any)"
    )
    serve.add_argument(
        "--state", type=Path, default=DEFAULT_STATE, help=f"state folder (default {DEFAULT_STATE})"
    )
    serve.add_argument(
        "--container",
        default="simulated",
        help="what deployed containers are: simulated, vllm, or the address of an OpenAI-compatible server",
    )
    serve.add_argument(
        "--stage-seconds", type=float, default=0.4, help="length of one operation stage (default 0.4)"
    )
    serve.add_argument(
        "--mode",
        choices=("timed", "immediate", "manual"),
        default="timed",
        help="how operations pass (default timed); manual: only when an administrator lets them",
    )
    serve.set_defaults(run=_serve)

    for name, run, text in (
        ("reset", _reset, "forget everything that exists"),
        ("status", _status, "show what exists"),
        ("endpoints", _endpoints, "print the settings that point Google's real provider at the server"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--state", type=Path, default=DEFAULT_STATE, help="state folder of the server")
        command.add_argument("--url", help="its address, when it is not found through the state folder")
        command.set_defaults(run=run)
        if name == "status":
            command.add_argument("--json", action="store_true", help="as JSON")
        if name == "endpoints":
            command.add_argument("--stack", help="stack that the lines name")
            command.add_argument("--env", action="store_true", help="environment variables instead")
    return parser

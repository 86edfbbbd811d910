"""Requests for containers, and a way to ask one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from infra.local.container import Container, ContainerRequest, StartResult, make_container

FORK = "us-docker.pkg.dev/vertex-ai/vertex-vision-model-garden-dockers/pytorch-vllm-serve"
GUIDE_IMAGE = f"{FORK}:20241001_0916_RC00"
LLAMA = "meta-llama/Meta-Llama-3.1-8B-Instruct"
BASE = "meta-llama/Meta-Llama-3.1-8B"
VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"
TOKEN = {"HF_TOKEN": "hf_local"}
SERVER = ("python", "-m", "vllm.entrypoints.api_server", "--host=0.0.0.0", "--port=8080")


def container_request(
    *extra: str,
    model: str = LLAMA,
    image: str = GUIDE_IMAGE,
    machine: tuple[str, str, int] = ("g2-standard-12", "NVIDIA_L4", 1),
    env: Mapping[str, str] = TOKEN,
    max_model_len: int | None = 4096,
    **fields: Any,
) -> ContainerRequest:
    """Return a container of Google's image as the guide starts it, with further arguments.

    The upstream image gets the OpenAI server, which is its own.
    """
    args = [*SERVER, f"--model={model}", *extra]
    if "vllm-openai" in image:
        args = args[3:]
    if max_model_len is not None:
        args.append(f"--max-model-len={max_model_len}")
    machine_type, accelerator, count = machine
    return ContainerRequest(
        image,
        args=tuple(args),
        env=dict(env),
        machine_type=machine_type,
        accelerator_type=accelerator,
        accelerator_count=count,
        **fields,
    )


def start(request: ContainerRequest, objects: Any = None) -> StartResult:
    """Start a simulated container and return how that went."""
    return asyncio.run(make_container(request, backend="simulated", objects=objects).start())


def written(result: StartResult) -> str:
    """Return every line of a start."""
    return "\n".join(line.text for line in result.lines)


@dataclass
class Reply:
    """An HTTP answer, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The frames of a stream: JSON, and ``[DONE]`` as text."""
        blocks = [block.removeprefix("data: ") for block in self.body.decode().split("\n\n") if block]
        return [block if block == "[DONE]" else json.loads(block) for block in blocks]

    @property
    def message(self) -> str:
        """The text of vLLM's error body, old or new."""
        body = self.json
        return str(body["error"]["message"] if "error" in body else body["message"])


async def ask(container: Container, method: str, path: str, body: Any = None, **headers: str) -> Reply:
    """Send one request to a started container; a dict is sent as JSON."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    reply = await container.handle(method, path, {"content-type": "application/json", **headers}, content)
    data = reply.body if isinstance(reply.body, bytes) else b"".join([chunk async for chunk in reply.body])
    return Reply(reply.status, reply.headers, data)


Asker = Callable[..., Reply]


@pytest.fixture
def serve() -> Callable[..., Asker]:
    """Return a function that starts a simulated container and returns a function that asks it."""

    def begin(*extra: str, objects: Any = None, **fields: Any) -> Asker:
        container = make_container(container_request(*extra, **fields), backend="simulated", objects=objects)
        result = asyncio.run(container.start())
        assert result.ok, written(result)

        def send(method: str, path: str, body: Any = None, **headers: str) -> Reply:
            return asyncio.run(ask(container, method, path, body, **headers))

        return send

    return begin


class Objects:
    """A bucket in memory; names below ``denied`` are refused as the storage service refuses them."""

    def __init__(self, files: Mapping[str, bytes] | None = None, denied: str = "gs://denied/") -> None:
        self.files = dict(files or {})
        self.denied = denied

    def _check(self, uri: str) -> None:
        if uri.startswith(self.denied):
            raise PermissionError(
                "sa@p.iam.gserviceaccount.com does not have storage.objects.list access to the bucket."
            )

    def exists(self, uri: str) -> bool:
        """Say whether an object or anything below a prefix exists."""
        self._check(uri)
        return any(name == uri or name.startswith(uri.rstrip("/") + "/") for name in self.files)

    def read(self, uri: str) -> bytes:
        """Return an object."""
        self._check(uri)
        if uri not in self.files:
            raise FileNotFoundError(uri)
        return self.files[uri]

    def list(self, uri: str) -> list[str]:
        """Return the names below a prefix."""
        self._check(uri)
        return sorted(name for name in self.files if name.startswith(uri))

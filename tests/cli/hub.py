"""A Hugging Face hub on loopback: as much of its HTTP interface as huggingface_hub uses to read one model."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Answer:
    """What the hub answers in place of the real thing."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass
class Hub:
    """One repository, and what goes wrong with it.

    ``fault`` is asked with the path of each request and may give another answer. ``seen`` are the requests' paths with
    their ``Authorization`` and ``Range`` headers.
    """

    id: str
    files: Mapping[str, bytes]
    gated: bool | str = False
    fault: Callable[[str], Answer | None] = lambda path: None
    url: str = ""
    seen: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def answer(self, path: str) -> Answer:
        wrong = self.fault(path)
        if wrong is not None:
            return wrong
        if path in (f"/api/models/{self.id}", f"/api/models/{self.id}/revision/main"):
            return self._info()
        if path == f"/api/models/{self.id}/revision/{COMMIT}":
            return self._info()
        if path.startswith(f"/api/models/{self.id}/revision/"):
            return Answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        if path.startswith("/api/models/"):
            return Answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        name = path.removeprefix(f"/{self.id}/resolve/{COMMIT}/")
        if name in self.files:
            return Answer(body=self.files[name])
        return Answer(404, b"", {"X-Error-Code": "EntryNotFound"})

    def _info(self) -> Answer:
        info: dict[str, Any] = {
            "_id": "1",
            "id": self.id,
            "modelId": self.id,
            "sha": COMMIT,
            "gated": self.gated,
            "private": False,
            "siblings": [{"rfilename": name} for name in self.files],
            "tags": [],
        }
        return Answer(body=json.dumps(info).encode(), headers={"Content-Type": "application/json"})


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            wanted = self.headers.get("Range")
            hub.seen.append((path, self.headers.get("Authorization"), wanted))
            answer = hub.answer(path)
            time.sleep(answer.delay)
            body, status = answer.body, answer.status
            if wanted and status == 200:
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                body, status = body[int(first) : int(last) + 1], 206
            self.send_response(status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def safetensors(tensors: Mapping[str, tuple[str, tuple[int, ...], int]]) -> bytes:
    """The beginning of a safetensors file; a tensor is its type, its shape and the bytes of one element."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, size) in tensors.items():
        begin = end
        for length in shape:
            size *= length
        end += size
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text

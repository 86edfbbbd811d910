"""A Hugging Face hub on loopback: as much of its HTTP interface as huggingface_hub uses to read one model.

Statuses, ``X-Error-Code`` and ``X-Error-Message`` are those that the hub gives: 401 without a code for a repository
that is not there or private, 401 and 403 with ``GatedRepo`` for a file of a gated one, whose listing anybody may read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests import loopback
from tests.loopback import Answer, Request

__all__ = ["COMMIT", "Answer", "Hub", "refusal", "safetensors", "serving"]

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """One repository, and what goes wrong with it.

    ``sizes`` are bytes of files that are larger than their content here. ``fault`` is asked with the path of each
    request and may give another answer. ``seen`` are the requests' paths with their ``Authorization`` and ``Range``
    headers.
    """

    id: str
    files: Mapping[str, bytes]
    gated: bool | str = False
    sizes: Mapping[str, int] = field(default_factory=dict)
    fault: Callable[[str], Answer | None] = lambda path: None
    url: str = ""
    seen: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def answer(self, path: str, query: str = "") -> Answer:
        wrong = self.fault(path)
        if wrong is not None:
            return wrong
        if path in (f"/api/models/{self.id}", f"/api/models/{self.id}/revision/main"):
            return self._info(query)
        if path == f"/api/models/{self.id}/revision/{COMMIT}":
            return self._info(query)
        if path.startswith(f"/api/models/{self.id}/revision/"):
            return refusal(404, "RevisionNotFound", "Invalid rev id")
        if path.startswith("/api/models/"):
            return refusal(401, "", "Invalid username or password.")
        name = path.removeprefix(f"/{self.id}/resolve/{COMMIT}/")
        if name in self.files:
            return Answer(body=self.files[name])
        return refusal(404, "EntryNotFound", "Entry not found")

    def _info(self, query: str = "") -> Answer:
        sizes = {**{name: len(content) for name, content in self.files.items()}, **self.sizes}
        blobs = "blobs=" in query
        info: dict[str, Any] = {
            "_id": "1",
            "id": self.id,
            "modelId": self.id,
            "sha": COMMIT,
            "gated": self.gated,
            "private": False,
            "siblings": [
                {"rfilename": name, **({"size": size} if blobs else {})} for name, size in sizes.items()
            ],
            "tags": [],
        }
        return Answer(body=json.dumps(info).encode(), headers={"Content-Type": "application/json"})


def refusal(status: int, code: str, message: str) -> Answer:
    """The hub's own error: a code and a message in its headers."""
    headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return Answer(status, json.dumps({"error": message}).encode(), headers)


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub while the block runs."""

    def answer(asked: Request) -> Answer:
        wanted = asked.headers.get("range")
        hub.seen.append((asked.path, asked.headers.get("authorization"), wanted))
        given = hub.answer(asked.path, asked.query)
        if wanted and given.status == 200:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = given.body[int(first) : int(last) + 1]
            return Answer(206, part, given.headers, given.delay, given.sent)
        return given

    with loopback.serving(answer) as hub.url:
        yield hub


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

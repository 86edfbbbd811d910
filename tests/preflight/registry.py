"""A container registry on loopback: as much of the OCI distribution protocol as a look at one image needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests import loopback
from tests.loopback import Answer, Request

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass
class Registry:
    """One repository.

    ``public`` registries answer anybody who fetched the anonymous token first, as Artifact Registry's do; others take
    ``login`` only. ``challenged`` False: not even that token is needed. ``elsewhere``: blobs are behind a redirect.
    ``fault`` may give another answer; ``seen`` are paths with their ``Authorization``.
    """

    name: str
    public: bool = True
    challenged: bool = True
    elsewhere: bool = False
    login: str = "Bearer local"
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    fault: Callable[[str], Answer | None] = lambda path: None
    url: str = ""
    seen: list[tuple[str, str | None]] = field(default_factory=list)

    def push(self, tag: str, architecture: str) -> str:
        """An image for one processor; returns its digest."""
        config = json.dumps(
            {"architecture": architecture, "os": "linux", "rootfs": {"type": "layers"}}
        ).encode()
        self.blobs[digest_of(config)] = config
        return self._put(
            tag, MANIFEST, {"config": {"digest": digest_of(config), "size": len(config)}, "layers": []}
        )

    def push_index(self, tag: str, *architectures: str) -> str:
        """An image for several processors, with the record of its build that buildkit adds; returns its digest."""
        built = [{"architecture": name, "os": "linux"} for name in architectures]
        parts = [*built, {"architecture": "unknown", "os": "unknown"}]
        listed = [
            {"mediaType": MANIFEST, "digest": digest_of(str(part).encode()), "platform": part}
            for part in parts
        ]
        return self._put(tag, INDEX, {"manifests": listed})

    def _put(self, tag: str, kind: str, content: dict[str, Any]) -> str:
        body = json.dumps({"schemaVersion": 2, "mediaType": kind, **content}).encode()
        digest = digest_of(body)
        self.manifests[tag] = self.manifests[digest] = (kind, body)
        return digest

    def answer(self, asked: Request) -> Answer:
        authorization = asked.headers.get("authorization")
        self.seen.append((asked.path, authorization))
        wrong = self.fault(asked.path)
        if wrong is not None:
            return wrong
        if asked.path == "/v2/token":
            return said(200, {"token": "anybody"}) if self.public else error(403, "DENIED")
        if asked.path.startswith("/elsewhere/"):
            refused = authorization is not None  # signed addresses take no other credentials
            return Answer(400) if refused else Answer(body=self.blobs[asked.path.removeprefix("/elsewhere/")])
        anybody = self.public and (not self.challenged or authorization == "Bearer anybody")
        if not anybody and authorization != self.login:
            refusal = error(401, "UNAUTHORIZED")
            realm = (
                f'Bearer realm="{self.url}/v2/token",service="registry",scope="repository:{self.name}:pull"'
            )
            refusal.headers = {**refusal.headers, "WWW-Authenticate": realm}
            return refusal
        kind, _, version = asked.path.removeprefix(f"/v2/{self.name}/").partition("/")
        if kind == "manifests" and version in self.manifests:
            media, body = self.manifests[version]
            if media not in asked.headers.get("accept", ""):
                return error(404, "MANIFEST_UNKNOWN")
            return Answer(200, body, {"Content-Type": media, "Docker-Content-Digest": digest_of(body)})
        if kind == "blobs" and version in self.blobs:
            if self.elsewhere:
                to = {"Location": f"/elsewhere/{version}", "Content-Type": "text/html"}
                return Answer(307, b"<a>Temporary Redirect</a>", to)
            return Answer(200, self.blobs[version], {"Content-Type": "application/octet-stream"})
        return error(404, "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def said(status: int, document: Any) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


def error(status: int, code: str) -> Answer:
    """A registry's own error."""
    return said(status, {"errors": [{"code": code, "message": code.lower().replace("_", " ")}]})


@contextmanager
def serving(registry: Registry) -> Iterator[Registry]:
    """Serve a registry while the block runs."""
    with loopback.serving(registry.answer) as registry.url:
        yield registry

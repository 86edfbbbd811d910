"""A stand-in of Pulumi Cloud's API on loopback: what the engine's own client says to a service that keeps states.

Written after the client in the engine's sources (pulumi 3.220.0, `pkg/backend/httpstate/client`): stacks, leases,
checkpoints, events, encryption by the service. It has one organisation and one user, and refuses what it does not
know, so that a call that is missing here fails a test. Checkpoints come whole: it offers the client no differences.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
import secrets
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from cryptography.fernet import Fernet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.cloud.server import HOST, listen

Json = dict[str, Any]
ORGANISATION = "tests"
_STACK = "/api/stacks/{org}/{project}/{stack}"
_UPDATE = _STACK + "/{kind:str}/{id:str}"
_KINDS = ("update", "preview", "refresh", "destroy")


class Refused(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Update:
    """One run of the engine on a stack.

    Attributes:
        kind: update, preview, refresh, destroy or import.
        lease: What authorizes its calls; empty before it starts and after it ends or is cancelled.
        status: As the API says it.
        events: What the engine reported.
    """

    kind: str
    lease: str = ""
    status: str = "not started"
    events: list[Json] = field(default_factory=list)


@dataclass
class Stack:
    """One stack.

    Attributes:
        deployment: The state with its version, as the engine wrote it.
        key: What its secrets are encrypted with; never leaves the service.
        active: Id of the run that holds the stack.
        updated: Unix time of the last run's start, None before the first.
    """

    tags: Json
    deployment: Json = field(default_factory=lambda: {"version": 3, "deployment": None})
    key: Fernet = field(default_factory=lambda: Fernet(Fernet.generate_key()))
    active: str = ""
    updated: int | None = None
    version: int = 0
    updates: dict[str, Update] = field(default_factory=dict)


@dataclass
class PulumiCloud:
    """The service.

    Attributes:
        token: The user's access token.
        url: Where it is.
        stacks: By organisation, project and name.
        calls: Method and path of each call.
        stored: All that clients sent to be kept or shown: states, events, tags, metadata. Not what they sent to be
            encrypted.
    """

    token: str = "pul-of-the-tests"
    url: str = ""
    stacks: dict[tuple[str, ...], Stack] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)

    def app(self) -> Starlette:
        """The API."""
        routes: list[tuple[str, str, Callable[[Request, Json], Any]]] = [
            ("GET", "/api/user", self._user),
            ("GET", "/api/user/organizations/default", lambda r, b: {"gitHubLogin": ORGANISATION}),
            ("GET", "/api/capabilities", lambda r, b: {"capabilities": [{"capability": "batch-encrypt"}]}),
            ("GET", "/api/user/stacks", self._list),
            ("HEAD", "/api/stacks/{org}/{project}", self._project),
            ("POST", "/api/stacks/{org}/{project}", self._create),
            ("GET", _STACK, self._get),
            ("DELETE", _STACK, self._delete),
            ("PATCH", _STACK + "/tags", self._tag),
            ("GET", _STACK + "/export", lambda r, b: self._stack(r).deployment),
            ("POST", _STACK + "/import", self._import),
            ("POST", _STACK + "/encrypt", self._encrypt),
            ("POST", _STACK + "/decrypt", self._decrypt),
            ("POST", _STACK + "/batch-encrypt", self._encrypt),
            ("POST", _STACK + "/batch-decrypt", self._decrypt),
            ("POST", _STACK + "/decrypt/log-decryption", lambda r, b: {}),
            ("POST", _STACK + "/decrypt/log-batch-decryption", lambda r, b: {}),
            *(("POST", f"{_STACK}/{kind}", self._begin) for kind in _KINDS),
            ("GET", _UPDATE, self._progress),
            ("POST", _UPDATE, self._start),
            ("PATCH", _UPDATE + "/checkpoint", self._checkpoint),
            ("POST", _UPDATE + "/events/batch", self._events),
            ("POST", _UPDATE + "/renew_lease", lambda r, b: {"token": self._leased(r).lease}),
            ("POST", _UPDATE + "/complete", self._complete),
            ("POST", _UPDATE + "/cancel", self._cancel),
        ]
        return Starlette(
            routes=[Route(path, self._answering(call), methods=[method]) for method, path, call in routes]
        )

    def _answering(self, call: Callable[[Request, Json], Any]) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            raw = await request.body()
            if request.headers.get("content-encoding") == "gzip":
                raw = gzip.decompress(raw)
            self.calls.append(f"{request.method} {request.url.path}")
            if not request.url.path.endswith("crypt"):
                self.stored.append(raw.decode())
            try:
                kind, _, given = request.headers.get("authorization", "").partition(" ")
                if kind != "update-token" and (kind, given) != ("token", self.token):
                    raise Refused(401, "Unauthorized")
                return JSONResponse(call(request, json.loads(raw) if raw else {}))
            except Refused as error:
                return JSONResponse({"code": error.status, "message": str(error)}, error.status)

        return answer

    # Who and which

    def _user(self, request: Request, body: Json) -> Json:
        return {"githubLogin": ORGANISATION, "name": "Tests", "organizations": []}

    def _list(self, request: Request, body: Json) -> Json:
        found = [
            {
                "orgName": org,
                "projectName": project,
                "stackName": name,
                # "When an update is in progress the last update time is set to zero" (cmd/pulumi/stack/stack_ls.go).
                "lastUpdate": 0 if stack.active else stack.updated,
                "resourceCount": len((stack.deployment["deployment"] or {}).get("resources") or ()),
            }
            for (org, project, name), stack in self.stacks.items()
        ]
        return {"stacks": found}

    def _project(self, request: Request, body: Json) -> Json:
        if not any(key[1] == request.path_params["project"] for key in self.stacks):
            raise Refused(404, "Not Found")
        return {}

    # Stacks

    def _stack(self, request: Request) -> Stack:
        found = self.stacks.get(tuple(request.path_params[key] for key in ("org", "project", "stack")))
        if found is None:
            raise Refused(404, "Not Found: Stack not found")
        return found

    def _create(self, request: Request, body: Json) -> Json:
        key = (request.path_params["org"], request.path_params["project"], body["stackName"])
        if key[0] != ORGANISATION:
            raise Refused(404, "Not Found: Organization not found")
        if key in self.stacks:
            raise Refused(409, "Conflict: Stack already exists")
        self.stacks[key] = Stack(body.get("tags") or {})
        return {}

    def _get(self, request: Request, body: Json) -> Json:
        stack = self._stack(request)
        names = {f"{key}Name": request.path_params[key] for key in ("org", "project", "stack")}
        return {**names, "activeUpdate": stack.active, "tags": stack.tags, "version": stack.version}

    def _delete(self, request: Request, body: Json) -> Json:
        if (self._stack(request).deployment["deployment"] or {}).get("resources"):
            raise Refused(400, "Bad Request: Stack still contains resources.")
        del self.stacks[tuple(request.path_params.values())]
        return {}

    def _tag(self, request: Request, body: Json) -> Json:
        self._stack(request).tags = body
        return {}

    def _import(self, request: Request, body: Json) -> Json:
        stack = self._stack(request)
        if stack.active:
            raise Refused(409, "Conflict: Another update is currently in progress.")
        stack.deployment = _deployment(body)
        stack.updates[id := secrets.token_hex(8)] = Update("import", status="succeeded")
        return {"updateId": id}

    # Secrets: bytes, which JSON has as base64

    def _encrypt(self, request: Request, body: Json) -> Json:
        key = self._stack(request).key

        def one(text: str) -> str:
            return base64.b64encode(key.encrypt(base64.b64decode(text))).decode()

        if "plaintexts" in body:
            return {"ciphertexts": [one(each) for each in body["plaintexts"]]}
        return {"ciphertext": one(body["plaintext"])}

    def _decrypt(self, request: Request, body: Json) -> Json:
        key = self._stack(request).key

        def one(text: str) -> str:
            return base64.b64encode(key.decrypt(base64.b64decode(text))).decode()

        if "ciphertexts" in body:
            return {"plaintexts": {each: one(each) for each in body["ciphertexts"]}}
        return {"plaintext": one(body["ciphertext"])}

    # Runs

    def _update(self, request: Request) -> Update:
        found = self._stack(request).updates.get(request.path_params["id"])
        if found is None:
            raise Refused(404, "Not Found: Update not found")
        return found

    def _leased(self, request: Request) -> Update:
        update = self._update(request)
        if not update.lease or request.headers["authorization"] != f"update-token {update.lease}":
            raise Refused(403, "Forbidden: The update lease is not valid.")
        return update

    def _begin(self, request: Request, body: Json) -> Json:
        kind = request.url.path.rpartition("/")[2]
        self._stack(request).updates[id := secrets.token_hex(8)] = Update(kind)
        return {"updateID": id}

    def _start(self, request: Request, body: Json) -> Json:
        stack, update = self._stack(request), self._update(request)
        if update.kind != "preview":
            if stack.active:
                raise Refused(409, "Conflict: Another update is currently in progress.")
            stack.active, stack.updated = request.path_params["id"], int(time.time())
            stack.version += 1
        update.lease, update.status = secrets.token_hex(16), "running"
        return {"version": stack.version, "token": update.lease}

    def _progress(self, request: Request, body: Json) -> Json:
        return {"status": self._update(request).status, "events": []}

    def _checkpoint(self, request: Request, body: Json) -> Json:
        self._leased(request)
        self._stack(request).deployment = _deployment(body)
        return {}

    def _events(self, request: Request, body: Json) -> Json:
        self._leased(request).events.extend(body["events"])
        return {}

    def _complete(self, request: Request, body: Json) -> Json:
        self._end(request, self._leased(request), str(body["status"]))
        return {}

    def _cancel(self, request: Request, body: Json) -> Json:
        self._end(request, self._update(request), "cancelled")
        return {}

    def _end(self, request: Request, update: Update, status: str) -> None:
        update.lease, update.status = "", status
        stack = self._stack(request)
        if stack.active == request.path_params["id"]:
            stack.active = ""


def _deployment(body: Json) -> Json:
    return {key: body[key] for key in ("version", "features", "deployment") if key in body}


@contextlib.contextmanager
def pulumi_cloud() -> Iterator[PulumiCloud]:
    """A service in a thread of this process, on a free port."""
    service = PulumiCloud()
    with contextlib.closing(listen(0)) as sock:
        service.url = f"http://{HOST}:{sock.getsockname()[1]}"
        config = uvicorn.Config(
            service.app(),
            log_level="warning",
            access_log=False,
            lifespan="off",
            timeout_keep_alive=240,  # the client repeats no POST whose connection was closed under it
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])), daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.should_exit = True
            thread.join(15)

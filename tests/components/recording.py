"""Pulumi mocks that record every registration and every look-up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pulumi.runtime import mocks, rpc


@dataclass
class Recorded:
    """One registration.

    Attributes:
        type: Type token.
        name: Name in the program.
        inputs: Inputs under their wire names; secrets are wrapped as the wire wraps them.
        parent: Name of the parent, empty below the stack.
        custom: False for components.
        depends_on: Names of everything that is registered before, through `depends_on` or through values.
        retain_on_delete: Option of that name.
        ignore_changes: Option of that name.
        outputs: What `register_outputs` said; None when it was not called.
    """

    type: str
    name: str
    inputs: dict[str, Any]
    parent: str
    custom: bool
    depends_on: frozenset[str]
    retain_on_delete: bool
    ignore_changes: tuple[str, ...]
    outputs: dict[str, Any] | None = None


@dataclass
class Recorder(mocks.Mocks):
    """Answers as the clouds would and keeps what was asked.

    Attributes:
        resources: Every registration by URN.
        calls: Every look-up: token and arguments.
        answers: What a look-up answers, by token.
        messages: What the program logged: level and text.
    """

    resources: dict[str, Recorded] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    messages: list[tuple[str, str]] = field(default_factory=list)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return f"{args.name}-id", {**args.inputs, **_computed(args)}

    def call(self, args: mocks.MockCallArgs) -> Any:
        self.calls.append((args.token, dict(args.args)))
        return self.answers[args.token](dict(args.args))

    def one(self, kind: str, name: str | None = None) -> Recorded:
        """The only registration whose type ends in `kind` (and that has this name)."""
        found = [r for r in self.resources.values() if r.type.endswith(kind) and name in (None, r.name)]
        assert len(found) == 1, f"{len(found)} x {kind} {name or ''} in {self.tree()}"
        return found[0]

    def of(self, kind: str) -> list[Recorded]:
        """Every registration whose type ends in `kind`, by name."""
        return sorted(
            (r for r in self.resources.values() if r.type.endswith(kind)), key=lambda found: found.name
        )

    def tree(self) -> list[tuple[str, str, str]]:
        """(parent, type, name) of everything, sorted."""
        return sorted((r.parent, r.type, r.name) for r in self.resources.values())


class Monitor(mocks.MockMonitor):
    """Keeps what the mocks do not see: parents, dependencies, options, registered outputs."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self.recorder = recorder

    def RegisterResource(self, request: Any) -> Any:
        answer = super().RegisterResource(request)  # type: ignore[no-untyped-call]
        if request.type != "pulumi:pulumi:Stack":
            below_stack = "pulumi:pulumi:Stack::" in request.parent or not request.parent
            self.recorder.resources[answer.urn] = Recorded(
                type=request.type,
                name=request.name,
                inputs=rpc.deserialize_properties(request.object),
                parent="" if below_stack else request.parent.rpartition("::")[2],
                custom=request.custom,
                depends_on=frozenset(urn.rpartition("::")[2] for urn in request.dependencies),
                retain_on_delete=request.retainOnDelete,
                ignore_changes=tuple(request.ignoreChanges),
            )
        return answer

    def RegisterResourceOutputs(self, request: Any) -> Any:
        if request.urn in self.recorder.resources:
            self.recorder.resources[request.urn].outputs = rpc.deserialize_properties(request.outputs)
        return super().RegisterResourceOutputs(request)  # type: ignore[no-untyped-call]


def _computed(args: mocks.MockResourceArgs) -> dict[str, Any]:
    inputs = args.inputs
    match args.typ:
        case "gcp:storage/bucket:Bucket":
            return {"name": inputs.get("name", f"{args.name}-1234567")}
        case "gcp:serviceaccount/account:Account":
            return {"email": f"{inputs['accountId']}@{inputs['project']}.iam.gserviceaccount.com"}
        case "gcp:vertex/aiEndpoint:AiEndpoint":
            # As the provider's own documentation has it: with https:// before the host.
            dns = f"https://{inputs.get('name', '55')}.us-central1-123456789012.prediction.vertexai.goog"
            # One that is only read tells what it is.
            dedicated = inputs.get("dedicatedEndpointEnabled", True)
            return {"dedicatedEndpointDns": dns if dedicated else ""}
        case "vertexserving:index:Model":
            name = f"projects/123456789012/locations/{inputs['location']}/models/m-0123456789"
            return {"name": name, "versionId": "1", "createTime": "2026-01-01T00:00:00Z"}
        case "vertexserving:index:Deployment":
            return {"deployedModelId": "1234567890", "dedicatedEndpointDns": None}
    return {}


class Messages(logging.Handler):
    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def emit(self, record: logging.LogRecord) -> None:
        self.recorder.messages.append((record.levelname.lower(), record.getMessage()))


Run = Callable[[Callable[[], Any]], Any]
"""Runs a piece of program and gives its value, with outputs resolved."""

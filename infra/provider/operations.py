"""Waiting for a long-running operation: live stages, a limit of our own, an end when the user interrupts.

Google's library gives up on a deployment after 900 s whatever limit it is given; the loop here knows only the limit of
its caller, and what it raises says enough to go on waiting in another run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.plugin import Context
from infra.provider.failures import ApiError, Kind, from_operation
from infra.provider.rest import Json
from infra.provider.retry import Interrupted, sleep
from infra.provider.vertex import Vertex

# google.cloud.aiplatform.v1.DeploymentStage; some answers carry the number.
STAGES: Mapping[int, str] = {
    5: "STARTING_DEPLOYMENT",
    6: "PREPARING_MODEL",
    7: "CREATING_SERVING_CLUSTER",
    8: "ADDING_NODES_TO_CLUSTER",
    9: "GETTING_CONTAINER_IMAGE",
    3: "STARTING_MODEL_SERVER",
    4: "FINISHING_UP",
    10: "DEPLOYMENT_TERMINATED",
    11: "SUCCESSFULLY_DEPLOYED",
    12: "FAILED_TO_DEPLOY",
}


@dataclass
class Ended:
    """An operation that ended.

    Attributes:
        error: Why it failed, or None.
        stage: The last stage before the end, empty if it had none.
        seconds: How long it took, counted from its own start.
        stages: How long each stage was seen, in order.
        waited: False if it had ended before the first look.
        created: When it was made, as Google writes times; empty if unknown.
    """

    error: ApiError | None
    stage: str = ""
    seconds: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    waited: bool = True
    created: str = ""


class StillRunning(Exception):
    """The operation goes on, but the wait for it is over: the limit is reached, or the user interrupted."""

    def __init__(self, operation: str, stage: str, seconds: float, limit: float, interrupted: bool) -> None:
        super().__init__(operation)
        self.operation = operation
        self.stage = stage
        self.seconds = seconds
        self.limit = limit
        self.interrupted = interrupted


def wait(
    ctx: Context, vertex: Vertex, operation: str, doing: str, limit: float, left: float | None = None
) -> Ended:
    """Waits until an operation ends, and shows how far it is.

    Args:
        ctx: The engine's call.
        vertex: The service.
        operation: The operation's name.
        doing: What it does, for the display, for example "deploying".
        limit: How long to wait at most, in seconds.
        left: What is left of it, if part of it has passed.

    Raises:
        StillRunning: at the limit, or within a second of the user's interruption.
        ApiError: when Google stays out of reach, or refuses; with the last stage seen. The operation goes on.
    """
    begun = time.monotonic()
    end = begun + (limit if left is None else left)
    pause = vertex.pace.poll_first
    head_start, stage, stage_begun = 0.0, "", begun
    stages: dict[str, float] = {}
    looks = 0
    try:
        while True:
            answer = vertex.operation(operation)
            now = time.monotonic()
            if answer is None:
                text = f"Google does not know the operation {operation} any more."
                return Ended(ApiError("NOT_FOUND", text, kind=Kind.LOST), stage, head_start + now - begun)
            metadata = answer.get("metadata") or {}
            if looks == 0:
                head_start = _age(metadata)
            seconds = head_start + now - begun
            if answer.get("done"):
                if stage:
                    stages[stage] = stages.get(stage, 0.0) + now - stage_begun
                error = answer.get("error")
                return Ended(
                    from_operation(error) if error else None,
                    stage or _stage(metadata),
                    seconds,
                    stages,
                    waited=looks > 0,
                    created=_created(metadata),
                )
            found = _stage(metadata)
            if found != stage:
                if stage:
                    stages[stage] = stages.get(stage, 0.0) + now - stage_begun
                stage, stage_begun, pause = found, now, vertex.pace.poll_first
            ctx.status(
                f"{stage + ' ' if stage else ''}{duration(seconds)} ({doing}, up to {limit_of(limit)})"
            )
            if now >= end:
                raise StillRunning(operation, stage, seconds, limit, interrupted=False)
            sleep(ctx, min(pause, end - now))
            pause = min(pause * 1.3, vertex.pace.poll_last)
            looks += 1
    except ApiError as e:
        e.stage = stage
        raise
    except Interrupted:
        raise StillRunning(operation, stage, head_start + time.monotonic() - begun, limit, True) from None


def running(vertex: Vertex, parent: str, kind: str) -> list[str]:
    """Names of the operations of one kind (the name of their metadata message) under way on a resource."""
    return [
        operation["name"]
        for operation in vertex.operations(parent)
        if not operation.get("done") and kind_of(operation) == kind
    ]


def kind_of(operation: Json) -> str:
    """The name of an operation's metadata message, without its package."""
    return str((operation.get("metadata") or {}).get("@type", "")).rpartition(".")[2]


def duration(seconds: float) -> str:
    """A time that passed: "42s", "3m12s", "61m05s"."""
    whole = max(0, int(seconds))
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


def limit_of(seconds: float) -> str:
    """A limit: "120 min" where it is whole minutes, else like `duration`."""
    return f"{seconds / 60:.0f} min" if seconds >= 120 and seconds % 60 == 0 else duration(seconds)


def _stage(metadata: Mapping[str, Any]) -> str:
    stage = metadata.get("deploymentStage", "")
    if isinstance(stage, int):
        return STAGES.get(stage, "")
    return "" if stage == "DEPLOYMENT_STAGE_UNSPECIFIED" else str(stage)


def _created(metadata: Mapping[str, Any]) -> str:
    return str((metadata.get("genericMetadata") or {}).get("createTime") or "")


def _age(metadata: Mapping[str, Any]) -> float:
    """Seconds since an operation was made, by this machine's clock; 0 when unknown or in the future."""
    try:
        then = datetime.fromisoformat(_created(metadata).replace("Z", "+00:00"))
    except ValueError:
        return 0.0
    return max(0.0, (datetime.now(UTC) - then).total_seconds()) if then.tzinfo else 0.0

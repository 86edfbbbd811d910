"""What is killed, when, and what is done afterwards; and the cases that a recorded run gives."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PHASES: Final = ("up", "change", "scale", "destroy")
"""`up` from nothing, `change` rolls to another `max_model_len`, `scale` goes from one replica to two in place."""

KINDS: Final = ("machine", "engine", "provider", "gcp")
"""What is killed: everything, the engine alone, the vertexserving plugin alone, the gcp plugin alone."""

#: A request is held at the server: it never arrives, it is carried out after the kill, it was carried out before it.
LOST, LATE, AFTER = "lost", "late", "after"


@dataclass(frozen=True, order=True)
class Call:
    """One HTTP call of a run, so that it can be told again in another run.

    Attributes:
        path: Regular expression of the whole path; generated ids are left open.
        method: HTTP method.
        nth: Its number among those of the same path and method.
    """

    path: str
    method: str
    nth: int = 1

    @property
    def changes(self) -> bool:
        """Whether it changes anything; a prediction does not."""
        return self.method != "GET" and not self.path.endswith((":getIamPolicy$", ":rawPredict$"))

    @property
    def owner(self) -> str:
        """Which plugin sends it: vertexserving speaks v1 of Vertex AI (gcp: v1beta1) and disposes of buckets."""
        vertex = self.path.startswith("^/v1/projects/[^/:]+/locations/")
        bucket = self.path.startswith("^/storage/") and not self.path.endswith("/iam$")
        return (
            "provider"
            if vertex or (bucket and (self.method == "DELETE" or self.path.endswith("/o$")))
            else "gcp"
        )

    def __str__(self) -> str:
        plain = self.path.strip("^$").replace("\\", "").split("/locations/")[-1]
        return f"{self.method} {plain}" + (f" ({self.nth})" if self.nth > 1 else "")


@dataclass(frozen=True)
class Case:
    """One kill.

    Attributes:
        phase: Which command runs.
        point: `call-N` of the recorded calls, or `random-N`.
        when: LOST, LATE or AFTER for a call; for a random one the share of the run's time, e.g. `0.4371`.
        kind: What is killed.
        then: `again` repeats the command, then destroys; `destroy` destroys at once.
    """

    phase: str
    point: str
    when: str
    kind: str
    then: str = "again"

    def __str__(self) -> str:
        return f"{self.phase}:{self.point}:{self.when}:{self.kind}" + (
            ":destroy" if self.then == "destroy" else ""
        )

    @property
    def at_call(self) -> int | None:
        """Number of the call, None for a random time."""
        return int(self.point[len("call-") :]) if self.point.startswith("call-") else None


def parse(text: str) -> Case:
    """A case by its name, as `--only` takes it.

    Raises:
        ValueError: It is none.
    """
    parts = text.split(":")
    if len(parts) not in (4, 5) or (len(parts) == 5 and parts[4] != "destroy"):
        raise ValueError(
            f"{text!r} is no case: PHASE:call-N:lost|late|after:KIND[:destroy], PHASE:random-N:SHARE:KIND"
        )
    case = Case(*parts)
    if case.phase not in PHASES or case.kind not in KINDS:
        raise ValueError(
            f"{text!r}: the phase is one of {', '.join(PHASES)}, the kind one of {', '.join(KINDS)}"
        )
    if case.at_call is None:
        float(case.when)
    elif case.when not in (LOST, LATE, AFTER):
        raise ValueError(f"{text!r}: when is one of {LOST}, {LATE}, {AFTER}")
    return case


_GENERATED: Final = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}"), "[0-9a-f-]{36}"),
    (re.compile(r"/operations/[^/:]+"), "/operations/[^/:]+"),
    (re.compile(r"/alertPolicies/\d+"), r"/alertPolicies/\\d+"),
    (re.compile(r"/b/vllm-artifacts-[0-9a-f]{7}"), "/b/vllm-artifacts-[0-9a-f]{7}"),
    (re.compile(r"/projects/(?:local-project|123456789012)\b"), "/projects/[^/:]+"),
)


def calls(requests: Iterable[Mapping[str, Any]]) -> list[Call]:
    """The calls of a recorded run: every one that changes something, and the first of each that only reads.

    Sorted, so that a call has the same number in every recording of the same program.
    """
    seen: dict[tuple[str, str], int] = {}
    found: set[Call] = set()
    for request in requests:
        path = re.escape(request["path"]).replace(r"\-", "-")
        for generated, instead in _GENERATED:
            path = generated.sub(instead, path)
        key = (f"^{path}$", request["method"])
        seen[key] = seen.get(key, 0) + 1
        call = Call(*key, seen[key])
        if call.changes or call.nth == 1:
            found.add(call)
    return sorted(found)


def boundaries(phase: str, recorded: Sequence[Call], kinds: Sequence[str]) -> list[Case]:
    """A kill before and after each call of a phase.

    A call that only reads leaves the same behind before and after, so it is one boundary; so is, but for the engine,
    which plugin of two is killed: the one that sends the call.
    """
    found = []
    for number, call in enumerate(recorded):
        point = f"call-{number}"
        for kind in kinds:
            if kind in ("provider", "gcp") and kind != call.owner:
                continue
            if not call.changes:
                whens: tuple[str, ...] = (AFTER,) if kind in ("machine", "engine") else ()
            elif kind == "engine":  # its plugins live on, and get their answers
                whens = (LATE, AFTER)
            else:
                whens = (LOST, LATE, AFTER)
            found += [Case(phase, point, when, kind) for when in whens]
            if kind == "machine" and call.changes and phase != "destroy":
                found += [Case(phase, point, when, kind, "destroy") for when in (LATE, AFTER)]
    return found


def at_random(count: int, seed: int, phases: Sequence[str], kinds: Sequence[str]) -> list[Case]:
    """So many kills at uniformly random times of uniformly random phases."""
    chance = random.Random(seed)
    return [
        Case(chance.choice(phases), f"random-{number}", f"{chance.random():.4f}", chance.choice(kinds))
        for number in range(count)
    ]

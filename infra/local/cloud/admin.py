"""The administrator's routes under /_local/: health, what exists, reset, quotas, stock, timing, clock, faults, log."""

from __future__ import annotations

import math
import os
from typing import Any

from starlette.routing import BaseRoute

from infra.local.cloud import strict
from infra.local.cloud.aiplatform.context import GPU_TIME
from infra.local.cloud.core import Cloud
from infra.local.cloud.errors import invalid
from infra.local.cloud.requestlog import RequestLog
from infra.local.cloud.rest import Call, Method

Json = dict[str, Any]
#: Farthest that the clock may be moved, in seconds (about 47 years).
MAX_OFFSET = 1.5e9


def routes(cloud: Cloud, log: RequestLog) -> list[BaseRoute]:
    """All administrator routes."""
    admin = Admin(cloud, log)
    table: list[tuple[str, str, Any, Any, tuple[str, ...]]] = [
        ("GET", "/_local/health", admin.health, None, ()),
        ("GET", "/_local/state", admin.state, None, ()),
        ("POST", "/_local/reset", admin.reset, {}, ()),
        ("GET", "/_local/quotas", admin.quotas, None, ()),
        ("PUT", "/_local/quotas", admin.put_quotas, {"*": {"*": int}}, ()),
        ("GET", "/_local/capacity", admin.capacity, None, ()),
        ("PUT", "/_local/capacity", admin.put_capacity, {"*": {"*": int}}, ()),
        ("GET", "/_local/timing", admin.timing, None, ()),
        (
            "PUT",
            "/_local/timing",
            admin.put_timing,
            {"mode": str, "stageSeconds": strict.ANY, "iamPropagationSeconds": strict.ANY},
            (),
        ),
        (
            "PUT",
            "/_local/clock",
            admin.put_clock,
            {"offsetSeconds": strict.ANY, "advanceSeconds": strict.ANY},
            (),
        ),
        ("POST", "/_local/operations:advance", admin.advance, {"name": str, "stages": int}, ()),
        ("GET", "/_local/faults", admin.faults, None, ()),
        ("POST", "/_local/faults", admin.plan_fault, None, ()),
        ("DELETE", "/_local/faults", admin.clear_faults, None, ()),
        ("POST", "/_local/faults:release", admin.release, {"id": str, "drop": bool}, ()),
        ("GET", "/_local/gpus", admin.gpus, None, ()),
        ("GET", "/_local/requests", admin.requests, None, ("path", "method")),
        ("DELETE", "/_local/requests", admin.clear_requests, None, ()),
        ("POST", "/_local/projects", admin.make_project, {"projectId": str, "projectNumber": str}, ()),
    ]
    return [
        Method(cloud, method, path, handler, query=query, body=schema)
        for method, path, handler, schema, query in table
    ]


class Admin:
    """Handlers of the administrator's routes; anybody on this machine is the administrator."""

    def __init__(self, cloud: Cloud, log: RequestLog) -> None:
        self.cloud, self.log = cloud, log

    def health(self, call: Call) -> Json:
        """Says that the server answers, and which process it is."""
        return {"ok": True, "pid": os.getpid(), "stateDir": str(self.cloud.config.state_dir)}

    def state(self, call: Call) -> Json:
        """What exists, by kind; empty lists where nothing does."""
        return self.cloud.summary()

    async def reset(self, call: Call) -> Json:
        """Forgets everything that exists, plans and log included."""
        await self.cloud.reset()
        self.log.clear()
        return {}

    def quotas(self, call: Call) -> Json:
        """Overridden limits."""
        return self.cloud.quotas.overrides()

    def put_quotas(self, call: Call) -> Json:
        """Sets limits, {quotaId: {region: limit or null}}; null takes the override away."""
        for quota_id, regions in call.body.items():
            for region, limit in regions.items():
                self.cloud.quotas.set_limit(quota_id, region, None if limit is None else int(limit))
        return self.cloud.quotas.overrides()

    def capacity(self, call: Call) -> Json:
        """Limited stocks."""
        return self.cloud.capacity.all()

    def put_capacity(self, call: Call) -> Json:
        """Sets stock, {region: {machine or accelerator type: replicas left or null}}; 0 is a stock-out."""
        for region, machines in call.body.items():
            for machine, available in machines.items():
                self.cloud.capacity.set(region, machine, None if available is None else int(available))
        return self.cloud.capacity.all()

    def timing(self, call: Call) -> Json:
        """How operations and grants pass."""
        timing = self.cloud.timing
        return {
            "mode": timing.mode,
            "stageSeconds": timing.stage_seconds,
            "iamPropagationSeconds": timing.iam_propagation_seconds,
        }

    def put_timing(self, call: Call) -> Json:
        """Changes some of it."""
        changes: Json = {}
        if "mode" in call.body:
            if call.body["mode"] not in {"timed", "immediate", "manual"}:
                raise invalid(f"mode is {call.body['mode']!r}; one of timed, immediate, manual.")
            changes["mode"] = call.body["mode"]
        for given, name in (
            ("stageSeconds", "stage_seconds"),
            ("iamPropagationSeconds", "iam_propagation_seconds"),
        ):
            if given in call.body:
                changes[name] = _seconds(given, call.body[given])
                if changes[name] < 0:
                    raise invalid(f"{given} is {call.body[given]!r}; it must not be negative.")
        self.cloud.set_timing(**changes)
        return self.timing(call)

    def put_clock(self, call: Call) -> Json:
        """Moves the clock, so that tests need not sleep."""
        offset = self.cloud.clock.offset
        if "offsetSeconds" in call.body:
            offset = _seconds("offsetSeconds", call.body["offsetSeconds"])
        offset += _seconds("advanceSeconds", call.body.get("advanceSeconds", 0))
        if abs(offset) > MAX_OFFSET:
            raise invalid(f"The clock would be {offset:g} s away from now; at most {MAX_OFFSET:g} s.")
        self.cloud.clock.offset = offset
        self.cloud.operations.wake()
        return {"now": self.cloud.clock.timestamp(), "offsetSeconds": self.cloud.clock.offset}

    def advance(self, call: Call) -> Json:
        """Manual mode: lets operations pass some stages, or to their end."""
        stages = call.body.get("stages")
        names = self.cloud.operations.advance(
            call.body.get("name", ""), None if stages is None else int(stages)
        )
        return {"operations": list(names)}

    def faults(self, call: Call) -> Json:
        """The plan, and what of it was not met."""
        faults = self.cloud.faults
        return {"faults": faults.all(), "unmet": faults.unmet(), "held": faults.held()}

    def release(self, call: Call) -> Json:
        """Lets a held request go, or drops it."""
        self.cloud.faults.release(call.body.get("id", ""), bool(call.body.get("drop")))
        return {}

    def gpus(self, call: Call) -> Json:
        """Every stretch of time in which GPUs ran for a deployed model, oldest first."""
        return {"now": self.cloud.clock.now(), "used": [used for _, used in self.cloud.store.items(GPU_TIME)]}

    def plan_fault(self, call: Call) -> Json:
        """Plans one fault."""
        return self.cloud.faults.plan(call.body)

    def clear_faults(self, call: Call) -> Json:
        """Forgets the plan; operations that it kept from ending go on."""
        self.cloud.faults.clear()
        return {}

    def requests(self, call: Call) -> Json:
        """The last requests, oldest first."""
        return {"requests": self.log.all(call.query.get("path", ""), call.query.get("method", ""))}

    def clear_requests(self, call: Call) -> Json:
        """Forgets them."""
        self.log.clear()
        return {}

    def make_project(self, call: Call) -> Json:
        """Makes another project."""
        if not call.body.get("projectId") or not call.body.get("projectNumber", "").isdigit():
            raise invalid("projectId and projectNumber (digits) are needed.")
        project = self.cloud.make_project(call.body["projectId"], call.body["projectNumber"])
        return {"projectId": project.id, "projectNumber": project.number}


def _seconds(name: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise invalid(f"{name} is {value!r}; a number of seconds is needed.")
    return number

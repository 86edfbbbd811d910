from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local.cloud.clock import Clock
from infra.local.cloud.errors import GoogleError, failed_precondition
from infra.local.cloud.operations import Kind, Operation, Operations, Timing
from infra.local.cloud.store import Store
from infra.local.cloud.testing import LocalCloud, cloud_in_thread

Json = dict[str, Any]
_STAGES: list[str | tuple[str, float]] = ["ONE", "TWO", ("THREE", 5.0)]


class World:
    """Operations on a store, made again as a new process would."""

    def __init__(self, path: Path, mode: str = "timed", seconds: float = 10.0) -> None:
        self.path, self.timing, self.clock = path, Timing(mode, seconds), Clock()
        self.entered: list[str] = []
        self.failed: list[str] = []
        self.finished = 0
        self.problem: GoogleError | None = None
        self.start()

    def start(self) -> None:
        self.operations = Operations(Store(self.path), self.clock, self.timing)

        async def stage(operation: Operation, name: str) -> None:
            self.entered.append(name)
            operation.metadata["seen"] = name

        async def finish(operation: Operation) -> Json:
            self.finished += 1
            if self.problem:
                raise self.problem
            return {"@type": "T", "value": operation.args["value"]}

        async def failure(_operation: Operation, error: GoogleError) -> None:
            self.failed.append(error.code)

        for name, cancellable in (("k", True), ("stubborn", False)):
            self.operations.register(
                name, Kind(finish, stage, failure, cancellable, failed_stage="FAILED", done_stage="DONE")
            )

    def create(self, kind: str = "k") -> str:
        made = self.operations.create("p/1", {"@type": "M"}, kind=kind, args={"value": 7}, stages=_STAGES)
        assert "done" not in made
        return str(made["name"])

    async def pass_time(self, seconds: float) -> None:
        self.clock.offset += seconds
        self.operations.wake()
        for _ in range(30):
            await asyncio.sleep(0)


def run(scenario: Callable[[World], Awaitable[None]], world: World) -> None:
    async def main() -> None:
        await scenario(world)
        await world.operations.stop()

    asyncio.run(main())


def test_stages_pass_with_the_clock(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        name = world.create()
        await world.pass_time(0)
        assert name.startswith("p/1/operations/")
        assert len(name.rsplit("/", 1)[1]) == 19
        metadata = world.operations.get(name)["metadata"]
        assert (metadata["@type"], metadata["deploymentStage"], metadata["seen"]) == ("M", "ONE", "ONE")
        assert set(metadata["genericMetadata"]) == {"createTime", "updateTime"}
        await world.pass_time(10.1)
        assert world.operations.get(name)["metadata"]["deploymentStage"] == "TWO"
        await world.pass_time(10)
        assert world.operations.get(name)["metadata"]["deploymentStage"] == "THREE"
        assert not world.finished
        await world.pass_time(5)
        done = world.operations.get(name)
        assert done["done"]
        assert done["response"] == {"@type": "T", "value": 7}
        assert done["metadata"]["deploymentStage"] == "DONE"
        assert world.entered == ["ONE", "TWO", "THREE"]

    run(scenario, World(tmp_path))


def test_a_new_process_carries_on_and_makes_up_for_the_time_it_was_away(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        name = world.create()
        await world.pass_time(0)
        await world.operations.stop()
        world.start()
        world.clock.offset += 21
        world.operations.resume()
        await world.pass_time(0)
        assert world.operations.get(name)["metadata"]["deploymentStage"] == "THREE"
        # The stage it was killed in is entered again; the others once.
        assert world.entered == ["ONE", "ONE", "TWO", "THREE"]
        await world.pass_time(5)
        assert world.operations.get(name)["done"]
        world.start()
        world.operations.resume()
        await world.pass_time(0)
        assert world.finished == 1

    run(scenario, World(tmp_path))


def test_a_google_error_is_the_operations_error_and_undoes(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.problem = failed_precondition("no")
        name = world.create()
        await world.pass_time(0)
        done = world.operations.get(name)
        assert done["error"] == {"code": 9, "message": "no"}
        assert "response" not in done
        assert done["metadata"]["deploymentStage"] == "FAILED"
        assert world.failed == ["FAILED_PRECONDITION"]

    run(scenario, World(tmp_path, "immediate"))


def test_an_unexpected_exception_is_internal_and_tells_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World) -> None:
        world.problem = RuntimeError("secret detail")  # type: ignore[assignment]
        name = world.create()
        await world.pass_time(0)
        assert world.operations.get(name)["error"] == {"code": 13, "message": "Internal error occurred."}

    run(scenario, World(tmp_path, "immediate"))
    assert "secret detail" in caplog.text


def test_cancel(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        name, stubborn = world.create(), world.create("stubborn")
        await world.pass_time(0)
        await world.operations.cancel(name)
        await world.operations.cancel(stubborn)
        done = world.operations.get(name)
        assert done["error"]["code"] == 1
        assert world.failed == ["CANCELLED"]
        assert "done" not in world.operations.get(stubborn)
        await world.operations.cancel(name)
        assert world.operations.get(name) == done

    run(scenario, World(tmp_path))


def test_delete_does_not_stop_the_work(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        name = world.create()
        await world.pass_time(0)
        world.operations.delete(name)
        assert not world.operations.list("p/1").items
        with pytest.raises(GoogleError, match="could not be found"):
            world.operations.get(name)
        await world.pass_time(100)
        assert world.finished == 1
        with pytest.raises(GoogleError, match="could not be found"):
            world.operations.get(name)

    run(scenario, World(tmp_path))


def test_wait_answers_early_or_when_done(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        name = world.create()
        assert "done" not in await world.operations.wait(name, 0.01)
        waiting = asyncio.create_task(world.operations.wait(name, 30))
        await world.pass_time(100)
        assert (await waiting)["done"]

    run(scenario, World(tmp_path))


def test_manual_mode_passes_only_what_it_is_told(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        name = world.create()
        await world.pass_time(1000)
        assert "deploymentStage" not in world.operations.get(name)["metadata"]
        for stage in ("ONE", "TWO", "THREE"):
            assert world.operations.advance(name, 1) == [name]
            await world.pass_time(0)
            assert world.operations.get(name)["metadata"]["deploymentStage"] == stage
        assert [operation.stage for operation in world.operations.running("p/", "k")] == ["THREE"]
        world.operations.advance()
        await world.pass_time(0)
        assert world.operations.get(name)["done"]
        assert not world.operations.running()

    run(scenario, World(tmp_path, "manual"))


def test_list_is_by_parent(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        names = sorted(world.create() for _ in range(3))
        page = world.operations.list("p/1", 2)
        assert [item["name"] for item in page.items] == names[:2]
        rest = world.operations.list("p/1", 2, page.next_page_token)
        assert [item["name"] for item in rest.items] == names[2:]
        assert not world.operations.list("p").items

    run(scenario, World(tmp_path))


def test_enabling_an_api_is_an_operation(cloud: LocalCloud) -> None:
    path = "/v1/projects/local-project/services/aiplatform.googleapis.com"
    cloud.admin.timing(mode="manual")
    operation = cloud.http.post(f"{path}:enable", json={}).json()
    assert operation["name"].startswith("operations/acat.p2-123456789012-")
    assert cloud.http.get(path).json()["state"] == "DISABLED"
    cloud.admin.advance()
    done = cloud.finished(f"/v1/{operation['name']}")
    assert done["response"]["service"]["state"] == "ENABLED"
    assert done["response"]["@type"].endswith("EnableServiceResponse")
    again = cloud.http.post(f"{path}:enable", json={}).json()
    assert (again["name"], again["done"]) == ("operations/noop.DONE_OPERATION", True)


def test_an_operation_in_flight_survives_a_restart(tmp_path: Path) -> None:
    from infra.local.cloud.core import CloudConfig

    path = "/v1/projects/local-project/services/aiplatform.googleapis.com"
    config = CloudConfig(tmp_path, mode="manual")
    with cloud_in_thread(config) as first:
        name = first.http.post(f"{path}:enable", json={}).json()["name"]
    with cloud_in_thread(config) as second:
        assert "done" not in second.http.get(f"/v1/{name}").json()
        second.admin.advance()
        assert "error" not in second.finished(f"/v1/{name}")
        assert second.http.get(path).json()["state"] == "ENABLED"

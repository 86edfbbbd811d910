"""A seeded few of the kills of benchmarks/chaos.py: one around each kind of call, one at a random time.

The calls are named, so that this stays the same when the program makes others; all of them are the benchmark's.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.crashes.case import AFTER, LATE, Case, at_random, boundaries, calls, parse
from benchmarks.crashes.run import Recording, record, run
from benchmarks.crashes.world import World
from infra.local.engine.pulumi import Engine

#: (phase, method, end of the path, when, what is killed, what is done next)
CHOSEN = [
    ("up", "POST", ":deployModel$", AFTER, "machine", "again"),
    ("up", "POST", ":deployModel$", LATE, "machine", "destroy"),
    ("up", "POST", "/models:upload$", AFTER, "provider", "again"),
    ("up", "POST", "/alertPolicies$", AFTER, "gcp", "again"),
    ("change", "POST", ":deployModel$", AFTER, "machine", "destroy"),
]


@pytest.fixture(scope="module")
def world(engine: Engine) -> Iterator[World]:
    world = World(engine)
    yield world
    world.close()


@pytest.fixture(scope="module")
def recordings(world: World) -> dict[str, Recording]:
    """A run of each phase, made when it is first asked for."""

    class Made(dict[str, Recording]):
        def __missing__(self, phase: str) -> Recording:
            self[phase] = record(world, phase)
            return self[phase]

    return Made()


@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize(
    "chosen",
    [*CHOSEN[:2], *(pytest.param(each, marks=pytest.mark.soak) for each in CHOSEN[2:])],
    ids=lambda chosen: f"{chosen[0]}-{chosen[2].strip('/:$')}-{chosen[4]}",
)
def test_a_kill_around_a_call(
    world: World, recordings: dict[str, Recording], chosen: tuple[str, str, str, str, str, str]
) -> None:
    phase, method, path, when, kind, then = chosen
    found = recordings[phase].calls
    number = next(n for n, call in enumerate(found) if call.method == method and call.path.endswith(path))
    outcome = run(world, Case(phase, f"call-{number}", when, kind, then), recordings[phase])
    assert outcome.killed
    assert outcome.good, outcome.as_dict()


@pytest.mark.xdist_group("chaos")
@pytest.mark.parametrize("case", at_random(1, 11, ("destroy",), ("machine", "engine")), ids=str)
def test_a_kill_at_a_random_time(world: World, recordings: dict[str, Recording], case: Case) -> None:
    outcome = run(world, case, recordings[case.phase])
    assert outcome.good, outcome.as_dict()


# The cases themselves ------------------------------------------------------------------------------------------------


def test_a_recorded_call_is_told_again_in_another_run() -> None:
    one, other = (
        calls(
            {"method": method, "path": path.format(project=project, bucket=bucket, operation=operation)}
            for method, path in (
                ("POST", "/v1/projects/local-project/services/x.googleapis.com:enable"),
                ("GET", "/v1/projects/{project}/locations/r/endpoints/1/operations/{operation}"),
                ("GET", "/v1/projects/{project}/locations/r/endpoints/1/operations/{operation}"),
                ("PUT", "/storage/v1/b/vllm-artifacts-{bucket}/iam"),
                ("PUT", "/storage/v1/b/vllm-artifacts-{bucket}/iam"),
                ("POST", "/v1/projects/{project}:getIamPolicy"),
            )
        )
        for project, bucket, operation in (
            ("local-project", "0a1b2c3", "77"),
            ("123456789012", "9f8e7d6", "5"),
        )
    )
    assert one == other
    assert sorted((call.method, call.nth, call.changes) for call in one) == [
        ("GET", 1, False),  # polled twice, one boundary
        ("POST", 1, False),
        ("POST", 1, True),
        ("PUT", 1, True),
        ("PUT", 2, True),
    ]
    assert {call.owner for call in one if "/locations/" in call.path} == {"provider"}


def test_boundaries_lie_on_both_sides_of_a_change() -> None:
    found = calls([{"method": "POST", "path": "/v1/projects/local-project/locations/r/models:upload"}])
    cases = {str(case) for case in boundaries("up", found, ("machine", "engine", "provider", "gcp"))}
    assert cases == {
        *(
            f"up:call-0:{when}:{kind}"
            for when in ("lost", "late", "after")
            for kind in ("machine", "provider")
        ),
        "up:call-0:late:engine",
        "up:call-0:after:engine",
        "up:call-0:late:machine:destroy",
        "up:call-0:after:machine:destroy",
    }
    assert {str(parse(case)) for case in cases} == cases


@pytest.mark.parametrize(
    "text", ["up", "up:call-1:never:machine", "sideways:call-1:late:machine", "up:random-1:x:gcp"]
)
def test_what_is_no_case(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text)


def test_random_cases_follow_from_the_seed() -> None:
    assert at_random(5, 3, ("up",), ("gcp",)) == at_random(5, 3, ("up",), ("gcp",))
    assert at_random(5, 3, ("up",), ("gcp",)) != at_random(5, 4, ("up",), ("gcp",))

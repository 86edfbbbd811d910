"""One case from start to end, and the recording that the cases are made from."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.crashes import verdict
from benchmarks.crashes.case import AFTER, LOST, Call, Case, calls
from benchmarks.crashes.killing import Running
from benchmarks.crashes.verdict import Picture
from benchmarks.crashes.world import FAST, SLOW, Site, World
from infra.client import NoAnswer
from infra.recovery import EngineFailed, InUse

Json = dict[str, Any]

#: Seconds that one command may take.
LIMIT = 120.0
#: Seconds for which what was in flight at the kill stays slow: longer than a recovery waits before it looks.
_IN_FLIGHT = 4.0
#: Runs until a random time hits one.
_TRIES = 4


@dataclass
class Recording:
    """A run of a phase that nobody killed: its calls in a fixed order, and what it leaves."""

    calls: list[Call]
    picture: Picture


@dataclass
class Outcome:
    """How one case ended.

    Attributes:
        case: Its name.
        killed: Whether there was something to kill when the time came.
        recovered: Whether the engine demanded a recovery.
        converged: The same command again reached the wanted state, and the endpoint answers.
        orphans: What the cloud had beside the wanted, before and after the destroy.
        doubles: Deployments that a run without a kill does not make.
        gpu_seconds: Their GPU-seconds, by the local cloud's clock.
        seconds: How long the case took.
        problems: Everything that is wrong, for people.
        said: What the recovery said.
    """

    case: str
    killed: bool = False
    recovered: bool = False
    converged: bool = False
    orphans: list[str] = field(default_factory=list)
    doubles: int = 0
    gpu_seconds: float = 0.0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.converged and not self.orphans and not self.doubles and not self.problems

    def as_dict(self) -> Json:
        """For JSON."""
        return {**asdict(self), "good": self.good}


def command(phase: str) -> tuple[str, ...]:
    """What a user types for a phase."""
    return ("destroy" if phase == "destroy" else "up", "--yes", "--skip-preview", "--suppress-outputs")


def record(world: World, phase: str) -> Recording:
    """Runs a phase once without a kill."""
    with world.site(phase) as site:
        site.cloud.admin.call("DELETE", "requests")
        begun = time.monotonic()
        site.stack(*command(phase))
        seconds = time.monotonic() - begun
        found = calls(site.cloud.admin.requests())
        return Recording(found, verdict.picture(site, seconds))


def run(world: World, case: Case, recording: Recording) -> Outcome:
    """Runs one case."""
    outcome = Outcome(str(case))
    begun = time.monotonic()
    expected = recording.picture.seconds
    for _ in range(_TRIES):
        with world.site(case.phase) as site:
            running, took = _kill(site, case, recording, expected, outcome)
            if outcome.killed or case.at_call is not None:
                _finish(site, case, recording, running, outcome)
                break
            running.clean()
            expected = took  # the machine was quicker than when the phase was recorded: its own time counts
    else:
        outcome.problems.append(f"{_TRIES} runs were over before the kill")
    outcome.seconds = round(time.monotonic() - begun, 1)
    return outcome


def _kill(
    site: Site, case: Case, recording: Recording, expected: float, outcome: Outcome
) -> tuple[Running, float]:
    """Starts the command and kills when the time has come; answers the run, and how long it took until its end."""
    fault = ""
    if case.at_call is not None:
        call = recording.calls[case.at_call]
        hold = "after" if case.when == AFTER else "before"
        fault = site.cloud.admin.fault(call.path, method=call.method, nth=call.nth, hold=hold)
    arguments = [str(site.stack.engine.command), *command(case.phase), "--stack", site.stack.name]
    begun = time.monotonic()
    running = Running([*arguments, "--non-interactive"], site.stack.folder, site.stack.env, site.log)
    due = 0.0 if fault else float(case.when) * expected
    while not running.ended and time.monotonic() - begun < LIMIT:
        if site.cloud.admin.held() if fault else time.monotonic() - begun >= due:
            outcome.killed = running.kill(case.kind)
            if outcome.killed or fault:  # a plugin that is not there yet is waited for
                break
        time.sleep(0.01)
    took = time.monotonic() - begun
    if outcome.killed:
        site.cloud.admin.timing(stageSeconds=SLOW)
    if fault and site.cloud.admin.held():
        site.cloud.admin.release(fault, drop=case.when == LOST)
    running.wait(LIMIT)
    return running, took


def _finish(site: Site, case: Case, recording: Recording, running: Running, outcome: Outcome) -> None:
    timer = threading.Timer(_IN_FLIGHT, lambda: site.cloud.admin.timing(stageSeconds=FAST))
    timer.start()
    try:
        _go_on(site, case, recording, outcome)
    except (InUse, EngineFailed, NoAnswer) as error:
        outcome.problems.append(f"recover: {error}")
    finally:
        timer.cancel()
        running.clean()


def _go_on(site: Site, case: Case, recording: Recording, outcome: Outcome) -> None:
    wanted = recording.picture
    plugin_died = case.kind in ("provider", "gcp") and outcome.killed
    if site.locked() or plugin_died:  # the engine refuses to run, or has said that a plugin died
        outcome.recovered = True
        site.recover(outcome.said)
    if case.then == "again":
        again = site.stack(*command(case.phase), ok=None)
        if again.status:
            outcome.problems.append(f"{case.phase} again: {again.output[-1500:]}")
        if case.phase != "destroy":
            _compare(site, wanted, outcome)
    if case.phase != "destroy":
        destroyed = site.stack("destroy", "--yes", "--skip-preview", ok=None)
        if destroyed.status:
            outcome.problems.append(f"destroy: {destroyed.output[-1500:]}")
    if case.phase == "destroy" or case.then == "destroy":
        outcome.converged = not outcome.problems
    outcome.doubles, seconds = verdict.waste(site, wanted)
    outcome.gpu_seconds = round(seconds, 2)
    left = verdict.orphans(site, {})
    outcome.orphans += [f"after destroy: {each}" for each in left]
    if site.stack.resources():
        outcome.problems.append("the state is not empty after destroy")


def _compare(site: Site, wanted: Picture, outcome: Outcome) -> None:
    wrong = verdict.differences(site, wanted)
    preview = site.stack.preview("--expect-no-changes", ok=None)
    if preview.status:
        wrong.append(f"preview: {preview.output[-1500:]}")
    if not wrong and not verdict.answers(site):
        wrong.append("the endpoint does not answer")
    outcome.problems += wrong
    outcome.converged = not outcome.problems
    outcome.orphans += verdict.orphans(site, wanted.counts)

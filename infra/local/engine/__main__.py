"""Sets this clone up: `python3 -m infra.local.engine [--dev] [--check]`."""

from __future__ import annotations

import argparse
import concurrent.futures
import signal
import subprocess
import sys
import threading

if sys.version_info < (3, 11):  # noqa: UP036 - this line is for those who run it with an older one
    sys.exit("Python 3.11, 3.12 or 3.13 is needed; this is %d.%d." % sys.version_info[:2])  # noqa: UP031

from infra.local.engine import environment, pulumi
from infra.local.engine.steps import LOCAL, Children, Problem, Progress, only_one


def main() -> int:
    """Makes the environment and the engine, side by side; 0 when both are there."""
    parser = argparse.ArgumentParser(prog="python3 -m infra.local.engine", description=__doc__)
    parser.add_argument("--dev", action="store_true", help="what the tests need, too")
    parser.add_argument("--without-engine", action="store_true", help="only the Python environment")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 unless all is there")
    options = parser.parse_args()
    engine_too = not options.without_engine

    def ready() -> bool:
        return environment.is_ready(options.dev) and (not engine_too or pulumi.installed_engine() is not None)

    if ready():
        return 0
    if options.check:
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    waiting = "Another make sets this clone up; waiting for it to finish."
    with only_one(LOCAL / "setup.lock", waiting) as lock:
        if ready():
            return 0
        return _set_up(options.dev, engine_too, Children(LOCAL / "setup.log", inherit=[lock]))


def _set_up(dev: bool, engine_too: bool, children: Children) -> int:
    packages_ready = threading.Event()
    packages_failed = threading.Event()

    def wait_for_packages() -> None:
        packages_ready.wait()
        if packages_failed.is_set():
            raise Problem("stopped")

    def packages(progress: Progress) -> None:
        try:
            if not environment.is_ready(dev):
                environment.make_ready(dev, children, progress)
        except BaseException:
            packages_failed.set()
            raise
        finally:
            packages_ready.set()

    def engine(progress: Progress) -> None:
        if not pulumi.installed_engine():
            pulumi.make_engine(children, progress, wait_for_packages)

    with Progress() as progress, concurrent.futures.ThreadPoolExecutor() as pool:
        try:
            # First the environment's installer, which may have to fetch a Go toolchain for the engine.
            if not environment.is_ready(dev):
                environment.make_venv(children, progress)
            tasks = [pool.submit(packages, progress)]
            if engine_too:
                tasks.append(pool.submit(engine, progress))
            concurrent.futures.wait(tasks, return_when=concurrent.futures.FIRST_EXCEPTION)
        except BaseException:
            children.stop()
            raise
        if any(task.done() and task.exception() for task in tasks):
            children.stop()
    for task in tasks:
        error = task.exception()
        if error and str(error) != "stopped":
            raise error
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nInterrupted; run it again to go on from here.", file=sys.stderr)
        sys.exit(130)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        sys.exit(1)
    except subprocess.CalledProcessError as failure:
        log = LOCAL / "setup.log"
        print(f"\n{failure.cmd[0]} failed:\n{failure.stderr}\nDetails: {log}", file=sys.stderr)
        sys.exit(1)

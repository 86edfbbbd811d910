"""`python -m infra.local.stack up|down|env|status|stop`, which the Makefile calls."""

from __future__ import annotations

import sys


def run() -> int:
    """Runs the command; Ctrl-C ends it in one line, also while its modules still load."""
    try:
        from infra.local.stack.commands import main

        return main()
    except KeyboardInterrupt:
        print("\nInterrupted. What exists is saved; the same command goes on from here.")
        return 130


if __name__ == "__main__":
    sys.exit(run())

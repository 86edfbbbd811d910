"""``python -m infra.cli``, which the executable ``vertex-vllm`` at the top of the repository runs."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command; Ctrl-C ends it in one line, also while its modules still load."""
    try:
        from infra.cli.app import app

        app(prog_name="vertex-vllm")
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run()

"""``python -m infra.cli``, which the executable ``vertex-vllm`` at the top of the repository runs."""

from __future__ import annotations

import sys
from typing import Final

# infra.cli.common.Exit, which cannot be imported before Ctrl-C is caught.
_CRASHED: Final = 70
_INTERRUPTED: Final = 130


def run() -> None:
    """Run the command; Ctrl-C ends it in one line, also while its modules still load.

    An error of the program itself has an exit status of its own: Python's 1 is a verdict here.
    """
    try:
        from infra.cli.app import app

        app(prog_name="vertex-vllm")
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(_CRASHED)


if __name__ == "__main__":
    run()

"""``python -m infra.cli``, which the executable ``vertex-vllm`` at the top of the repository runs."""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Final, NoReturn

# infra.cli.common.Exit, which cannot be imported before Ctrl-C is caught.
_BAD_INPUT: Final = 2
_CRASHED: Final = 70
_INTERRUPTED: Final = 130
_PIPE_CLOSED: Final = 141
_TERMINATED: Final = 143

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def run() -> None:
    """Run the command; Ctrl-C ends it in one line, also while its modules still load.

    An error of the program itself has an exit status of its own: Python's 1 is a verdict here.
    """
    _open_what_is_closed()
    signal.signal(signal.SIGTERM, _end)
    try:
        from infra.cli.app import app

        try:
            app(prog_name="vertex-vllm")
        except SystemExit as end:
            if isinstance(end.__context__, BrokenPipeError):  # Typer's and Rich's answer to it is 1
                raise end.__context__ from None
            sys.stdout.flush()  # here an error of the last lines is still ours to tell
            raise
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        _leave_stdout()
        sys.exit(_PIPE_CLOSED)
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            _crash()
        # As for --output.
        _leave_stdout()
        print(f"standard output: cannot be written: {error.strerror}.", file=sys.stderr)
        sys.exit(_BAD_INPUT)
    except Exception:
        _crash()


def _open_what_is_closed() -> None:
    """A service manager may start us with closed standard streams, which Python makes None."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (as long as the program)


def _end(*_: object) -> NoReturn:
    """SIGTERM: a bar or a page that is drawn again gives the terminal its cursor back, connections are closed."""
    sys.exit(_TERMINATED)


def _leave_stdout() -> None:
    """What is left of the text would be written once more at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _crash() -> NoReturn:
    sys.excepthook(*sys.exc_info())
    sys.exit(_CRASHED)


if __name__ == "__main__":
    run()

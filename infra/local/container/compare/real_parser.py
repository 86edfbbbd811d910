"""Runs in the real vLLM's environment: reads argument lists (JSON) and prints how its own parser takes each.

Imports nothing of this project; vLLM's parser is the one of ``vllm serve``.
"""

import contextlib
import io
import json
import sys


def main() -> None:
    """Print one JSON list: for each argument list ``""`` when it is taken, else the last line of the refusal."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser  # type: ignore[import-not-found, unused-ignore]
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # type: ignore[import-not-found, unused-ignore]

    results = []
    for words in json.load(sys.stdin):
        # As `vllm serve` does it: the parser of the sub-command, errors under the name `vllm`.
        parser = FlexibleArgumentParser(prog="vllm")
        make_arg_parser(parser)
        parser.add_argument("model_tag", nargs="?")
        errors = io.StringIO()
        try:
            with contextlib.redirect_stderr(errors):
                parser.parse_args(words)
            results.append("")
        except SystemExit:
            results.append(errors.getvalue().strip().splitlines()[-1])
        except Exception as error:
            results.append(f"{type(error).__name__}: {error}")
    print("RESULT " + json.dumps(results))


if __name__ == "__main__":
    main()

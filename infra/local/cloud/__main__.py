"""Entry of `python -m infra.local.cloud`."""

from __future__ import annotations

import sys

from infra.local.cloud.cli import main

if __name__ == "__main__":
    sys.exit(main())

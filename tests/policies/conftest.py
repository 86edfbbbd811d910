"""The pack's folder is on the module path, as it is when the engine runs the pack."""

from __future__ import annotations

import sys
from pathlib import Path

POLICIES = Path(__file__).resolve().parents[2] / "policies"

if str(POLICIES) not in sys.path:
    sys.path.insert(0, str(POLICIES))

"""What one check says. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["Finding", "Status"]


class Status(Enum):
    """How a check ended.

    ``FAIL`` only on a conclusive no: the deployment, or something that the stack file names, cannot work. ``WARN`` is
    worth a look and stops nothing.
    ``SKIP``: nothing could be said, for a reason that the evidence names; never a pass.
    """

    PASS = "PASS"
    FAIL = "FAIL"
    WARN = "WARN"
    SKIP = "SKIP"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer of one check.

    Attributes:
        check: Stable id in lower case with hyphens, such as ``quota-gpu``.
        status: How it ended.
        evidence: One sentence with the numbers that it rests on; of a SKIP, why nothing can be said.
        remedy: What to do; empty where there is nothing to do.
        by_hand: The gcloud or curl line that shows the same; empty where there is none.
    """

    check: str
    status: Status
    evidence: str
    remedy: str = ""
    by_hand: str = ""

    def as_dict(self) -> dict[str, str]:
        """Every field as text, for JSON."""
        return {
            "check": self.check,
            "status": self.status.value,
            "evidence": self.evidence,
            "remedy": self.remedy,
            "by_hand": self.by_hand,
        }

"""Until when a stack is wanted: the one label that says it, and what it means. Pure, standard library only.

The label `expiry` of endpoint, model and bucket is the only place: settings write it (`vertex-vllm:labels.expiry`), a
stack file's `expires_after` writes it in their stead, and the policies, previews, `status` and the sweep read it. It
never changes by itself: a duration counts from the deployment's creation, which Vertex AI knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

__all__ = ["LABEL", "NEVER", "PATTERN", "Expiry", "warning"]

LABEL: Final = "expiry"
NEVER: Final = "never"

PATTERN: Final = r"^([1-9][0-9]{0,3}[hd]|[0-9]{4}-[0-9]{2}-[0-9]{2})$"
"""What `expires_after` may be: hours or days after the deployment, or the last day."""

_DURATION: Final = re.compile(r"([1-9][0-9]{0,3})([hd])", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NEAR: Final = timedelta(days=2)


@dataclass(frozen=True)
class Expiry:
    """What a label says.

    Attributes:
        label: Its value; empty where there is none.
        day: The last day, UTC; None where the label names none.
        length: How long after its deployment a model is wanted; None where the label says no duration.
    """

    label: str
    day: date | None = None
    length: timedelta | None = None

    @staticmethod
    def of(label: str) -> Expiry:
        """The meaning of a value; one that is neither a day nor a duration says only itself."""
        found = _DURATION.fullmatch(label)
        if found:
            count = int(found[1])
            return Expiry(label, length=timedelta(hours=count) if found[2] == "h" else timedelta(days=count))
        try:
            return Expiry(label, day=date.fromisoformat(label) if _DAY.fullmatch(label) else None)
        except ValueError:
            return Expiry(label)

    @property
    def known(self) -> bool:
        """Whether the label means something: a day, a duration or `never`."""
        return self.label == NEVER or self.day is not None or self.length is not None

    def end(self, deployed: datetime | None) -> datetime | None:
        """The moment from which on it is not wanted; None for never, or where it is not known.

        Args:
            deployed: When the model was deployed; a day needs it not.
        """
        if self.day is not None:
            midnight = datetime.combine(self.day, time(), UTC)
            return midnight + timedelta(days=1) if self.day < date.max else None
        if self.length is not None and deployed is not None:
            return deployed + self.length
        return None

    def passed(self, deployed: datetime | None, now: datetime) -> bool:
        """Whether it is not wanted any more."""
        end = self.end(deployed)
        return end is not None and end <= now


def warning(label: str, deployed: datetime | None, now: datetime) -> str:
    """What a preview says of an expiry that is near (two days, a tenth of a duration) or has passed; else empty.

    Args:
        label: Value of the label.
        deployed: When the model was deployed; None where it is not, or not known.
        now: The present time.
    """
    expiry = Expiry.of(label)
    end = expiry.end(deployed)
    if end is None:
        return ""
    near = _NEAR if expiry.length is None else min(_NEAR, expiry.length / 10)
    if end > now + near:
        return ""
    if expiry.length is None:
        later = "set a later day (expires_after in the stack file, or vertex-vllm:labels.expiry)"
    else:
        later = "raise expires_after in the stack file; a new deployment, or vertex-vllm stop and start, begins anew"
    when = f"{end:%Y-%m-%d %H:%M} UTC" if expiry.length else f"{label}"
    if end <= now:
        return (
            f"the stack expired ({expiry.label}): {when} has passed, and the next sweep undeploys it; {later}"
        )
    if not expiry.length:
        when = f"the end of {when} UTC"
    return f"the stack expires soon ({expiry.label}): {when}, then a sweep undeploys it; {later}"

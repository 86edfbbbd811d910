"""The settings of one environment (`Pulumi.<stack>.yaml`): the only reader of Pulumi's configuration.

`read` gives the checked settings of a running program; `parse` does the same from plain values, without an engine.
What a single key may be is in `values`; what they mean together, with the stack file, is in `environment`.
"""

from __future__ import annotations

from infra.settings.environment import Settings, parse, read, subject
from infra.settings.values import KEYS, RawSettings

__all__ = ["KEYS", "RawSettings", "Settings", "parse", "read", "subject"]

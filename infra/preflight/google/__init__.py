"""What Google Cloud must have or allow: serving quota, bucket, APIs, permissions, service account; one module each.

`limits` and `usage` read what `quota` compares; `answers` reads the answers of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.preflight.google.bucket import bucket
from infra.preflight.google.permissions import permissions
from infra.preflight.google.quota import quota
from infra.preflight.google.service_account import service_account
from infra.preflight.google.services import services

if TYPE_CHECKING:
    from infra.preflight.run import Check

__all__ = ["CHECKS"]

CHECKS: Final[tuple[Check, ...]] = (quota, bucket, services, permissions, service_account)

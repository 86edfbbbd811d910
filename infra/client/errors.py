"""Why an endpoint cannot be found or asked; each text says what to do."""

from __future__ import annotations

__all__ = ["BadTarget", "ClientError", "NoAnswer"]


class ClientError(Exception):
    """``str(e)`` is what is wrong and what to do, for people."""


class BadTarget(ClientError):
    """What the user named is not there or cannot be read: no such stack, file, endpoint; no outputs in it."""


class NoAnswer(ClientError):
    """A service or the credentials did not work: nothing can be said of what was named."""

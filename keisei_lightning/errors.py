"""The errors a user of keisei-lightning can meet; each message says what, where and what to do."""

from __future__ import annotations

__all__ = [
    "SessionCapacityError",
    "SessionConfigError",
    "SessionError",
    "SessionLockError",
    "SessionNotFoundError",
    "SessionStateError",
    "SlaViolationError",
]


class SessionError(Exception):
    """Root of every error raised by keisei-lightning."""


class SessionStateError(SessionError, RuntimeError):
    """Something was asked of a session that its state does not allow."""


class SessionNotFoundError(SessionError, LookupError):
    """No session answers to the id, name or prefix that was given."""


class SessionCapacityError(SessionError):
    """As many sessions run as are allowed; the message names the limit."""


class SessionLockError(SessionError):
    """Another process holds the run directory or the record."""


class SessionConfigError(SessionError, ValueError):
    """A setting is wrong; the message names its key and what to write instead."""


class SlaViolationError(SessionError):
    """An evaluation broke its SLA and ``session.sla.on_violation`` is ``fail``."""

"""What a registry gives back besides the records themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from keisei_lightning.errors import SessionError
from keisei_lightning.record import Liveness, SessionRecord

__all__ = ["STUCK_AFTER_S", "Entry", "Updated"]

STUCK_AFTER_S = 1800.0
"""A running session without progress for this long counts as stuck."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with what only the registry knows of it; ``liveness`` is ``None`` once it ended."""

    record: SessionRecord
    liveness: Liveness | None
    pinned: bool
    seen_at: float


@dataclass(frozen=True, slots=True)
class Updated:
    """What a bulk update did: how many it changed, and the error of each one it could not."""

    updated: int = 0
    errors: Mapping[str, SessionError] = dataclasses.field(default_factory=dict)

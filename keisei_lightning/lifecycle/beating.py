"""The heartbeat of a session: what the thread reads from the Trainer and writes to the record."""

from __future__ import annotations

from typing import Any

from keisei_lightning.record import SessionRecord, Status
from keisei_lightning.session import Session

__all__ = ["begin_following", "start_heartbeat"]


def start_heartbeat(session: Session) -> None:
    """Start the thread; it follows whatever Trainer the session is attached to."""


def begin_following(session: Session) -> None:
    """A Trainer was attached."""


_ = (Any, SessionRecord, Status)

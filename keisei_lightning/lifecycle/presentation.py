"""What a person sees of a session: the banner at the start and the summary at the end."""

from __future__ import annotations

from typing import Any

from keisei_lightning.console import show_end, show_start
from keisei_lightning.session import Session

__all__ = ["show_closing", "show_opening"]

_FILES = ("error.txt", "metrics.jsonl", "evaluations.jsonl", "effective_config.diff", "logs")


def show_opening(session: Session, trainer: Any) -> None:
    """Show the banner, once, when device and trackers are known."""
    parts = session.parts
    if parts.banner_shown or not trainer.is_global_zero:
        return
    parts.banner_shown = True
    show_start(
        session.record,
        resumed=session.record.attempt > 1,
        banner=session.config.console.banner,
        note=parts.note,
    )


def show_closing(session: Session) -> None:
    """Show the summary: status, reason, duration, best metrics, files, the sync command."""
    directory = session.directory
    show_end(
        session.record,
        best=session.best,
        files=[name for name in _FILES if (directory / name).exists()],
        banner=session.config.console.banner,
        note=session.parts.note,
    )

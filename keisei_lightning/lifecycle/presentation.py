"""What a person sees of a session: the banner at the start and the summary at the end."""

from __future__ import annotations

from keisei_lightning.session import Session

__all__ = ["show_opening"]


def show_opening(session: Session) -> None:
    """Show the banner, once, when device and trackers are known."""

"""What receives metrics: the journal first, then each tracker in its own thread."""

from __future__ import annotations

from keisei_lightning.tracking.front import silent_logger
from keisei_lightning.tracking.journal import Entry, Journal, read_entries
from keisei_lightning.tracking.tracking import Tracking

__all__ = ["Entry", "Journal", "Tracking", "read_entries", "silent_logger"]

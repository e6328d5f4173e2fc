"""Moments as the record writes them."""

from __future__ import annotations

import datetime

__all__ = ["iso"]


def iso(at: float) -> str:
    """Return seconds since 1970 as ISO 8601 in UTC."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat()

"""Facts as short text for people: times, amounts, and strings that cannot harm a terminal."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta

__all__ = ["ago", "clean", "duration", "instant", "number", "one_line", "percent", "since", "span"]

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS, ...: titles, links
    r"|\x1b[ -/]*[0-~]"  # two-character sequences
    r"|\x9b[0-?]*[ -/]*[@-~]",  # CSI as one C1 character
    re.DOTALL,
)
_UNSAFE = frozenset({"Cc", "Cf", "Cs"})  # control, format (direction, zero width), surrogate
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])", re.IGNORECASE)


def clean(text: str) -> str:
    """Return the text without escape sequences, control and direction characters.

    Line ends and tabs stay. What a run wrote must not move the cursor, set the title or reorder
    the text of the person who reads it.
    """
    if text.isprintable():  # the common case, and many times faster
        return text
    text = _ESCAPES.sub("", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in _UNSAFE)


def one_line(text: str) -> str:
    """Return the cleaned text with every run of white space as one blank."""
    return " ".join(clean(text).split())


def duration(seconds: float | None) -> str:
    """Return seconds as ``12.3s``, ``4m05s``, ``3h07m`` or ``2d04h``; empty when unknown."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return ""
    if seconds < 59.95:
        return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def ago(at: datetime | None, now: datetime) -> str:
    """Return the age of a moment as ``now``, ``45s``, ``12m``, ``5h`` or ``3d``."""
    if at is None:
        return ""
    seconds = (now - at).total_seconds()
    if seconds < 1:
        return "now"
    for unit, size in (("s", 60), ("m", 3600), ("h", 86400)):
        if seconds < size:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{int(seconds // 86400)}d"


def instant(text: str | None) -> datetime | None:
    """Return an ISO 8601 text as an aware moment; ``None`` when it is none."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def span(text: str) -> float:
    """Return the seconds of ``90s``, ``2h``, ``3d``, ``1w`` or ``1d 12h``.

    Raises:
        ValueError: It is no such thing.
    """
    parts = _SPAN.findall(text)
    if not parts or _SPAN.sub("", text).strip():
        raise ValueError(f"{text!r} is no length of time")
    return sum(float(amount) * _UNITS[unit.lower()] for amount, unit in parts)


def since(text: str, now: datetime) -> datetime:
    """Return the moment that ``2h`` ago, ``3d`` ago or an ISO date (local time) stands for.

    Raises:
        ValueError: It is neither.
    """
    try:
        return now - timedelta(seconds=span(text))
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
    except ValueError:
        pass
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo else moment.astimezone()


def number(value: float | None) -> str:
    """Return a metric in at most five significant digits."""
    if value is None:
        return ""
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e7:
        return str(int(value))
    return f"{value:.5g}"


def percent(value: float | None) -> str:
    """Return 0-100 as ``42%``; a run is not at 100 % before it is."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{math.floor(value)}%"

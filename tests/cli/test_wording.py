"""Facts as short text."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.cli import wording

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


@given(st.text() | st.text(alphabet="\x1b[]0;m\x07\x9b\\ab\n"))
def test_cleaned_text_cannot_drive_a_terminal(text: str) -> None:
    """Nothing that is left of a text is a control, a direction mark or a lone surrogate."""
    cleaned = wording.clean(text)
    assert all(c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") for c in cleaned)
    assert wording.clean(cleaned) == cleaned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x08\x08b\rc", "abc"),
        ("\u202egnp.exe", "gnp.exe"),
        ("größe-日本語-🦊", "größe-日本語-🦊"),
    ],
)
def test_escape_sequences_go_as_a_whole(text: str, expected: str) -> None:
    """Colours, titles, links and backspaces leave nothing behind; letters of all scripts stay."""
    assert wording.clean(text) == expected


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    """Whatever the text, it stays on its line."""
    assert len(wording.one_line(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, ""),
        (math.nan, ""),
        (-1.0, ""),
        (0.0, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.94, "60s"),
        (59.96, "1m00s"),
        (3599.4, "59m59s"),
        (3599.6, "1h00m"),
        (90000, "1d01h"),
    ],
)
def test_durations_never_show_sixty_of_the_smaller_unit(
    seconds: float | None, expected: str
) -> None:
    """Rounding carries over into the larger unit."""
    assert wording.duration(seconds) == expected


@given(st.floats(0, 1e9))
def test_durations_are_as_exact_as_they_look(seconds: float) -> None:
    """A duration read back is off by no more than the smaller of its two units."""
    shown = wording.duration(seconds)
    off = 0.051 if seconds < 9.95 else 0.51 if seconds < 3599 else 60 if seconds < 86399 else 3600
    assert abs(wording.span(shown) - seconds) <= off


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "now"), (0, "now"), (59, "59s"), (60, "1m"), (7200, "2h"), (86400 * 400, "400d")],
)
def test_ages_have_one_unit(seconds: float, expected: str) -> None:
    """An age is a whole number of one unit; a moment to come (skewed clocks) is now."""
    assert wording.ago(NOW - timedelta(seconds=seconds), NOW) == expected


def test_since_takes_spans_and_dates() -> None:
    """A span counts back from now; a date without a zone is local."""
    assert wording.since("1d 12h", NOW) == NOW - timedelta(hours=36)
    assert wording.since("1.5h", NOW) == NOW - timedelta(minutes=90)
    assert wording.since("2026-01-31T00:00:00+02:00", NOW).hour == 0
    assert wording.since("2026-01-31", NOW).tzinfo is not None
    assert wording.since("99999999999d", NOW).year == 1
    for wrong in ("yesterday", "", "3", "-3h", "3h ago"):
        with pytest.raises(ValueError):
            wording.since(wrong, NOW)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ""),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (3.0, "3"),
        (0.123456, "0.12346"),
        (1e-12, "1e-12"),
        (1e300, "1e+300"),
    ],
)
def test_numbers_are_short(value: float | None, expected: str) -> None:
    """Five significant digits, whole numbers whole."""
    assert wording.number(value) == expected


def test_a_run_is_not_at_100_percent_before_it_is() -> None:
    """Percentages are cut, not rounded."""
    assert [wording.percent(p) for p in (99.99, 100.0, 0.0, None)] == ["99%", "100%", "0%", ""]


@given(st.text(max_size=40))
def test_no_text_makes_a_time_fail(text: str) -> None:
    """What is no time is ``None``; what is one has a zone."""
    moment = wording.instant(text)
    assert moment is None or moment.tzinfo is not None

"""Which sessions a command means."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.cli import selection
from keisei_lightning.cli.selection import Entry, Query
from keisei_lightning.cli.trouble import NothingFoundError, UsageError
from keisei_lightning.record import Liveness, SessionRecord, Status

START = datetime(2026, 1, 1, tzinfo=UTC)


def entry(id: str, name: str | None = None, **facts: object) -> Entry:
    """Return a session as a source would."""
    return Entry(SessionRecord(id=id, name=name or id).update(**facts))


@given(st.text(min_size=1), st.lists(st.text(max_size=8), max_size=8, unique=True))
def test_one_or_a_clear_error(reference: str, ids: list[str]) -> None:
    """Whatever was typed: one session that starts like it, or an error that says which of two."""
    entries = [entry(id) for id in ids]
    starting = [id for id in ids if id.startswith(reference)]
    try:
        found = selection.pick(reference, entries).record.id
    except NothingFoundError:
        assert not starting
    except UsageError:
        assert len(starting) > 1
        assert reference not in ids
    else:
        assert found == reference or starting == [found]


def test_exact_goes_before_the_start_and_an_id_before_a_name() -> None:
    """``ab`` is the session ``ab`` though ``abc`` exists, and though another is named ``ab``."""
    entries = [entry("abc", "x"), entry("ab", "y"), entry("other", "ab")]
    assert selection.pick("ab", entries).record.name == "y"
    assert selection.pick("x", entries).record.id == "abc"
    assert selection.pick("oth", entries).record.id == "other"


def test_candidates_are_named_the_newest_first() -> None:
    """An ambiguous start lists ids and names, at most eight, and says how many more."""
    entries = [
        entry(f"run{i}", f"name{i}", created_at=(START + timedelta(hours=i)).isoformat())
        for i in range(11)
    ]
    with pytest.raises(UsageError, match=r"11 sessions: run10 \(name10\), run9 .* and 3 more$"):
        selection.pick("run", entries)


def test_nothing_typed_is_nothing_found() -> None:
    """An empty reference is not the start of everything."""
    with pytest.raises(NothingFoundError):
        selection.pick("", [entry("a")])


@given(st.lists(st.floats() | st.none(), max_size=12), st.booleans())
def test_sessions_without_the_metric_come_last(values: list[float | None], reverse: bool) -> None:
    """Sorted by a metric, missing and NaN values are last whichever way round."""
    values = [1.0, *values]
    entries = [
        entry(f"{i:02}", metrics={} if value is None else {"loss": value})
        for i, value in enumerate(values)
    ]
    found = [e.record.metrics.get("loss") for e in selection.sort(entries, "loss", reverse=reverse)]
    numbers = [v for v in found if v is not None and not math.isnan(v)]
    assert found[: len(numbers)] == sorted(numbers, reverse=reverse)
    assert len(found) == len(values)


@pytest.mark.parametrize("key", sorted(selection.SORT_KEYS))
def test_every_key_sorts_records_that_lack_it(key: str) -> None:
    """A record that says next to nothing can be sorted by anything."""
    full = entry("b", created_at=START.isoformat(), seed=1, group="g", host="h", duration_s=1.0)
    assert len(selection.sort([entry("a"), full], key)) == 2


def test_an_unknown_key_is_an_error_that_names_the_known_ones() -> None:
    """A typing error in --sort is not silently no order."""
    with pytest.raises(UsageError, match="'lss'") as caught:
        selection.sort([entry("a", metrics={"loss": 1.0})], "lss")
    assert "created" in str(caught.value.hint)


def test_filters_narrow_together() -> None:
    """Every filter must hold; a name is a part of it, or a pattern for the whole."""
    one = Entry(
        SessionRecord(
            id="a",
            name="digits-[lr]-7",
            status=Status.RUNNING,
            group="sweep",
            tags=("x", "y"),
            created_at=START.isoformat(),
        ),
        Liveness.STALLED,
    )
    fits = [
        Query(),
        Query(statuses=frozenset({Status.RUNNING}), liveness=frozenset({Liveness.STALLED})),
        Query(group="sweep", tags=("y", "x"), name="DIGITS", since=START),
        Query(name="digits-[lr]-?"),
        Query(name="*7"),
    ]
    misses = [
        Query(statuses=frozenset({Status.FAILED})),
        Query(liveness=frozenset({Liveness.DEAD})),
        Query(group="swee"),
        Query(tags=("x", "z")),
        Query(name="digits?"),
        Query(name="digits.*"),
        Query(since=START + timedelta(seconds=1)),
    ]
    assert [selection.matches(query, one) for query in fits] == [True] * len(fits)
    assert [selection.matches(query, one) for query in misses] == [False] * len(misses)

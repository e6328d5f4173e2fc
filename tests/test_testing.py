"""The helpers for other people's tests do what they say."""

from __future__ import annotations

import threading

import pytest

from keisei_lightning import Status
from keisei_lightning.testing import FakeClock, make_record, temporary_registry, wait_for


def test_a_temporary_registry_leaves_nothing() -> None:
    """It is empty, works, takes settings and a clock, and is gone afterwards."""
    clock = FakeClock(1_000.0)
    with temporary_registry({"max_concurrent": 1}, clock=clock) as registry:
        assert registry.ids() == ()
        made = registry.create(name="x")
        assert made.created_at == "1970-01-01T00:16:40+00:00"
        assert registry.find("x") == made
        assert registry.path is not None
        assert registry.path.exists()
        assert registry.roots == (registry.path.parent.parent,)
    assert not registry.path.parent.parent.exists()


def test_records_are_told_apart() -> None:
    """Each has an id, a name and a time of its own; what is given is taken."""
    a, b = make_record(), make_record(status=Status.RUNNING, seed=3)
    assert len({a.id, b.id}) == len({a.name, b.name}) == len({a.created_at, b.created_at}) == 2
    assert (b.status, b.seed) == (Status.RUNNING, 3)


def test_a_fake_clock_stands_still_until_told() -> None:
    """It goes forward and back."""
    clock = FakeClock(10.0)
    assert (clock(), clock()) == (10.0, 10.0)
    assert clock.advance(5.0) == clock() == 15.0
    assert clock.advance(-20.0) == clock() == -5.0


def test_waiting_gives_the_value_or_says_what_did_not_come() -> None:
    """The value as soon as it is true; else an error that names what was waited for."""
    found: list[int] = []
    threading.Timer(0.05, lambda: found.append(7)).start()
    assert wait_for(lambda: found) == [7]
    with pytest.raises(TimeoutError, match=r"the moon was not so within 0\.05 s \(last: None\)"):
        wait_for(lambda: None, 0.05, what="the moon")

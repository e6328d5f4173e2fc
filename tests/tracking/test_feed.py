"""A feed: the training thread never waits for a tracker, and a tracker can only fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from keisei_lightning.record import Tracker
from keisei_lightning.tracking.feed import Feed
from keisei_lightning.tracking.journal import Entry


class Recorder:
    """A tracker that remembers, and blocks or fails where it is told to."""

    kind = "recorder"

    def __init__(self, *, fail: str = "", block: str = "") -> None:
        self.calls: list[Any] = []
        self.thread: int | None = None
        self.released = threading.Event()
        self.killed = False
        self._fail, self._block = fail, block

    def _at(self, place: str, what: Any) -> None:
        self.thread = threading.get_ident()
        if self._block == place:
            self.released.wait()
            if self.killed:
                raise ConnectionResetError("killed")
        if self._fail == place:
            raise ValueError(f"no {place}")
        self.calls.append(what)

    def open(self) -> None:
        self._at("open", "open")

    def log(self, entry: Entry) -> None:
        self._at("log", entry.step)

    def config(self, params: Mapping[str, Any]) -> None:
        self._at("config", dict(params))

    def tick(self) -> None:
        """Nothing."""

    def finish(self, exit_code: int, deadline: float) -> None:
        self._at("finish", ("finish", exit_code))

    def kill(self) -> None:
        self.killed = True
        self.released.set()

    def facts(self) -> Tracker:
        return Tracker(kind=self.kind)


def entry(step: int) -> Entry:
    """An entry of one metric."""
    return Entry({"a": 1.0}, step, None, 0.0)


def feed_of(sink: Recorder, **more: Any) -> tuple[Feed, list[str]]:
    """A feed and the list of its warnings."""
    warnings: list[str] = []
    feed = Feed(
        sink, warn=lambda key, message: warnings.append(key), on_change=lambda: None, **more
    )
    return feed, warnings


def test_everything_queued_arrives_in_order_on_the_feeds_own_thread() -> None:
    """What was queued before the start comes first, the end comes last, and none of it here."""
    sink = Recorder()
    feed, warnings = feed_of(sink)
    feed.config({"lr": 1})
    for step in range(100):
        feed.put(entry(step))
    feed.start()
    assert feed.close(3, time.monotonic() + 10)
    assert sink.calls == ["open", {"lr": 1}, *range(100), ("finish", 3)]
    assert sink.thread != threading.get_ident()
    assert warnings == []


def test_a_failing_tracker_costs_one_warning_and_is_muted() -> None:
    """After the first error nothing more is sent, and the end is still told."""
    sink = Recorder(fail="log")
    feed, warnings = feed_of(sink)
    feed.start()
    for step in range(10):
        feed.put(entry(step))
    assert not feed.close(0, time.monotonic() + 10)
    assert warnings == ["tracking/recorder/log"]
    assert sink.calls == ["open", ("finish", 0)]


def test_a_tracker_that_cannot_open_is_muted() -> None:
    """The warning names the step that failed."""
    feed, warnings = feed_of(Recorder(fail="open"))
    feed.start()
    feed.put(entry(1))
    assert not feed.close(0, time.monotonic() + 10)
    assert warnings == ["tracking/recorder/open"]


def test_a_call_that_blocks_is_made_to_fail_within_the_budget() -> None:
    """The close returns in time, and the end still reaches the tracker."""
    sink = Recorder(block="log")
    feed, warnings = feed_of(sink)
    feed.start()
    feed.put(entry(1))
    begin = time.monotonic()
    feed.close(0, begin + 3)
    assert time.monotonic() - begin < 4
    assert sink.killed
    assert ("finish", 0) in sink.calls
    assert warnings == ["tracking/recorder/log"]


def test_a_tracker_that_never_ends_is_left_behind() -> None:
    """The budget is kept although even the kill does not help."""
    sink = Recorder(block="finish")
    sink.kill = lambda: None  # type: ignore[method-assign]
    feed, warnings = feed_of(sink)
    feed.start()
    begin = time.monotonic()
    assert not feed.close(0, begin + 1)
    assert time.monotonic() - begin < 2
    assert warnings == ["tracking/recorder/close"]
    sink.released.set()


def test_a_tracker_that_hangs_in_mid_run_is_noticed() -> None:
    """A call that takes longer than allowed is made to fail when the next entry comes."""
    sink = Recorder(block="log")
    feed, _ = feed_of(sink, stuck_after_s=0.2)
    feed.start()
    feed.put(entry(1))
    for step in range(2, 100):
        time.sleep(0.05)
        feed.put(entry(step))
        if sink.released.wait(0):
            break
    assert sink.killed
    feed.close(0, time.monotonic() + 5)


def test_closing_twice_or_without_a_start_is_harmless() -> None:
    """The end is told once."""
    sink = Recorder()
    feed, _ = feed_of(sink)
    assert not feed.close(0, time.monotonic() + 1)
    feed.start()
    feed.close(1, time.monotonic() + 5)
    feed.close(2, time.monotonic() + 5)
    assert sink.calls == ["open", ("finish", 1)]


def test_entries_from_before_the_feed_come_first() -> None:
    """A late feed is given what there was."""
    sink = Recorder()
    feed, _ = feed_of(sink, before=lambda: [entry(1), entry(2)])
    feed.put(entry(3))
    feed.start()
    feed.close(0, time.monotonic() + 5)
    assert sink.calls == ["open", 1, 2, 3, ("finish", 0)]

"""A tracker's own thread: the training thread queues, everything slow happens here."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from keisei_lightning.record import Tracker
from keisei_lightning.tracking.journal import Entry

__all__ = ["STUCK_AFTER_S", "Feed", "Sink"]

_log = logging.getLogger(__name__)

CAPACITY = 1_000_000
STUCK_AFTER_S = 60.0
TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class _End:
    exit_code: int
    deadline: float


class Sink(Protocol):
    """What a tracker must be able to do; every method but ``facts`` and ``kill`` runs on its feed.

    Any of them may raise: the tracker is then given up with one warning.
    """

    kind: str

    def open(self) -> None:
        """Get ready; may take long."""

    def log(self, entry: Entry) -> None:
        """Take one entry."""

    def config(self, params: Mapping[str, Any]) -> None:
        """Take hyper-parameters, redacted and plain."""

    def tick(self) -> None:
        """Called about once a second while there is nothing to do."""

    def finish(self, exit_code: int, deadline: float) -> None:
        """End, by ``deadline`` (``time.monotonic``) if that can be helped."""

    def kill(self) -> None:
        """Called from another thread: make whatever blocks the feed's thread fail at once."""

    def facts(self) -> Tracker:
        """Return what the record says of this tracker; called from any thread, at once."""


class Feed:
    """A queue and a daemon thread in front of a sink.

    Args:
        sink: The tracker.
        warn: Called with a key and a message, once per kind of trouble.
        on_change: Called after the sink has opened or failed, when its facts may have changed.
        before: What was logged before the feed existed; read on the feed's thread.
        stuck_after_s: Seconds one call may block before it is made to fail.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        warn: Callable[[str, str], None],
        on_change: Callable[[], None],
        before: Callable[[], Iterable[Entry]] = tuple,
        stuck_after_s: float = STUCK_AFTER_S,
    ) -> None:
        self.sink = sink
        self.broken = False
        self.errors = 0
        self.lost = 0
        self.opened = threading.Event()
        self._warn = warn
        self._on_change = on_change
        self._before = before
        self._stuck_after_s = stuck_after_s
        self._queue: queue.SimpleQueue[Callable[[], None] | Entry | _End] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._killing = False
        self._finishing = threading.Event()
        self._finished = threading.Event()
        self._closing = False
        self._hurry = False
        self._thread = threading.Thread(
            target=self._work, name=f"keisei-{sink.kind}-feed", daemon=True
        )

    def start(self) -> None:
        """Start the thread; until then everything waits in the queue."""
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether the thread was started."""
        return self._thread.ident is not None

    @property
    def _is_forked(self) -> bool:
        """Whether this is a forked child, which has the queue but not the thread."""
        return self.started and not self._thread.is_alive()

    def put(self, entry: Entry) -> None:
        """Queue an entry; costs microseconds."""
        if self.broken or self._closing:
            return
        if self._queue.qsize() >= CAPACITY or self._is_forked:
            self.lost += 1
            return
        self._queue.put(entry)
        if self._blocked(self._stuck_after_s):
            self._kill()

    def config(self, params: Mapping[str, Any]) -> None:
        """Queue hyper-parameters, plain and redacted."""
        self.call(lambda: self.sink.config(params))

    def call(self, function: Callable[[], None]) -> None:
        """Queue any other work for the sink's thread."""
        if not self.broken and not self._closing:
            self._queue.put(function)

    def close(self, exit_code: int, deadline: float) -> bool:
        """Send what is queued, end the sink, and return by ``deadline`` whatever happens.

        Two thirds of the time may go into what is queued (a call that blocks is made to fail
        earlier); what is then still queued is given up, the rest belongs to the end itself.

        Args:
            exit_code: Of the run, explicit.
            deadline: As of ``time.monotonic``.

        Returns:
            Whether the sink took everything and ended, in time, without having failed.
        """
        if not self.started or self._closing:
            return self._finished.is_set() and not self.broken
        self._closing = True
        self._killing = False
        self._queue.put(_End(exit_code, deadline))
        total = max(0.0, deadline - time.monotonic())
        for share in (0.4, 0.25):
            if not self._finishing.wait(total * share) and self._blocked(total * 0.2):
                self._kill()
        self._hurry = True
        if not self._finished.wait(max(0.0, deadline - time.monotonic())):
            self._kill_now()
            self._fail("close", f"{self.sink.kind} did not end in time and was left behind")
        if self.lost:
            self._fail("lost", f"{self.lost} entries did not get to {self.sink.kind} in time")
        return not self.broken and not self.lost

    def _work(self) -> None:
        self._guard("open", self.sink.open)
        self.opened.set()
        self._changed()
        self._guard("log", self._catch_up)
        while not self._finished.is_set():
            try:
                self._take(self._queue.get(timeout=TICK_S))
            except queue.Empty:
                self._guard("log", self.sink.tick)

    def _catch_up(self) -> None:
        for entry in self._before():
            self.sink.log(entry)

    def _take(self, item: Callable[[], None] | Entry | _End) -> None:
        if isinstance(item, _End):
            self._finish(item)
        elif self._hurry:
            self.lost += 1
        elif isinstance(item, Entry):
            self._guard("log", lambda: self.sink.log(item))
        else:
            self._guard("call", item)

    def _finish(self, end: _End) -> None:
        self._finishing.set()
        try:
            self.sink.finish(end.exit_code, end.deadline)
        except BaseException as error:  # SystemExit comes out of wandb's teardown
            self._fail("finish", f"{self.sink.kind} did not end well: {_words(error)}")
        self._finished.set()

    def _guard(self, what: str, step: Callable[[], None]) -> None:
        if self.broken:
            return
        self._busy_since = time.monotonic()
        try:
            step()
        except BaseException as error:
            _log.debug("the %s tracker failed", self.sink.kind, exc_info=True)
            self._fail(what, f"{self.sink.kind} gets no more metrics: {_words(error)}")
            self._changed()
        self._busy_since = None

    def _blocked(self, seconds: float) -> bool:
        since = self._busy_since
        return since is not None and time.monotonic() - since > seconds

    def _kill(self) -> None:
        """Make the sink's blocking call fail, once, without waiting for it."""
        if not self._killing:
            self._killing = True
            threading.Thread(target=self._kill_now, daemon=True).start()

    def _kill_now(self) -> None:
        try:
            self.sink.kill()
        except Exception:
            _log.debug("the %s tracker could not be killed", self.sink.kind, exc_info=True)

    def _changed(self) -> None:
        try:
            self._on_change()
        except Exception:
            _log.debug("the change of a tracker could not be told", exc_info=True)

    def _fail(self, what: str, message: str) -> None:
        self.errors += 1
        if not self.broken:
            self.broken = True
            self._warn(
                f"tracking/{self.sink.kind}/{what}", f"{message}; metrics.jsonl has them all"
            )


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__

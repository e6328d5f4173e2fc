"""The thread that beats: it looks at the run now and then and promises when it looks next."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from keisei_lightning.heartbeat.pace import Pace, advance, progress
from keisei_lightning.heartbeat.resources import Meter, Resources
from keisei_lightning.heartbeat.trainer import Snapshot
from keisei_lightning.record import Checkpoint, Progress
from keisei_lightning.record import Heartbeat as Sign

__all__ = ["Beat", "Heartbeat", "promise"]

log = logging.getLogger(__name__)

T = TypeVar("T")

_DELAYS_KEPT = 200
_SHORTEST_S = 5.0
_FIRST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Beat:
    """One sign of life and what was seen; ``progress`` is absent before there is a Trainer."""

    heartbeat: Sign
    progress: Progress | None = None
    checkpoint: Checkpoint | None = None
    resources: Resources | None = None


def promise(interval_s: float, delays_s: Iterable[float]) -> float:
    """Return within how many seconds the next beat is sure to come.

    Three intervals (five seconds at least), and three times the longest delay measured lately: a
    validation or a checkpoint that holds the interpreter for a minute has done so before.
    """
    return round(max(_SHORTEST_S, 3.0 * interval_s) + 3.0 * max(delays_s, default=0.0), 3)


class Heartbeat:
    """Beats every ``interval_s`` seconds on a daemon thread; no error of its parts ends it.

    The first beats come quicker, so that a run that dies young has left its steps.

    Args:
        interval_s: Seconds between two beats.
        read: Gives where the Trainer is, ``None`` when there is none; called on the thread.
        beat: Takes each beat; called on the thread.
        resources: Gives what the process takes of the machine.
        clock: Seconds since 1970; may jump.
        monotonic: Seconds that never jump and stand still while the machine is suspended.
    """

    def __init__(
        self,
        interval_s: float,
        read: Callable[[], Snapshot | None],
        beat: Callable[[Beat], None],
        *,
        resources: Callable[[], Resources | None] | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.errors = 0
        self._interval_s = max(0.01, interval_s)
        self._read = read
        self._beat = beat
        self._resources = resources or Meter().read
        self._clock = clock
        self._monotonic = monotonic
        self._pace: Pace | None = None
        self._delays: deque[float] = deque(maxlen=_DELAYS_KEPT)
        self._awake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="keisei-heartbeat", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; it beats at once."""
        self._thread.start()

    def soon(self) -> None:
        """Beat now rather than at the next interval; returns at once."""
        self._awake.set()

    def stop(self, timeout: float = 1.0) -> bool:
        """Ask the thread to end; whether it did within ``timeout`` seconds."""
        self._stopped.set()
        self._awake.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def once(self) -> Beat:
        """Look and beat one time, in the caller's thread."""
        seen = self._guarded("reading the Trainer", self._read)
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat()
        if seen is not None:
            at = self._monotonic()
            self._pace = self._guarded(
                "progress", lambda: advance(self._pace, seen, at=at, time=now)
            )
        beat = Beat(
            heartbeat=Sign(at=now, expect_next_in_s=promise(self._interval_s, self._delays)),
            progress=progress(self._pace) if seen is not None and self._pace is not None else None,
            checkpoint=seen.checkpoint if seen is not None else None,
            resources=self._guarded("reading CPU and GPU", self._resources),
        )
        self._guarded("writing the beat", lambda: self._beat(beat))
        return beat

    def _work(self) -> None:
        due = self._monotonic()
        pause = min(_FIRST_PAUSE_S, self._interval_s)
        while not self._stopped.is_set():
            late = max(0.0, self._monotonic() - due)
            begun = self._monotonic()
            self._guarded("the beat", self.once)
            # Late because the interpreter was held, or long because the disk was slow.
            self._delays.append(late + self._monotonic() - begun)
            due = begun + pause
            pause = min(2 * pause, self._interval_s)
            self._awake.wait(max(0.0, due - self._monotonic()))
            if self._awake.is_set():
                due = self._monotonic()
            self._awake.clear()

    def _guarded(self, what: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as error:
            self.errors += 1
            if self.errors == 1:
                log.warning("%s failed (%r); the heart beats on", what, error)
            return None

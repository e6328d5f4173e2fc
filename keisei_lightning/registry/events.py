"""What happens to sessions, told to observers that can neither delay nor break anything."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from keisei_lightning.errors import SessionConfigError
from keisei_lightning.record import SessionRecord, Status

__all__ = ["Dispatcher", "Event", "EventType", "Observer", "between", "build_observers"]

log = logging.getLogger(__name__)


class EventType(StrEnum):
    """What can happen to a session."""

    OPENED = "opened"
    PROGRESSED = "progressed"
    EVALUATED = "evaluated"
    VIOLATED = "violated"
    CLOSED = "closed"
    LOST = "lost"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, with the record as it is after it; ``at`` in seconds since 1970."""

    type: EventType
    record: SessionRecord
    at: float


@runtime_checkable
class Observer(Protocol):
    """Who wants to know; by config: ``session.registry.observers: [{_target_: my.Observer}]``."""

    def on_event(self, event: Event) -> None:
        """Take note of an event, on a thread of the observer's own."""


def between(before: SessionRecord | None, after: SessionRecord) -> tuple[EventType, ...]:
    """Return what happened from one record of a session to the next; ``None``: there was none."""
    happened = []
    if before is None or before.attempt < after.attempt:
        happened.append(EventType.OPENED)
    if before is not None and before.progress != after.progress and after.progress is not None:
        happened.append(EventType.PROGRESSED)
    if _evaluations(after) != (_evaluations(before) if before else {}):
        happened.append(EventType.EVALUATED)
    broken = after.sla is not None and not after.sla.passed
    if broken and (before is None or before.sla != after.sla):
        happened.append(EventType.VIOLATED)
    if after.status.is_final and (before is None or not before.status.is_final):
        lost = after.status is Status.LOST
        happened.append(EventType.LOST if lost else EventType.CLOSED)
    return tuple(happened)


def build_observers(nodes: Iterable[Any]) -> tuple[Observer, ...]:
    """Return the observers of a config: objects as they are, ``_target_`` nodes instantiated.

    Raises:
        SessionConfigError: A node gives nothing with ``on_event``; the message names it.
    """
    return tuple(_build(position, node) for position, node in enumerate(nodes))


class Dispatcher:
    """Hands events to each observer on its own thread, through a queue of bounded length.

    A failing observer is warned about once and goes on being told; a slow one misses the events
    that its queue cannot hold. Both are counted in ``failed`` and ``missed``.
    """

    def __init__(self, observers: Iterable[Observer] = (), *, size: int = 1000) -> None:
        self._desks = [_Desk(observer, size) for observer in observers]

    def __bool__(self) -> bool:
        return bool(self._desks)

    @property
    def failed(self) -> int:
        """How many times an observer raised."""
        return sum(desk.failed for desk in self._desks)

    @property
    def missed(self) -> int:
        """How many events did not fit into a queue."""
        return sum(desk.missed for desk in self._desks)

    def tell(self, before: SessionRecord | None, after: SessionRecord, *, at: float) -> None:
        """Tell what happened between two records; returns at once."""
        if self._desks:
            for kind in between(before, after):
                self.publish(Event(kind, after, at))

    def publish(self, event: Event) -> None:
        """Tell one event; returns at once."""
        for desk in self._desks:
            desk.put(event)

    def close(self, timeout: float = 5.0) -> bool:
        """Let the observers finish what is queued; whether they did within ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        finished = [desk.close(deadline - time.monotonic()) for desk in self._desks]
        return all(finished)


class _Desk:
    def __init__(self, observer: Observer, size: int) -> None:
        self.failed = 0
        self.missed = 0
        self._observer = observer
        self._queue: queue.Queue[Event | None] = queue.Queue(size)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    def put(self, event: Event) -> None:
        if self._closed:
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="keisei-observer", daemon=True
                )
                self._thread.start()
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self.missed += 1

    def close(self, timeout: float) -> bool:
        self._closed = True
        if self._thread is None:
            return True
        # A full queue needs no mark: the worker sees the flag when it is through.
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _work(self) -> None:
        while (event := self._next()) is not None:
            try:
                self._observer.on_event(event)
            except Exception as error:
                self.failed += 1
                if self.failed == 1:
                    log.warning(
                        "observer %s failed on %s: %r; further failures are only counted",
                        type(self._observer).__qualname__,
                        event.type.value,
                        error,
                    )

    def _next(self) -> Event | None:
        while True:
            try:
                return self._queue.get(timeout=1.0)
            except queue.Empty:
                if self._closed:
                    return None


def _evaluations(record: SessionRecord) -> dict[str, str]:
    # NaN differs from itself; its text does not.
    return {
        name: str(value) for name, value in record.metrics.items() if name.startswith("evaluation/")
    }


def _build(position: int, node: Any) -> Observer:
    made = node
    if isinstance(node, Mapping) or hasattr(node, "_metadata"):
        from hydra.utils import instantiate

        try:
            made = instantiate(node)
        except Exception as error:
            raise SessionConfigError(
                f"session.registry.observers[{position}] cannot be made: {error}"
            ) from error
    if not callable(getattr(made, "on_event", None)):
        raise SessionConfigError(
            f"session.registry.observers[{position}] has no on_event(event); give a _target_ of a "
            "class that has"
        )
    return made  # type: ignore[no-any-return]

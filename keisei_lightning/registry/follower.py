"""What a running session has of the registry: admission, its row kept up, clean-up."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from keisei_lightning.config import CapacityPolicy, RegistryConfig
from keisei_lightning.errors import SessionCapacityError
from keisei_lightning.record import SessionRecord
from keisei_lightning.registry.clerk import Clerk
from keisei_lightning.registry.events import Dispatcher, Observer, build_observers

if TYPE_CHECKING:
    from keisei_lightning.registry.admission import Admission, Waiting
    from keisei_lightning.registry.cleaning import Relink
    from keisei_lightning.registry.store import Registry

__all__ = ["Follower"]

log = logging.getLogger(__name__)

_ASK_AGAIN_S = 1.0


class Follower:
    """Keeps one session's row up to date from a daemon thread of its own.

    The thread also cleans up: at the start and each ``cleanup_interval_s``. No method but
    :meth:`admit` raises, none waits for the database longer than it says. While the database is
    locked, full or gone the newest record is kept, and written as soon as it can be.

    Args:
        config: Where the registry is, limits and times.
        cwd: Where the search for the project's database starts.
        directory: The run directory, for messages.
        observers: Told what happens to the session, besides those of the config.
        relink: Called with directory and record of each session that a clean-up marks lost.
    """

    def __init__(
        self,
        config: RegistryConfig,
        *,
        cwd: str | os.PathLike[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        observers: Iterable[Observer] = (),
        relink: Relink | None = None,
    ) -> None:
        self._config = config
        self._dispatcher = Dispatcher([*_observers(config), *observers])
        self._telling = threading.Lock()
        self._told: SessionRecord | None = None
        self._clerk = Clerk(
            config,
            # The thread looks later, when the current directory may be another one.
            cwd=Path(cwd) if cwd is not None else _here(),
            directory=Path(directory) if directory is not None else None,
            relink=relink,
        )

    @property
    def failures(self) -> int:
        """How many times the registry failed; the first was warned about."""
        return self._clerk.failures

    @property
    def lost(self) -> int:
        """How many dead sessions the clean-ups of this follower wrote off."""
        return self._clerk.lost

    def admit(
        self, record: SessionRecord, *, progress: Callable[[Waiting], None] | None = None
    ) -> None:
        """Ask for a slot and write the session down as running.

        Goes on without an answer, with one warning, when the database gives none for
        ``timeout_s``; with ``on_capacity: wait`` it waits up to ``wait_timeout_s`` for a slot.

        Args:
            record: The session that wants to run.
            progress: Called while waiting; absent: a line is logged each minute.

        Raises:
            SessionCapacityError: There is no slot; the message names the limit and what runs.
        """
        waits = CapacityPolicy(self._config.on_capacity) is CapacityPolicy.wait
        patience = self._config.wait_timeout_s if waits else 0.0
        asked = time.monotonic()
        try:
            while True:
                answer = self._clerk.ask(lambda registry: registry.gate.ask(record))
                if answer is None or answer.admitted:
                    return
                waited = time.monotonic() - asked
                if waited >= patience:
                    raise SessionCapacityError(self._refusal(answer, waited if waits else None))
                self._report(answer, waited, progress)
                time.sleep(min(_ASK_AGAIN_S, patience - waited))
        except BaseException:
            if waits:
                self._clerk.leave(_withdrawal(record.id))
            raise

    def push(self, record: SessionRecord) -> None:
        """Have the record written; returns at once, only the newest one counts."""
        # Beats and hooks push from several threads; observers are told in the order of writing.
        with self._telling:
            if not self._clerk.take(record):
                return
            before, self._told = self._told, record
            with contextlib.suppress(Exception):
                self._dispatcher.tell(before, record, at=time.time())

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is left and end; whether everything was written in time.

        Waits ``timeout`` seconds at most, and for the database no longer than the ``timeout_s``
        that it may take. What was not written is brought in by the next clean-up of anyone who
        can read the run directory, or by ``keisei reindex``.
        """
        deadline = time.monotonic() + max(0.0, timeout)
        written = self._clerk.settle(min(timeout, self._config.timeout_s))
        self._clerk.stop()
        told = self._dispatcher.close(max(0.0, deadline - time.monotonic()))
        self._clerk.join(min(1.0, deadline - time.monotonic()))
        return written and told

    def _refusal(self, answer: Admission, waited_s: float | None) -> str:
        registry = self._clerk.registry
        return registry.gate.refusal(answer, waited_s) if registry is not None else "no slot"

    def _report(
        self, answer: Admission, waited_s: float, progress: Callable[[Waiting], None] | None
    ) -> None:
        from keisei_lightning.registry.admission import Waiting

        limit = self._config.max_concurrent
        if progress is not None:
            progress(Waiting(limit, answer.running, answer.ahead, waited_s))
        elif waited_s % 60 < _ASK_AGAIN_S:
            log.warning(
                "waiting for a slot: %d of %d sessions run, %d ahead of this one; waited %.0f s",
                len(answer.running),
                limit,
                answer.ahead,
                waited_s,
            )


def _withdrawal(id: str) -> Callable[[Registry], Admission]:
    def withdraw(registry: Registry) -> Admission:
        from keisei_lightning.registry.admission import Admission

        registry.gate.withdraw(id)
        return Admission(admitted=False)

    return withdraw


def _observers(config: RegistryConfig) -> tuple[Observer, ...]:
    try:
        return build_observers(config.observers)
    except Exception as error:
        log.warning("observers are left out: %s", error)
        return ()


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None

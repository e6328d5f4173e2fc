"""What a running session has of the registry: a thread that keeps the index up with the record."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keisei_lightning.config import CapacityPolicy, RegistryConfig
from keisei_lightning.errors import SessionCapacityError
from keisei_lightning.record import SessionRecord
from keisei_lightning.registry.events import Dispatcher, Observer, build_observers

if TYPE_CHECKING:
    from keisei_lightning.registry.admission import Admission, Waiting
    from keisei_lightning.registry.cleaning import Relink
    from keisei_lightning.registry.store import Registry

__all__ = ["Follower"]

log = logging.getLogger(__name__)

_RETRY_S = (0.25, 10.0)  # first and longest pause between two tries to write
_ASK_AGAIN_S = 1.0
_IMPORT_S = 60.0  # a crowd of processes starting at once imports slowly; no database is asked yet
_FOREVER_S = 3600.0

_Question = Callable[["Registry"], "Admission"]


class Follower:
    """Keeps one session's row up to date from a daemon thread of its own.

    The thread also cleans up: at the start and each ``cleanup_interval_s``. ``failures`` counts
    what went wrong, ``lost`` the sessions that clean-ups wrote off.

    No method but :meth:`admit` raises, none waits for the database longer than it says. While the
    database is locked, full or gone the newest record is kept, and written at the next beat.

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
        self.failures = 0
        self.lost = 0
        self._config = config
        # The thread starts looking later, when the current directory may be another one.
        self._cwd = Path(cwd) if cwd is not None else _here()
        self._directory = Path(directory) if directory is not None else None
        self._relink = relink
        self._dispatcher = Dispatcher([*self._observers(), *observers])
        self._registry: Registry | None = None
        self._passed_over = False
        self._told: SessionRecord | None = None
        self._latest: SessionRecord | None = None
        self._questions: queue.SimpleQueue[tuple[_Question, Any]] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._awake = threading.Event()
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._settled = threading.Event()
        self._settled.set()
        self._thread = threading.Thread(target=self._work, name="keisei-registry", daemon=True)
        self._thread.start()

    def admit(
        self, record: SessionRecord, *, progress: Callable[[Waiting], None] | None = None
    ) -> None:
        """Ask for a slot and write the session down as running.

        Goes on without an answer, with one warning, when the database gives none for
        ``timeout_s``; with ``on_capacity: wait`` it waits up to ``wait_timeout_s`` for a slot.

        Raises:
            SessionCapacityError: There is no slot; the message names the limit and what runs.
        """
        waits = CapacityPolicy(self._config.on_capacity) is CapacityPolicy.wait
        asked = time.monotonic()
        try:
            while True:
                answer = self._ask(lambda registry: registry.gate.ask(record))
                if answer is None or answer.admitted:
                    return
                waited = time.monotonic() - asked
                if not waits or waited >= self._config.wait_timeout_s:
                    raise SessionCapacityError(self._refusal(answer, waited if waits else None))
                self._report(answer, waited, progress)
                time.sleep(min(_ASK_AGAIN_S, self._config.wait_timeout_s - waited))
        except BaseException:
            if waits:
                self._forget(record.id)
            raise

    def push(self, record: SessionRecord) -> None:
        """Have the record written; returns at once, only the newest one counts."""
        with self._guard:
            if self._closing.is_set():
                return
            before, self._told = self._told, record
            self._latest = record
            self._settled.clear()
        self._awake.set()
        with contextlib.suppress(Exception):
            self._dispatcher.tell(before, record, at=time.time())

    def close(self, timeout: float = 5.0) -> bool:
        """Write what is left and end; whether everything was written in time.

        Waits ``timeout`` seconds at most, and no longer than the ``timeout_s`` that a database may
        take. What was not written is brought in by the next clean-up of anyone who can read the
        run directory, or by ``keisei reindex``.
        """
        deadline = time.monotonic() + max(0.0, timeout)
        written = self._settled.wait(max(0.0, min(timeout, self._config.timeout_s)))
        self._closing.set()
        self._awake.set()
        told = self._dispatcher.close(max(0.0, deadline - time.monotonic()))
        self._thread.join(max(0.0, min(1.0, deadline - time.monotonic())))
        return written and told

    # -- the caller's side of admission --------------------------------------------------------

    def _ask(self, question: _Question) -> Admission | None:
        """Return the answer; ``None`` when there is none in time."""
        reply: Any = queue.SimpleQueue()
        self._questions.put((question, reply))
        self._awake.set()
        self._ready.wait(_IMPORT_S)
        try:
            answer = reply.get(timeout=self._config.timeout_s)
        except queue.Empty:
            answer = TimeoutError(f"no answer within {self._config.timeout_s:g} s")
        if isinstance(answer, Exception):
            self._failed(answer, "the session goes on without admission; ")
            return None
        found: Admission = answer
        return found

    def _refusal(self, answer: Admission, waited_s: float | None) -> str:
        registry = self._registry
        return registry.gate.refusal(answer, waited_s) if registry is not None else "no slot"

    def _report(
        self, answer: Admission, waited_s: float, progress: Callable[[Waiting], None] | None
    ) -> None:
        from keisei_lightning.registry.admission import Waiting

        limit = self._config.max_concurrent
        if progress is not None:
            progress(Waiting(limit, answer.running, answer.ahead, waited_s))
        elif waited_s < _ASK_AGAIN_S or waited_s % 60 < _ASK_AGAIN_S:
            log.warning(
                "waiting for a slot: %d of %d sessions run, %d ahead of this one; waited %.0f s",
                len(answer.running),
                limit,
                answer.ahead,
                waited_s,
            )

    def _forget(self, id: str) -> None:
        def withdraw(registry: Registry) -> Admission:
            from keisei_lightning.registry.admission import Admission

            registry.gate.withdraw(id)
            return Admission(admitted=False)

        self._questions.put((withdraw, queue.SimpleQueue()))
        self._awake.set()

    # -- the thread ----------------------------------------------------------------------------

    def _work(self) -> None:
        with contextlib.suppress(Exception):
            # SQLAlchemy takes 0.2 s to import: here, never on the training thread.
            from keisei_lightning.registry import store  # noqa: F401
        self._ready.set()
        interval = self._config.cleanup_interval_s
        clean_at = time.monotonic() if interval > 0 else math.inf
        pause, wait = _RETRY_S[0], 1.0
        while True:
            self._awake.wait(wait)
            self._awake.clear()
            self._answer()
            written = self._write()
            if self._closing.is_set():
                self._leave()
                return
            if written and time.monotonic() >= clean_at:
                self._clean()
                clean_at = time.monotonic() + interval
            pause = _RETRY_S[0] if written else min(2 * pause, _RETRY_S[1])
            wait = min(_FOREVER_S, max(0.0, clean_at - time.monotonic())) if written else pause

    def _answer(self) -> None:
        while True:
            try:
                question, reply = self._questions.get_nowait()
            except queue.Empty:
                return
            try:
                reply.put(question(self._open()))
            except Exception as error:
                reply.put(error)

    def _write(self) -> bool:
        """Write the newest record if there is one; whether nothing is left to write."""
        with self._guard:
            record = self._latest
        if record is None:
            return True
        try:
            registry = self._open()
            if not registry.put(record, alive=True):
                self._overtaken(registry, record)
        except Exception as error:
            self._failed(error, "the record is kept and written later; ")
            return False
        with self._guard:
            if self._latest is record:
                self._latest = None
                self._settled.set()
                return True
        return False

    def _overtaken(self, registry: Registry, record: SessionRecord) -> None:
        if self._passed_over:
            return
        self._passed_over = True
        stored = registry.get(record.id).status
        log.warning(
            "the registry has session %s as %s already, which stays; %s is not written there",
            record.id,
            stored.value,
            record.status.value,
        )

    def _clean(self) -> None:
        try:
            self.lost += self._open().cleanup()
        except Exception as error:
            self._failed(error, "clean-up is tried again later; ")

    def _open(self) -> Registry:
        if self._registry is None:
            from keisei_lightning.registry.store import Registry

            config = dataclasses.replace(self._config, observers=[])  # they are told by us
            self._registry = Registry(
                None, config, cwd=self._cwd, relink=self._relink, hold_connections=False
            )
        return self._registry

    def _leave(self) -> None:
        if self._registry is not None:
            with contextlib.suppress(Exception):
                self._registry.close(0.0)

    def _observers(self) -> tuple[Observer, ...]:
        try:
            return build_observers(self._config.observers)
        except Exception as error:
            log.warning("observers are left out: %s", error)
            return ()

    def _failed(self, error: Exception, consequence: str) -> None:
        self.failures += 1
        if self.failures == 1:
            log.warning(
                "the registry failed (%s); %sfurther failures are only counted. "
                "`keisei reindex %s` brings the run in",
                error,
                consequence,
                self._directory or "DIR",
            )


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None

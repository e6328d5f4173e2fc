"""The thread beside a running session that is the only one to wait for the database."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keisei_lightning.config import RegistryConfig
from keisei_lightning.record import SessionRecord

if TYPE_CHECKING:
    from keisei_lightning.registry.admission import Admission
    from keisei_lightning.registry.cleaning import Relink
    from keisei_lightning.registry.store import Registry

__all__ = ["Clerk", "Question"]

log = logging.getLogger(__name__)

_RETRY_S = (0.25, 10.0)  # first and longest pause between two tries to write
_IMPORT_S = 60.0  # a crowd of processes starting at once imports slowly; no database is asked yet
_FOREVER_S = 3600.0

Question = Callable[["Registry"], "Admission"]


class Clerk:
    """Writes the newest record, answers questions and cleans up, one after the other.

    Its thread starts at once and is a daemon. ``failures`` counts what went wrong (the first is
    warned about), ``lost`` the sessions that clean-ups wrote off.
    """

    def __init__(
        self,
        config: RegistryConfig,
        *,
        cwd: Path | None,
        directory: Path | None,
        relink: Relink | None,
    ) -> None:
        self.failures = 0
        self.lost = 0
        self.registry: Registry | None = None
        self._config = config
        self._cwd = cwd
        self._directory = directory
        self._relink = relink
        self._passed_over = False
        self._latest: SessionRecord | None = None
        self._questions: queue.SimpleQueue[tuple[Question, Any]] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._awake = threading.Event()
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._settled = threading.Event()
        self._settled.set()
        self._thread = threading.Thread(target=self._work, name="keisei-registry", daemon=True)
        self._thread.start()

    def take(self, record: SessionRecord) -> bool:
        """Have the record written in place of the one taken before; whether it still can be."""
        with self._guard:
            if self._closing.is_set():
                return False
            self._latest = record
            self._settled.clear()
        self._awake.set()
        return True

    def leave(self, question: Question) -> Any:
        """Leave a question behind; the queue that the answer will come into."""
        reply: Any = queue.SimpleQueue()
        self._questions.put((question, reply))
        self._awake.set()
        return reply

    def ask(self, question: Question) -> Admission | None:
        """Return the answer; ``None``, counted as a failure, when there is none in time."""
        reply = self.leave(question)
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

    def settle(self, timeout: float) -> bool:
        """Wait until what was taken is written; whether it is."""
        return self._settled.wait(max(0.0, timeout))

    def stop(self) -> None:
        """Ask the thread to end; what is not written by now will not be."""
        with self._guard:
            self._closing.set()
        self._awake.set()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(max(0.0, timeout))

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
                self._leave_office()
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
        # A newer one came meanwhile, and its wake-up call with it.
        return False

    def _overtaken(self, registry: Registry, record: SessionRecord) -> None:
        if self._passed_over:
            return
        self._passed_over = True
        log.warning(
            "the registry has session %s as %s already, which stays; %s is not written there",
            record.id,
            registry.get(record.id).status.value,
            record.status.value,
        )

    def _clean(self) -> None:
        try:
            self.lost += self._open().cleanup()
        except Exception as error:
            self._failed(error, "clean-up is tried again later; ")

    def _open(self) -> Registry:
        if self.registry is None:
            from keisei_lightning.registry.store import Registry

            config = dataclasses.replace(self._config, observers=[])  # the session tells them
            self.registry = Registry(
                None, config, cwd=self._cwd, relink=self._relink, hold_connections=False
            )
        return self.registry

    def _leave_office(self) -> None:
        if self.registry is not None:
            with contextlib.suppress(Exception):
                self.registry.close(0.0)

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

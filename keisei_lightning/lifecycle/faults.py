"""Our errors are ours: a warning and a count, never the user's problem."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

__all__ = ["Faults"]

_log = logging.getLogger(__name__)


class Faults:
    """Counts what went wrong on our side, and says each kind once.

    Args:
        redact: Removes secrets from what is said.
    """

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    @property
    def counts(self) -> dict[str, int]:
        """How often each kind happened."""
        with self._lock:
            return dict(self._counts)

    def note(self, kind: str, message: str) -> None:
        """Count one fault; its message is logged the first time."""
        with self._lock:
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count == 1:
            _log.warning("%s: %s", kind, self._redact(message))

    @contextlib.contextmanager
    def guarded(self, kind: str) -> Iterator[None]:
        """Turn any ``Exception`` of the block into a note."""
        try:
            yield
        except Exception as error:
            self.note(kind, f"{type(error).__name__}: {error}")
            _log.debug("%s", kind, exc_info=True)

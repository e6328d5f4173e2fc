"""Clean-up in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Cleaner"]

log = logging.getLogger(__name__)


class Cleaner:
    """Calls a clean-up at once and then each ``interval_s`` seconds, surviving its errors."""

    def __init__(self, clean: Callable[[], int], interval_s: float) -> None:
        self.errors = 0
        self._clean = clean
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="keisei-cleaner", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Ask the thread to end; whether it did within ``timeout`` seconds."""
        self._stopped.set()
        self._thread.join(max(0.0, timeout))
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                self._clean()
            except Exception as error:
                self.errors += 1
                if self.errors == 1:
                    log.warning("clean-up of the registry failed, trying again later: %s", error)
            self._stopped.wait(self._interval_s)

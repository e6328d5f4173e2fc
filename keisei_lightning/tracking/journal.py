"""``metrics.jsonl``: every logged metric, one object a line, on disk before anyone else has it."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

__all__ = ["Entry", "Journal", "read_entries"]

_log = logging.getLogger(__name__)

RESERVED = ("step", "epoch", "time")
BACKLOG_LINES = 100_000
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, slots=True)
class Entry:
    """Metrics logged together.

    Attributes:
        metrics: Name -> number.
        step: The Trainer's global step, where known.
        epoch: The epoch, where known.
        time: Unix time in seconds.
        media: What is no number (images, tables, text): trackers get it, the journal does not.
        ours: False when a logger of the Trainer's was given the metrics, and so every other logger
            of the user's has had them too.
    """

    metrics: Mapping[str, float]
    step: int | None
    epoch: float | None
    time: float
    media: Mapping[str, Any] = field(default_factory=dict)
    ours: bool = True


class Journal:
    """The file, and the fan-out to whoever wants each entry.

    Nothing here raises: a file that cannot be written costs one warning, its lines wait in memory
    (the oldest of more than 100 000 are dropped and counted) and follow when there is space again.

    Args:
        path: The file; it is appended to, so that the attempts of one session share it.
        redact: Applied to the names of metrics.
    """

    def __init__(self, path: Path, redact: Callable[[str], str] | None = None) -> None:
        self.path = path
        self.last: dict[str, float] = {}
        self.failures = 0
        self.dropped = 0
        self._redact = redact or str
        self._names: dict[str, str] = {}
        self._feeds: list[Callable[[Entry], None]] = []
        self._backlog: deque[bytes] = deque()
        self._lock = threading.RLock()
        self._fd: int | None = None
        self._warned = False

    def log(
        self,
        metrics: Mapping[str, Any],
        step: int | None = None,
        epoch: float | None = None,
        *,
        ours: bool = True,
    ) -> None:
        """Write the metrics down and hand them to the feeds; costs one ``write``."""
        numbers: dict[str, float] = {}
        media: dict[str, Any] = {}
        for name, value in metrics.items():
            number = as_number(value)
            if number is None:
                media[self._name(name)] = value
            else:
                numbers[self._name(name)] = number
        entry = Entry(numbers, _whole(step), epoch, time.time(), media, ours)
        with self._lock:
            self.last.update(numbers)
            if numbers:
                self._write(_line(entry))
            for feed in self._feeds:
                feed(entry)

    def attach(self, feed: Callable[[Entry], None]) -> int:
        """Send every further entry to ``feed``; return the size of the file before them."""
        with self._lock:
            self._feeds.append(feed)
            return self._size()

    def detach(self, feed: Callable[[Entry], None]) -> None:
        """Send no more to ``feed``."""
        with self._lock:
            if feed in self._feeds:
                self._feeds.remove(feed)

    def flush(self) -> bool:
        """Try to write what is waiting; return whether nothing waits any more."""
        with self._lock:
            self._write(b"")
            return not self._backlog

    def close(self) -> bool:
        """Write what is waiting and close the file; a later entry opens it again.

        Returns:
            Whether everything is on disk.
        """
        with self._lock:
            complete = self.flush()
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
            return complete

    def _name(self, name: str) -> str:
        known = self._names.get(name)
        if known is None:
            known = self._redact(f"metric/{name}" if name in RESERVED else str(name))
            self._names[name] = known
        return known

    def _write(self, line: bytes) -> None:
        if line:
            self._backlog.append(line)
        try:
            self._drain()
        except OSError as error:
            self._fail(error)
        while len(self._backlog) > BACKLOG_LINES:
            self._backlog.popleft()
            self.dropped += 1

    def _drain(self) -> None:
        while self._backlog:
            line = self._backlog[0]
            written = os.write(self._file(), line)
            if written < len(line):  # a full disk takes a part: the rest must come next
                self._backlog[0] = line[written:]
            else:
                self._backlog.popleft()

    def _file(self) -> int:
        if self._fd is not None and os.fstat(self._fd).st_nlink == 0:
            self._rescue()
        if self._fd is None:
            self._fd = self._open()
        return self._fd

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            os.write(fd, b"\n")  # the last attempt was killed in the middle of a line
        return fd

    def _rescue(self) -> None:
        """Bring the lines of a deleted file, which lives as long as it is open, into a new one."""
        old = self._fd
        assert old is not None
        new = self._open()
        start = os.fstat(new).st_size
        offset = 0
        try:
            while chunk := os.pread(old, 1 << 20, offset):
                offset += os.write(new, chunk)
        except OSError:
            os.ftruncate(new, start)
            os.close(new)
            raise
        self._fd = new
        os.close(old)

    def _fail(self, error: OSError) -> None:
        self.failures += 1
        if not self._warned:
            self._warned = True
            _log.warning(
                "%s cannot be written (%s); metrics wait in memory until it can, training goes on",
                self.path,
                error,
            )

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0


def as_number(value: Any) -> float | None:
    """Return a number, a NumPy scalar or a tensor of one element as a float; else None."""
    if isinstance(value, (bool, int, float)):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if isinstance(value, (str, bytes)) or not isinstance(value, SupportsFloat):
        return None
    item = getattr(value, "item", None)  # float() of an array or of a tensor with grad warns
    try:
        return float(item() if callable(item) else value)
    except Exception:
        return None


def read_entries(path: Path, until: int | None = None) -> Iterator[Entry]:
    """Read a journal back; lines that are torn are skipped.

    Args:
        path: The file; a missing one has no entries.
        until: Stop at this size of the file, in bytes.
    """
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        offset = 0
        for line in file:
            offset += len(line)
            if until is not None and offset > until:
                return
            entry = _entry(line)
            if entry is not None:
                yield entry


def _line(entry: Entry) -> bytes:
    written: dict[str, Any] = {"step": entry.step, "epoch": _tidy(entry.epoch), "time": entry.time}
    for name, number in entry.metrics.items():
        written[name] = number if math.isfinite(number) else _not_finite(number)
    # A lone surrogate in a name becomes its JSON escape.
    return (json.dumps(written, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def _entry(line: bytes) -> Entry | None:
    try:
        data = json.loads(line)
        step, epoch, at = (data.pop(key) for key in RESERVED)
        metrics = {str(k): _SPECIAL[v] if isinstance(v, str) else float(v) for k, v in data.items()}
        return Entry(metrics, step, epoch, float(at))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _whole(step: Any) -> int | None:
    number = as_number(step)
    return int(number) if number is not None and math.isfinite(number) else None


def _tidy(epoch: float | None) -> float | None:
    if epoch is None or not math.isfinite(epoch):
        return None
    return int(epoch) if epoch % 1 == 0 else epoch


def _not_finite(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"

"""A copy of standard output and error in ``logs/``, taken at the streams' ``write`` method.

The stream objects stay the same, so ``isatty``, ``fileno``, ``encoding`` and every reference that
somebody holds (logging, tqdm, rich) work as before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keisei_lightning.console.log_file import LogFile
from keisei_lightning.console.screen import Screen

__all__ = ["Capture"]

_log = logging.getLogger(__name__)
_inside = threading.local()  # our own output, and that of signal handlers, is not copied again
_tees: list[_Tee] = []  # those somebody else's patch keeps in the way of a stream
_MAX_PEM_LINES = 200


class Capture:
    """Keeps what is printed from now on, line by line, redacted, progress bars collapsed.

    Args:
        logs: The directory ``logs/`` of the run.
        redact: Hides the secrets of one line.
        rank: 0 writes ``stdout.log`` and ``stderr.log``, any other ``rank<N>.log``.
        snapshot_s: How often a running progress bar leaves a line, in seconds.
        max_bytes: Size at which a log is moved to ``<name>.1.log`` and begun anew.
    """

    def __init__(
        self,
        logs: Path,
        redact: Callable[[str], str],
        rank: int = 0,
        *,
        snapshot_s: float = 30.0,
        max_bytes: int = 64 << 20,
    ) -> None:
        names = ("stdout", "stderr") if rank == 0 else (f"rank{rank}",) * 2
        files = {name: LogFile(logs / f"{name}.log", max_bytes=max_bytes) for name in names}
        self._sinks = [_Sink(files[name], redact, snapshot_s) for name in names]
        self._tees: list[tuple[_Tee, _Sink]] = []
        self.open()

    def open(self) -> Capture:
        """Start copying, as the constructor does; a stream that cannot be patched is left alone."""
        if self._tees:
            return self
        streams = [stream for stream in (sys.stdout, sys.stderr) if stream is not None]
        if len(streams) == 2 and streams[0] is streams[1]:
            streams.pop()
        for stream, sink in zip(streams, self._sinks, strict=False):
            try:
                tee = _tee_of(stream)
            except Exception as error:
                _log.warning("the console cannot be captured (%s); the run goes on", error)
                continue
            tee.sinks = (*tee.sinks, sink)
            self._tees.append((tee, sink))
        return self

    def close(self) -> None:
        """Stop copying, write what was pending, leave the streams as they were found."""
        while self._tees:
            tee, sink = self._tees.pop()
            tee.sinks = tuple(other for other in tee.sinks if other is not sink)
            if not tee.sinks:
                tee.remove()
            sink.close()

    def __enter__(self) -> Capture:
        return self.open()

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Sink:
    """One stream's way into one file."""

    def __init__(self, file: LogFile, redact: Callable[[str], str], snapshot_s: float) -> None:
        self._file, self._redact, self._snapshot_s = file, redact, snapshot_s
        self._renew()

    def _renew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._screen = Screen(self._snapshot_s)
        self._pem_lines = 0

    def take(self, text: str) -> None:
        """Copy what was written; a problem is one warning, given after the lock is free."""
        if self._pid != os.getpid():  # a fork: what is pending and the lock are the parent's
            self._renew()
        with self._lock:
            warning = self._write(self._screen.feed(text, time.monotonic()))
        if warning:
            _log.warning("%s", warning)

    def close(self) -> None:
        if self._pid != os.getpid():
            return
        _inside.busy = True
        try:
            with self._lock:
                self._write(self._screen.close())
                self._file.close()
        except Exception:
            _log.debug("closing %s failed", self._file.path, exc_info=True)
        finally:
            _inside.busy = False

    def _write(self, lines: list[str]) -> str | None:
        shown = [self._shown(line) for line in lines]
        return self._file.write([line for line in shown if line is not None])

    def _shown(self, line: str) -> str | None:
        # A private key has many lines, and no single one of them tells.
        if self._pem_lines:
            self._pem_lines = 0 if "-----END " in line else self._pem_lines - 1
            return None
        if "-----BEGIN " in line and "PRIVATE KEY" in line and "-----END " not in line:
            self._pem_lines = _MAX_PEM_LINES
        return self._redact(line)


class _Tee:
    """The ``write`` of one stream, with sinks that can be switched."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.sinks: tuple[_Sink, ...] = ()
        self.reached = False
        self._before = vars(stream).get("write")  # somebody else's patch, if there is one
        self._original = stream.write
        self._ours = self.write
        stream.write = self._ours

    def write(self, text: Any, *args: Any, **kwargs: Any) -> Any:
        """Write as the stream would, and copy; the caller sees the stream's own result or error."""
        self.reached = True
        try:
            return self._original(text, *args, **kwargs)
        finally:
            if self.sinks and isinstance(text, str):
                self._copy(text)

    def _copy(self, text: str) -> None:
        if getattr(_inside, "busy", False):
            return
        _inside.busy = True
        try:
            for sink in self.sinks:
                sink.take(text)
        except Exception as error:
            _log.debug("copying the console failed: %s", error)
        finally:
            _inside.busy = False

    def remove(self) -> None:
        """Take the patch off, unless somebody patched on top of it: then it stays, switched off."""
        if vars(self.stream).get("write") is not self._ours:
            return
        if self._before is None:
            del self.stream.write
        else:
            self.stream.write = self._before
        if self in _tees:
            _tees.remove(self)

    def is_in_the_way(self) -> bool:
        """Whether writing to the stream still comes through here; asked with an empty text."""
        self.reached = False
        with contextlib.suppress(Exception):
            self.stream.write("")
        return self.reached


def _tee_of(stream: Any) -> _Tee:
    for tee in list(_tees):
        if tee.stream is stream:
            if tee.is_in_the_way():
                return tee
            if not tee.sinks:
                _tees.remove(tee)
    tee = _Tee(stream)
    _tees.append(tee)
    return tee

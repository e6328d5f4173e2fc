"""A log file that survives full disks, closed descriptors and deleted directories."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["LogFile"]

_RETRY_S = 5.0


class LogFile:
    """Appends lines, each handed to the system at once; mode 0600. Not locked: the owner locks.

    Args:
        path: The file; its directory is made, the run directory above it is not.
        max_bytes: When the file is larger it becomes ``<stem>.1.log`` (one generation is kept).
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = 64 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._fd: int | None = None
        self._identity: tuple[int, int] | None = None
        self._retry_at = 0.0
        self._warned = False
        self._torn = False  # the disk was full in the middle of a line

    def write(self, lines: list[str]) -> str | None:
        """Append lines; never raises.

        Returns:
            What went wrong, the first time only; later failures are silent until it works again.
        """
        if not lines or (self._retry_at and self._clock() < self._retry_at):
            return None
        data = ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
        try:
            self._append(data)
        except OSError as error:
            return self._failed(error)
        self._retry_at = 0.0
        return None

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        fd, self._fd = self._fd, None
        if fd is not None and self._is_ours(fd):
            try:
                os.close(fd)
            except OSError:
                return

    def _append(self, data: bytes) -> None:
        fd = self._fd
        if fd is None or not self._is_ours(fd):
            fd = self._open()
        if os.fstat(fd).st_size + len(data) > self._max_bytes:
            self.close()
            os.replace(self.path, self.path.with_suffix(f".1{self.path.suffix}"))
            fd = self._open()
        if self._torn:
            data = b"\n" + data
        while data:
            data = data[os.write(fd, data) :]
            self._torn = bool(data)

    def _is_ours(self, fd: int) -> bool:
        # Somebody may have closed our descriptor, and the number may be another file by now.
        try:
            status = os.fstat(fd)
        except OSError:
            return False
        return status.st_nlink > 0 and (status.st_dev, status.st_ino) == self._identity

    def _open(self) -> int:
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = fd = os.open(self.path, flags, 0o600)
        status = os.fstat(fd)
        self._identity = (status.st_dev, status.st_ino)
        return fd

    def _failed(self, error: OSError) -> str | None:
        self.close()
        self._retry_at = self._clock() + _RETRY_S
        if self._warned:
            return None
        self._warned = True
        return f"{self.path} cannot be written ({error}); the run goes on without it"

"""The ``session.json`` of a run directory, as the registry reads it and writes ``lost`` into it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from keisei_lightning.errors import SessionError
from keisei_lightning.record import SessionRecord, from_json, to_json
from keisei_lightning.registry.liveness import seconds

__all__ = [
    "RECORD",
    "LastMetrics",
    "is_pinned",
    "last_metrics",
    "mark_pinned",
    "read_run",
    "write_run",
]

RECORD = "session.json"
_PINNED = ".pinned"
_METRICS = "metrics.jsonl"
_TAIL = 256 * 1024
_LARGEST = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LastMetrics:
    """Where a run was when it last logged a metric; ``time`` in seconds since 1970."""

    step: int | None = None
    epoch: int | None = None
    time: float | None = None


def read_run(directory: Path | str | None) -> SessionRecord | None:
    """Return the record of a run directory; ``None`` when there is no file to read.

    Raises:
        SessionError: There is one, but it is damaged or cannot be read; the message says how.
    """
    if directory is None:
        return None
    path = Path(directory) / RECORD
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size > _LARGEST:
            raise SessionError(f"{path} is damaged: {found.st_size} bytes are no session record")
        return from_json(json.loads(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SessionError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, SessionError) as error:
        raise SessionError(f"{path} is damaged: {error}") from error


def write_run(directory: Path | str, record: SessionRecord) -> None:
    """Replace the record of a run directory at one stroke, with mode 0600.

    Raises:
        OSError: It cannot be written.
    """
    folder = Path(directory)
    handle, temporary = tempfile.mkstemp(prefix=f".{RECORD}.", dir=folder)  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(to_json(record), file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / RECORD)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def last_metrics(directory: Path | str | None) -> LastMetrics:
    """Return what the last whole line of the run's ``metrics.jsonl`` says; nothing if none does."""
    if directory is None:
        return LastMetrics()
    try:
        with open(Path(directory) / _METRICS, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL))
            lines = file.read(_TAIL).splitlines()
    except OSError:
        return LastMetrics()
    for line in reversed(lines):
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            data = json.loads(line)
            return LastMetrics(_whole(data.get("step")), _whole(data.get("epoch")), _time(data))
    return LastMetrics()


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(data: dict[str, object]) -> float | None:
    value = data.get("time")
    if isinstance(value, str):
        return seconds(value)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def mark_pinned(directory: str | None, pinned: bool) -> None:
    """Write or remove the mark of a pinned run, where its directory can be written."""
    if not directory:
        return
    mark = Path(directory) / _PINNED
    with contextlib.suppress(OSError):
        if not pinned:
            mark.unlink(missing_ok=True)
        elif (mark.parent / RECORD).exists():
            mark.touch(mode=0o600)


def is_pinned(directory: Path | str | None) -> bool:
    """Whether the run directory bears the mark of a pinned run."""
    return directory is not None and os.path.lexists(Path(directory) / _PINNED)

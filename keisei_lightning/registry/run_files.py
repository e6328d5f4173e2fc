"""The ``session.json`` of a run directory, as the registry reads it and writes ``lost`` into it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from pathlib import Path

from keisei_lightning.errors import SessionError
from keisei_lightning.record import SessionRecord, from_json, to_json

__all__ = ["RECORD", "is_pinned", "mark_pinned", "read_run", "write_run"]

RECORD = "session.json"
_PINNED = ".pinned"
_LARGEST = 64 * 1024 * 1024


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

"""``session.json``: one record, written whole and read whatever is in it."""

from __future__ import annotations

import json
from pathlib import Path

from keisei_lightning.atomic_file import write_atomic
from keisei_lightning.errors import SessionError, SessionNotFoundError
from keisei_lightning.record import SessionRecord, damaged, from_json, to_json
from keisei_lightning.run_directory.paths import RunDirectory

__all__ = ["encoded", "load", "read_record", "write_record"]


def write_record(directory: RunDirectory, record: SessionRecord) -> None:
    """Write ``session.json``, atomically and readable by its owner alone.

    Raises:
        OSError: It could not be written; the old record is as it was.
    """
    write_atomic(directory.record, encoded(record))


def read_record(path: Path) -> SessionRecord:
    """Return the record in a file or a run directory.

    A file that holds none gives a record that says ``failed`` and why, instead of an error.

    Raises:
        SessionNotFoundError: There is no such file.
    """
    path = Path(path)
    try:
        file = path / "session.json" if path.is_dir() and path.name != "session.json" else path
        return load(file)
    except SessionNotFoundError:
        raise
    except SessionError as error:
        return damaged(file.parent.name or "unknown", str(error), directory=str(file.parent))


def load(file: Path) -> SessionRecord:
    """Read a record.

    Raises:
        SessionNotFoundError: There is none.
        SessionError: It cannot be read; the message says why.
    """
    try:
        return from_json(json.loads(file.read_bytes()))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SessionNotFoundError(f"there is no session record {file}") from error
    except Exception as error:
        raise SessionError(f"session record {file} cannot be read: {error}") from error


def encoded(record: SessionRecord) -> bytes:
    """Return the record as the bytes of ``session.json``."""
    text = json.dumps(to_json(record), indent=1, ensure_ascii=False, default=str)
    # Lone surrogates, of arguments that are no UTF-8, become \udcxx: JSON's own escape.
    return (text + "\n").encode("utf-8", "backslashreplace")

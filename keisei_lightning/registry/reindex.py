"""Building the registry again from the run directories, which hold the truth."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from keisei_lightning.errors import SessionError
from keisei_lightning.record import SessionRecord, damaged
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.liveness import seconds
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.run_files import RECORD, is_pinned, read_run
from keisei_lightning.registry.tables import facts, read_record, sessions, text, upsert

__all__ = ["Reindexed", "reindex", "run_directories"]

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Reindexed:
    """What was found under a directory: run directories, how many went in, which are damaged."""

    found: int = 0
    written: int = 0
    damaged: tuple[Path, ...] = ()
    duplicates: tuple[Path, ...] = ()


def reindex(
    database: Database, directory: Path, *, progress: Callable[[int], None] | None = None
) -> Reindexed:
    """Bring every run directory under ``directory`` into the registry; rows of others stay.

    A run's own record counts for more than its row, but for one case: a row that has ended is not
    opened again by a record that was left saying ``running``. A damaged record goes in as failed,
    with the reason. Of copies with one id the one that lies where its record says goes in.
    """
    records: dict[str, SessionRecord] = {}
    broken, copies, found = [], [], 0
    for folder in run_directories(directory):
        found += 1
        try:
            record = read_run(folder)
        except SessionError as error:
            broken.append(folder)
            record = _damaged(database, folder, str(error))
        if record is None:
            continue
        known = records.get(record.id)
        if known is None:
            records[record.id] = _placed(record, folder)
        else:
            first, copy = _original(known, record, folder)
            records[record.id] = first
            copies.append(copy)
        if progress is not None:
            progress(found)
    written = _write(database, list(records.values()))
    return Reindexed(found, written, tuple(broken), tuple(copies))


def run_directories(directory: Path) -> Iterator[Path]:
    """Yield the directories under ``directory`` that hold a record, links not followed."""
    for parent, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if name not in (".git", ".venv", "by-status"))
        if RECORD in files:
            yield Path(parent)


def _damaged(database: Database, folder: Path, message: str) -> SessionRecord:
    place = os.path.abspath(folder)
    with database.read() as connection:
        statement = select(sessions.c.id).where(sessions.c.directory == text(place))
        known = connection.execute(statement.limit(1)).scalar()
    id = known or "damaged-" + hashlib.sha256(os.fsencode(place)).hexdigest()[:10]
    written = os.lstat(folder / RECORD).st_mtime
    return damaged(
        id,
        message,
        name=folder.name,
        directory=place,
        created_at=iso(written),
        ended_at=iso(written),
    )


def _placed(record: SessionRecord, folder: Path) -> SessionRecord:
    """Return the record with the directory it was found in, should that have been moved."""
    if record.directory and os.path.realpath(record.directory) == os.path.realpath(folder):
        return record
    return dataclasses.replace(record, directory=os.path.abspath(folder))


def _original(
    known: SessionRecord, other: SessionRecord, folder: Path
) -> tuple[SessionRecord, Path]:
    """Return which of two records with one id is the session's, and where the copy lies."""
    placed = _placed(other, folder)
    if other.directory == placed.directory or _age(other) > _age(known):
        return placed, Path(known.directory or "")
    return known, folder


def _age(record: SessionRecord) -> tuple[int, float]:
    beat = record.heartbeat.at if record.heartbeat else None
    return record.attempt, seconds(record.ended_at or beat or record.started_at) or 0.0


def _write(database: Database, records: list[SessionRecord]) -> int:
    written = 0
    for start in range(0, len(records), _BATCH):
        with database.write() as connection:
            for record in records[start : start + _BATCH]:
                row = facts(record, now=database.now())
                row["pinned"] = row["pinned"] or is_pinned(record.directory)
                stored = connection.execute(
                    select(sessions.c.record).where(sessions.c.id == row["id"])
                ).scalar()
                if stored is not None and _reopens(stored, record):
                    continue
                statement = upsert(database.dialect, record.status, force=True)
                written += connection.execute(statement, row).rowcount
    return written


def _reopens(stored: str, record: SessionRecord) -> bool:
    try:
        known = read_record(stored)
    except SessionError:
        return False
    ended = known.status.is_final and not record.status.is_final
    return ended and known.attempt >= record.attempt

"""Pruning one registry: its records by the rules, and on request their run directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import delete, select

from keisei_lightning.errors import SessionError
from keisei_lightning.record import SessionRecord, Status
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.pruning import Kept, Pruned, delete_run, measure, obstacle
from keisei_lightning.registry.retention import Doomed, Retention, doomed
from keisei_lightning.registry.tables import read_record, sessions, text

__all__ = ["prune"]


def prune(
    database: Database,
    rules: Retention,
    *,
    files: bool,
    roots: Sequence[Path],
    dry_run: bool,
) -> Pruned:
    """Remove what the rules give up; a run whose files a guard protects keeps its record too."""
    records, pinned = _ended(database)
    removed: list[Doomed] = []
    kept: list[Kept] = []
    freed = 0
    for candidate in doomed(records, rules, now=database.now(), pinned=pinned):
        record = candidate.record
        problem = obstacle(record, roots) if files else None
        if problem is None:
            size = measure(Path(record.directory)) if files and record.directory else 0
            problem = None if dry_run else _remove(database, record, files=files, roots=roots)
        if problem is None:
            removed.append(candidate)
            freed += size
        else:
            kept.append(Kept(record, problem))
    return Pruned(dry_run, tuple(removed), tuple(kept), freed)


def _ended(database: Database) -> tuple[list[SessionRecord], set[str]]:
    final = [status.value for status in Status if status.is_final]
    statement = select(sessions.c.id, sessions.c.record, sessions.c.pinned)
    with database.read() as connection:
        rows = connection.execute(statement.where(sessions.c.status.in_(final))).all()
    records = []
    for row in rows:
        try:
            records.append(read_record(row.record))
        except SessionError:
            continue
    return records, {row.id for row in rows if row.pinned}


def _remove(
    database: Database, record: SessionRecord, *, files: bool, roots: Sequence[Path]
) -> str | None:
    """Remove one session; why that was not done, ``None`` when it was."""
    id = text(record.id)
    unchanged = (
        sessions.c.id == id,
        sessions.c.status == record.status.value,
        sessions.c.attempt == record.attempt,
        ~sessions.c.pinned,
    )

    def still_there() -> bool:
        with database.read() as connection:
            return connection.execute(select(sessions.c.id).where(*unchanged)).first() is not None

    try:
        if files:
            delete_run(record, roots, still_there)
        with database.write() as connection:
            gone = connection.execute(delete(sessions).where(*unchanged)).rowcount > 0
    except (SessionError, OSError) as error:
        return str(error)
    return None if gone else "the session has changed in the meantime"

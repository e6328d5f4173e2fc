"""Pruning one registry: its records by the rules, and on request their run directories."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Connection, delete, select

from keisei_lightning.errors import SessionError
from keisei_lightning.record import SessionRecord
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.pruning import Kept, Pruned, delete_run, measure, obstacle
from keisei_lightning.registry.retention import Doomed, Retention, doomed
from keisei_lightning.registry.tables import read_record, sessions, text

__all__ = ["prune"]


_BATCH = 500


def prune(
    database: Database,
    rules: Retention,
    *,
    files: bool,
    roots: Sequence[Path],
    dry_run: bool,
) -> Pruned:
    """Remove what the rules give up; a run whose files a guard protects keeps its record too."""
    records, pinned = _ended(database, rules)
    found = doomed(records, rules, now=database.now(), pinned=pinned)
    if files:
        return _with_files(database, found, roots, dry_run=dry_run)
    if dry_run:
        return Pruned(True, found)
    gone = _remove(database, [one.record for one in found])
    removed = tuple(one for one in found if one.record.id in gone)
    kept = tuple(Kept(one.record, _CHANGED) for one in found if one.record.id not in gone)
    return Pruned(False, removed, kept)


_CHANGED = "the session has changed in the meantime"


def _with_files(
    database: Database, found: Sequence[Doomed], roots: Sequence[Path], *, dry_run: bool
) -> Pruned:
    removed: list[Doomed] = []
    kept: list[Kept] = []
    freed = 0
    for one in found:
        problem, size = obstacle(one.record, roots), 0
        if problem is None:
            size = measure(Path(one.record.directory or ""))
            problem = None if dry_run else _delete(database, one.record, roots)
        if problem is None:
            removed.append(one)
            freed += size
        else:
            kept.append(Kept(one.record, problem))
    return Pruned(dry_run, tuple(removed), tuple(kept), freed)


def _ended(database: Database, rules: Retention) -> tuple[list[SessionRecord], set[str]]:
    final = [status.value for status in rules.statuses]
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


def _delete(database: Database, record: SessionRecord, roots: Sequence[Path]) -> str | None:
    """Delete one run directory and its record; why that was not done, ``None`` when it was."""

    def still_there() -> bool:
        with database.read() as connection:
            return bool(_unchanged(connection, [record]))

    try:
        delete_run(record, roots, still_there)
        return None if _remove(database, [record]) else _CHANGED
    except (SessionError, OSError) as error:
        return str(error)


def _remove(database: Database, records: Sequence[SessionRecord]) -> set[str]:
    """Remove the records that are as they were; which ones."""
    gone: set[str] = set()
    for start in range(0, len(records), _BATCH):
        with database.write() as connection:
            ids = _unchanged(connection, records[start : start + _BATCH])
            connection.execute(delete(sessions).where(sessions.c.id.in_(ids)))
        gone.update(ids)
    return gone


def _unchanged(connection: Connection, records: Sequence[SessionRecord]) -> list[str]:
    """Return which are still the ended and not pinned sessions that the rules judged."""
    known = {text(record.id): (record.status.value, record.attempt) for record in records}
    statement = select(sessions.c.id, sessions.c.status, sessions.c.attempt)
    rows = connection.execute(
        statement.where(sessions.c.id.in_(known), ~sessions.c.pinned).with_for_update()
    )
    return [row.id for row in rows if known[row.id] == (row.status, row.attempt)]

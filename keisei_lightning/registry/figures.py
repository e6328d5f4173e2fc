"""The statistics, counted by the database itself."""

from __future__ import annotations

from sqlalchemy import case, func, select

from keisei_lightning.errors import SessionError
from keisei_lightning.machine import Machine
from keisei_lightning.record import Liveness, SessionRecord, Status
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.liveness import is_lost, liveness
from keisei_lightning.registry.statistics import AGE_BUCKETS, Statistics
from keisei_lightning.registry.tables import meta, read_record, sessions, upsert_meta

__all__ = ["cleanup_at", "figures", "note_cleanup", "troubled"]

_CLEANUP = "cleanup_at"


def figures(
    database: Database, machine: Machine, *, max_concurrent: int, inactive_after_s: float
) -> Statistics:
    """Count what is stored, and what of it holds a slot."""
    now = database.now()
    created, duration = sessions.c.created_at, sessions.c.duration_s
    ages = [
        func.sum(case(((created <= now - low) & (created > now - high), 1), else_=0))
        for low, high in AGE_BUCKETS.values()
    ]
    statement = select(
        sessions.c.status,
        func.count(),
        func.min(created),
        func.max(created),
        func.sum(now - created),
        func.count(duration),
        func.sum(duration),
        func.min(duration),
        func.max(duration),
        *ages,
    ).group_by(sessions.c.status)
    with database.read() as connection:
        rows = connection.execute(statement).all()
    total = sum(row[1] for row in rows)
    timed = sum(row[5] for row in rows)
    active = _active(database, machine, now, inactive_after_s)
    counts = [sum(int(row[9 + place]) for row in rows) for place in range(len(AGE_BUCKETS))]
    counts[0] += total - sum(counts)  # created in the future: clocks differ
    return Statistics(
        total=total,
        active=active,
        max_concurrent=max_concurrent,
        utilisation_percent=100.0 * active / max_concurrent if max_concurrent > 0 else 0.0,
        by_status={s.value: sum(r[1] for r in rows if r[0] == s.value) for s in Status},
        oldest_age_s=max(0.0, now - min(row[2] for row in rows)) if rows else None,
        newest_age_s=max(0.0, now - max(row[3] for row in rows)) if rows else None,
        mean_age_s=max(0.0, sum(row[4] for row in rows) / total) if rows else None,
        age_buckets=dict(zip(AGE_BUCKETS, counts, strict=True)),
        mean_duration_s=sum(row[6] or 0.0 for row in rows) / timed if timed else None,
        shortest_duration_s=min((r[7] for r in rows if r[7] is not None), default=None),
        longest_duration_s=max((r[8] for r in rows if r[8] is not None), default=None),
    )


def troubled(
    database: Database, machine: Machine, *, stuck_after_s: float
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids of the stuck (stalled or stale) and of the dead sessions."""
    now = database.now()
    stuck, dead = [], []
    for record, seen_at in _running(database):
        state = liveness(
            record, now=now, machine=machine, stalled_after_s=stuck_after_s, seen_at=seen_at
        )
        if state is Liveness.DEAD:
            dead.append(record.id)
        elif state is Liveness.STALLED or (
            state is Liveness.STALE and now - seen_at >= stuck_after_s
        ):
            stuck.append(record.id)
    return tuple(stuck), tuple(dead)


def note_cleanup(database: Database) -> None:
    """Write down that a clean-up has just been made."""
    with database.write() as connection:
        row = {"key": _CLEANUP, "value": repr(database.now())}
        connection.execute(upsert_meta(database.dialect), row)


def cleanup_at(database: Database) -> float | None:
    """Return when the last clean-up was made, by the database's clock."""
    with database.read() as connection:
        statement = select(meta.c.value).where(meta.c.key == _CLEANUP)
        value = connection.execute(statement).scalar()
    return float(value) if value is not None else None


def _active(database: Database, machine: Machine, now: float, inactive_after_s: float) -> int:
    return sum(
        not is_lost(
            record, now=now, machine=machine, inactive_after_s=inactive_after_s, seen_at=seen_at
        )
        for record, seen_at in _running(database)
    )


def _running(database: Database) -> list[tuple[SessionRecord, float]]:
    statement = select(sessions.c.record, sessions.c.seen_at)
    with database.read() as connection:
        rows = connection.execute(statement.where(sessions.c.status == Status.RUNNING.value)).all()
    readable = []
    for row in rows:
        try:
            readable.append((read_record(row.record), row.seen_at))
        except SessionError:
            continue
    return readable

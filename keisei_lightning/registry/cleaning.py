"""Writing off what died without a word, in the registry and in the run's own record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from keisei_lightning.errors import SessionError
from keisei_lightning.machine import Machine
from keisei_lightning.record import Ending, LastWords, Progress, SessionRecord, Status, to_json
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.last_words import last_words
from keisei_lightning.registry.liveness import is_lost, seconds
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.run_files import LastMetrics, last_metrics, read_run, write_run
from keisei_lightning.registry.tables import facts, read_record, sessions, upsert

__all__ = ["Cleaned", "Relink", "clean", "lost"]

log = logging.getLogger(__name__)

Relink = Callable[[Path, SessionRecord], None]
"""What moves a run's ``by-status`` link after its record has changed."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What a clean-up did: who is lost now, and who turned out to have ended well."""

    lost: tuple[SessionRecord, ...] = ()
    caught_up: tuple[SessionRecord, ...] = ()


def clean(
    database: Database,
    machine: Machine,
    *,
    inactive_after_s: float,
    relink: Relink | None = None,
) -> Cleaned:
    """Mark the dead and the long stale ``lost``; an alive one never, no other host's on a guess.

    The run's own record is asked first: if it has ended, or has a younger beat than the registry
    knows, that is what the registry learns instead.
    """
    now = database.now()
    live = [Status.PENDING.value, Status.RUNNING.value]
    statement = select(sessions.c.record, sessions.c.seen_at).where(sessions.c.status.in_(live))
    with database.read() as connection:
        rows = connection.execute(statement).all()
    gone, caught_up = [], []
    for row in rows:
        record = _readable(row.record)
        if record is None or not is_lost(
            record,
            now=now,
            machine=machine,
            inactive_after_s=inactive_after_s,
            seen_at=row.seen_at,
        ):
            continue
        own = _own_word(record)
        if own is not None and (own.status.is_final or _younger(own, record)):
            if _store(database, own, seen_at=None):
                caught_up.append(own)
            continue
        ended = lost(
            own or record,
            at=now,
            metrics=last_metrics(record.directory),
            words=last_words(record.directory),
        )
        if _store(database, ended, seen_at=row.seen_at):
            gone.append(ended)
            if own is not None:
                _tell_run(ended, relink)
    if gone:
        log.info("clean-up: %d lost (%s)", len(gone), ", ".join(record.id for record in gone))
    return Cleaned(tuple(gone), tuple(caught_up))


def lost(
    record: SessionRecord,
    *,
    at: float,
    metrics: LastMetrics | None = None,
    words: LastWords | None = None,
) -> SessionRecord:
    """Return the record of a session that died without a word, ended when it was last heard of.

    Args:
        record: What it said last.
        at: The time for one that never said anything.
        metrics: What it logged last, which may be later than its last beat.
        words: What another rank said before it died.
    """
    begun = seconds(record.started_at)
    beat = seconds(record.heartbeat.at) if record.heartbeat else None
    place, logged = record.progress or Progress(), metrics or LastMetrics()
    signs = [sign for sign in (beat, begun, logged.time) if sign is not None and sign <= at]
    heard = max(signs, default=at)
    steps = [step for step in (place.step, logged.step) if step is not None]
    epochs = [epoch for epoch in (place.epoch, logged.epoch) if epoch is not None]
    ending = Ending(
        status=Status.LOST,
        reason="lost",
        stage=place.stage,
        epoch=max(epochs, default=None),
        step=max(steps, default=None),
        rank=words.rank if words else None,
        exception=words.exception if words else None,
        closed_by="cleanup",
    )
    duration = heard - begun if begun is not None else None
    return record.end(ending, at=iso(heard), duration_s=duration)


def _readable(stored: str) -> SessionRecord | None:
    try:
        return read_record(stored)
    except SessionError as error:
        log.warning("clean-up passes over a row: %s", error)
        return None


def _own_word(record: SessionRecord) -> SessionRecord | None:
    try:
        own = read_run(record.directory)
    except SessionError:
        return None
    if own is None or own.id != record.id:
        return None
    # The directory may have been moved or copied: where we found it counts, not what it says.
    return own.update(directory=record.directory)


def _younger(own: SessionRecord, known: SessionRecord) -> bool:
    if own.attempt != known.attempt:
        return own.attempt > known.attempt
    mine = seconds(own.heartbeat.at) if own.heartbeat else None
    theirs = seconds(known.heartbeat.at) if known.heartbeat else None
    return mine is not None and (theirs is None or mine > theirs)


def _store(database: Database, record: SessionRecord, *, seen_at: float | None) -> bool:
    row = facts(record, now=database.now(), seen_at=seen_at)
    # Of several who clean up together, one counts it.
    statement = upsert(database.dialect, record.status, first=record.status.is_final)
    with database.write() as connection:
        return connection.execute(statement, row).rowcount > 0


def _tell_run(ended: SessionRecord, relink: Relink | None) -> None:
    folder = Path(ended.directory or "")
    try:
        if to_json(read_run(folder)) != to_json(ended):
            write_run(folder, ended)
        if relink is not None:
            relink(folder, ended)
    except (OSError, SessionError) as error:
        log.info("%s is lost, but its session.json could not be told: %s", ended.id, error)

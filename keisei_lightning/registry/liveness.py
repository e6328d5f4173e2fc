"""Whether a session that says it runs really does: pure rules on the record and the machine.

The rules, first match wins: on this host the process with that pid *and start time* is gone:
``dead``. It is there, but nothing moved for longer than expected: ``stalled``; else ``alive``.
Nobody can tell (another host, another container, no pid): the age of the beat decides,
``stale`` when it is older than was promised.
"""

from __future__ import annotations

import datetime

from keisei_lightning.machine import UNREADABLE, Machine
from keisei_lightning.record import Liveness, SessionRecord

__all__ = ["beat_age", "is_lost", "liveness", "seconds"]

FIRST_BEAT_WITHIN_S = 120.0
"""What is promised by a session that has not beaten yet."""

SKEW_S = 300.0
"""How far in the future a beat may lie before the clocks are not to be trusted."""

SAME_START_S = 2.0
"""Two readings of a process's start time may differ by this much."""


def liveness(
    record: SessionRecord,
    *,
    now: float,
    machine: Machine,
    stalled_after_s: float = 1800.0,
    seen_at: float | None = None,
) -> Liveness | None:
    """Return what may be believed of the record; ``None`` when it has ended.

    Args:
        record: The session as it was last written.
        now: Seconds since 1970, by the clock that ``seen_at`` was read from.
        machine: What the reader's machine knows.
        stalled_after_s: Seconds without progress before a living session counts as stalled.
        seen_at: When the last beat *arrived*, by the reader's (or the database's) clock; better
            than the beat's own time where the clocks of two hosts differ.
    """
    if record.status.is_final:
        return None
    present = _present(record, machine)
    if present is False:
        return Liveness.DEAD
    if present is None and _overdue(record, now, seen_at):
        return Liveness.STALE
    if _still(record, now, stalled_after_s):
        return Liveness.STALLED
    return Liveness.ALIVE


def is_lost(
    record: SessionRecord,
    *,
    now: float,
    machine: Machine,
    inactive_after_s: float,
    seen_at: float | None = None,
) -> bool:
    """Whether the session may be written off: dead, or stale for ``inactive_after_s`` and more."""
    state = liveness(record, now=now, machine=machine, seen_at=seen_at)
    if state is Liveness.STALE:
        age = beat_age(record, now, seen_at)
        return age is None or age >= inactive_after_s
    return state is Liveness.DEAD


def beat_age(record: SessionRecord, now: float, seen_at: float | None = None) -> float | None:
    """Return the seconds since the last sign of life; negative when it lies in the future."""
    sign = seen_at if seen_at is not None else _sign(record)
    return None if sign is None else now - sign


def seconds(at: str | None) -> float | None:
    """Return an ISO 8601 time as seconds since 1970; no time zone means UTC."""
    if not at:
        return None
    try:
        moment = datetime.datetime.fromisoformat(at)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        return None


def _sign(record: SessionRecord) -> float | None:
    beat = record.heartbeat.at if record.heartbeat else None
    return seconds(beat or record.started_at or record.created_at)


def _overdue(record: SessionRecord, now: float, seen_at: float | None) -> bool:
    age = beat_age(record, now, seen_at)
    promise = record.heartbeat.expect_next_in_s if record.heartbeat else FIRST_BEAT_WITHIN_S
    return age is None or age > promise or age < -max(promise, SKEW_S)


def _still(record: SessionRecord, now: float, stalled_after_s: float) -> bool:
    moved = seconds(record.progress.moved_at) if record.progress else None
    since = moved if moved is not None else seconds(record.started_at or record.created_at)
    return since is not None and now - since > stalled_after_s


def _present(record: SessionRecord, machine: Machine) -> bool | None:
    """Whether the session's process is there; ``None`` when this machine cannot tell."""
    if record.host != machine.host or record.pid is None:
        return None
    if _differ(record.boot_id, machine.boot_id):
        return _survivor_of_another_boot(record, machine)
    if _differ(record.pid_namespace, machine.pid_namespace):
        return None
    started = machine.process_started_at(record.pid)
    if started is None:
        return False
    if record.pid_started_at is None or started == UNREADABLE:
        return None
    return abs(started - record.pid_started_at) <= SAME_START_S


def _survivor_of_another_boot(record: SessionRecord, machine: Machine) -> bool | None:
    # A beat later than our boot comes from another machine that bears the same name.
    sign = _sign(record)
    if sign is not None and machine.booted_at is not None and sign > machine.booted_at:
        return None
    return False


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other

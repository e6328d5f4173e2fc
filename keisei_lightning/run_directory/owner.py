"""Which process a record belongs to, and whether it is still there."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime
from typing import Any

from keisei_lightning.machine import UNREADABLE, identity, process_started_at
from keisei_lightning.record import SessionRecord

__all__ = ["owner_is_alive", "process_facts"]

_SAME_START_S = 2.0
_FIRST_BEAT_WITHIN_S = 120.0
_LATE_S = 15.0


def process_facts() -> dict[str, Any]:
    """Return the fields of the record that say whose it is.

    ``host``, ``pid``, ``pid_started_at`` (seconds since 1970, by the clock of this moment),
    ``boot_id``, ``pid_namespace`` and ``user``; never of the parent after a fork.
    """
    return {**identity(), "user": _user()}


def owner_is_alive(record: SessionRecord) -> bool:
    """Whether the process that wrote the record still runs, or may do so where nobody can tell.

    On this host: a process with that pid *and start time* exists. Elsewhere (another host,
    another container): the record's beat is not older than it promised.
    """
    here = process_facts()
    if record.host != here["host"] or record.pid is None:
        return _beats(record)
    if _differ(record.boot_id, here["boot_id"]):
        return False
    if _differ(record.pid_namespace, here["pid_namespace"]):
        return _beats(record)
    started = process_started_at(record.pid)
    if started in (None, UNREADABLE) or record.pid_started_at is None:
        return started is not None
    return abs(started - record.pid_started_at) <= _SAME_START_S


def _beats(record: SessionRecord) -> bool:
    beat = record.heartbeat
    promise = beat.expect_next_in_s if beat else _FIRST_BEAT_WITHIN_S
    at = _moment(beat.at if beat else record.started_at or record.created_at)
    return at is not None and datetime.now(UTC).timestamp() - at <= promise + _LATE_S


def _moment(at: str | None) -> float | None:
    try:
        moment = datetime.fromisoformat(at or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def _user() -> str:
    # Containers run under user ids that no passwd file knows.
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())

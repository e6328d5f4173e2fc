"""The tables of the registry: the whole record as JSON, with typed columns to find and sort by."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    and_,
    bindparam,
    or_,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import Insert

from keisei_lightning.errors import SessionError
from keisei_lightning.record import TRANSITIONS, SessionRecord, Status, from_json, to_json
from keisei_lightning.registry.liveness import seconds

__all__ = [
    "PINNED_TAG",
    "SORTS",
    "facts",
    "locks",
    "meta",
    "metadata",
    "read_record",
    "sessions",
    "tag_pattern",
    "text",
    "upsert",
    "upsert_meta",
]

PINNED_TAG = "pinned"

metadata = MetaData()

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("group_name", Text),
    Column("tags", Text, nullable=False),  # "\n"-separated, with one at each end
    Column("config_hash", Text),
    Column("directory", Text),
    Column("host", Text),
    Column("pid", BigInteger),
    Column("created_at", Double, nullable=False),  # all times: seconds since 1970
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("duration_s", Double),
    Column("beat_at", Double),
    Column("seen_at", Double, nullable=False),  # the beat's arrival by the database's clock
    Column("pinned", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    # The statistics read this index alone, never the wide rows.
    Index("sessions_by_status", "status", "created_at", "ended_at", "duration_s"),
    Index("sessions_by_creation", "created_at", "id"),
    Index("sessions_by_name", "name"),
    Index("sessions_by_group", "group_name", "created_at"),
    Index("sessions_by_config", "config_hash", "created_at"),
    Index("sessions_by_directory", "directory"),
)

locks = Table(
    "locks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("token", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("pid_started_at", Double),
    Column("taken_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

SORTS = frozenset(
    [
        "id",
        "name",
        "status",
        "attempt",
        "group_name",
        "host",
        "created_at",
        "started_at",
        "ended_at",
        "duration_s",
        "beat_at",
    ]
)


def facts(record: SessionRecord, *, now: float, seen_at: float | None = None) -> dict[str, Any]:
    """Return the row of a record; ``seen_at`` absent means: judge it by its own times."""
    beat = seconds(record.heartbeat.at) if record.heartbeat else None
    created = seconds(record.created_at)
    sign = next((t for t in (beat, seconds(record.started_at), created) if t is not None), now)
    return {
        "id": text(record.id),
        "name": text(record.name),
        "status": record.status.value,
        "attempt": record.attempt,
        "group_name": text(record.group),
        "tags": _tags(record.tags),
        "config_hash": text(record.config_hash),
        "directory": text(record.directory),
        "host": text(record.host),
        "pid": record.pid,
        "created_at": created if created is not None else now,
        "started_at": seconds(record.started_at),
        "ended_at": seconds(record.ended_at),
        "duration_s": record.duration_s,
        "beat_at": beat,
        "seen_at": seen_at if seen_at is not None else min(now, sign),
        "pinned": PINNED_TAG in record.tags,
        "record": json.dumps(to_json(record), separators=(",", ":")),
    }


def read_record(stored: str) -> SessionRecord:
    """Return the record of a row.

    Raises:
        SessionError: The row does not hold a record.
    """
    try:
        return from_json(json.loads(stored))
    except ValueError as error:
        raise SessionError(f"a row of the registry is damaged: {error}") from error


def text(value: Any) -> Any:
    """Return a string that both databases store: no NUL, no lone surrogate."""
    if value is None:
        return None
    clean = str(value).encode("utf-8", "backslashreplace").decode()
    return clean.replace("\0", "\\x00")


def tag_pattern(tag: str) -> str:
    """Return what a row's ``tags`` contain when it bears the tag."""
    return f"\n{text(tag)}\n"


def _tags(tags: tuple[str, ...]) -> str:
    return text("\n" + "".join(f"{tag}\n" for tag in tags)) if tags else ""


@cache
def upsert(dialect: str, status: Status, *, force: bool = False, first: bool = False) -> Insert:
    """Return the statement that writes a row if its status may follow the one that is stored.

    Compare-and-set in one statement, so that the first final status wins across processes; a
    later attempt of the same session may start again. What people set (``pinned``) is kept.

    Args:
        dialect: ``sqlite`` or ``postgresql``.
        status: The status that is written.
        force: Write it whatever is stored.
        first: Only if the stored status is another one: of many who write it one succeeds.
    """
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](sessions)
    new = insert.excluded
    earlier = [s.value for s in Status if status in TRANSITIONS[s] or (s is status and not first)]
    same_attempt = and_(
        sessions.c.attempt == new.attempt,
        sessions.c.status.in_([bindparam(None, value, literal_execute=True) for value in earlier]),
    )
    statement: Insert = insert.on_conflict_do_update(
        index_elements=["id"],
        set_={
            column.name: or_(sessions.c.pinned, new.pinned)
            if column.name == "pinned"
            else new[column.name]
            for column in sessions.c
            if column.name != "id"
        },
        where=true() if force else or_(sessions.c.attempt < new.attempt, same_attempt),
    )
    # Whether the row was taken is told by the number of rows; of an INSERT it is dropped else.
    return statement.execution_options(preserve_rowcount=True)


@cache
def upsert_meta(dialect: str) -> Insert:
    """Return the statement that writes one ``key`` and its ``value`` into ``meta``."""
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](meta)
    statement: Insert = insert.on_conflict_do_update(
        index_elements=["key"], set_={"value": insert.excluded.value}
    )
    return statement

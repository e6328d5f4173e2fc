"""Finding rows: filters, order and pages as one SELECT, and what a text may mean."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from keisei_lightning.errors import SessionConfigError, SessionNotFoundError
from keisei_lightning.record import Status
from keisei_lightning.registry.liveness import seconds
from keisei_lightning.registry.tables import SORTS, sessions, tag_pattern, text

__all__ = ["Filters", "StatusFilter", "When", "epoch", "one_id", "ordered", "where"]

StatusFilter = Status | str | Iterable[Status | str]
When = str | float | datetime.datetime


@dataclass(frozen=True, slots=True)
class Filters:
    """What rows must be like; ``None`` accepts all."""

    status: StatusFilter | None = None
    group: str | None = None
    tag: str | None = None
    name: str | None = None
    host: str | None = None
    config_hash: str | None = None
    directory: str | None = None
    since: When | None = None
    pinned: bool | None = None


def where(filters: Filters) -> list[ColumnElement[bool]]:
    """Return the conditions of the filters.

    Raises:
        SessionConfigError: A status or a time cannot be understood.
    """
    equal = {
        sessions.c.group_name: filters.group,
        sessions.c.host: filters.host,
        sessions.c.config_hash: filters.config_hash,
        sessions.c.directory: filters.directory,
    }
    conditions = [column == text(value) for column, value in equal.items() if value is not None]
    if filters.status is not None:
        conditions.append(sessions.c.status.in_(_statuses(filters.status)))
    if filters.tag is not None:
        conditions.append(sessions.c.tags.contains(tag_pattern(filters.tag), autoescape=True))
    if filters.name is not None:
        conditions.append(_like(filters.name))
    if filters.since is not None:
        conditions.append(sessions.c.created_at >= epoch(filters.since))
    if filters.pinned is not None:
        conditions.append(sessions.c.pinned == filters.pinned)
    return conditions


def ordered(statement: Select[Any], sort: str, *, descending: bool) -> Select[Any]:
    """Return the statement in the order of a column; rows without a value come last.

    Raises:
        SessionConfigError: There is no such column.
    """
    name = {"group": "group_name", "created": "created_at", "started": "started_at"}.get(sort, sort)
    name = {"ended": "ended_at", "duration": "duration_s", "beat": "beat_at"}.get(name, name)
    if name not in SORTS:
        raise SessionConfigError(f"cannot sort by {sort!r}; use one of {', '.join(sorted(SORTS))}")
    column = sessions.c[name]
    key = column.desc() if descending else column.asc()
    tie = sessions.c.id.desc() if descending else sessions.c.id.asc()
    # NULLS LAST is unknown to the SQLite of some systems that are still about (before 3.30).
    return statement.order_by(*([column.is_(None)] if column.nullable else []), key, tie)


def one_id(connection: Connection, wanted: str) -> str:
    """Return the id that ``wanted`` means: an id, a name, or an unambiguous start of one.

    Raises:
        SessionNotFoundError: None answers to it, or several do; the message lists them.
    """
    key = text(wanted)
    for condition in (
        sessions.c.id == key,
        sessions.c.name == key,
        _starts(sessions.c.id, key),
        _starts(sessions.c.name, key),
    ):
        statement = (
            select(sessions.c.id, sessions.c.name)
            .where(condition)
            .order_by(sessions.c.created_at.desc())
            .limit(6)
        )
        found = connection.execute(statement).all() if key else []
        if len(found) == 1:
            return str(found[0].id)
        if found:
            few = ", ".join(f"{row.id} ({row.name})" for row in found[:5])
            more = ", …" if len(found) > 5 else ""
            raise SessionNotFoundError(
                f"{wanted!r} is ambiguous; it could be {few}{more}: give more of the id"
            )
    raise SessionNotFoundError(f"no session has the id, name or prefix {wanted!r}")


def epoch(when: When) -> float:
    """Return a time given as ISO 8601, as a datetime or in seconds since 1970.

    Raises:
        SessionConfigError: It is no time.
    """
    if isinstance(when, int | float):
        return float(when)
    value = seconds(when.isoformat() if isinstance(when, datetime.datetime) else when)
    if value is None:
        raise SessionConfigError(f"{when!r} is no time; write it like 2026-01-31T12:00:00+00:00")
    return value


def _statuses(given: StatusFilter) -> list[str]:
    many = [given] if isinstance(given, str) else list(given)
    try:
        return [Status(status).value for status in many]
    except ValueError as error:
        known = ", ".join(status.value for status in Status)
        raise SessionConfigError(f"{error}; the statuses are {known}") from error


def _like(name: str) -> ColumnElement[bool]:
    if not any(mark in name for mark in "*?"):
        return sessions.c.name == str(text(name))
    escaped = str(text(name)).replace("/", "//").replace("%", "/%").replace("_", "/_")
    pattern = escaped.replace("*", "%").replace("?", "_").lower()
    condition: ColumnElement[bool] = func.lower(sessions.c.name).like(pattern, escape="/")
    return condition


def _starts(column: Any, start: str) -> ColumnElement[bool]:
    # LIKE ignores case in SQLite only; this means the same in both, and an id is never a pattern.
    condition: ColumnElement[bool] = func.substr(column, 1, len(start)) == start
    return condition

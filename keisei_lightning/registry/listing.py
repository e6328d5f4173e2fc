"""The methods of a registry that find and count sessions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import func, select

from keisei_lightning.record import Liveness, SessionRecord, Status
from keisei_lightning.registry.entry import Entry
from keisei_lightning.registry.query import Filters, StatusFilter, When, ordered, where
from keisei_lightning.registry.rows import Rows
from keisei_lightning.registry.tables import sessions

__all__ = ["Listing"]


class Listing(Rows):
    """Sessions by filters, in order, in pages."""

    def list(
        self,
        *,
        status: StatusFilter | None = None,
        liveness: Liveness | str | None = None,
        group: str | None = None,
        tag: str | None = None,
        name: str | None = None,
        host: str | None = None,
        config_hash: str | None = None,
        directory: str | None = None,
        since: When | None = None,
        pinned: bool | None = None,
        sort: str = "created_at",
        descending: bool = True,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[SessionRecord]:
        """Return the records that pass all filters, newest first.

        Args:
            status: One or several.
            liveness: ``alive``, ``stalled``, ``stale`` or ``dead``; only sessions that say they
                run.
            group: The sweep.
            tag: One of the tags.
            name: The whole name; ``*`` and ``?`` stand for any characters and any one.
            host: Where it runs or ran.
            config_hash: Of the same config.
            directory: The run directory.
            since: Created at or after; ISO 8601, datetime or seconds since 1970.
            pinned: Only those that are, or are not.
            sort: ``created_at``, ``started_at``, ``ended_at``, ``duration_s``, ``name``,
                ``status``, ``group_name``, ``host``, ``attempt``, ``beat_at`` or ``id``.
            descending: Largest or newest first; those without a value always last.
            limit: How many at most.
            offset: How many to pass over.
        """
        filters = Filters(status, group, tag, name, host, config_hash, directory, since, pinned)
        found = self._select(filters, liveness, sort, descending, limit, offset)
        return [entry.record for entry in found]

    def entries(
        self,
        filters: Filters | None = None,
        *,
        liveness: Liveness | str | None = None,
        sort: str = "created_at",
        descending: bool = True,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[Entry, ...]:
        """Return what :meth:`list` does, with liveness and pins."""
        return tuple(self._select(filters or Filters(), liveness, sort, descending, limit, offset))

    def ids(self) -> tuple[str, ...]:
        """Return the ids of all sessions, oldest first."""
        statement = select(sessions.c.id).order_by(sessions.c.created_at, sessions.c.id)
        with self._database.read() as connection:
            return tuple(connection.execute(statement).scalars())

    def count(self, filters: Filters | None = None, **given: Any) -> int:
        """Return how many sessions pass the filters of :meth:`list` (all but ``liveness``)."""
        conditions = where(filters or Filters(**given))
        with self._database.read() as connection:
            statement = select(func.count()).select_from(sessions).where(*conditions)
            return connection.execute(statement).scalar_one()

    def _select(
        self,
        filters: Filters,
        alive: Liveness | str | None,
        sort: str,
        descending: bool,
        limit: int | None,
        offset: int,
    ) -> Iterable[Entry]:
        statement = ordered(select(sessions), sort, descending=descending)
        statement = statement.where(*where(filters))
        if alive is None:
            statement = statement.limit(limit).offset(offset)
        else:
            running = (Status.PENDING.value, Status.RUNNING.value)
            statement = statement.where(sessions.c.status.in_(running))
        with self._database.read() as connection:
            rows = connection.execute(statement).all()
        machine = self._machine()
        found = [self._entry(row, machine) for row in rows]
        if alive is None:
            return found
        wanted = Liveness(alive)
        matching = [entry for entry in found if entry.liveness is wanted]
        return matching[offset : None if limit is None else offset + limit]

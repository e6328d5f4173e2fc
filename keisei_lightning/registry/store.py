"""The registry: the index over many sessions, in one SQL database."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Row, delete, func, literal, or_, select, update

from keisei_lightning.config import RegistryConfig
from keisei_lightning.errors import SessionError, SessionNotFoundError, SessionStateError
from keisei_lightning.record import (
    Liveness,
    SessionRecord,
    Status,
    damaged,
    from_json,
    to_json,
)
from keisei_lightning.registry.admission import Admission, Gate, Waiting
from keisei_lightning.registry.cleaner import Cleaner
from keisei_lightning.registry.cleaning import Relink, clean
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.events import Dispatcher, Event, EventType, Observer, build_observers
from keisei_lightning.registry.figures import cleanup_at, figures, note_cleanup, troubled
from keisei_lightning.registry.liveness import liveness, seconds
from keisei_lightning.registry.location import default_database
from keisei_lightning.registry.locking import Locks
from keisei_lightning.registry.machine import Machine, this_machine
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.pruning import Pruned
from keisei_lightning.registry.query import Filters, StatusFilter, When, one_id, ordered, where
from keisei_lightning.registry.reindex import Reindexed, reindex
from keisei_lightning.registry.removal import prune
from keisei_lightning.registry.retention import Retention
from keisei_lightning.registry.settings import settings
from keisei_lightning.registry.statistics import Health, Statistics, health, prometheus
from keisei_lightning.registry.tables import PINNED_TAG, facts, read_record, sessions, text, upsert

__all__ = ["Entry", "Registry", "Updated"]

STUCK_AFTER_S = 1800.0
"""A running session without progress for this long counts as stuck."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A record with what only the registry knows of it; ``liveness`` is ``None`` once it ended."""

    record: SessionRecord
    liveness: Liveness | None
    pinned: bool
    seen_at: float


@dataclass(frozen=True, slots=True)
class Updated:
    """What a bulk update did: how many it changed, and the error of each one it could not."""

    updated: int = 0
    errors: Mapping[str, SessionError] = dataclasses.field(default_factory=dict)


class Registry:
    """The index over many sessions in one database; instances are independent of each other.

    Records come out as copies and change only through the methods. Everything that touches the
    database raises :class:`SessionLockError` when it stays locked for ``timeout_s`` and
    :class:`SessionError` when it cannot be used. Threads may share an instance.

    Args:
        url: A SQLAlchemy URL or the path of a SQLite file; absent: ``config.url``, else the
            project's ``.keisei/sessions.db``, found upwards like ``.git``.
        config: Limits and times; a :class:`RegistryConfig`, a mapping or a config node.
        observers: Told what happens through this instance, besides those of the config.
        cwd: Where the search for the project's database starts.
        clock: Seconds since 1970.
        machine: The facts that liveness is judged by.
        relink: Called with a run's directory and record after a clean-up has marked it lost.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        config: RegistryConfig | Mapping[str, Any] | None = None,
        *,
        observers: Iterable[Observer] = (),
        cwd: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
        machine: Callable[[], Machine] = this_machine,
        relink: Relink | None = None,
    ) -> None:
        self._config = settings(config)
        start = Path(cwd) if cwd is not None else None
        target = url or self._config.url or default_database(start)
        self._database = Database(target, timeout_s=self._config.timeout_s, clock=clock)
        self._machine = machine
        self._relink = relink
        self._locks = Locks(self._database, machine)
        self._dispatcher = Dispatcher([*build_observers(self._config.observers), *observers])
        self._cleaner: Cleaner | None = None

    @classmethod
    def from_config(cls, config: Any, **arguments: Any) -> Self:
        """Return the registry that a ``session.registry`` (or whole ``session``) node describes."""
        return cls(None, settings(config), **arguments)

    @property
    def config(self) -> RegistryConfig:
        """A copy of the settings in force."""
        return dataclasses.replace(self._config)

    @property
    def path(self) -> Path | None:
        """The SQLite file; ``None`` for a PostgreSQL."""
        return self._database.path

    @property
    def url(self) -> str:
        """The database's URL with its password hidden."""
        return self._database.url.render_as_string(hide_password=True)

    @property
    def now(self) -> float:
        """Seconds since 1970 by the database's clock."""
        return self._database.now()

    # -- one session ---------------------------------------------------------------------------

    def create(self, record: SessionRecord | None = None, **given: Any) -> SessionRecord:
        """Write a new session down and return its record; an id and a time are made if absent.

        Raises:
            SessionStateError: There is a session with that id.
            SessionError: A field does not exist or has a wrong type.
        """
        made = record if record is not None else self._make(given)
        if made.created_at is None:
            made = dataclasses.replace(made, created_at=iso(self.now))
        row = facts(made, now=self.now)
        with self._database.write() as connection:
            known = select(sessions.c.id).where(sessions.c.id == row["id"])
            if connection.execute(known).first() is not None:
                raise SessionStateError(f"there is a session {made.id} already; update it instead")
            connection.execute(sessions.insert(), row)
        self._dispatcher.tell(None, made, at=self.now)
        return made

    def put(self, record: SessionRecord, *, alive: bool = False) -> bool:
        """Write a whole record, new or not; whether it was taken.

        It is not taken when its status may not follow the stored one: the first final status
        wins, in whatever process it was written. A later ``attempt`` may start again.

        Args:
            record: The record as its session has it.
            alive: The caller is the session itself: this is a sign of life.
        """
        before = self._peek(record.id) if self._dispatcher else None
        seen_at = self.now if alive else None
        row = facts(record, now=self.now, seen_at=seen_at)
        with self._database.write() as connection:
            statement = upsert(self._database.dialect, record.status)
            taken = connection.execute(statement, row).rowcount > 0
        if taken:
            self._dispatcher.tell(before, record, at=self.now)
        return taken

    def get(self, id: str) -> SessionRecord:
        """Return the session with exactly this id.

        Raises:
            SessionNotFoundError: There is none.
        """
        return self.entry(id).record

    def entry(self, id: str) -> Entry:
        """Return the session with exactly this id, its liveness and whether it is pinned.

        Raises:
            SessionNotFoundError: There is none.
        """
        with self._database.read() as connection:
            statement = select(sessions).where(sessions.c.id == text(id))
            row = connection.execute(statement).one_or_none()
        if row is None:
            raise SessionNotFoundError(f"no session has the id {id!r}")
        return self._entry(row, self._machine())

    def find(self, wanted: str) -> SessionRecord:
        """Return the session with this id or name, or the only one with this start of either.

        Raises:
            SessionNotFoundError: There is none, or several; the message lists them.
        """
        with self._database.read() as connection:
            id = one_id(connection, wanted)
        return self.get(id)

    def remove(self, id: str) -> bool:
        """Drop a session from the registry, its files untouched; whether there was one."""
        before = self._peek(id) if self._dispatcher else None
        with self._database.write() as connection:
            statement = delete(sessions).where(sessions.c.id == text(id))
            removed = connection.execute(statement).rowcount > 0
        if removed and before is not None:
            self._dispatcher.publish(Event(EventType.REMOVED, before, self.now))
        return removed

    def update(self, id: str, **changes: Any) -> SessionRecord:
        """Change fields of a session in one transaction and return the new record.

        A final ``status`` without ``ended_at`` ends the session now.

        Raises:
            SessionNotFoundError: There is no such session.
            SessionStateError: The status may not change like that; the first final one wins.
            SessionError: A field does not exist or has a wrong type; the message names it.
        """
        return self._change(id, lambda record: changes)

    def update_many(self, changes: Mapping[str, Mapping[str, Any]]) -> Updated:
        """Update several sessions by id; one that cannot be changed does not stop the others."""
        errors: dict[str, SessionError] = {}
        for id, fields in changes.items():
            try:
                self.update(id, **fields)
            except SessionError as error:
                errors[id] = error
        return Updated(len(changes) - len(errors), errors)

    def set_artifact(self, id: str, key: str, value: str) -> SessionRecord:
        """Add one artifact of a session, or replace the one with that key."""
        return self._change(id, lambda r: {"artifacts": {**r.artifacts, key: value}})

    def replace_artifacts(self, id: str, artifacts: Mapping[str, str]) -> SessionRecord:
        """Replace all artifacts of a session."""
        return self._change(id, lambda record: {"artifacts": dict(artifacts)})

    def pin(self, id: str, pinned: bool = True) -> None:
        """Keep a session from every clean-up of files and records, or let go of it again.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        with self._database.write() as connection:
            statement = update(sessions).where(sessions.c.id == text(id))
            if connection.execute(statement.values(pinned=pinned)).rowcount == 0:
                raise SessionNotFoundError(f"no session has the id {id!r}")

    @contextlib.contextmanager
    def lock(self, id: str, timeout: float | None = None) -> Iterator[SessionRecord]:
        """Hold a session against all other lockers, in any process; gives its record.

        Args:
            id: The session.
            timeout: Seconds to wait; absent: ``config.timeout_s``.

        Raises:
            SessionNotFoundError: There is no such session.
            SessionLockError: Someone else held it all the time; the message says who.
        """
        self.get(id)
        patience = self._config.timeout_s if timeout is None else timeout
        with self._locks.hold(text(id), timeout=patience):
            yield self.get(id)

    # -- many sessions -------------------------------------------------------------------------

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

    # -- the whole registry --------------------------------------------------------------------

    def admit(
        self,
        record: SessionRecord,
        *,
        progress: Callable[[Waiting], None] | None = None,
        timeout: float | None = None,
    ) -> Admission:
        """Write the session down as running if ``max_concurrent`` allows one more.

        Args:
            record: The session that wants to run.
            progress: Called while waiting, with who is in the way.
            timeout: Seconds to wait for a slot; absent: ``config.wait_timeout_s``.

        Raises:
            SessionCapacityError: There is no slot; the message names the limit and what runs.
        """
        before = self._peek(record.id) if self._dispatcher else None
        answer = self.gate.admit(record, progress=progress, timeout=timeout)
        self._dispatcher.tell(before, record, at=self.now)
        return answer

    @property
    def gate(self) -> Gate:
        """Admission as single questions, for who cannot wait in one call."""
        return Gate(self._database, self._config, self._machine)

    def cleanup(self) -> int:
        """Mark the dead and the long stale as lost, here and in their run directories.

        Never one that is alive, never another host's on a guess. Returns how many.
        """
        cleaned = clean(
            self._database,
            self._machine(),
            inactive_after_s=self._config.inactive_after_s,
            relink=self._relink,
        )
        note_cleanup(self._database)
        for record in cleaned.lost:
            self._dispatcher.publish(Event(EventType.LOST, record, self.now))
        for record in cleaned.caught_up:
            self._dispatcher.publish(Event(EventType.CLOSED, record, self.now))
        return len(cleaned.lost)

    def prune(
        self,
        rules: Retention,
        *,
        files: bool = False,
        roots: Iterable[str | os.PathLike[str]] | None = None,
        dry_run: bool = True,
    ) -> Pruned:
        """Remove ended sessions by the rules; only says what would go unless ``dry_run=False``.

        Args:
            rules: What may go and what stays; running and pinned sessions always stay.
            files: Delete the run directories too, not only the records.
            roots: Directories outside of which nothing is deleted; absent: the project's (the one
                that holds ``.keisei``), none for other databases.
            dry_run: Change nothing.
        """
        allowed = self.roots if roots is None else tuple(Path(root) for root in roots)
        pruned = prune(self._database, rules, files=files, roots=allowed, dry_run=dry_run)
        if not dry_run:
            for gone in pruned.removed:
                self._dispatcher.publish(Event(EventType.REMOVED, gone.record, self.now))
        return pruned

    @property
    def roots(self) -> tuple[Path, ...]:
        """The project directory of a ``.keisei/sessions.db``; nothing for other databases."""
        path = self._database.path
        return (path.parent.parent,) if path and path.parent.name == ".keisei" else ()

    def reindex(
        self,
        directory: str | os.PathLike[str],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Reindexed:
        """Bring every run directory below ``directory`` in; a damaged SQLite file is set aside.

        Args:
            directory: Where to look for ``session.json`` files.
            progress: Called with the number of run directories found so far.
        """
        self._database.set_aside_if_damaged()
        return reindex(self._database, Path(directory), progress=progress)

    def start_cleaning(self, interval_s: float | None = None) -> None:
        """Clean up now and then in the background until :meth:`close`."""
        interval = self._config.cleanup_interval_s if interval_s is None else interval_s
        if self._cleaner is None and interval > 0:
            self._cleaner = Cleaner(self.cleanup, interval)
            self._cleaner.start()

    def statistics(self) -> Statistics:
        """Return totals, ages and durations over all sessions."""
        return figures(
            self._database,
            self._machine(),
            max_concurrent=self._config.max_concurrent,
            inactive_after_s=self._config.inactive_after_s,
        )

    def health(self, *, stuck_after_s: float = STUCK_AFTER_S) -> Health:
        """Return whether the registry and its sessions are well, and what is not."""
        stuck, dead = troubled(self._database, self._machine(), stuck_after_s=stuck_after_s)
        cleaned = cleanup_at(self._database)
        return health(
            self.statistics(),
            stuck=stuck,
            dead=dead,
            cleanup_age_s=self.now - cleaned if cleaned is not None else None,
            cleanup_interval_s=self._config.cleanup_interval_s,
        )

    def prometheus(self) -> str:
        """Return statistics and health as a Prometheus text exposition."""
        return prometheus(self.statistics(), self.health())

    def reconfigure(self, config: RegistryConfig | Mapping[str, Any]) -> int:
        """Take new settings (not another database); lower limits clean up at once.

        Returns how many sessions were found lost.
        """
        old, new = self._config, settings(config)
        self._config = new
        self._database.timeout_s = new.timeout_s
        shrunk = (
            new.max_concurrent < old.max_concurrent or new.inactive_after_s < old.inactive_after_s
        )
        return self.cleanup() if shrunk else 0

    def close(self, timeout: float = 5.0) -> bool:
        """Stop the background work and give the connections back; whether all ended in time."""
        deadline = time.monotonic() + timeout
        stopped = self._cleaner.stop(timeout) if self._cleaner is not None else True
        told = self._dispatcher.close(max(0.0, deadline - time.monotonic()))
        self._database.close()
        return stopped and told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Registry({self.url!r})"

    # -- inside --------------------------------------------------------------------------------

    def _make(self, given: Mapping[str, Any]) -> SessionRecord:
        id = given.get("id") or secrets.token_hex(6)
        blank = SessionRecord(id=id, name=given.get("name") or id)
        return _checked(blank.update(**_typed({**given, "id": id, "name": blank.name})))

    def _peek(self, id: str) -> SessionRecord | None:
        try:
            return self.get(id)
        except SessionNotFoundError:
            return None

    def _change(
        self, id: str, changes: Callable[[SessionRecord], Mapping[str, Any]]
    ) -> SessionRecord:
        with self._database.write() as connection:
            statement = select(sessions.c.record).where(sessions.c.id == text(id))
            stored = connection.execute(statement.with_for_update()).scalar()
            if stored is None:
                raise SessionNotFoundError(f"no session has the id {id!r}")
            before = read_record(stored)
            after = self._changed(before, changes(before))
            row = facts(after, now=self.now)
            del row["seen_at"]
            row["pinned"] = or_(sessions.c.pinned, literal(PINNED_TAG in after.tags))
            connection.execute(update(sessions).where(sessions.c.id == text(id)).values(row))
        self._dispatcher.tell(before, after, at=self.now)
        return after

    def _changed(self, before: SessionRecord, changes: Mapping[str, Any]) -> SessionRecord:
        if "id" in changes and changes["id"] != before.id:
            raise SessionError("the id of a session cannot change")
        after = before.update(**_typed(changes))
        if after.status.is_final and not before.status.is_final and after.ended_at is None:
            begun = seconds(after.started_at)
            after = dataclasses.replace(
                after,
                ended_at=iso(self.now),
                duration_s=max(0.0, self.now - begun) if begun is not None else None,
            )
        return _checked(after)

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

    def _entry(self, row: Row[Any], machine: Machine) -> Entry:
        try:
            record = read_record(row.record)
        except SessionError as error:
            record = damaged(row.id, str(error), name=row.name, directory=row.directory)
        state = liveness(
            record,
            now=self.now,
            machine=machine,
            stalled_after_s=STUCK_AFTER_S,
            seen_at=row.seen_at,
        )
        return Entry(record, state, row.pinned, row.seen_at)


def _typed(changes: Mapping[str, Any]) -> dict[str, Any]:
    if "status" not in changes:
        return dict(changes)
    try:
        return {**changes, "status": Status(changes["status"])}
    except ValueError as error:
        raise SessionError(f"{error}; use one of {', '.join(s.value for s in Status)}") from error


def _checked(record: SessionRecord) -> SessionRecord:
    """Return the record as it will be read back, so that a wrong type is refused at the door."""
    return from_json(to_json(record))

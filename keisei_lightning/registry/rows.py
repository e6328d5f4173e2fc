"""The methods of a registry on one session."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sqlalchemy import Row, delete, literal, or_, select, update
from sqlalchemy.exc import IntegrityError

from keisei_lightning.errors import SessionError, SessionNotFoundError, SessionStateError
from keisei_lightning.machine import Machine
from keisei_lightning.record import SessionRecord, Status, damaged, from_json, to_json
from keisei_lightning.registry.entry import STUCK_AFTER_S, Entry, Updated
from keisei_lightning.registry.events import Event, EventType
from keisei_lightning.registry.liveness import liveness, seconds
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.opened import Opened
from keisei_lightning.registry.query import one_id
from keisei_lightning.registry.run_files import mark_pinned
from keisei_lightning.registry.tables import PINNED_TAG, facts, read_record, sessions, text, upsert

__all__ = ["Rows"]


class Rows(Opened):
    """Sessions one by one."""

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
        with self._database.once() as connection:
            try:
                connection.execute(sessions.insert(), row)
            except IntegrityError as error:
                raise SessionStateError(
                    f"there is a session {made.id} already; update it instead"
                ) from error
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
        with self._database.once() as connection:
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

    def update(self, id: str, /, **changes: Any) -> SessionRecord:
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
        """Keep a session from every removal of files and records, or let go of it again.

        A file ``.pinned`` in the run directory says so too, so that it outlives the database.

        Raises:
            SessionNotFoundError: There is no such session.
        """
        mark_pinned(self.get(id).directory, pinned)
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

"""Who may start: live sessions are counted and the new one is written in one transaction."""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, true

from keisei_lightning.config import CapacityPolicy, CapacityScope, RegistryConfig
from keisei_lightning.errors import SessionCapacityError, SessionError
from keisei_lightning.machine import Machine
from keisei_lightning.record import Heartbeat, SessionRecord, Status
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.liveness import is_lost
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.tables import facts, read_record, sessions, upsert

__all__ = ["Admission", "Gate", "Waiting"]

_PATIENCE_S = 30.0
"""How long a waiting session keeps its place in the queue without asking again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A line about a session that waits for a slot."""

    limit: int
    running: tuple[str, ...]
    ahead: int
    waited_s: float


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to one request: ``admitted``, or who is in the way."""

    admitted: bool
    running: tuple[str, ...] = ()
    ahead: int = 0
    evicted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """Admission to one database under one configuration."""

    database: Database
    config: RegistryConfig
    machine: Callable[[], Machine]

    def admit(
        self,
        record: SessionRecord,
        *,
        progress: Callable[[Waiting], None] | None = None,
        timeout: float | None = None,
    ) -> Admission:
        """Write the record down as running if there is a slot, waiting if the policy says so.

        Raises:
            SessionCapacityError: There is none (``refuse``, or the waiting was in vain); the
                message names the limit and what runs.
        """
        waits = CapacityPolicy(self.config.on_capacity) is CapacityPolicy.wait
        patience = self.config.wait_timeout_s if timeout is None else timeout
        asked = time.monotonic()
        answer = self.ask(record)
        try:
            while not answer.admitted:
                waited = time.monotonic() - asked
                if not waits or waited >= patience:
                    raise SessionCapacityError(self.refusal(answer, waited if waits else None))
                if progress is not None:
                    progress(
                        Waiting(self.config.max_concurrent, answer.running, answer.ahead, waited)
                    )
                # Jitter: those who wait together should not ask together.
                time.sleep(min(random.uniform(0.2, 0.6) + waited / 60, patience - waited, 3.0))
                answer = self.ask(record)
        except BaseException:
            self.withdraw(record.id)
            raise
        return answer

    def ask(self, record: SessionRecord) -> Admission:
        """Ask once; with the policy ``wait`` a refused record keeps its place as ``pending``."""
        machine = self.machine()
        now = self.database.now()
        with self.database.alone() as connection:
            answer = self._decide(connection, record, machine, now)
            if answer.admitted:
                running = dataclasses.replace(record, status=Status.RUNNING)
                row = facts(running, now=now, seen_at=now)
                if (
                    connection.execute(upsert(self.database.dialect, Status.RUNNING), row).rowcount
                    == 0
                ):
                    raise SessionError(
                        f"session {record.id} has ended in the registry; start a new attempt"
                    )
            elif CapacityPolicy(self.config.on_capacity) is CapacityPolicy.wait:
                beat = Heartbeat(at=iso(now), expect_next_in_s=_PATIENCE_S)
                pending = dataclasses.replace(record, status=Status.PENDING, heartbeat=beat)
                row = facts(pending, now=now, seen_at=now)
                connection.execute(upsert(self.database.dialect, Status.PENDING), row)
        return answer

    def withdraw(self, id: str) -> None:
        """Give up the place of a waiting session."""
        mine = (sessions.c.id == id, sessions.c.status == Status.PENDING.value)
        with self.database.write() as connection:
            connection.execute(delete(sessions).where(*mine))

    def refusal(self, answer: Admission, waited_s: float | None = None) -> str:
        """Return the words of a refusal: the limit, where it counts, and what runs."""
        scope = CapacityScope(self.config.scope)
        where = "on this host" if scope is CapacityScope.host else "in this registry"
        shown = ", ".join(answer.running[:5]) + (", …" if len(answer.running) > 5 else "")
        waited = f" after waiting {waited_s:.0f} s" if waited_s is not None else ""
        return (
            f"{len(answer.running)} of at most {self.config.max_concurrent} sessions run {where}"
            f"{waited} ({shown}); end one, raise session.registry.max_concurrent, or set "
            "session.registry.on_capacity=wait"
        )

    def _decide(
        self, connection: Connection, record: SessionRecord, machine: Machine, now: float
    ) -> Admission:
        policy, limit = CapacityPolicy(self.config.on_capacity), self.config.max_concurrent
        others = (sessions.c.id != record.id, self._scope(record))
        evicting = policy is CapacityPolicy.evict_finished
        states = [Status.RUNNING.value]
        if policy is CapacityPolicy.wait:
            states.append(Status.PENDING.value)
        counted = others if evicting else (*others, sessions.c.status.in_(states))
        if connection.execute(select(func.count()).where(*counted)).scalar_one() < limit:
            return Admission(admitted=True)
        statement = select(sessions).where(*others, sessions.c.status.in_(states))
        rows = connection.execute(statement.order_by(sessions.c.created_at)).all()
        live = [row for row in rows if self._holds(row, machine, now)]
        running = tuple(row.id for row in live if row.status == Status.RUNNING.value)
        me = facts(record, now=now)
        ahead = sum(
            (row.created_at, row.id) < (me["created_at"], me["id"])
            for row in live
            if row.status == Status.PENDING.value
        )
        if len(running) + ahead >= limit:
            return Admission(admitted=False, running=running, ahead=ahead)
        evicted = self._evict(connection, others, limit - 1) if evicting else ()
        return Admission(admitted=True, running=running, evicted=evicted)

    def _scope(self, record: SessionRecord) -> ColumnElement[bool]:
        if CapacityScope(self.config.scope) is CapacityScope.host:
            host = facts(record, now=0.0)["host"] or self.machine().host
            return sessions.c.host == host
        return true()

    def _holds(self, row: Row[Any], machine: Machine, now: float) -> bool:
        try:
            record = read_record(row.record)
        except SessionError:
            return True
        if row.status == Status.PENDING.value and now - row.seen_at > _PATIENCE_S:
            return False  # it no longer asks: it has left the queue
        return not is_lost(
            record,
            now=now,
            machine=machine,
            inactive_after_s=self.config.inactive_after_s,
            seen_at=row.seen_at,
        )

    def _evict(
        self, connection: Connection, others: Sequence[ColumnElement[bool]], room: int
    ) -> tuple[str, ...]:
        """Drop the oldest finished records so that ``room`` are left; files are not touched."""
        held = connection.execute(select(func.count()).where(*others)).scalar_one()
        final = [status.value for status in Status if status.is_final]
        oldest = (
            select(sessions.c.id)
            .where(*others, sessions.c.status.in_(final), ~sessions.c.pinned)
            .order_by(sessions.c.created_at)
            .limit(max(0, held - room))
        )
        ids = list(connection.execute(oldest).scalars())
        for start in range(0, len(ids), 500):
            few = ids[start : start + 500]
            connection.execute(delete(sessions).where(sessions.c.id.in_(few)))
        return tuple(ids)

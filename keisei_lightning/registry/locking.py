"""One holder at a time per session, across threads, processes and hosts."""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from keisei_lightning.errors import SessionLockError
from keisei_lightning.machine import Machine
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.liveness import SAME_START_S
from keisei_lightning.registry.tables import locks

__all__ = ["Locks"]

LEASE_S = 3600.0
"""A lock whose holder cannot be looked at (another host) is free after this long."""


class Locks:
    """The locks of one database; a thread may take one that it holds again."""

    def __init__(self, database: Database, machine: Callable[[], Machine]) -> None:
        self._database = database
        self._machine = machine
        self._mine = threading.local()

    @contextlib.contextmanager
    def hold(self, id: str, *, timeout: float) -> Iterator[None]:
        """Hold the lock of a session; a holder that died has let go of it.

        Raises:
            SessionLockError: Someone held it for ``timeout`` seconds; the message says who.
        """
        depths: dict[str, int] = self._mine.__dict__.setdefault("depths", {})
        if depths.get(id):
            depths[id] += 1
            try:
                yield
            finally:
                depths[id] -= 1
            return
        token = self._take(id, timeout)
        depths[id] = 1
        try:
            yield
        finally:
            del depths[id]
            self._release(id, token)

    def _take(self, id: str, timeout: float) -> str:
        token = secrets.token_hex(16)
        deadline = time.monotonic() + timeout
        while True:
            with self._database.alone() as connection:
                holder = self._try(connection, id, token)
            if holder is None:
                return token
            if time.monotonic() >= deadline:
                raise SessionLockError(
                    f"session {id} is locked by process {holder.pid} on {holder.host}; waited "
                    f"{timeout:g} s"
                )
            time.sleep(random.uniform(0.02, 0.1))

    def _try(self, connection: Connection, id: str, token: str) -> Any:
        now, machine = self._database.now(), self._machine()
        holder = connection.execute(select(locks).where(locks.c.id == id)).one_or_none()
        if holder is not None:
            if not self._gone(holder, machine, now):
                return holder
            connection.execute(delete(locks).where(locks.c.id == id))
        connection.execute(
            insert(locks).values(
                id=id,
                token=token,
                host=machine.host,
                pid=os.getpid(),
                pid_started_at=machine.process_started_at(os.getpid()),
                taken_at=now,
                expires_at=now + LEASE_S,
            )
        )
        return None

    def _release(self, id: str, token: str) -> None:
        with self._database.write() as connection:
            connection.execute(delete(locks).where(locks.c.id == id, locks.c.token == token))

    @staticmethod
    def _gone(holder: Any, machine: Machine, now: float) -> bool:
        if holder.host != machine.host:
            return bool(now >= holder.expires_at)
        started = machine.process_started_at(holder.pid)
        if started is None:
            return True
        known = holder.pid_started_at
        return known is not None and started > 0 and abs(started - known) > SAME_START_S

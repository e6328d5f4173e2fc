"""One database behind one URL: connections, transactions, errors; SQLite and PostgreSQL alike."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, exc, text

from keisei_lightning.errors import SessionError, SessionLockError
from keisei_lightning.registry.engines import (
    WRITING,
    database_url,
    make_private,
    postgresql_engine,
    sqlite_engine,
)
from keisei_lightning.registry.location import is_network
from keisei_lightning.registry.schema import migrate

__all__ = ["Database"]

log = logging.getLogger(__name__)


class Database:
    """Connections to one database, opened at first use and again after it was gone.

    Args:
        target: A SQLAlchemy URL, or the path of a SQLite file (made with its folder, mode 0600).
        timeout_s: Seconds to wait for a connection, a lock or an answer.
        clock: Seconds since 1970; the times in a PostgreSQL are told by its own clock.
        hold: Keep connections to a server open between uses.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.time,
        hold: bool = True,
    ) -> None:
        self.url = database_url(target)
        self.dialect = self.url.get_backend_name()
        self.path = Path(self.url.database or "") if self.dialect == "sqlite" else None
        self.timeout_s = timeout_s
        self._clock = clock
        self._hold = hold
        self._ahead_s = 0.0
        self._engine: Engine | None = None
        self._file: tuple[int, int] | None = None
        self._opening = threading.RLock()
        self._hinted = False
        self._owner = os.getpid()

    def __str__(self) -> str:
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)

    def now(self) -> float:
        """Return the seconds since 1970 by the database's clock, as last compared."""
        return self._clock() + self._ahead_s

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection on which each statement stands alone.

        Raises:
            SessionLockError: The database stayed locked for ``timeout_s``.
            SessionError: The database cannot be used; the message says what to do.
        """
        with self._explained(), self._open().connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection in one transaction that no other writer is in (SQLite) or sees half.

        Raises:
            SessionLockError: The database stayed locked for ``timeout_s``.
            SessionError: The database cannot be used; the message says what to do.
        """
        with (
            self._explained(),
            self._open().execution_options(**{WRITING: True}).begin() as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def once(self) -> Iterator[Connection]:
        """Give a connection for one writing statement, which is a transaction of its own.

        Raises:
            SessionLockError: The database stayed locked for ``timeout_s``.
            SessionError: The database cannot be used; the message says what to do.
        """
        # In SQLite a statement outside of BEGIN and COMMIT costs half of one between them.
        with self.write() if self.path is None else self.read() as connection:
            yield connection

    @contextlib.contextmanager
    def alone(self) -> Iterator[Connection]:
        """Give :meth:`write`'s connection with every other caller of this method kept out."""
        with self.write() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(7263914508)"))
            yield connection

    def close(self) -> None:
        """Give the connections back; the next use opens new ones."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = None

    def set_aside_if_damaged(self) -> Path | None:
        """Rename a SQLite file that is damaged, with its companions; where it went."""
        if self.path is None or not self.path.exists() or self._sound():
            return None
        self.close()
        aside = self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}")
        for ending in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{ending}", f"{aside}{ending}")
        log.warning("the registry %s was damaged; it is now %s", self.path, aside)
        return aside

    def _sound(self) -> bool:
        try:
            with self.read() as connection:
                return connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok"
        except SessionLockError:
            raise
        except SessionError as error:
            if "damaged" in str(error):
                return False
            raise

    def _open(self) -> Engine:
        if self._owner != os.getpid():
            self._forked()
        if self._engine is not None and not self._replaced():
            return self._engine
        with self._opening:
            if self._engine is not None and not self._replaced():
                return self._engine
            self.close()
            engine = self._engine_of()
            try:
                migrate(engine.execution_options(**{WRITING: True}))
            except BaseException:
                engine.dispose()
                raise
            self._file = self._identity()
            self._engine = engine
            return engine

    def _forked(self) -> None:
        # The parent's connections are not ours to use or to close.
        self._owner, self._opening = os.getpid(), threading.RLock()
        if self._engine is not None:
            self._engine.dispose(close=False)
        self._engine = None

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path) if self.path else None
        except OSError:
            return None
        return (found.st_dev, found.st_ino) if found else None

    def _replaced(self) -> bool:
        # A deleted SQLite file can be written to for ever without an error; nobody reads it.
        return self.path is not None and self._identity() != self._file

    def _engine_of(self) -> Engine:
        if self.path is None:
            return postgresql_engine(
                self.url, self.timeout_s, self._compare_clocks, hold=self._hold
            )
        make_private(self.path)
        network = is_network(self.path)
        if network and not self._hinted:
            self._hinted = True
            log.warning(
                "the registry %s is on a network file system (%s), where SQLite's locks cannot be "
                "relied on; set session.registry.url to postgresql+psycopg://… or to a file on a "
                "local disk",
                self.path,
                network,
            )
        return sqlite_engine(self.url, self.timeout_s, wal=network is None)

    def _compare_clocks(self, connection: Any, _: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
            self._ahead_s = float(cursor.fetchone()[0]) - self._clock()
        connection.rollback()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError) as error:
            raise self._explain(error) from error

    def _explain(self, error: Exception) -> SessionError:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()
        words = cause[0] if cause else type(error).__name__
        lowered = words.lower()
        if "is locked" in lowered or "lock timeout" in lowered:
            return SessionLockError(
                f"the registry {self} stayed locked for {self.timeout_s:g} s by another process"
            )
        if "malformed" in lowered or "not a database" in lowered:
            hint = "it is damaged: `keisei reindex DIR` sets it aside and builds a new one"
        elif "readonly" in lowered or "unable to open" in lowered or "permission" in lowered:
            hint = "give write access to it and its folder, or set session.registry.url"
        elif self.dialect == "postgresql":
            hint = "is the server running and session.registry.url right?"
        else:
            hint = "is there space left?"
        return SessionError(f"the registry {self} cannot be used ({words}); {hint}")

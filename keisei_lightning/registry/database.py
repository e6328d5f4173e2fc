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

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc, text
from sqlalchemy.engine import URL, make_url

from keisei_lightning.errors import SessionConfigError, SessionError, SessionLockError
from keisei_lightning.registry.location import is_network
from keisei_lightning.registry.schema import migrate

__all__ = ["Database", "database_url"]

log = logging.getLogger(__name__)

_WRITING = "keisei_writing"


def database_url(target: str | os.PathLike[str]) -> URL:
    """Return the URL of a database given as a URL or as the path of a SQLite file.

    Raises:
        SessionConfigError: The URL is of no database that the registry knows.
    """
    given = os.fspath(target)
    if "://" not in given:
        return URL.create("sqlite", database=os.path.abspath(os.path.expanduser(given)))
    try:
        url = make_url(given)
    except exc.ArgumentError as error:
        raise SessionConfigError(
            "session.registry.url is no database URL; write sqlite:////path/to/sessions.db or "
            "postgresql+psycopg://user@host/database"
        ) from error
    if url.drivername in ("postgresql", "postgres"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise SessionConfigError(
            f"session.registry.url: {url.drivername} is not supported; use sqlite:////path or "
            "postgresql+psycopg://user@host/database"
        )
    if url.get_backend_name() == "sqlite" and (not url.database or url.database == ":memory:"):
        raise SessionConfigError(
            "session.registry.url names no SQLite file; write sqlite:////path/to/sessions.db"
        )
    return url


class Database:
    """Connections to one database, opened at first use and again after it was gone.

    Args:
        target: A SQLAlchemy URL, or the path of a SQLite file (made with its folder, mode 0600).
        timeout_s: Seconds to wait for a connection, a lock or an answer.
        clock: Seconds since 1970; the times in a PostgreSQL are told by its own clock.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        *,
        timeout_s: float = 5.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.url = database_url(target)
        self.dialect = self.url.get_backend_name()
        self.path = Path(self.url.database or "") if self.dialect == "sqlite" else None
        self.timeout_s = timeout_s
        self._clock = clock
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
            self._open().execution_options(**{_WRITING: True}).begin() as connection,
        ):
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
            engine = self._sqlite() if self.path else self._postgresql()
            try:
                migrate(engine.execution_options(**{_WRITING: True}))
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

    def _sqlite(self) -> Engine:
        assert self.path is not None
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
        engine = sqlalchemy.create_engine(
            self.url, pool_timeout=self.timeout_s, connect_args={"timeout": self.timeout_s}
        )
        event.listen(engine, "connect", _prepare_sqlite(network is not None))
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self) -> Engine:
        milliseconds = max(1, int(self.timeout_s * 1000))
        settings = f"-c lock_timeout={milliseconds} -c statement_timeout={milliseconds}"
        try:
            engine = sqlalchemy.create_engine(
                self.url,
                pool_pre_ping=True,
                pool_size=2,
                pool_recycle=1800,
                pool_timeout=self.timeout_s,
                connect_args={
                    "connect_timeout": max(2, int(self.timeout_s)),
                    "tcp_user_timeout": milliseconds,
                    "options": settings,
                    "application_name": "keisei",
                },
            )
        except ImportError as error:
            raise SessionConfigError(
                "a PostgreSQL registry needs psycopg: pip install keisei-lightning[postgres]"
            ) from error
        event.listen(engine, "connect", self._compare_clocks)
        return engine

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


def make_private(path: Path) -> None:
    """Make the file and its folder for our eyes only, and keep the folder out of git."""
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == ".keisei":
            with contextlib.suppress(OSError):
                (folder / ".gitignore").write_text("*\n")
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _prepare_sqlite(network: bool) -> Callable[[Any, Any], None]:
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # no hidden BEGIN of the driver's
        cursor = connection.cursor()
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        if not network and mode != "wal":
            # Fails while another process looks at the file; whoever comes next does it.
            with contextlib.suppress(Exception):
                cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return prepare


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITING):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

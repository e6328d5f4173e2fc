"""Connections to SQLite and PostgreSQL, set up so that a wait is bounded and a writer is alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from keisei_lightning.errors import SessionConfigError

__all__ = ["WRITING", "database_url", "make_private", "postgresql_engine", "sqlite_engine"]

WRITING = "keisei_writing"
"""The execution option of a transaction that begins as a writer."""


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


def sqlite_engine(url: URL, timeout_s: float, *, wal: bool) -> Engine:
    """Return connections to a SQLite file; ``wal`` only where the file system is local."""
    engine = sqlalchemy.create_engine(
        url, pool_timeout=timeout_s, connect_args={"timeout": timeout_s}
    )
    event.listen(engine, "connect", _prepare_sqlite(wal))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def postgresql_engine(
    url: URL, timeout_s: float, connected: Callable[[Any, Any], None], *, hold: bool
) -> Engine:
    """Return connections to a PostgreSQL; ``connected`` is called with each new one.

    ``hold`` keeps them open between uses; a server has not enough of them for hundreds of runs.

    Raises:
        SessionConfigError: psycopg is not installed.
    """
    pool: dict[str, Any] = {"poolclass": NullPool}
    if hold:
        pool = {
            "pool_pre_ping": True,
            "pool_size": 2,
            "pool_recycle": 1800,
            "pool_timeout": timeout_s,
        }
    try:
        engine = sqlalchemy.create_engine(url, connect_args=_bounds(url, timeout_s), **pool)
    except ImportError as error:
        raise SessionConfigError(
            "a PostgreSQL registry needs psycopg: pip install keisei-lightning[postgres]"
        ) from error
    event.listen(engine, "connect", connected)
    return engine


def _bounds(url: URL, timeout_s: float) -> dict[str, Any]:
    """Return what bounds each wait for the server; what the URL says itself comes first."""
    milliseconds = max(1, int(timeout_s * 1000))
    given = url.query.get("options", "")
    options = given if isinstance(given, str) else " ".join(given)
    bounds = {
        "connect_timeout": max(2, int(timeout_s)),
        "tcp_user_timeout": milliseconds,
        "application_name": "keisei",
    }
    # A statement that waits for a lock should end by the shorter limit, which says so.
    limits = f"-c lock_timeout={milliseconds} -c statement_timeout={2 * milliseconds} {options}"
    return {"options": limits, **{k: v for k, v in bounds.items() if k not in url.query}}


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


def _prepare_sqlite(wal: bool) -> Callable[[Any, Any], None]:
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # no hidden BEGIN of the driver's
        cursor = connection.cursor()
        mode = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        if not wal and mode == "wal":
            cursor.execute("PRAGMA journal_mode=DELETE").fetchone()
        if wal and mode != "wal":
            # Fails while another process looks at the file; whoever comes next does it.
            with contextlib.suppress(Exception):
                cursor.execute("PRAGMA journal_mode=WAL").fetchone()
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    return prepare


def _begin_sqlite(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITING):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

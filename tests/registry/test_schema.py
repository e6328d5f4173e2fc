"""The tables' version: made once, brought forward, never backward; errors that say what to do."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, inspect, text

from keisei_lightning import Registry, SessionConfigError, SessionError, SessionLockError
from keisei_lightning.registry import database
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.engines import database_url
from keisei_lightning.registry.schema import SCHEMA_VERSION, migrate, schema_version
from keisei_lightning.testing import make_record


def test_many_processes_make_the_tables_once(registry_url: str) -> None:
    """Eight that start together on an empty database all find it ready."""
    script = (
        "import sys; from keisei_lightning import Registry\n"
        "with Registry(sys.argv[1]) as r: r.create(); print(r.count() > 0)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, registry_url], stdout=subprocess.PIPE, text=True
        )
        for _ in range(8)
    ]
    assert [child.communicate(timeout=120)[0].strip() for child in children] == ["True"] * 8
    with Registry(registry_url) as registry:
        assert registry.count() == 8


def test_older_tables_are_brought_forward(registry_url: str) -> None:
    """Each step is taken once and in order; what is stored stays."""
    steps: list[int] = []

    def first(connection: Connection) -> None:
        steps.append(1)
        connection.execute(text("ALTER TABLE sessions ADD COLUMN mood TEXT"))

    def second(connection: Connection) -> None:
        steps.append(2)
        connection.execute(text("UPDATE sessions SET mood = 'good'"))

    with Registry(registry_url) as registry:
        record = registry.create()
    engine = create_engine(database_url(registry_url))
    migrations = {SCHEMA_VERSION: first, SCHEMA_VERSION + 1: second}
    for _ in range(2):
        migrate(engine, version=SCHEMA_VERSION + 2, migrations=migrations)
    with engine.connect() as connection:
        assert schema_version(connection) == SCHEMA_VERSION + 2
        rows = connection.execute(text("SELECT id, mood FROM sessions")).all()
        assert [tuple(row) for row in rows] == [(record.id, "good")]
    engine.dispose()
    assert steps == [1, 2]


def test_a_step_that_fails_changes_nothing(registry_url: str) -> None:
    """Half a migration is none."""

    def failing(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE sessions ADD COLUMN mood TEXT"))
        raise ValueError("no")

    with Registry(registry_url) as registry:
        registry.create()
        engine = registry._database._open().execution_options(keisei_writing=True)
        with pytest.raises(ValueError, match="no"):
            migrate(engine, version=SCHEMA_VERSION + 1, migrations={SCHEMA_VERSION: failing})
        with registry._database.read() as connection:
            assert schema_version(connection) == SCHEMA_VERSION
            columns = inspect(connection).get_columns("sessions")
            assert "mood" not in [column["name"] for column in columns]


def test_tables_of_a_newer_version_are_left_alone(registry_url: str) -> None:
    """The message says to upgrade."""
    with Registry(registry_url) as registry:
        registry.count()
        with registry._database.write() as connection:
            connection.execute(text("UPDATE meta SET value = '99' WHERE key = 'schema'"))
    with Registry(registry_url) as registry, pytest.raises(SessionError, match="upgrade"):
        registry.count()


def test_sqlite_is_private_and_quick(tmp_path: Path) -> None:
    """The file is for our eyes only, kept out of git, and readers do not stop writers."""
    path = tmp_path / ".keisei" / "sessions.db"
    with Registry(path) as registry:
        registry.create()
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert (path.parent / ".gitignore").read_text() == "*\n"
        with registry._database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_locked_database_is_a_lock_error(tmp_path: Path) -> None:
    """It waits for the configured time and then says what is the matter."""
    with Registry(tmp_path / "a.db", {"timeout_s": 0.2}) as registry:
        registry.create()
        with Registry(tmp_path / "a.db") as other, other._database.write():
            with pytest.raises(SessionLockError, match=r"0\.2 s"):
                registry.create()
            assert registry.count() == 1  # readers are not stopped


def test_a_locked_postgresql_row_is_a_lock_error(postgresql: object) -> None:
    """The same for a server."""
    url = postgresql.new_schema()  # type: ignore[attr-defined]
    with Registry(url, {"timeout_s": 0.2}) as registry, Registry(url) as other:
        record = registry.create()
        with other._database.write() as connection:
            connection.execute(text("SELECT * FROM sessions FOR UPDATE"))
            with pytest.raises(SessionLockError):
                registry.update(record.id, seed=1)


def test_a_server_that_is_not_there() -> None:
    """The message names the server without its password, and asks the right question."""
    url = "postgresql+psycopg://me:geheim@127.0.0.1:1/db"
    with Registry(url, {"timeout_s": 1}) as registry:
        with pytest.raises(SessionError, match="is the server running") as caught:
            registry.count()
        assert "geheim" not in f"{caught.value} {registry!r} {registry.url}"


def test_a_network_file_system_is_hinted_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, with what to do; and without WAL, which does not work there."""
    monkeypatch.setattr(database, "is_network", lambda path: "nfs4")
    with Registry(tmp_path / "a.db") as registry:
        registry.create()
        registry.close()
        registry.create()
        with registry._database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"
    hints = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(hints) == 1
    assert "nfs4" in hints[0]
    assert "session.registry.url" in hints[0]


def test_psycopg_missing_says_what_to_install() -> None:
    """Without the extra the message names it."""
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from keisei_lightning import Registry, SessionConfigError\n"
        "try: Registry('postgresql://x/y').count()\n"
        "except SessionConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install keisei-lightning[postgres]" in done.stdout


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("postgresql://h/d", "postgresql+psycopg"),
        ("postgres://h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg"),
        ("sqlite:////x/y.db", "sqlite"),
        ("/x/y z?.db", "sqlite"),
    ],
)
def test_urls_and_paths(given: str, driver: str) -> None:
    """Whatever people write for PostgreSQL means psycopg 3; a path is a SQLite file."""
    assert database_url(given).drivername == driver


@pytest.mark.parametrize(
    "wrong", ["mysql://h/d", "sqlite://", "sqlite:///:memory:", "://", "pg:x://"]
)
def test_urls_that_cannot_be(wrong: str) -> None:
    """Another database, or none at all, is a setting to correct."""
    with pytest.raises(SessionConfigError, match=r"session\.registry\.url"):
        database_url(wrong)


def test_threads_share_a_registry(registry: Registry) -> None:
    """Ten threads creating sessions through one instance all succeed."""
    threads = [
        threading.Thread(target=lambda: [registry.create(make_record()) for _ in range(10)])
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.count() == 100


def test_a_forked_child_opens_connections_of_its_own(registry: Registry) -> None:
    """A child process uses the registry without breaking its parent's connections."""
    record = registry.create()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            registry.update(record.id, seed=5)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert registry.get(record.id).seed == 5


def test_a_file_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    """After the file was deleted nothing is written to its ghost."""
    path = tmp_path / "a.db"
    store = Database(path)
    with store.write() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('old', '1')"))
    path.unlink()
    with store.read() as connection:
        assert connection.execute(text("SELECT key FROM meta")).scalars().all() == ["schema"]
    store.close()

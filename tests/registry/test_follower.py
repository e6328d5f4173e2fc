"""What a running session has of the registry: never slowed, never stopped, nothing lost."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keisei_lightning import Registry, SessionCapacityError, SessionRecord, Status
from keisei_lightning.config import CapacityPolicy, RegistryConfig
from keisei_lightning.machine import identity
from keisei_lightning.record import Ending, Heartbeat, Progress
from keisei_lightning.registry.events import Event
from keisei_lightning.registry.follower import Follower
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.run_files import write_run
from keisei_lightning.testing import make_record, wait_for

GENEROUS = 20.0


@contextlib.contextmanager
def following(config: RegistryConfig, **given: Any) -> Iterator[Follower]:
    """A follower that is closed at the end."""
    follower = Follower(config, **given)
    try:
        yield follower
    finally:
        follower.close(GENEROUS)


def session(**facts: Any) -> SessionRecord:
    """A running session of this process."""
    defaults = {**identity(), "status": Status.RUNNING, "created_at": iso(time.time())}
    return make_record(**{**defaults, **facts})


def step(record: SessionRecord, number: int) -> SessionRecord:
    """The record some beats later."""
    beat = Heartbeat(iso(time.time()), 30.0)
    return dataclasses.replace(record, heartbeat=beat, progress=Progress("train", 0, number))


def done(record: SessionRecord) -> SessionRecord:
    """The record at its end."""
    return record.end(Ending(Status.COMPLETED, "max_epochs"), at=iso(time.time()))


def test_the_whole_life_of_a_session(registry_url: str) -> None:
    """Admitted, followed, ended: the registry says what the session said last."""
    record = session()
    follower = Follower(RegistryConfig(url=registry_url))
    follower.admit(record)
    with Registry(registry_url) as registry:
        assert registry.get(record.id).status is Status.RUNNING
        for number in range(50):
            follower.push(step(record, number))
        wait_for(lambda: registry.get(record.id).progress == Progress("train", 0, 49))
        final = done(step(record, 50))
        follower.push(final)
        assert follower.close(GENEROUS) is True
        assert registry.get(record.id) == final
    assert follower.failures == 0


def test_capacity_is_refused(registry_url: str) -> None:
    """The one too many is told so, with the limit."""
    config = RegistryConfig(url=registry_url, max_concurrent=1)
    with following(config) as one, following(config) as two:
        one.admit(session())
        with pytest.raises(SessionCapacityError, match="1 of at most 1"):
            two.admit(session())


def test_capacity_is_waited_for(registry_url: str) -> None:
    """With ``wait`` it runs as soon as the other has ended."""
    config = RegistryConfig(url=registry_url, max_concurrent=1, on_capacity=CapacityPolicy.wait)
    first, second = session(), session()
    with following(config) as one, following(config) as two:
        one.admit(first)
        reports = []

        def report(waiting: object) -> None:
            if not reports:
                one.push(done(first))
            reports.append(waiting)

        two.admit(second, progress=report)
        assert reports
    with Registry(registry_url) as registry:
        assert registry.get(second.id).status is Status.RUNNING


def test_waiting_in_vain(registry_url: str) -> None:
    """It ends after ``wait_timeout_s`` and leaves no place behind."""
    config = RegistryConfig(
        url=registry_url, max_concurrent=1, on_capacity=CapacityPolicy.wait, wait_timeout_s=0.5
    )
    second = session()
    with following(config) as one, following(config) as two:
        one.admit(session())
        with pytest.raises(SessionCapacityError, match="after waiting"):
            two.admit(second)
    with Registry(registry_url) as registry:
        assert second.id not in registry.ids()


def test_the_caller_never_waits_for_a_locked_database(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Locked: admission gives up after its time, pushing costs nothing, and all is caught up."""
    path = tmp_path / "sessions.db"
    with Registry(path) as registry:
        registry.count()
    config = RegistryConfig(url=str(path), timeout_s=0.5)
    record = session()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        follower = Follower(config, directory=tmp_path)
        begun = time.monotonic()
        follower.admit(record)
        assert time.monotonic() - begun < 10.0
        begun = time.monotonic()
        for number in range(1000):
            follower.push(step(record, number))
        assert time.monotonic() - begun < 2.0
        wait_for(lambda: follower.failures > 1, what="it was tried again")
        blocker.execute("ROLLBACK")
    final = done(record)
    follower.push(final)
    with Registry(path) as registry:
        wait_for(lambda: record.id in registry.ids() and registry.get(record.id) == final)
    assert follower.close(GENEROUS) is True
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "reindex" in warnings[0].getMessage()


def test_close_is_bounded_when_nothing_can_be_written(tmp_path: Path) -> None:
    """A database that stays locked costs the end no more than ``timeout_s``."""
    path = tmp_path / "sessions.db"
    with Registry(path) as registry:
        registry.count()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        follower = Follower(RegistryConfig(url=str(path), timeout_s=0.5))
        follower.push(done(session()))
        begun = time.monotonic()
        assert follower.close(30.0) is False
        assert time.monotonic() - begun < 10.0
        blocker.execute("ROLLBACK")


@pytest.mark.parametrize("fault", ["deleted", "folder deleted", "replaced", "corrupted"])
def test_a_database_that_goes_away(tmp_path: Path, fault: str) -> None:
    """Deleted or replaced: made anew at the next beat. Corrupted: reindex brings the run in."""
    folder = tmp_path / "project" / ".keisei"
    path = folder / "sessions.db"
    config = RegistryConfig(url=str(path), timeout_s=1.0, cleanup_interval_s=0)
    record = session(directory=str(tmp_path / "project" / "run"))
    with following(config) as follower:
        follower.admit(record)
        if fault == "corrupted":
            for ending in ("-wal", "-shm"):
                Path(f"{path}{ending}").unlink(missing_ok=True)
            path.write_bytes(b"this is not a database" * 1000)
        else:
            for file in folder.iterdir():
                file.unlink()
            if fault == "folder deleted":
                folder.rmdir()
            if fault == "replaced":
                with Registry(path) as other:
                    other.create(name="another")
        final = done(step(record, 5))
        follower.push(final)
        written = follower.close(GENEROUS)
        assert written or fault == "corrupted"
    with Registry(path) as registry:
        if fault == "corrupted":
            run = tmp_path / "project" / "run"
            run.mkdir()
            write_run(run, final)
            assert registry.reindex(tmp_path).written == 1
        assert registry.get(record.id) == final


def test_a_full_disk(tmp_path: Path) -> None:
    """No space for the database: one warning, and caught up when there is some again."""
    script = f"""
import logging, resource, time
from keisei_lightning import Registry
from keisei_lightning.config import RegistryConfig
from keisei_lightning.registry.follower import Follower
from keisei_lightning.registry.run_files import write_run
from keisei_lightning.testing import make_record, wait_for
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = {str(tmp_path / "sessions.db")!r}
with Registry(path) as registry: registry.count()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
follower = Follower(RegistryConfig(url=path, timeout_s=1.0))
record = make_record(argv=tuple("x" * 100 for _ in range(100)))
follower.push(record)
wait_for(lambda: follower.failures > 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
follower.push(record)
with Registry(path) as registry:
    wait_for(lambda: registry.ids() == (record.id,))
print(follower.close(10))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.strip() == "True"


def test_a_read_only_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no database can be made the session runs without, warned once."""
    (tmp_path / "file").touch()
    config = RegistryConfig(url=str(tmp_path / "file" / "sessions.db"), timeout_s=0.5)
    follower = Follower(config)
    follower.admit(session())
    follower.push(session())
    assert follower.close(GENEROUS) is False
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_a_server_that_is_stopped_and_started(new_server: Callable[[], Any]) -> None:
    """PostgreSQL away for a while: the run notices nothing, the newest record arrives."""
    server = new_server()
    url = server.new_schema()
    record = session()
    follower = Follower(RegistryConfig(url=url, timeout_s=2.0, cleanup_interval_s=0.2))
    follower.admit(record)
    server.stop_at_once()
    follower.push(step(record, 1))
    wait_for(lambda: follower.failures > 0, what="the server is missed")
    server.handle.ensure_postgres_running()
    follower.push(step(record, 2))
    with Registry(url) as registry:
        wait_for(
            lambda: registry.get(record.id).progress == Progress("train", 0, 2), what="caught up"
        )
        final = done(record)
        follower.push(final)
        assert follower.close(GENEROUS) is True
        assert registry.get(record.id) == final


def test_an_ending_from_elsewhere_stands(
    registry_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Written off by another, the session that lives on is told once; the first ending stays."""
    record = session()
    with (
        following(RegistryConfig(url=registry_url)) as follower,
        Registry(registry_url) as registry,
    ):
        follower.admit(record)
        registry.update(record.id, status="lost")
        follower.push(step(record, 1))
        follower.push(done(record))
        assert follower.close(GENEROUS) is True
        assert registry.get(record.id).status is Status.LOST
    assert sum("lost already" in r.getMessage() for r in caplog.records) == 1


def test_it_cleans_up_at_the_start_and_later(registry_url: str) -> None:
    """Sessions that died are written off by whoever starts next, and by whoever runs."""
    with Registry(registry_url) as registry:
        before = registry.create(session(pid_started_at=1.0))
        with following(RegistryConfig(url=registry_url, cleanup_interval_s=0.1)) as follower:
            wait_for(lambda: registry.get(before.id).status is Status.LOST)
            during = registry.create(session(pid_started_at=1.0))
            wait_for(lambda: registry.get(during.id).status is Status.LOST)
            wait_for(lambda: follower.lost == 2)  # counted just after it is written


def test_observers_are_told_and_cannot_disturb(registry_url: str) -> None:
    """One sees the whole life; one that raises and one that sleeps change nothing."""
    seen: list[str] = []
    never = threading.Event()

    class Good:
        def on_event(self, event: Event) -> None:
            seen.append(event.type.value)

    class Bad:
        def on_event(self, event: Event) -> None:
            raise RuntimeError("observer")

    class Slow:
        def on_event(self, event: Event) -> None:
            never.wait(60)

    record = session()
    config = RegistryConfig(url=registry_url, observers=[Good()])
    follower = Follower(config, observers=[Bad(), Slow()])
    follower.push(record)
    follower.push(step(record, 1))
    follower.push(done(step(record, 1)))
    assert follower.close(3.0) is False  # the sleeper
    never.set()
    assert seen == ["opened", "progressed", "closed"]
    with Registry(registry_url) as registry:
        assert registry.get(record.id).status is Status.COMPLETED


def test_nothing_heavy_is_imported_on_the_callers_thread(tmp_path: Path) -> None:
    """SQLAlchemy is imported by the follower's thread; making one costs the caller nothing."""
    script = """
import sys, threading
from keisei_lightning.config import RegistryConfig
from keisei_lightning.registry.follower import Follower
assert "sqlalchemy" not in sys.modules
importers = set()
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "sqlalchemy": importers.add(threading.current_thread().name)
sys.meta_path.insert(0, Finder())
follower = Follower(RegistryConfig())
from keisei_lightning.registry.run_files import write_run
from keisei_lightning.testing import make_record
follower.admit(make_record())
assert follower.close(20)
print(*importers)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
        cwd=tmp_path,
        env=dict(os.environ),
    )
    assert done.stdout.split() == ["keisei-registry"]

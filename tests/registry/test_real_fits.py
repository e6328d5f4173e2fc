"""Real trainings whose registry goes away under them: nothing is slowed, nothing is lost."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keisei_lightning import Registry, Status
from keisei_lightning.testing import wait_for

FIT = Path(__file__).with_name("fit.py")
STEPS = 150


class Fit:
    """A training process that waits in its middle."""

    def __init__(self, place: Path, url: str) -> None:
        self.place = place
        self.process = subprocess.Popen(
            [sys.executable, str(FIT), str(place), url, str(STEPS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=place,
            env={**os.environ, "HOME": str(place), "OMP_NUM_THREADS": "1"},
        )

    def wait_halfway(self) -> None:
        """Wait until it waits."""
        mark = self.place / "halfway"
        wait_for(lambda: mark.exists() or self.process.poll() is not None, 120)
        assert self.process.poll() is None, self.process.communicate()[1]

    def go_on(self) -> None:
        """Let it go on."""
        (self.place / "go").touch()

    def finish(self) -> dict[str, Any]:
        """Wait for its end and check what must hold whatever happened to the registry."""
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        said: dict[str, Any] = json.loads(out.splitlines()[-1])
        assert said["steps"] == STEPS
        assert said["longest"] < 2.0  # a step takes 0.01 s; waiting for the database would take 2
        assert said["close"] < 20.0
        assert err.count("the registry failed") <= 1
        record = json.loads((self.place / "run" / "session.json").read_text())
        assert record["status"] == "completed"
        return said


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Fit]]:
    """Start trainings that do not outlive the test."""
    fits: list[Fit] = []

    def begin(url: str) -> Fit:
        fits.append(Fit(tmp_path, url))
        fits[-1].wait_halfway()
        return fits[-1]

    yield begin
    for fit in fits:
        with fit.process:  # closes its pipes
            fit.process.kill()


def steps(registry: Registry) -> list[int]:
    """The steps that the sessions are known to be at."""
    progresses = [record.progress for record in registry.list()]
    return [progress.step or 0 for progress in progresses if progress is not None]


def test_a_fit_is_followed(start: Callable[[str], Fit], registry_url: str) -> None:
    """Seen alive with its steps while it runs, completed when it has."""
    fit = start(registry_url)
    with Registry(registry_url) as registry:
        wait_for(
            lambda: (
                [e.record.progress.step for e in registry.entries() if e.record.progress]
                in ([30], [31])
            ),
            what="the step is in the registry",
        )
        (entry,) = registry.entries()
        assert entry.liveness == "alive"
        assert entry.record.progress is not None
        assert entry.record.progress.total_steps == STEPS
        fit.go_on()
        said = fit.finish()
        record = registry.get(said["id"])
    assert record.status is Status.COMPLETED
    assert record.progress is not None
    assert record.progress.step == STEPS


def test_a_killed_fit(start: Callable[[str], Fit], registry_url: str) -> None:
    """Dead at once, counted by clean-up, lost in the registry and in its directory."""
    fit = start(registry_url)
    with Registry(registry_url) as registry:
        wait_for(lambda: [p for p in steps(registry) if p >= 29], what="the step is known")
        fit.process.kill()
        fit.process.communicate()
        assert [entry.liveness for entry in registry.entries()] == ["dead"]
        assert registry.cleanup() == 1
        (record,) = registry.list()
    assert record.status is Status.LOST
    assert record.ending is not None
    assert (record.ending.step or 0) >= 29
    written = json.loads((fit.place / "run" / "session.json").read_text())
    assert (written["status"], written["ending"]["reason"]) == ("lost", "lost")


@pytest.mark.parametrize(
    "fault",
    [
        "deleted",
        pytest.param("corrupted", marks=pytest.mark.long),
        pytest.param("not writable", marks=pytest.mark.long),
    ],
)
def test_the_database_is_gone_in_mid_run(
    start: Callable[[str], Fit], tmp_path: Path, fault: str
) -> None:
    """The fit takes all its steps; after a reindex the registry knows all about it."""
    path = tmp_path / ".keisei" / "sessions.db"
    fit = start(str(path))
    wait_for(path.exists)
    if fault == "deleted":
        for file in path.parent.iterdir():
            file.unlink()
    elif fault == "corrupted":
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError), open(f"{path}{ending}", "r+b") as file:
                file.write(os.urandom(60_000))
    else:
        for file in path.parent.iterdir():
            file.unlink()
        path.parent.rmdir()
        path.parent.touch()  # a file in the place of the folder
    fit.go_on()
    said = fit.finish()
    if fault == "not writable":
        path.parent.unlink()
    with Registry(path) as registry:
        registry.reindex(tmp_path)
        (record,) = registry.list()
    assert (record.id, record.status) == (said["id"], Status.COMPLETED)


@pytest.mark.parametrize("locked_s", [6.0, pytest.param(60.0, marks=pytest.mark.long)])
def test_the_database_is_locked_in_mid_run(
    start: Callable[[str], Fit], tmp_path: Path, locked_s: float
) -> None:
    """Locked for longer than anyone waits: caught up by itself, or by the next clean-up."""
    path = tmp_path / "sessions.db"
    fit = start(str(path))
    with Registry(path) as registry:
        wait_for(registry.count)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        fit.go_on()
        said = fit.finish()
        time.sleep(max(0.0, locked_s - (time.monotonic() - begun)))
        blocker.execute("ROLLBACK")
    with Registry(path) as registry:
        registry.cleanup()
        (record,) = registry.list()
    assert (record.id, record.status) == (said["id"], Status.COMPLETED)


def test_the_server_is_stopped_and_started_in_mid_run(
    start: Callable[[str], Fit], new_server: Callable[[], Any]
) -> None:
    """PostgreSQL is away for a while: the fit does not notice, and the end is written down."""
    server = new_server()
    url = server.new_schema()
    fit = start(url)
    with Registry(url) as registry:
        wait_for(registry.count)
    server.stop_at_once()
    time.sleep(1.0)
    fit.go_on()
    time.sleep(0.5)
    server.handle.ensure_postgres_running()
    said = fit.finish()
    with Registry(url) as registry:
        registry.reindex(fit.place)
        (record,) = registry.list()
    assert (record.id, record.status) == (said["id"], Status.COMPLETED)

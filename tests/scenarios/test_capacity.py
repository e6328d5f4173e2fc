"""Admission of real jobs: one too many is refused or waits, and a dead one's slot is free."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from process import environment, read, run, runs, start

pytestmark = pytest.mark.long

ONE = "session.registry.max_concurrent=1"


def keisei(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in the project."""
    return subprocess.run(
        [sys.executable, "-m", "keisei_lightning.cli", *arguments],
        cwd=cwd,
        env=environment(cwd),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_one_too_many_is_refused(tmp_path: Path) -> None:
    """The job that is refused fails before it trains, and names the limit."""
    first = start("hydra", tmp_path, "linger", "")
    first.until("lingering-0")
    [held] = runs(tmp_path)
    left = run("hydra", tmp_path, "success", "", ONE)
    [refused] = [directory for directory in runs(tmp_path) if directory != held]
    os.kill(first.process.pid, signal.SIGTERM)
    assert first.left().code == 143
    record = read(refused)
    assert left.code == 1
    assert (record["status"], record["ending"]["reason"]) == ("failed", "capacity")
    assert "max_concurrent" in left.out
    assert not (refused / "checkpoints").exists()


def test_one_too_many_waits_for_its_slot(tmp_path: Path) -> None:
    """With `wait` the job goes on when the other has ended."""
    first = start("hydra", tmp_path, "linger", "")
    first.until("lingering-0")
    [held] = runs(tmp_path)
    second = start("hydra", tmp_path, "success", "", ONE, "session.registry.on_capacity=wait")
    with pytest.raises(TimeoutError):
        second.until("never", seconds=8)
    assert second.process.poll() is None
    [waiting] = [directory for directory in runs(tmp_path) if directory != held]
    assert read(waiting)["status"] == "pending"
    os.kill(first.process.pid, signal.SIGTERM)
    first.left()
    assert second.process.wait(60) == 0
    assert read(waiting)["status"] == "completed"


def test_waiting_job_can_be_ended(tmp_path: Path) -> None:
    """SIGTERM while a job waits for its slot is an ending like any other."""
    first = start("hydra", tmp_path, "linger", "")
    first.until("lingering-0")
    [held] = runs(tmp_path)
    second = start("hydra", tmp_path, "success", "", ONE, "session.registry.on_capacity=wait")
    with pytest.raises(TimeoutError):
        second.until("never", seconds=8)
    [waiting] = [directory for directory in runs(tmp_path) if directory != held]
    os.kill(second.process.pid, signal.SIGTERM)
    assert second.process.wait(30) == 143
    assert read(waiting)["status"] == "terminated"
    os.kill(first.process.pid, signal.SIGTERM)
    first.left()


def test_rank_that_fails_early_is_named_by_the_clean_up(tmp_path: Path) -> None:
    """Rank 1 fails before the Trainer is there and rank 0 is killed: the lost record says why."""
    left = run(
        *("hydra", tmp_path, "exception", "before", "+trainer.devices=2", "+trainer.strategy=ddp"),
        env={"HAPPEN_RANK": "1"},
    )
    assert (left.code, left.record["status"]) == (137, "running"), left.out
    keisei(tmp_path, "cleanup", "--yes")
    [directory] = runs(tmp_path)
    record = read(directory)
    assert record["status"] == "lost"
    assert record["ending"]["rank"] == 1
    assert record["ending"]["exception"]["type"] == "ValueError"


def test_killed_training_is_seen_at_once(tmp_path: Path) -> None:
    """After kill -9 the command line says dead, why names the last step, clean-up says one."""
    running = start("hydra", tmp_path, "linger", "")
    running.until("lingering-0")
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    [listed] = json.loads(keisei(tmp_path, "ls", "--json").stdout)
    assert (listed["status"], listed["liveness"]) == ("running", "dead")
    why = json.loads(keisei(tmp_path, "why", "--json").stdout)
    assert why["step"] >= 1
    assert "1 session" in keisei(tmp_path, "cleanup", "--yes").stdout
    [listed] = json.loads(keisei(tmp_path, "ls", "--json").stdout)
    assert listed["status"] == "lost"
    [directory] = runs(tmp_path)
    assert read(directory)["status"] == "lost"

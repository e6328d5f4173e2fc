"""``keisei sync``: real offline runs of W&B, really sent, to a loopback server."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from wandb_server import KEY, WandbServer

from keisei_lightning.cli.sending import commands
from keisei_lightning.record import SessionRecord, Status, Tracker
from keisei_lightning.registry import Registry
from keisei_lightning.run_directory import read_record

from .conftest import Invoke, Runs

OFFLINE = """
import sys, wandb
settings = wandb.Settings(silent=True, console="off", x_disable_machine_info=True)
place, id = sys.argv[1:]
with wandb.init(project="p", id=id, dir=place, mode="offline", settings=settings) as run:
    for step in range(3):
        run.log({"loss": 1.0 / (step + 1)})
print(run.settings.sync_dir)
"""


@pytest.fixture
def offline(runs: Runs) -> Callable[..., SessionRecord]:
    """Return a function that makes a session with a real offline run that is to be sent."""

    def make(id: str, status: Status = Status.COMPLETED) -> SessionRecord:
        record = runs.add(id, status)
        done = subprocess.run(
            [sys.executable, "-c", OFFLINE, str(record.directory), id],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        command = shlex.join(["wandb", "sync", done.stdout.strip().splitlines()[-1]])
        tracker = Tracker("wandb", id, None, "offline", "pending", command)
        record = record.update(trackers=(Tracker("csv"), tracker))
        runs.write(record, {})
        return record

    return make


def syncs(record: SessionRecord) -> list[str]:
    """Return what the run's own record says about its trackers."""
    return [tracker.sync for tracker in read_record(Path(str(record.directory))).trackers]


def test_what_is_pending_is_sent_in_order_and_marked(
    runs: Runs, offline: Callable[..., SessionRecord], tmp_path: Path, invoke: Invoke
) -> None:
    """The server has every value; record and registry say done; a second time is nothing."""
    newer, older = offline("newer"), offline("older")
    path = tmp_path / "sessions.db"
    invoke("reindex", runs.root, "--registry", path)
    with WandbServer() as server:
        os.environ.update(server.environment)
        shown = invoke("sync", "--dry-run", "--json", "--registry", path).json
        assert [(one["id"], one["result"]) for one in shown] == [
            ("older", "pending"),
            ("newer", "pending"),
        ]
        assert not server.runs
        result = invoke("sync", "--registry", path)
        assert result.code == 0, result
        assert [line.split()[:2] for line in result.out.splitlines()] == [
            ["done", "older"],
            ["done", "newer"],
        ]
        assert server.runs["older"].values("loss") == [1.0, 0.5, 1.0 / 3]
    assert syncs(newer) == syncs(older) == ["not_needed", "done"]
    with Registry(path) as registry:
        assert [t.sync for t in registry.get("newer").trackers] == ["not_needed", "done"]
    assert invoke("sync", "--registry", path).out == "nothing is pending\n"


def test_a_server_that_hangs_costs_no_more_than_the_timeout(
    runs: Runs, offline: Callable[..., SessionRecord], invoke: Invoke
) -> None:
    """Each run is bounded, its data is kept, and the exit code tells."""
    record = offline("a")
    with WandbServer("hang") as server:
        os.environ.update(server.environment)
        begun = time.monotonic()
        result = invoke("sync", "--timeout", 3, "--json", "--dir", runs.root)
        assert time.monotonic() - begun < 20
    assert result.code == 1
    assert [one["result"] for one in result.json] == ["timeout"]
    assert syncs(record) == ["not_needed", "pending"]


def test_a_server_that_refuses_leaves_it_pending(
    runs: Runs, offline: Callable[..., SessionRecord], invoke: Invoke
) -> None:
    """A wrong key: what W&B said is shown, and the data is still to be sent."""
    record = offline("a")
    with WandbServer("unauthorized") as server:
        os.environ.update(server.environment)
        result = invoke("sync", "--timeout", 20, "--json", "--dir", runs.root)
    assert result.code == 1
    assert result.json[0]["result"] == "failed"
    assert result.json[0]["output"]
    assert syncs(record) == ["not_needed", "pending"]


def test_a_run_that_was_moved_is_found_where_it_is(
    runs: Runs, offline: Callable[..., SessionRecord], tmp_path: Path, invoke: Invoke
) -> None:
    """The command has the old path in it; the data lies beside the record."""
    record = offline("a")
    moved = tmp_path / "moved"
    Path(str(record.directory)).rename(moved)
    with WandbServer() as server:
        os.environ.update(server.environment)
        assert invoke("sync", moved, "--dir", runs.root).code == 0
        assert server.run().id == "a"


def test_what_still_runs_is_left_alone(runs: Runs, invoke: Invoke) -> None:
    """A living run's data is not complete; a dead one's will not get any more."""
    pending = (Tracker("wandb", "w", None, "offline", "pending", "wandb sync /nowhere"),)
    runs.add("alive", Status.RUNNING, trackers=pending)
    runs.dead("dead", trackers=pending)
    shown = invoke("sync", "--dry-run", "--json", "--dir", runs.root).json
    assert [one["id"] for one in shown] == ["dead"]


def test_a_record_cannot_make_us_run_just_anything(
    runs: Runs, tmp_path: Path, invoke: Invoke
) -> None:
    """Records travel: a command that is no ``wandb sync`` is refused, not run."""
    trap = tmp_path / "trap"
    for number, command in enumerate(
        [f"touch {trap}", f"wandb sync /x; touch {trap}", f"wandb sync $(touch {trap})", "wandb"]
    ):
        tracker = Tracker("wandb", str(number), None, "offline", "pending", command)
        runs.add(f"run{number}", trackers=(tracker,))
    os.environ["WANDB_API_KEY"] = KEY
    result = invoke("sync", "--timeout", 10, "--json", "--dir", runs.root)
    assert result.code == 1
    assert {one["result"] for one in result.json} == {"refused", "failed"}
    assert not trap.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wandb sync '/a b/run'", [({}, ["sync", "/a b/run"])]),
        (
            "WANDB_BASE_URL=http://h /v/bin/wandb sync --no-skip-online /x && wandb sync /y",
            [
                ({"WANDB_BASE_URL": "http://h"}, ["sync", "--no-skip-online", "/x"]),
                ({}, ["sync", "/y"]),
            ],
        ),
        ("python3 -m wandb sync /x", [({}, ["sync", "/x"])]),
    ],
)
def test_the_commands_that_are_run(text: str, expected: object) -> None:
    """One or more ``wandb sync``, with settings of W&B's own."""
    assert commands(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "&&",
        "rm -rf /",
        "wandb login",
        "wandb sync",
        "LD_PRELOAD=x wandb sync /x",
        "'open",
        "wandb sync /x && rm /x",
        "python -m pip sync /x",
        "bash -m wandb sync /x",
    ],
)
def test_the_commands_that_are_not(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError):
        commands(text)

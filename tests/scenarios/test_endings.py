"""The matrix of endings: what happens, where it happens, and what is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from process import Left, leftovers, offline_run, run
from wandb_file import read_wandb_file

PLACES = (
    *("before", "setup", "sanity", "step", "validation", "test", "predict", "between", "after"),
)
STAGES = {
    "sanity": "sanity_check",
    "step": "train",
    "validation": "validate",
    "test": "test",
    "predict": "predict",
}

# What happens -> status, reason, exit code.
ENDINGS = {
    "exception": ("failed", "exception", 1),
    "cause_chain": ("failed", "exception", 1),
    "ctrl_c": ("interrupted", "keyboard_interrupt", None),
    "ctrl_c_twice": ("interrupted", "keyboard_interrupt", None),
    "sigterm": ("terminated", "signal", 143),
    "sigterm_twice": ("terminated", "signal", 143),
    "sighup": ("terminated", "signal", 129),
    "exit0": ("completed", "exit", 0),
    "exit3": ("failed", "exit", 3),
}
ANYWHERE = [(what, place) for what in ENDINGS for place in PLACES]
SUDDEN = [(what, place) for what in ("sigkill", "os_exit") for place in PLACES]
SMOKE = {
    ("exception", "before"),
    ("cause_chain", "step"),
    ("ctrl_c", "step"),
    ("sigterm", "step"),
    ("sigterm", "before"),
    ("exit3", "between"),
}


def cells(pairs: list[tuple[str, str]], smoke: set[tuple[str, str]]) -> list[object]:
    """All cells as parameters; those outside the smoke set are long."""
    return [
        pytest.param(what, place, marks=() if (what, place) in smoke else pytest.mark.long)
        for what, place in pairs
    ]


def check(left: Left, what: str, place: str) -> None:
    """Compare what was left with the table."""
    status, reason, code = ENDINGS[what]
    ending = left.ending
    assert (left.record["status"], ending["reason"]) == (status, reason), left.out
    if code is None:  # Lightning's own exit code inside the Trainer, the shell's outside
        code = 1 if place in ("setup", *STAGES) else 130
    assert left.code == code, left.out
    assert ending["exit_code"] == code
    assert ending["status"] == status
    assert ending["closed_by"]
    assert left.record["ended_at"]
    assert left.record["duration_s"] >= 0
    assert left.directory is not None
    if place in STAGES:
        assert ending["stage"] == STAGES[place]
    told = left.directory / "error.txt"
    if what in ("exception", "cause_chain"):
        assert "boom" in told.read_text() if what == "exception" else "inner" in told.read_text()
        assert ending["exception"]["type"] == (
            "ValueError" if what == "exception" else "RuntimeError"
        )
        assert ending["rank"] == 0
    elif status == "completed":
        assert not told.exists()
    assert "Exception ignored" not in left.out
    assert left.seconds < 60


@pytest.mark.parametrize(("what", "place"), cells(ANYWHERE, SMOKE))
def test_ending_is_told_truthfully_in_a_hydra_job(what: str, place: str, tmp_path: Path) -> None:
    """Each ending at each place of a Hydra job has one status, reason and exit code."""
    left = run("hydra", tmp_path, what, place, "session/tracking=wandb")
    check(left, what, place)
    assert left.directory is not None
    if place not in ("before", "setup"):  # there the run may end before W&B has begun
        assert read_wandb_file(offline_run(left.record)).exit_code == left.code
    assert leftovers(tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("door", ["block", "bare"])
@pytest.mark.parametrize("what", ["exception", "ctrl_c", "sigterm", "exit0", "exit3"])
@pytest.mark.parametrize("place", ["step", "test", "after"])
def test_ending_is_told_truthfully_at_the_other_doors(
    door: str, what: str, place: str, tmp_path: Path
) -> None:
    """The main endings read the same from `open_session` and from the bare callback."""
    check(run(door, tmp_path, what, place), what, place)


@pytest.mark.long
@pytest.mark.parametrize(("what", "place"), SUDDEN)
def test_sudden_death_leaves_a_running_record(what: str, place: str, tmp_path: Path) -> None:
    """Nothing can be written by a process that is gone: the record says running, and is dead."""
    left = run("hydra", tmp_path, what, place)
    assert left.code == (137 if what == "sigkill" else 9)
    assert left.record["status"] == "running"
    assert left.record["ending"] is None


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("success", "max_epochs"),
        pytest.param("should_stop", "stopped", marks=pytest.mark.long),
        pytest.param("early_stopping", "early_stopping", marks=pytest.mark.long),
        pytest.param("max_time", "max_time", marks=pytest.mark.long),
    ],
)
def test_completed_run_says_why_it_stopped(what: str, reason: str, tmp_path: Path) -> None:
    """A fit that returns is completed, with the limit that ended it."""
    left = run("hydra", tmp_path, what)
    assert (left.code, left.record["status"], left.ending["reason"]) == (0, "completed", reason)
    assert left.ending["exit_code"] == 0
    assert left.directory is not None
    assert (left.directory / "checkpoints").is_dir()
    metrics = (left.directory / "metrics.jsonl").read_text().splitlines()
    assert any("train/loss" in json.loads(line) for line in metrics)


@pytest.mark.long
def test_max_steps_is_a_reason_of_its_own(tmp_path: Path) -> None:
    """A limit on steps is told from one on epochs."""
    left = run("hydra", tmp_path, "success", "", "+trainer.max_steps=5")
    assert left.ending["reason"] == "max_steps"


@pytest.mark.long
def test_swallowed_exit_is_ended_by_the_deadline(tmp_path: Path) -> None:
    """User code that swallows the SystemExit of SIGTERM does not outlive the budget."""
    left = run("hydra", tmp_path, "swallowed_sigterm", "between", "session.close.signal_budget_s=3")
    assert left.code == 143
    assert left.record["status"] == "terminated"
    assert left.ending["closed_by"] == "deadline"
    assert left.seconds < 40

"""A fault in any part of ours is a warning and a count; the user's run is as without us."""

from __future__ import annotations

from pathlib import Path

import pytest
from process import run

pytestmark = pytest.mark.long

HOOKS = [
    "keisei_lightning.lifecycle.attaching:attach",
    "keisei_lightning.lifecycle.attaching:share",
    "keisei_lightning.lifecycle.attaching:add_logger",
    "keisei_lightning.lifecycle.attaching:place_checkpoints",
    "keisei_lightning.lifecycle.attaching:fit_facts",
    "keisei_lightning.signals:SignalGuard.wrap_trainer",
    "keisei_lightning.evaluation.evaluation:Evaluation.begin",
    "keisei_lightning.evaluation.evaluation:Evaluation.end",
    "keisei_lightning.session:Session.mark",
    "keisei_lightning.session:Session.save",
    "keisei_lightning.hooks:fail",
    "keisei_lightning.hooks:show_opening",
    "keisei_lightning.tracking.journal:Journal.log",
]
STEPS = [
    "keisei_lightning.heartbeat:Heartbeat.once",
    "keisei_lightning.heartbeat:Heartbeat.stop",
    "keisei_lightning.tracking:Tracking.close",
    "keisei_lightning.provenance:Provenance.join",
    "keisei_lightning.registry.follower:Follower.close",
    "keisei_lightning.signals:SignalGuard.restore",
    "keisei_lightning.console:Capture.close",
    "keisei_lightning.console:TrainingLog.close",
    "keisei_lightning.lifecycle.presentation:show_closing",
    "keisei_lightning.seeding:Restore.restore",
    "keisei_lightning.ranks:restore_environment",
    "keisei_lightning.hydra_job.job:_leave_process_group",
]
WRITES = [
    "keisei_lightning.ranks:read_words",
    "keisei_lightning.lifecycle.record_keeper:link_status",
    "keisei_lightning.lifecycle.closing:write_atomic",
]


@pytest.mark.parametrize("fault", [*HOOKS, *STEPS, *WRITES])
def test_fault_of_ours_leaves_a_completed_run(fault: str, tmp_path: Path) -> None:
    """With one of our functions broken the run completes and is recorded as completed."""
    left = run("hydra", tmp_path, "success", "", env={"FAULT": fault})
    assert left.code == 0, left.out
    assert left.record["status"] == "completed", left.out


@pytest.mark.parametrize("fault", [*HOOKS, *STEPS, *WRITES])
def test_fault_of_ours_does_not_replace_the_users_exception(fault: str, tmp_path: Path) -> None:
    """With one of our functions broken the user's exception is the one that is raised."""
    left = run("hydra", tmp_path, "exception", "step", env={"FAULT": fault})
    assert left.code == 1, left.out
    assert "ValueError: boom at the place" in left.out
    assert "the other callback saw ValueError" in left.out
    assert left.record["status"] == "failed"
    assert left.ending["exception"]["type"] == "ValueError"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("keisei_lightning.lifecycle.attaching:add_logger", "loggers"),
        ("keisei_lightning.evaluation.evaluation:Evaluation.end", "evaluation"),
        ("keisei_lightning.heartbeat:Heartbeat.stop", "close: heartbeat"),
        ("keisei_lightning.tracking:Tracking.close", "close: tracking"),
    ],
)
def test_fault_of_ours_is_counted_in_the_record(fault: str, kind: str, tmp_path: Path) -> None:
    """The record says what went wrong on our side, and how often."""
    left = run("hydra", tmp_path, "success", "", env={"FAULT": fault})
    assert left.record["warnings"].get(kind, 0) >= 1, left.record["warnings"]
    assert left.out.count("injected into") <= 2, left.out


@pytest.mark.parametrize("what", ["exception", "ctrl_c", "sigterm"])
def test_other_callback_that_raises_first_is_survived(what: str, tmp_path: Path) -> None:
    """Another callback failing in its own `on_exception`, before ours, costs no ending."""
    left = run("hydra", tmp_path, what, "step", env={"OTHER_RAISES": "1"})
    status = {"exception": "failed", "ctrl_c": "interrupted", "sigterm": "terminated"}[what]
    assert left.record["status"] == status, left.out
    assert left.directory is not None
    assert "the other callback failed" in (left.directory / "error.txt").read_text()

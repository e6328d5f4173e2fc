"""A user's own W&B logger: recorded and closed, never doubled."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, WandbLogger
from small_fit import Line, loader, make_trainer
from wandb_file import read_wandb_file, run_directories
from wandb_server import WandbServer

from keisei_lightning.tracking import read_entries


def own_logger(directory: Path) -> WandbLogger:
    """A WandbLogger as people write it."""
    return WandbLogger(name="mine", id="mine-1", project="p", save_dir=directory, mode="offline")


def test_his_logger_is_adopted(open_tracking: Any, directory: Path) -> None:
    """One run, his; it gets our config and metrics, his metrics once, and the true exit code."""
    mine = own_logger(directory)
    tracking = open_tracking("wandb", session_id="ours-1")
    tracking.hyperparams({"model": {"lr": 0.1}})
    trainer = make_trainer(directory, 5, logger=[mine, CSVLogger(directory)])
    assert mine.experiment.id == "mine-1"
    assert tracking.adopt(trainer.loggers)
    assert tracking.owns(mine)
    ours = tracking.logger()
    assert not isinstance(ours, WandbLogger)
    trainer.loggers = [*trainer.loggers, ours]
    tracking.start()
    trainer.fit(Line(), loader())
    tracking.log({"evaluation/score": 1.5}, step=4)
    (facts,) = tracking.close(5, 10)
    assert (facts.id, facts.mode, facts.sync) == ("mine-1", "offline", "pending")
    (run_directory,) = run_directories(directory)
    file = read_wandb_file(run_directory)
    assert len(file.values("train/loss")) == 5
    assert file.values("evaluation/score") == [1.5]
    assert file.config["model"] == {"lr": 0.1}
    assert file.exit_code == 5
    assert len(list(read_entries(directory / "metrics.jsonl"))) == 6
    assert wandb.run is None


def test_a_run_opened_before_the_session_is_his_to_finish(
    open_tracking: Any, directory: Path
) -> None:
    """Its facts are recorded; it is still running after the close."""
    run = wandb.init(project="p", id="his-1", dir=str(directory), mode="offline")
    logger = WandbLogger(experiment=run)
    tracking = open_tracking("wandb")
    assert tracking.adopt([logger])
    tracking.start()
    tracking.log({"evaluation/score": 1.5})
    (facts,) = tracking.close(1, 10)
    assert (facts.id, facts.mode) == ("his-1", "offline")
    assert wandb.run is run
    run.log({"after": 1})
    run.finish(exit_code=0)
    wandb.teardown()  # only then is the file complete
    file = read_wandb_file(run_directories(directory)[0])
    assert file.values("evaluation/score") == [1.5]
    assert file.values("after") == [1]
    assert file.exit_code == 0


def test_beside_a_run_he_opened_ours_is_a_run_of_its_own(
    open_tracking: Any, directory: Path, tmp_path: Path
) -> None:
    """wandb.run stays his; ours has its own file and end."""
    his = wandb.init(project="p", id="his-1", dir=str(tmp_path), mode="offline")
    tracking = open_tracking("wandb")
    assert not tracking.adopt([CSVLogger(directory)])
    tracking.start()
    assert tracking.logger().experiment.id == "amber-1"
    assert wandb.run is his
    tracking.log({"a": 1.0})
    tracking.close(0, 10)
    assert wandb.run is his
    his.log({"b": 1})
    his.finish()
    wandb.teardown()  # only then is the file complete
    assert read_wandb_file(run_directories(tmp_path)[0]).values("b") == [1]
    assert read_wandb_file(run_directories(directory)[0]).values("a") == [1]


def test_a_disabled_logger_has_nothing_to_send(open_tracking: Any, directory: Path) -> None:
    """Its facts say so and its end is left alone."""
    tracking = open_tracking()
    logger = WandbLogger(project="p", mode="disabled", save_dir=directory)
    assert tracking.adopt([logger])
    tracking.start()
    (facts,) = tracking.close(0, 10)
    assert (facts.mode, facts.sync) == ("disabled", "not_needed")
    logger.experiment.finish()


def test_an_adopted_run_whose_server_hangs_is_closed_in_time(
    open_tracking: Any, directory: Path, key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """His run has no time limits of its own: the close has, and its data is on disk."""
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        mine = WandbLogger(id="mine-1", project="p", save_dir=directory)
        assert mine.experiment.id == "mine-1"
        tracking = open_tracking("wandb")
        tracking.adopt([mine])
        tracking.start()
        mine.log_metrics({"a": 1.0}, step=0)
        server.behaviour = "hang"
        begin = time.monotonic()
        (facts,) = tracking.close(3, 5)
        assert time.monotonic() - begin < 6
        assert facts.url == f"{server.url}/tester/p/runs/mine-1"
        assert facts.sync == "pending"
        assert facts.sync_command is not None
        assert "--no-skip-online" in facts.sync_command
        file = read_wandb_file(run_directories(directory)[0])
        assert (file.values("a"), file.exit_code) == ([1], 3)
        assert wandb.run is None


def test_a_second_adoption_after_the_start_changes_nothing(
    open_tracking: Any, directory: Path
) -> None:
    """A user's logger that comes with a later Trainer is left to him."""
    tracking = open_tracking()
    tracking.start()
    assert not tracking.adopt([own_logger(directory)])
    assert tracking.facts == ()

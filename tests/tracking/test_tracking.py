"""Tracking through real fits: what each tracker has on disk afterwards."""

from __future__ import annotations

import csv
import json
import logging
import os
import pickle
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from lightning.pytorch.loggers import WandbLogger
from small_fit import Line, Validated, loader, make_trainer
from wandb_file import read_wandb_file, run_directories
from wandb_server import WandbServer

from keisei_lightning.tracking import read_entries, silent_logger


def fit(tracking: Any, directory: Path, steps: int = 10, **more: Any) -> Any:
    """Fit with our logger as the only one."""
    trainer = make_trainer(directory, steps, **more)
    trainer.loggers = [tracking.logger()]
    tracking.start()
    trainer.fit(Line(), loader())
    return trainer


def cores() -> list[psutil.Process]:
    """The wandb-core processes of this one."""
    return [p for p in psutil.Process().children(recursive=True) if "wandb-core" in p.name()]


def test_a_fit_with_wandb_offline_is_all_in_its_file(open_tracking: Any, directory: Path) -> None:
    """History, config, name, group, tags and the exit code are read back from the file."""
    tracking = open_tracking("wandb", group="sweep", job_num=2, tags=["x"])
    tracking.hyperparams({"model": {"lr": 0.1}})
    fit(tracking, directory)
    tracking.log({"evaluation/score": 1.5}, step=10)
    (facts,) = tracking.close(7, 10)
    (run_directory,) = run_directories(directory)
    file = read_wandb_file(run_directory)
    assert len(file.values("train/loss")) == 10
    assert file.values("train/loss") == [
        e.metrics["train/loss"] for e in read_entries(directory / "metrics.jsonl") if e.step != 10
    ]
    assert file.values("trainer/global_step") == [*range(10), 10]
    assert file.values("evaluation/score") == [1.5]
    assert file.config["model"] == {"lr": 0.1}
    assert file.config["lr"] == 0.1
    assert (file.id, file.name, file.group, file.tags) == (
        "amber-1",
        "a run",
        "sweep",
        ("x", "job-2"),
    )
    assert file.exit_code == 7
    assert (facts.id, facts.mode, facts.sync, facts.url) == ("amber-1", "offline", "pending", None)
    assert facts.sync_command is not None
    assert str(run_directory) in facts.sync_command.replace("'\"'\"'", "'")
    assert not cores()


def test_online_the_server_has_everything_at_the_end(
    open_tracking: Any, directory: Path, key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run with history, config, summary and exit code; nothing is left to be sent."""
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        changes: list[None] = []
        tracking = open_tracking("wandb", on_change=lambda: changes.append(None))
        tracking.hyperparams({"model": {"lr": 0.1}})
        fit(tracking, directory)
        (facts,) = tracking.close(0, 20)
        run = server.run()
        assert (run.id, run.name, run.exit_code) == ("amber-1", "a run", 0)
        assert len(run.values("train/loss")) == 10
        assert run.config["model"] == {"lr": 0.1}
        assert run.summary["trainer/global_step"] == 9
        assert (facts.mode, facts.sync, facts.sync_command) == ("online", "done", None)
        assert facts.url == f"{server.url}/tester/lightning_logs/runs/amber-1"
        assert changes


def test_the_next_attempt_continues_the_same_run(
    open_tracking: Any, directory: Path, key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two attempts of one session: one run with the history of both."""
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        for attempt in (1, 2):
            tracking = open_tracking("wandb", attempt=attempt)
            fit(tracking, directory, steps=5)
            tracking.close(0, 20)
        assert len(server.run().values("train/loss")) == 10


def test_jobs_of_one_process_have_a_run_each(open_tracking: Any, tmp_path: Path) -> None:
    """Three sessions in a row, the second left with an error: three runs, three exit codes."""
    for job, code in enumerate((0, 1, 0)):
        directory = tmp_path / str(job)
        tracking = open_tracking("wandb", directory=directory, session_id=f"job-{job}")
        fit(tracking, directory, steps=job + 2)
        import wandb

        assert wandb.run is not None
        assert wandb.run.id == f"job-{job}"
        tracking.close(code, 10)
        assert wandb.run is None
        file = read_wandb_file(run_directories(directory)[0])
        assert (file.id, file.exit_code) == (f"job-{job}", code)
        assert len(file.values("train/loss")) == job + 2


def test_a_core_that_is_killed_between_two_jobs_hurts_neither(
    open_tracking: Any, tmp_path: Path
) -> None:
    """Each job's data is whole; wandb.run is its copy meanwhile, and nobody's afterwards."""
    import wandb

    for job in (0, 1):
        directory = tmp_path / str(job)
        tracking = open_tracking("wandb", directory=directory, session_id=f"job-{job}")
        tracking.start()
        run = tracking.logger().experiment
        for step in range(5):
            tracking.log({"a": float(step)}, step=step)
        (core,) = cores()
        core.kill()
        for step in range(5, 10):
            tracking.log({"a": float(step)}, step=step)
        for _ in range(200):
            if tracking.logger().experiment is not run:
                break
            time.sleep(0.05)
        assert wandb.run is not run
        assert wandb.run.id == f"job-{job}"
        (facts,) = tracking.close(4, 20)
        assert wandb.run is None
        file = read_wandb_file(Path(shlex.split(facts.sync_command)[-1]))
        assert file.values("a") == [float(step) for step in range(10)]
        assert file.exit_code == 4


def test_a_value_that_wandb_refuses_costs_that_value_only(
    open_tracking: Any, directory: Path
) -> None:
    """The numbers logged with it, and everything after it, arrive; one warning."""
    said: list[str] = []
    tracking = open_tracking(
        "wandb",
        settings={"mode": "offline", "init_timeout": 5.0},
        warn=lambda key, message: said.append(key),
    )
    tracking.start()
    tracking.log({"a": 1.0, "bad": object()})
    tracking.log({"a": 2.0})
    tracking.close(0, 10)
    (run_directory,) = run_directories(directory)
    assert read_wandb_file(run_directory).values("a") == [1.0, 2.0]
    assert said == ["tracking/wandb/refused"]


def test_disabled_is_respected(open_tracking: Any, directory: Path) -> None:
    """WANDB's own off switch: nothing on disk, nothing to be sent."""
    tracking = open_tracking("wandb", settings={"mode": "disabled"})
    fit(tracking, directory, steps=2)
    (facts,) = tracking.close(0, 10)
    assert (facts.mode, facts.sync, facts.sync_command) == ("disabled", "not_needed", None)
    assert run_directories(directory) == []


def test_a_wrong_setting_of_wandbs_costs_the_tracker_only(
    open_tracking: Any, directory: Path
) -> None:
    """Training goes on and the warning names the setting."""
    said: list[str] = []
    tracking = open_tracking(
        "wandb",
        settings={"mode": "offline", "settings": {"no_such_setting": 1}},
        warn=lambda key, message: said.append(message),
    )
    fit(tracking, directory, steps=2)
    tracking.close(0, 10)
    assert len(said) == 1
    assert "no_such_setting" in said[0]
    assert len(list(read_entries(directory / "metrics.jsonl"))) == 2


def test_a_run_that_the_user_finishes_himself_is_over(open_tracking: Any, directory: Path) -> None:
    """wandb.finish() in the middle: training goes on, one warning, the journal has the rest."""
    said: list[str] = []
    tracking = open_tracking(
        "wandb",
        settings={"mode": "offline", "init_timeout": 5.0},
        warn=lambda key, message: said.append(key),
    )
    tracking.start()
    tracking.log({"a": 1.0})
    tracking.logger().experiment.finish(exit_code=2)
    for step in range(5):
        tracking.log({"a": 2.0}, step=step)
    (facts,) = tracking.close(0, 10)
    assert len(said) == 1
    assert facts.sync == "pending"
    (run_directory,) = run_directories(directory)
    assert read_wandb_file(run_directory).exit_code == 2
    assert len(list(read_entries(directory / "metrics.jsonl"))) == 6


def test_a_user_who_imports_wandb_can_log_at_once(tmp_path: Path) -> None:
    """wandb.log right after the start means our run: it is waited for."""
    program = """
import sys, wandb
from pathlib import Path
from keisei_lightning.config import TrackerKind, TrackingConfig
from keisei_lightning.tracking import Tracking
t = Tracking.open(TrackingConfig(kinds=[TrackerKind.wandb], mode="offline"),
    directory=Path(sys.argv[1]), session_id="i", name="n")
t.start()
wandb.log({"mine": 1})
wandb.config.update({"c": 1})
t.close(0, 20)
"""
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], timeout=120, check=True, text=True
    )
    file = read_wandb_file(run_directories(tmp_path)[0])
    assert file.values("mine") == [1]
    assert file.config["c"] == 1


def test_the_environment_is_as_before(
    open_tracking: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job leaves no variable, no handler of wandb's logger and no thread behind."""
    import wandb

    wandb.teardown()
    before = dict(os.environ), list(logging.getLogger("wandb").handlers), threading.active_count()
    tracking = open_tracking("wandb", settings={"mode": "offline", "init_timeout": 5.0})
    fit(tracking, directory, steps=2)
    tracking.close(0, 10)
    after = dict(os.environ), list(logging.getLogger("wandb").handlers), threading.active_count()
    assert after == before


def test_a_close_in_the_middle_of_the_start_is_in_time(
    open_tracking: Any, directory: Path, key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B is still waiting for its server: the run goes offline with all there is."""
    with WandbServer("hang") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        tracking = open_tracking("wandb", settings={"init_timeout": 60.0})
        monkeypatch.setattr("keisei_lightning.tracking.tracking._wandb_imported_by_us", True)
        tracking.start()
        tracking.log({"a": 1.0})
        begin = time.monotonic()
        (facts,) = tracking.close(1, 8)
        assert time.monotonic() - begin < 9
        file = read_wandb_file(Path(shlex.split(facts.sync_command)[-1]))
        assert (file.values("a"), file.exit_code) == ([1.0], 1)


def test_the_experiment_is_waited_for_no_longer_than_allowed(
    open_tracking: Any, key: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's server hangs: people get the run that went offline, or a dummy, but no hang."""
    monkeypatch.setattr("keisei_lightning.tracking.tracking._wandb_imported_by_us", True)
    with WandbServer("hang") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        tracking = open_tracking("wandb", settings={"init_timeout": 1.0})
        tracking.start()
        begin = time.monotonic()
        tracking.logger().experiment.log({"mine": 1})
        assert time.monotonic() - begin < 5
        begin = time.monotonic()
        tracking.logger().experiment.log({"mine": 2})
        assert time.monotonic() - begin < 1
        tracking.close(0, 10)


def test_without_a_key_it_says_once_that_it_is_offline(open_tracking: Any, directory: Path) -> None:
    """The message says what to do."""
    said: list[tuple[str, str]] = []
    tracking = open_tracking("wandb", warn=lambda key, message: said.append((key, message)))
    fit(tracking, directory)
    tracking.close(0, 10)
    ((_, message),) = said
    assert "WANDB_API_KEY" in message


def test_our_logger_is_a_wandb_logger_whose_experiment_is_the_run(
    open_tracking: Any, directory: Path
) -> None:
    """People's isinstance, experiment, log_image and log_table work; Lightning sees its places."""
    tracking = open_tracking("wandb", settings={"project": "mine", "init_timeout": 5.0})
    logger = tracking.logger()
    assert isinstance(logger, WandbLogger)
    assert tracking.logger() is logger
    assert tracking.owns(logger)
    tracking.start()
    import wandb

    assert isinstance(logger.experiment, wandb.Run)
    assert (logger.name, logger.version, logger.save_dir) == ("mine", "amber-1", str(directory))
    logger.log_image("picture", [np.zeros((4, 4, 3), dtype=np.uint8)], step=3)
    logger.log_table("table", columns=["a"], data=[[1]])
    logger.experiment.summary["best"] = 0.5
    logger.finalize("success")
    tracking.close(0, 10)
    file = read_wandb_file(run_directories(directory)[0])
    assert file.values("picture")[0]["_type"] == "images/separated"
    assert file.values("table")[0]["_type"] == "table-file"
    assert not (directory / "metrics.jsonl").exists()


def test_tensorboard_and_csv_have_their_folders(open_tracking: Any, directory: Path) -> None:
    """Both hold every value; the experiment is TensorBoard's writer."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracking = open_tracking("tensorboard", "csv")
    tracking.hyperparams({"lr": 0.1})
    fit(tracking, directory)
    assert type(tracking.logger().experiment).__name__ == "SummaryWriter"
    facts = tracking.close(0, 10)
    events = EventAccumulator(str(directory / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(10))
    with (directory / "csv" / "metrics.csv").open() as file:
        assert len([row for row in csv.DictReader(file) if row["train/loss"]]) == 10
    assert [(f.kind, f.sync) for f in facts] == [
        ("tensorboard", "not_needed"),
        ("csv", "not_needed"),
    ]


def test_without_trackers_there_is_the_journal_only(open_tracking: Any, directory: Path) -> None:
    """The logger is no WandbLogger, its experiment does nothing, no thread is started."""
    tracking = open_tracking()
    fit(tracking, directory)
    logger = tracking.logger()
    assert not isinstance(logger, WandbLogger)
    logger.experiment.anything(1)
    assert tracking.close(0, 10) == ()
    entries = list(read_entries(directory / "metrics.jsonl"))
    assert [e.step for e in entries] == list(range(10))
    assert entries[-1].epoch == 1
    assert tracking.last["train/loss"] == entries[-1].metrics["train/loss"]
    assert not [t for t in threading.enumerate() if t.name.startswith("keisei")]


def test_a_session_that_never_trains_leaves_no_run(open_tracking: Any, directory: Path) -> None:
    """Closed before it was started: no W&B, nothing to be sent."""
    tracking = open_tracking("wandb")
    (facts,) = tracking.close(1, 10)
    assert (facts.kind, facts.sync, facts.sync_command) == ("wandb", "not_needed", None)
    assert tracking.close(0, 10) == (facts,)
    assert not (directory / "wandb").exists()


def test_fit_validate_and_fit_again_are_one_run(open_tracking: Any, directory: Path) -> None:
    """The end of a fit does not end the run."""
    tracking = open_tracking("wandb")
    trainer = fit(tracking, directory, steps=4)
    trainer.validate(Validated(), loader(), verbose=False)
    trainer.fit_loop.epoch_loop.max_steps = 8
    trainer.fit(Line(), loader())
    tracking.close(0, 10)
    (run_directory,) = run_directories(directory)
    file = read_wandb_file(run_directory)
    assert len(file.values("train/loss")) == 8
    assert len(file.values("val/loss")) == 1


def test_other_ranks_get_a_silent_logger_of_the_same_type(
    open_tracking: Any, directory: Path
) -> None:
    """It takes everything and writes nothing."""
    logger = open_tracking("wandb").logger(global_zero=False)
    assert isinstance(logger, WandbLogger)
    logger.log_metrics({"a": 1.0}, step=1)
    logger.log_hyperparams({"a": 1})
    logger.experiment.log({"a": 1})
    assert list(directory.iterdir()) == []
    silent_logger(directory).log_metrics({"a": 1.0}, step=1)
    assert list(directory.iterdir()) == []


def test_a_logger_in_a_spawned_process_writes_the_journal_only(
    open_tracking: Any, directory: Path
) -> None:
    """Lightning pickles loggers into the processes it spawns; rank 0 there still has a journal."""
    tracking = open_tracking("wandb")
    tracking.start()
    copied = pickle.loads(pickle.dumps(tracking.logger()))
    copied.log_metrics({"a": 1.0, "epoch": 2}, step=3)
    copied.log_hyperparams({"a": 1})
    assert type(copied.experiment).__name__ == "_DummyExperiment"
    (entry,) = read_entries(directory / "metrics.jsonl")
    assert (entry.metrics, entry.step, entry.epoch) == ({"a": 1.0}, 3, 2)
    silent_logger(directory, journal=True).log_metrics({"a": 2.0}, step=4)
    assert len(list(read_entries(directory / "metrics.jsonl"))) == 2


def test_no_secret_reaches_wandb(
    open_tracking: Any, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in names, hyper-parameters or the command line that W&B's metadata would hold."""
    monkeypatch.setattr(sys, "argv", ["train.py", "password=hunter2"])
    tracking = open_tracking(
        "wandb", name="run hunter2", redact=lambda text: text.replace("hunter2", "***")
    )
    tracking.hyperparams({"password": "hunter2"})
    fit(tracking, directory, steps=2)
    tracking.log({"loss/hunter2": 1.0})
    tracking.close(0, 10)
    for path in directory.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


def test_wandb_is_not_imported_on_the_training_thread(tmp_path: Path) -> None:
    """Neither Tracking nor the logger imports it; hooks of the process are put back."""
    program = """
import sys, threading, json
hooks = sys.exit, sys.excepthook
from pathlib import Path
from keisei_lightning.config import TrackerKind, TrackingConfig
from keisei_lightning.tracking import Tracking
importers = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "wandb":
            importers.append(threading.current_thread() is threading.main_thread())
sys.meta_path.insert(0, Watch())
t = Tracking.open(TrackingConfig(kinds=[TrackerKind.wandb]), directory=Path(sys.argv[1]),
    session_id="i", name="n")
logger = t.logger()
t.start()
logger.log_metrics({"a": 1.0}, step=0)
run = logger.experiment
facts = t.close(0, 20)
print(json.dumps([importers, (sys.exit, sys.excepthook) == hooks, facts[0].mode, run.id]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[False], True, "offline", "i"]

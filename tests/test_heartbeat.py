"""The heartbeat: what a Trainer shows to another thread, its speed, and beats that go on."""

from __future__ import annotations

import dataclasses
import logging
import math
import threading
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset

from keisei_lightning.heartbeat import (
    Beat,
    Heartbeat,
    Meter,
    Pace,
    Snapshot,
    advance,
    progress,
    promise,
    snapshot,
)
from keisei_lightning.heartbeat.resources import chosen
from keisei_lightning.heartbeat.trainer import complete
from keisei_lightning.record import Checkpoint, Progress
from keisei_lightning.testing import FakeClock, wait_for

pytestmark = [
    # Lightning's advice on data loading, which these small fits do not heed.
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`.*"),
]


class Model(pl.LightningModule):
    """A very small model that calls back in every step."""

    def __init__(self, seen: Any, optimizers: int = 1) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen = seen
        self.count = optimizers
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.seen("train")
        loss = self.layer(batch).mean()
        if not self.automatic_optimization:
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                optimizer.step()
        return loss

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.seen("validate")
        self.log("loss", self.layer(batch).mean())

    def test_step(self, batch: torch.Tensor, index: int) -> None:
        self.seen("test")

    def predict_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        self.seen("predict")
        return batch

    def configure_optimizers(self) -> Any:
        made = [torch.optim.SGD(self.parameters(), 0.1) for _ in range(self.count)]
        return made[0] if self.count == 1 else made


class Endless(IterableDataset):  # type: ignore[type-arg]
    """A data set whose length nobody knows."""

    def __iter__(self) -> Any:
        return iter(torch.randn(10, 2))


def data(size: int = 10) -> DataLoader[Any]:
    """So many batches."""
    return DataLoader(torch.randn(size, 2))  # type: ignore[arg-type]


def trainer(**given: Any) -> pl.Trainer:
    """A Trainer that writes nothing."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults = {**quiet, "enable_checkpointing": False, "accelerator": "cpu", "max_epochs": 2}
    return pl.Trainer(**{**defaults, **given})


def watch(made: pl.Trainer, *, optimizers: int = 1) -> tuple[Model, list[Snapshot]]:
    """A model whose every step takes a snapshot."""
    seen: list[Snapshot] = []
    return Model(lambda stage: seen.append(snapshot(made)), optimizers), seen


# -- reading a Trainer -----------------------------------------------------------------------------


def test_a_fit_from_the_sanity_check_to_the_end() -> None:
    """Stage, epoch, step, total and fraction are those of the moment."""
    made = trainer(accumulate_grad_batches=3)
    model, seen = watch(made)
    made.fit(model, data(), data(4))
    assert {one.task for one in seen} == {"fit"}
    assert [one.stage for one in seen[:3]] == ["sanity_check", "sanity_check", "train"]
    assert [one.stage for one in seen].count("validate") == 8
    training = [one for one in seen if one.stage == "train"]
    steps = [one.step for one in training]
    assert steps == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, *[4, 4, 4, 5, 5, 5, 6, 6, 6, 7]]
    assert {one.total_steps for one in training} == {8}
    assert [one.epoch for one in training] == [0] * 10 + [1] * 10
    assert [one.fraction for one in training] == pytest.approx([n / 20 for n in range(20)])
    evaluated = [one.evaluated for one in seen if one.stage == "validate"]
    assert evaluated == [0, 1, 2, 3] * 2
    assert snapshot(made).fraction == 1.0


@pytest.mark.parametrize(
    ("limits", "total", "last"),
    [
        ({"max_epochs": -1, "max_steps": 15}, 15, 14 / 15),
        ({"max_epochs": 3, "max_steps": 15}, 15, 14 / 15),
        ({"max_epochs": 1, "max_steps": 15}, 10, 9 / 10),
    ],
)
def test_the_total_is_what_comes_first(limits: dict[str, int], total: int, last: float) -> None:
    """Epochs and steps may both end a fit."""
    made = trainer(**limits)
    model, seen = watch(made)
    made.fit(model, data())
    assert {one.total_steps for one in seen} == {total}
    assert seen[-1].fraction == pytest.approx(last)


@pytest.mark.filterwarnings("ignore:.*IterableDataset.*has `__len__`.*")
def test_an_unknown_length_is_not_guessed() -> None:
    """Without an end there is no total, no percent, no time left."""
    made = trainer(max_epochs=2)
    model, seen = watch(made)
    made.fit(model, DataLoader(Endless()))
    assert {(one.total_steps, one.fraction) for one in seen} == {(None, None)}
    assert max(one.step or 0 for one in seen) == 19


def test_several_optimizers_make_no_wrong_percentage() -> None:
    """With two steps a batch the total is unknown, the fraction goes by batches."""
    made = trainer()
    model, seen = watch(made, optimizers=2)
    made.fit(model, data())
    assert {one.total_steps for one in seen} == {None}
    assert seen[-1].step == 38
    assert seen[-1].fraction == pytest.approx(0.95)


@pytest.mark.parametrize("task", ["validate", "test", "predict"])
def test_other_tasks_have_their_own_progress(task: str) -> None:
    """Evaluating is not training: its fraction is that of its own batches."""
    made = trainer()
    model, seen = watch(made)
    getattr(made, task)(model, data(5), **({} if task == "predict" else {"verbose": False}))
    assert {(one.task, one.stage, one.total_steps) for one in seen} == {(task, task, None)}
    assert [one.fraction for one in seen] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])


def test_checkpoints_are_those_on_the_disk(tmp_path: Path) -> None:
    """The newest and the best that are there; one that was deleted or cut short is not named."""
    keeper = pl.callbacks.ModelCheckpoint(
        dirpath=tmp_path, monitor="loss", save_top_k=2, filename="{epoch}"
    )
    made = trainer(enable_checkpointing=True, callbacks=[keeper], max_epochs=3)
    made.fit(Model(lambda stage: None), data(), data(4))
    found = snapshot(made).checkpoint
    assert found is not None
    assert found.best == keeper.best_model_path
    assert found.last in {str(path) for path in tmp_path.iterdir()}
    best = Path(keeper.best_model_path)
    best.write_bytes(best.read_bytes()[:-100])
    assert not complete(str(best))
    after = snapshot(made).checkpoint
    assert after is None or (after.best is None and after.last != str(best))
    for path in tmp_path.iterdir():
        path.unlink()
    assert snapshot(made).checkpoint is None


def test_a_checkpoint_may_be_a_directory_or_far_away(tmp_path: Path) -> None:
    """Sharded ones are directories; remote ones cannot be looked at; old formats are no zip."""
    (tmp_path / "old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    (tmp_path / "empty.ckpt").touch()
    assert complete(str(tmp_path))
    assert complete("s3://bucket/last.ckpt")
    assert complete(str(tmp_path / "old.ckpt"))
    assert not complete(str(tmp_path / "empty.ckpt"))
    assert not complete(str(tmp_path / "none.ckpt"))


@pytest.mark.parametrize("strange", [None, object(), SimpleNamespace(state=3, max_epochs="x"), 7])
def test_anything_at_all_can_be_read(strange: object) -> None:
    """What shows nothing gives a snapshot with nothing in it."""
    assert snapshot(strange) == Snapshot()


# -- speed, percent, time left ---------------------------------------------------------------------


def paces(*moments: tuple[float, Snapshot]) -> Pace:
    """The pace after these snapshots."""
    pace = None
    for at, seen in moments:
        pace = advance(pace, seen, at=at, time=f"time {at:g}")
    assert pace is not None
    return pace


def fit(step: int, total: int = 100, stage: str = "train", **given: Any) -> Snapshot:
    """A moment of a fit of so many steps, one batch a step."""
    return Snapshot("fit", stage, 0, step, total, step, 0, step / total, **given)


def test_speed_and_time_left() -> None:
    """Ten steps in five seconds, ninety to go."""
    assert progress(paces((0, fit(0)), (1, fit(1)), (6, fit(11)))) == Progress(
        "train", 0, 11, 100, 11.0, 2.0, 44.5, "time 6"
    )


def test_nothing_is_known_at_first() -> None:
    """One look is no speed."""
    first = progress(paces((0, fit(0))))
    assert (first.percent, first.steps_per_s, first.eta_s) == (0.0, None, None)


def test_a_validation_does_not_slow_training_down() -> None:
    """The speed stays that of the training; the time left counts the validation in."""
    before = progress(paces((0, fit(1)), (10, fit(11))))
    later = progress(
        paces((0, fit(1)), (10, fit(11)), (20, fit(11, stage="validate")), (30, fit(11)))
    )
    assert later.steps_per_s == before.steps_per_s == 1.0
    assert before.eta_s == 89.0
    assert later.eta_s == pytest.approx(3 * 89.0)


def test_a_restored_checkpoint_is_no_speed() -> None:
    """The jump from step 0 to the checkpoint's step was not trained."""
    waiting = dataclasses.replace(fit(0), batches=0, fraction=0.0)
    assert progress(paces((0, waiting), (5, fit(50)), (15, fit(60)))).steps_per_s == 1.0


def test_moved_is_when_anything_moved() -> None:
    """Batches of a validation are movement; standing still is not."""
    looks = [
        (0.0, fit(5)),
        (10.0, fit(5, stage="validate")),
        (20.0, dataclasses.replace(fit(5, stage="validate"), evaluated=3)),
        (30.0, dataclasses.replace(fit(5, stage="validate"), evaluated=3)),
    ]
    assert [progress(paces(*looks[: n + 1])).moved_at for n in range(4)] == [
        "time 0",
        "time 10",
        "time 20",
        "time 20",
    ]


def test_another_task_begins_anew() -> None:
    """After a fit the test has no speed of the fit's."""
    testing = Snapshot("test", "test", 1, 100, None, 3, None, 0.3)
    later = dataclasses.replace(testing, batches=6, fraction=0.6)
    found = progress(paces((0, fit(90)), (10, fit(100)), (11, testing), (14, later)))
    assert (found.steps_per_s, found.percent, found.eta_s) == (None, 60.0, 4.0)


looks = st.lists(
    st.tuples(
        st.floats(0, 1e4),
        st.builds(
            Snapshot,
            task=st.none() | st.sampled_from(["fit", "test"]),
            stage=st.none() | st.sampled_from(["train", "validate"]),
            step=st.none() | st.integers(0, 10**6),
            batches=st.none() | st.integers(0, 10**6),
            fraction=st.none() | st.floats(0, 1),
        ),
    ),
    min_size=1,
    max_size=20,
)


@given(looks)
def test_progress_is_always_sane(moments: list[tuple[float, Snapshot]]) -> None:
    """Whatever a Trainer shows: percent 0-100, speed and time left finite and not negative."""
    at, ordered = 0.0, []
    for gap, seen in moments:
        at += gap
        ordered.append((at, seen))
    found = progress(paces(*ordered))
    for value in (found.steps_per_s, found.eta_s, found.percent):
        assert value is None or (math.isfinite(value) and value >= 0)
    assert found.percent is None or found.percent <= 100


# -- the thread ------------------------------------------------------------------------------------


def test_beats_come_and_promise_the_next() -> None:
    """Every beat comes within what the one before promised."""
    beats: list[Beat] = []
    heart = Heartbeat(0.05, lambda: fit(len(beats)), beats.append)
    heart.start()
    wait_for(lambda: len(beats) >= 10)
    assert heart.stop(10)
    times = [datetime.fromisoformat(beat.heartbeat.at).timestamp() for beat in beats]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    promised = [beat.heartbeat.expect_next_in_s for beat in beats]
    assert all(gap <= most for gap, most in zip(gaps, promised, strict=False))
    assert [beat.progress.step for beat in beats[:3] if beat.progress] == [0, 1, 2]
    assert heart.errors == 0


def test_no_error_stops_the_heart(caplog: pytest.LogCaptureFixture) -> None:
    """Reading, measuring, writing: each may fail every time; the beat goes on, warned once."""
    beats: list[Beat] = []

    def broken() -> Any:
        raise RuntimeError("no")

    def write(beat: Beat) -> None:
        beats.append(beat)
        raise OSError("disk full")

    heart = Heartbeat(0.01, broken, write, resources=broken)
    heart.start()
    wait_for(lambda: len(beats) >= 5)
    assert heart.alive
    assert heart.stop(10)
    assert heart.errors >= 15
    assert all((beat.progress, beat.resources) == (None, None) for beat in beats)
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1


def test_the_first_beats_come_quicker() -> None:
    """A run that dies in its first seconds has told where it was; the promise is the usual."""
    beats: list[Beat] = []
    heart = Heartbeat(60.0, lambda: None, beats.append)
    heart.start()
    wait_for(lambda: len(beats) >= 3)
    assert heart.stop(10)
    assert all(beat.heartbeat.expect_next_in_s >= 180.0 for beat in beats)


def test_slow_writing_widens_the_promise() -> None:
    """What took long once may take long again."""
    beats: list[Beat] = []

    def slow(beat: Beat) -> None:
        time.sleep(0.5 if not beats else 0.0)
        beats.append(beat)

    heart = Heartbeat(0.05, lambda: None, slow)
    heart.start()
    wait_for(lambda: len(beats) >= 2)
    assert heart.stop(10)
    assert beats[0].heartbeat.expect_next_in_s == promise(0.05, [])
    assert beats[1].heartbeat.expect_next_in_s >= promise(0.05, [0.5])


def test_the_heart_beats_at_once_when_asked() -> None:
    """A change of stage need not wait for the interval."""
    beats: list[Beat] = []
    heart = Heartbeat(3600.0, lambda: None, beats.append)
    heart.start()
    wait_for(lambda: len(beats) == 4)  # after 0, 1, 3 and 7 seconds; the next would be at 15
    heart.soon()
    wait_for(lambda: len(beats) == 5, 5)
    assert heart.stop(10)
    assert beats[-1].heartbeat.expect_next_in_s < 3 * 3600.0 + 60


def test_stopping_is_quick_and_bounded() -> None:
    """A long interval does not delay the end; a beat that hangs is left behind."""
    heart = Heartbeat(3600.0, lambda: None, lambda beat: None)
    heart.start()
    begun = time.monotonic()
    assert heart.stop(10)
    assert time.monotonic() - begun < 5
    never, beating = threading.Event(), threading.Event()

    def hang(beat: Beat) -> None:
        beating.set()
        never.wait(60)

    stuck = Heartbeat(3600.0, lambda: None, hang)
    stuck.start()
    assert beating.wait(10)
    assert stuck.stop(0.1) is False
    never.set()
    assert stuck.stop(10) is True
    assert Heartbeat(1.0, lambda: None, lambda beat: None).stop()  # never started


def test_clocks_that_jump_and_machines_that_sleep() -> None:
    """The time of day may go back or leap ahead; speed goes by the clock that does neither."""
    wall, steady = FakeClock(), FakeClock(0.0)
    steps = iter([1, 11, 21, 31])
    heart = Heartbeat(
        10.0, lambda: fit(next(steps)), lambda beat: None, clock=wall, monotonic=steady
    )
    heart.once()
    found = []
    for jump in (10.0, -3600.0, 8 * 3600.0):  # an ordinary beat, a clock set back, a night asleep
        wall.advance(jump)
        steady.advance(10.0)
        found.append(heart.once())
    assert [beat.progress.steps_per_s for beat in found if beat.progress] == [1.0, 1.0, 1.0]
    assert {beat.heartbeat.expect_next_in_s for beat in found} == {30.0}
    assert datetime.fromisoformat(found[-1].heartbeat.at).timestamp() == wall.now


def test_a_fit_is_followed_from_outside(tmp_path: Path) -> None:
    """A real fit, read from the thread: from nothing to all steps, with resources."""
    keeper = pl.callbacks.ModelCheckpoint(dirpath=tmp_path)
    made = trainer(enable_checkpointing=True, callbacks=[keeper])
    beats: list[Beat] = []
    heart = Heartbeat(0.01, lambda: snapshot(made), beats.append)
    heart.start()
    made.fit(Model(lambda stage: time.sleep(0.01)), data(), data(4))
    beats.append(heart.once())
    assert heart.stop(10)
    assert heart.errors == 0
    steps = [beat.progress.step for beat in beats if beat.progress]
    assert steps == sorted(steps)  # type: ignore[type-var]
    stages = {beat.progress.stage for beat in beats if beat.progress}
    assert {"train", "validate"} <= stages
    last = beats[-1]
    assert last.progress is not None
    assert (last.progress.step, last.progress.percent, last.progress.eta_s) == (20, 100.0, 0.0)
    assert last.checkpoint == Checkpoint(keeper.best_model_path, keeper.best_model_path)
    assert last.resources is not None
    assert (last.resources.rss_mb or 0) > 10


# -- resources -------------------------------------------------------------------------------------


def test_the_processor_is_measured_between_two_readings() -> None:
    """The first reading does not know; a busy loop then shows."""
    meter = Meter()
    assert meter.read().cpu_percent is None
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert (meter.read().cpu_percent or 0) > 10


def test_no_gpu_is_no_zero() -> None:
    """Without a GPU its figures are absent."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    found = Meter().read()
    assert (found.gpu_memory_mb, found.gpu_percent) == (None, None)


def test_a_gpu_is_measured() -> None:
    """What this process has on its GPU is in the figures."""
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    kept = torch.empty(256 * 1024 * 1024, dtype=torch.uint8, device="cuda")
    found = Meter().read()
    assert kept.is_cuda
    assert (found.gpu_memory_mb or 0) >= 256
    assert found.gpu_percent is not None


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("1,-1,2", [1]),
        ("9", []),
        ("GPU-bb", [1]),
        ("GPU-", []),
        ("GPU-cc, 0", [2, 0]),
    ],
)
def test_visible_devices_are_read_as_cuda_does(visible: str | None, expected: list[int]) -> None:
    """Numbers or beginnings of uuids, up to the first that fits none."""
    assert chosen(visible, ["GPU-aa1", "GPU-bb2", "GPU-cc3"]) == expected

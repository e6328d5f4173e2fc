"""How fast a run moves: steps a second, percent and time left from snapshots, as pure functions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from keisei_lightning.heartbeat.trainer import Snapshot
from keisei_lightning.record import Progress

__all__ = ["Pace", "advance", "progress"]

WINDOW_S = 120.0
"""The speed shown is that of the last so many seconds of training."""

_LONGEST_STRETCH = 60


@dataclass(frozen=True, slots=True)
class Moment:
    """A snapshot and when it was taken, in seconds of a clock that never jumps."""

    at: float
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Pace:
    """What the past says: where the task began, the last stretch of training, the last speed."""

    now: Moment
    moved_at: str
    begun: Moment | None = None
    stretch: tuple[Moment, ...] = ()
    steps_per_s: float | None = None


def advance(pace: Pace | None, snapshot: Snapshot, *, at: float, time: str) -> Pace:
    """Return the pace with one more snapshot.

    Args:
        pace: What was known before; ``None`` at the first snapshot.
        snapshot: Where the Trainer is.
        at: Seconds of a monotonic clock, which stands still while the machine is suspended.
        time: The time of day, ISO 8601.
    """
    moment = Moment(at, snapshot)
    if pace is None or _another_task(pace.now.snapshot, snapshot):
        return Pace(moment, time, *_first(moment))
    moved = _place(snapshot) != _place(pace.now.snapshot)
    begun = pace.begun or _first(moment)[0]
    stretch = _stretch(pace, moment)
    speed = _speed(stretch[0], moment) if stretch else None
    if speed is None:
        speed = pace.steps_per_s
    if speed is None and begun is not None:
        speed = _speed(begun, moment)
    return replace(
        pace,
        now=moment,
        moved_at=time if moved else pace.moved_at,
        begun=begun,
        stretch=stretch,
        steps_per_s=speed,
    )


def progress(pace: Pace) -> Progress:
    """Return what the record says of the pace."""
    here = pace.now.snapshot
    return Progress(
        stage=here.stage,
        epoch=here.epoch,
        step=here.step,
        total_steps=here.total_steps,
        percent=round(100.0 * here.fraction, 2) if here.fraction is not None else None,
        steps_per_s=round(pace.steps_per_s, 4) if pace.steps_per_s is not None else None,
        eta_s=_eta(pace),
        moved_at=pace.moved_at,
    )


def _first(moment: Moment) -> tuple[Moment | None, tuple[Moment, ...]]:
    # Before the first batch a checkpoint may still be restored: the step would jump.
    if not moment.snapshot.batches:
        return None, ()
    return moment, (moment,) if moment.snapshot.stage == "train" else ()


def _place(snapshot: Snapshot) -> tuple[object, ...]:
    here = (snapshot.task, snapshot.stage, snapshot.epoch, snapshot.step)
    return (*here, snapshot.batches, snapshot.evaluated)


def _another_task(before: Snapshot, after: Snapshot) -> bool:
    back = (after.step or 0) < (before.step or 0) or (after.batches or 0) < (before.batches or 0)
    return before.task != after.task or back


def _stretch(pace: Pace, moment: Moment) -> tuple[Moment, ...]:
    if moment.snapshot.stage != "train" or not moment.snapshot.batches:
        return ()
    recent = [old for old in pace.stretch if moment.at - old.at <= WINDOW_S] or pace.stretch[-1:]
    return (*recent[-_LONGEST_STRETCH:], moment)


def _speed(first: Moment, last: Moment) -> float | None:
    begun, ended = first.snapshot.step, last.snapshot.step
    if last.snapshot.task != "fit" or begun is None or ended is None:
        return None
    if last.at <= first.at or ended < begun:
        return None
    return (ended - begun) / (last.at - first.at)


def _eta(pace: Pace) -> float | None:
    fraction = pace.now.snapshot.fraction
    if fraction is None:
        return None
    if fraction >= 1.0:
        return 0.0
    if pace.begun is None or pace.begun.snapshot.fraction is None:
        return None
    # Since the beginning, so that evaluations and checkpoints are in it.
    done, took = fraction - pace.begun.snapshot.fraction, pace.now.at - pace.begun.at
    return round((1.0 - fraction) * took / done, 1) if done > 0 and took > 0 else None

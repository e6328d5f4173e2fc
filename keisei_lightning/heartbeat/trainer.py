"""What a Lightning Trainer shows of its progress to another thread, without a hook."""

from __future__ import annotations

import contextlib
import math
import os
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from keisei_lightning.record import Checkpoint

__all__ = ["Snapshot", "checkpoint", "complete", "snapshot"]

T = TypeVar("T")

_LOOPS = {"validate": "validate_loop", "test": "test_loop", "predict": "predict_loop"}
_ZIP_START = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a Trainer is at one moment.

    ``task`` is what was called (``fit``, ``validate``, ``test``, ``predict``), ``stage`` what
    happens (``sanity_check``, ``train``, ``validate`` …); ``batches`` counts those finished in the
    task, evaluation batches of a ``fit`` in ``evaluated``; ``fraction`` of the task is 0-1.
    """

    task: str | None = None
    stage: str | None = None
    epoch: int | None = None
    step: int | None = None
    total_steps: int | None = None
    batches: int | None = None
    evaluated: int | None = None
    fraction: float | None = None
    checkpoint: Checkpoint | None = None


def snapshot(trainer: Any) -> Snapshot:
    """Return where the Trainer is; what it does not show is ``None``. Never raises."""
    task = _word(lambda: trainer.state.fn)
    stage = _word(lambda: trainer.state.stage)
    step = _count(lambda: trainer.global_step)
    if task in _LOOPS:
        loop: Any = _look(lambda: getattr(trainer, _LOOPS[task]))
        done = _count(lambda: loop.batch_progress.current.completed)
        total, fraction = None, _ratio(done, _evaluation_batches(loop))
        evaluated = None
    else:
        done = _count(lambda: trainer.fit_loop.epoch_loop.batch_progress.total.completed)
        total, fraction = _total_steps(trainer, step), _fit_fraction(trainer, step, done)
        evaluated = _count(
            lambda: trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.completed
        )
    return Snapshot(
        task=task,
        stage=stage,
        epoch=_count(lambda: trainer.current_epoch),
        step=step,
        total_steps=total,
        batches=done,
        evaluated=evaluated,
        fraction=fraction,
        checkpoint=checkpoint(trainer),
    )


def checkpoint(trainer: Any) -> Checkpoint | None:
    """Return the newest and the best checkpoint that are whole on the disk."""
    callbacks = _look(lambda: list(trainer.checkpoint_callbacks)) or []
    best = [str(getattr(callback, "best_model_path", "") or "") for callback in callbacks]
    saved = [path for callback in callbacks for path in _saved(callback)]
    newest = max(_whole([*saved, *best]), key=_written_at, default=None)
    found = Checkpoint(last=newest, best=next(iter(_whole(best)), None))
    return found if found.last or found.best else None


def complete(path: str) -> bool:
    """Whether a checkpoint is on the disk to its last byte; a remote one is believed."""
    if "://" in path:
        return True
    try:
        if os.path.isdir(path):
            return True
        with open(path, "rb") as file:
            start = file.read(4)
        # torch.save writes a zip: its directory comes last, a file cut short has none.
        return bool(start) and (start != _ZIP_START or zipfile.is_zipfile(path))
    except OSError:
        return False


def _whole(paths: Iterable[str]) -> list[str]:
    return [path for path in dict.fromkeys(paths) if path and complete(path)]


def _saved(callback: Any) -> list[str]:
    found = [
        getattr(callback, "last_model_path", ""),
        getattr(callback, "_last_checkpoint_saved", ""),
    ]
    # The training thread may change the dictionary while it is copied; the next beat sees it.
    found += _look(lambda: list(callback.best_k_models)) or []
    return [str(path) for path in found if path]


def _written_at(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return math.inf if "://" in path else -math.inf


def _total_steps(trainer: Any, step: int | None) -> int | None:
    limits = [_positive(lambda: trainer.max_steps)]
    if _look(lambda: trainer.lightning_module.automatic_optimization) is not False:
        batches, epochs = _epoch_batches(trainer), _positive(lambda: trainer.max_epochs)
        every = _positive(lambda: trainer.accumulate_grad_batches) or 1
        if batches and epochs:
            limits.append(epochs * math.ceil(batches / every))
    total = min((limit for limit in limits if limit), default=None)
    # With several optimizers a batch is more than one step: then it is not known.
    return None if total is None or (step or 0) > total else total


def _fit_fraction(trainer: Any, step: int | None, done: int | None) -> float | None:
    batches, epochs = _epoch_batches(trainer), _positive(lambda: trainer.max_epochs)
    by_epochs = _ratio(done, batches * epochs if batches and epochs else None)
    by_steps = _ratio(step, _positive(lambda: trainer.max_steps))
    known = [part for part in (by_epochs, by_steps) if part is not None]
    return max(known, default=None)


def _evaluation_batches(loop: Any) -> int | None:
    total = _look(lambda: sum(loop.max_batches))
    return int(total) if isinstance(total, int | float) and math.isfinite(total) else None


def _epoch_batches(trainer: Any) -> int | None:
    return _positive(lambda: trainer.num_training_batches)


def _ratio(done: int | None, total: int | None) -> float | None:
    return min(1.0, done / total) if done is not None and total else None


def _positive(read: Callable[[], Any]) -> int | None:
    """Return a limit; ``None`` for "no limit", which Lightning writes as -1, None or inf."""
    value = _look(read)
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return None
    return int(value)


def _count(read: Callable[[], Any]) -> int | None:
    value = _look(read)
    return int(value) if isinstance(value, int) else None


def _word(read: Callable[[], Any]) -> str | None:
    value = _look(read)
    word = getattr(value, "value", value)
    return str(word) if word is not None else None


def _look(read: Callable[[], T]) -> T | None:
    with contextlib.suppress(Exception):
        return read()
    return None

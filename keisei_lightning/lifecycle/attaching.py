"""Attaching a session to a Trainer: one identity on all ranks, loggers, checkpoints, facts."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keisei_lightning import ranks
from keisei_lightning.config import SessionConfig
from keisei_lightning.ending import FitFacts
from keisei_lightning.record import Place
from keisei_lightning.run_directory import RunDirectory

if TYPE_CHECKING:
    from keisei_lightning.session import Session

__all__ = [
    "add_logger",
    "attach",
    "best_scores",
    "children_of",
    "device_name",
    "fit_facts",
    "is_wandb",
    "log_to_others",
    "place_checkpoints",
    "place_of",
    "share",
    "wants_loggers",
]


def attach(session: Session, trainer: Any) -> None:
    """Give a Trainer the session's identity, loggers and folder; note what it says of itself."""
    record, faults = session.record, session.parts.faults
    identity = ranks.Identity(
        record.id, record.name, str(session.directory), record.seed, record.attempt, os.getpid()
    )
    with faults.guarded("ranks"):
        share(identity, trainer)
    with faults.guarded("loggers"):
        _add_ours(session, trainer)
    with faults.guarded("checkpoint folder"):
        place_checkpoints(trainer, session.paths, session.config)
    with faults.guarded("record"):
        session.change(world_size=int(trainer.world_size), device=device_name(trainer))


def log_to_others(session: Session, metrics: Mapping[str, float], step: int | None) -> None:
    """Log metrics of ours to the loggers that the user gave the Trainer."""
    trainer = session.trainer
    for logger in trainer.loggers if trainer is not None else ():
        # An adopted W&B run is fed by the tracking, as our own logger is.
        if logger is not session.logger and not is_wandb(logger):
            with session.parts.faults.guarded("a logger of yours"):
                logger.log_metrics(dict(metrics), step)


def share(identity: ranks.Identity | None, trainer: Any) -> ranks.Identity | None:
    """Give all ranks rank 0's identity; in ``setup`` a collective is safe, and all take part."""
    if trainer.world_size < 2:
        return identity
    shared = trainer.strategy.broadcast(identity)
    return shared if isinstance(shared, ranks.Identity) else None


def wants_loggers(trainer: Any) -> bool:
    """Whether loggers may be added: a fast_dev_run and a barebones Trainer want none."""
    return not (trainer.fast_dev_run or trainer.barebones)


def add_logger(trainer: Any, logger: Any) -> None:
    """Put a logger behind the user's own, once."""
    if not any(present is logger for present in trainer.loggers):
        trainer.loggers = [*trainer.loggers, logger]


def is_wandb(logger: Any) -> bool:
    """Whether it is Lightning's WandbLogger, of either package name."""
    return any(kind.__name__ == "WandbLogger" for kind in type(logger).__mro__)


def place_checkpoints(trainer: Any, paths: RunDirectory, config: SessionConfig) -> None:
    """Send checkpoints without a ``dirpath`` into the run directory.

    With ``session.checkpoint_dir`` they go there, in a folder named after the run.
    """
    from lightning.pytorch.callbacks import ModelCheckpoint

    folder = paths.checkpoints
    if config.checkpoint_dir:
        folder = Path(config.checkpoint_dir).absolute() / paths.path.name
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
            callback.dirpath = str(folder)


def place_of(trainer: Any, otherwise: Place | None = None) -> Place:
    """Where a Trainer is; ``otherwise`` for one that is half built or gone."""
    if trainer is not None:
        with contextlib.suppress(Exception):
            stage = trainer.state.stage
            return Place(
                stage=str(stage.value) if stage is not None else None,
                epoch=int(trainer.current_epoch),
                step=int(trainer.global_step),
            )
    return otherwise or Place()


def fit_facts(trainer: Any, *, stopped_by_sla: bool = False) -> FitFacts:
    """What the Trainer says at the end of a fit about why it ended."""
    return FitFacts(
        step=int(trainer.global_step),
        max_steps=int(trainer.max_steps),
        epochs=int(trainer.fit_loop.epoch_progress.current.completed),
        max_epochs=trainer.max_epochs,
        time_is_up=any(_time_is_up(callback) for callback in trainer.callbacks),
        stopped_early=any(_stopped_early(callback) for callback in trainer.callbacks),
        stopped_by_sla=stopped_by_sla,
        should_stop=bool(trainer.should_stop),
    )


def best_scores(trainer: Any) -> dict[str, float]:
    """The best value so far of each metric that a checkpoint callback monitors."""
    scores = {}
    for callback in trainer.checkpoint_callbacks:
        monitor = getattr(callback, "monitor", None)
        score = getattr(callback, "best_model_score", None)
        if monitor and score is not None:
            scores[str(monitor)] = float(score)
    return scores


def children_of(trainer: Any) -> list[subprocess.Popen[bytes]]:
    """The processes of the other ranks that Lightning's launcher started from this one.

    Those of ddp_spawn and ddp_fork are no Popen: Lightning joins them itself.
    """
    launcher = getattr(getattr(trainer, "strategy", None), "launcher", None)
    procs = getattr(launcher, "procs", None)
    watched: list[Any] = procs if isinstance(procs, list) else []
    return [process for process in watched if isinstance(process, subprocess.Popen)]


def device_name(trainer: Any) -> str:
    """The device of this rank, with the name of the GPU."""
    device = trainer.strategy.root_device
    if device.type != "cuda":
        return str(device)
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"


def _add_ours(session: Session, trainer: Any) -> None:
    tracking = session.parts.tracking
    if tracking is None or not wants_loggers(trainer):
        return
    tracking.adopt(trainer.loggers)
    if session.logger is None:
        session.logger = tracking.logger(trainer.is_global_zero)
    add_logger(trainer, session.logger)
    tracking.start()


def _time_is_up(callback: Any) -> bool:
    from lightning.pytorch.callbacks import Timer

    if not isinstance(callback, Timer):
        return False
    left = callback.time_remaining()
    return left is not None and left <= 0


def _stopped_early(callback: Any) -> bool:
    from lightning.pytorch.callbacks import EarlyStopping

    if not isinstance(callback, EarlyStopping):
        return False
    reason = getattr(callback, "stopping_reason", None)  # since Lightning 2.6
    if reason is not None:
        return str(getattr(reason, "name", reason)) != "NOT_STOPPED"
    return callback.stopped_epoch > 0 or callback.wait_count >= callback.patience

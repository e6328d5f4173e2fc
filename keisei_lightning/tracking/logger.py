"""The one logger of ours in ``trainer.loggers``: the training thread's way into the journal.

Whoever asks ``isinstance(logger, WandbLogger)`` or uses ``logger.experiment`` finds what he expects
when W&B is chosen. Nothing here waits for a tracker, except ``experiment``, once and bounded.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from lightning.fabric.loggers.logger import _DummyExperiment as DummyExperiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from keisei_lightning.tracking.journal import Journal, as_number

__all__ = ["Front", "JournalFront", "JournalLogger", "SessionWandbLogger"]


class Front(Protocol):
    """What a logger needs of the session's tracking."""

    def logged(self, metrics: Mapping[str, Any], step: int | None, epoch: float | None) -> None:
        """Take metrics from the Trainer."""

    def hyperparams(self, tree: Any) -> None:
        """Take hyper-parameters."""

    def experiment(self, kinds: tuple[str, ...]) -> Any:
        """Return a tracker's own object, waiting bounded; None when there is none."""


class JournalFront:
    """What is left of the tracking in a process that Lightning has spawned: the journal."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path)

    def logged(self, metrics: Mapping[str, Any], step: int | None, epoch: float | None) -> None:
        """Write metrics down."""
        self._journal.log(metrics, step, epoch, ours=False)

    def hyperparams(self, tree: Any) -> None:
        """The parent has them."""

    def experiment(self, kinds: tuple[str, ...]) -> Any:
        """There is none here."""
        return None


class _Fronted:
    """What both loggers do."""

    _kinds: tuple[str, ...]
    _front: Front | None
    _journal_path: str

    def _connect(self, front: Front | None, journal: Path, kinds: tuple[str, ...]) -> None:
        self._front = front
        self._journal_path = str(journal)
        self._kinds = kinds
        self._dummy = DummyExperiment()

    @property
    def experiment(self) -> Any:
        """The tracker's own object (``wandb.Run``, ``SummaryWriter`` …), else a dummy.

        It waits for the tracker to be ready, at most once and no longer than ``init_timeout``.
        """
        if self._front is None or _rank() > 0:
            return self._dummy
        found = self._front.experiment(self._kinds)
        return self._dummy if found is None else found

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write metrics to the journal, and so to every tracker."""
        if self._front is None:
            return
        values = dict(metrics)
        epoch = as_number(values.pop("epoch", None))
        self._front.logged(values, step, epoch)

    @rank_zero_only
    def log_hyperparams(
        self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any
    ) -> None:
        """Send hyper-parameters to every tracker."""
        if self._front is not None:
            self._front.hyperparams(params)

    def save(self) -> None:
        """Everything is on disk already."""

    def finalize(self, status: str) -> None:
        """The session ends its trackers, not the Trainer."""

    def after_save_checkpoint(self, checkpoint_callback: Any) -> None:
        """Checkpoints are files of the run directory; they are not uploaded."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_front": None, "_spawned": self._front is not None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if state.get("_spawned"):
            self._front = JournalFront(Path(self._journal_path))


def _rank() -> int:
    return int(getattr(rank_zero_only, "rank", 0))


class JournalLogger(_Fronted, Logger):
    """Writes ``metrics.jsonl`` and feeds the trackers that are not W&B.

    Args:
        front: The session's tracking; None makes a silent logger for the other ranks.
        directory: The run directory.
        name: Of the session.
        id: Of the session.
        kinds: Trackers whose own object ``experiment`` may give, in order of preference.
    """

    def __init__(
        self,
        front: Front | None,
        *,
        directory: Path,
        name: str,
        id: str,
        kinds: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self._directory, self._label, self._id = str(directory), name, id
        self._connect(front, directory / "metrics.jsonl", kinds)

    @property
    def name(self) -> str:
        """The session's name."""
        return self._label

    @property
    def version(self) -> str:
        """Nothing: the progress bar would show the id as ``v_num``."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return self._directory


class SessionWandbLogger(_Fronted, WandbLogger):
    """A ``WandbLogger`` that never waits for W&B and never fails because of it.

    ``log_image``, ``log_table``, ``watch`` and ``experiment`` work as in Lightning's own.
    """

    def __init__(
        self,
        front: Front | None,
        *,
        directory: Path,
        name: str,
        id: str,
        project: str,
        kinds: tuple[str, ...] = ("wandb",),
    ) -> None:
        super().__init__(name=name, save_dir=str(directory), id=id, project=project)
        self._connect(front, directory / "metrics.jsonl", kinds)

    @property
    def version(self) -> str | None:
        """The session's id, which is the run's."""
        return self._id

    def watch(self, *args: Any, **kwargs: Any) -> None:
        """Hook W&B into a model's gradients (these hooks run on the training thread)."""
        with contextlib.suppress(Exception):
            self.experiment.watch(*args, **kwargs)

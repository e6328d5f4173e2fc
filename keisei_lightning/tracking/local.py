"""TensorBoard and CSV files in the run directory, written by Lightning's own loggers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keisei_lightning.record import Tracker
from keisei_lightning.tracking.journal import Entry

__all__ = ["LocalSink"]


class LocalSink:
    """``tensorboard/`` or ``csv/`` in the run directory (``feed.Sink``).

    Args:
        kind: ``tensorboard`` or ``csv``.
        directory: The run directory.
        attempt: A later attempt of a session gets a folder of its own in it.
    """

    def __init__(self, kind: str, directory: Path, attempt: int = 1) -> None:
        self.kind = kind
        self._directory = directory
        self._version = "" if attempt == 1 else f"attempt-{attempt}"
        self._logger: Any = None

    @property
    def experiment(self) -> Any:
        """The ``SummaryWriter`` or ``ExperimentWriter``, once the sink is open."""
        return None if self._logger is None else self._logger.experiment

    def open(self) -> None:
        """Make the logger.

        Raises:
            ModuleNotFoundError: The tensorboard package is missing.
        """
        from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

        makers = {"tensorboard": TensorBoardLogger, "csv": CSVLogger}
        self._logger = makers[self.kind](self._directory, name=self.kind, version=self._version)

    def log(self, entry: Entry) -> None:
        """Write one entry's numbers."""
        values = dict(entry.metrics)
        if entry.epoch is not None:
            values["epoch"] = entry.epoch
        if values:
            self._logger.log_metrics(values, entry.step)

    def config(self, params: Mapping[str, Any]) -> None:
        """Write hyper-parameters."""
        self._logger.log_hyperparams(dict(params))

    def tick(self) -> None:
        """Bring what was logged to disk while there is nothing else to do."""
        self._logger.save()

    def finish(self, exit_code: int, deadline: float) -> None:
        """Write the rest and close the files."""
        if self._logger is not None:
            self._logger.finalize("success" if exit_code == 0 else "failed")

    def kill(self) -> None:
        """A blocked disk cannot be helped."""

    def facts(self) -> Tracker:
        """Return where it is; there is nothing to send."""
        return Tracker(kind=self.kind, mode="local", sync="not_needed")

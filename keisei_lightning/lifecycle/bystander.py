"""What stands for a session where none is kept: with ``session=none``, or when opening failed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keisei_lightning import seeding
from keisei_lightning.config import SessionConfig
from keisei_lightning.errors import SessionError, SessionStateError
from keisei_lightning.run_directory import RunDirectory

__all__ = ["Bystander"]


class Bystander:
    """The surface of a session that keeps no record and logs nothing.

    Args:
        failure: Why there is no session, raised again when a Trainer is set up.
    """

    def __init__(self, failure: SessionError | None = None) -> None:
        self.failure = failure
        self.id = ""
        self.name = ""
        self.seed: int | None = None
        self.rank = 0
        self.in_training = False
        self.evaluating = False
        self.guard: Any = None
        self.evaluation: Any = None
        self.config = SessionConfig()

    @property
    def is_leader(self) -> bool:
        """Whether this process keeps the record: it does not."""
        return False

    @property
    def directory(self) -> Path:
        """The run directory.

        Raises:
            SessionStateError: There is none.
        """
        raise SessionStateError("sessions are turned off (session=none): there is no run directory")

    @property
    def paths(self) -> RunDirectory:
        """Where each file of the run is.

        Raises:
            SessionStateError: As for :attr:`directory`.
        """
        return RunDirectory(self.directory)

    def rng(self, name: str, kind: str = "numpy") -> Any:
        """Return a reproducible generator, the same on every rank."""
        return seeding.generator(self.seed or 0, name, kind)

    def summary(self) -> dict[str, Any]:
        """The little that is known here."""
        return {"id": self.id, "name": self.name, "rank": self.rank, "seed": self.seed}

    def log_evaluation(
        self, result: Any, *, step: int | None = None, stage: str | None = None
    ) -> None:
        """Log nothing."""

    def log_evaluation_performance(self, performance: Mapping[str, float]) -> None:
        """Log nothing."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log nothing."""

    def add_artifact(self, key: str, path: str | Path) -> None:
        """Note nothing."""

    def attach(self, trainer: Any, module: Any) -> None:
        """Do nothing to the Trainer.

        Raises:
            SessionError: Why there is no session, when that is an error of the user's.
        """
        if self.failure is not None:
            raise self.failure

    def speak(self, trainer: Any, exception: BaseException) -> None:
        """Say nothing about an exception."""

    def leave(self, exception: BaseException | None) -> None:
        """Leave nothing behind."""

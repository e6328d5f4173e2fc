"""Where each file of a run is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keisei_lightning.errors import SessionError

__all__ = ["RunDirectory"]


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The paths of a run's files; making one touches no disk."""

    path: Path

    @property
    def record(self) -> Path:
        """``session.json``, the truth."""
        return self.path / "session.json"

    @property
    def effective_config_yaml(self) -> Path:
        """The config as it was, resolved and redacted."""
        return self.path / "effective_config.yaml"

    @property
    def effective_config_json(self) -> Path:
        """The same as JSON."""
        return self.path / "effective_config.json"

    @property
    def effective_config_pickle(self) -> Path:
        """The same as a pickle, on request."""
        return self.path / "effective_config.pkl"

    @property
    def effective_config_diff(self) -> Path:
        """What changed in it during the run or since the last attempt."""
        return self.path / "effective_config.diff"

    @property
    def metrics(self) -> Path:
        """``metrics.jsonl``, every logged metric."""
        return self.path / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        """``evaluations.jsonl``, one line an evaluation."""
        return self.path / "evaluations.jsonl"

    @property
    def error(self) -> Path:
        """``error.txt``, the traceback of a failure."""
        return self.path / "error.txt"

    @property
    def checkpoints(self) -> Path:
        """The folder of Lightning's checkpoints."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.path / "logs"

    @property
    def training_log(self) -> Path:
        """Start, end and what happened in between, in words."""
        return self.logs / "training.log"

    @property
    def evaluation_log(self) -> Path:
        """The evaluations, in words."""
        return self.logs / "evaluation.log"

    @property
    def stdout_log(self) -> Path:
        """What was printed."""
        return self.logs / "stdout.log"

    @property
    def stderr_log(self) -> Path:
        """What was printed on the standard error."""
        return self.logs / "stderr.log"

    def rank_log(self, rank: int) -> Path:
        """Return where another rank's output goes."""
        return self.logs / f"rank{rank}.log"

    @property
    def provenance(self) -> Path:
        """The folder that says what code ran, on what."""
        return self.path / "provenance"

    @property
    def ranks(self) -> Path:
        """The folder of the other ranks' last words."""
        return self.path / "ranks"

    def rank_words(self, rank: int) -> Path:
        """Return where another rank leaves its last words."""
        return self.ranks / f"rank{rank}.json"

    @property
    def wandb(self) -> Path:
        """W&B's own folder."""
        return self.path / "wandb"

    def make(self) -> RunDirectory:
        """Make the folders that every run has, as often as one likes.

        Raises:
            SessionError: One cannot be made; the message names it and why.
        """
        for folder in (self.path, self.checkpoints, self.logs, self.provenance):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SessionError(
                    f"folder {folder} cannot be made ({error.strerror or error}); "
                    "check its parent or choose another with session.directory"
                ) from error
        return self

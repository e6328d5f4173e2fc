"""A tiny real training, and a callback that calls the evaluation from Lightning's hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from keisei_lightning.config import EvaluationConfig, OnViolation, SlaConfig
from keisei_lightning.evaluation.evaluation import Evaluation
from keisei_lightning.record import SlaVerdict


class Sinks:
    """Keeps what an evaluation writes, logs and says."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.logged: list[tuple[dict[str, float], int | None]] = []
        self.verdicts: list[SlaVerdict] = []
        self.config: list[dict[str, Any]] = []

    def evaluation(
        self,
        limits: Mapping[str, Any] | None = None,
        on_violation: OnViolation = OnViolation.record,
        *,
        config: EvaluationConfig | None = None,
        baseline: Callable[[], Mapping[str, float]] | None = None,
        grace: int = 1,
        **more: Any,
    ) -> Evaluation:
        """Return an evaluation that tells these sinks."""
        sinks = {
            "write": self.lines.append,
            "log": lambda metrics, step: self.logged.append((dict(metrics), step)),
            "on_verdict": self.verdicts.append,
            "configure": lambda values: self.config.append(dict(values)),
        }
        return Evaluation(
            config or EvaluationConfig(),
            SlaConfig(limits=dict(limits or {}), on_violation=on_violation, grace=grace),
            baseline=baseline,
            **(sinks | more),
        )

    def values(self, name: str) -> list[float]:
        """Return every value logged under a name."""
        return [metrics[name] for metrics, _ in self.logged if name in metrics]


class Hooks(pl.Callback):
    """Calls the evaluation where the session's callback does."""

    def __init__(self, evaluation: Evaluation, *, batches: bool = False) -> None:
        self.evaluation = evaluation
        self.begun: list[str] = []
        if batches:
            self.on_validation_batch_start = lambda *_: evaluation.batch_begin()  # type: ignore[method-assign]
            self.on_validation_batch_end = lambda *_: evaluation.batch_end()  # type: ignore[method-assign]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Training begins."""
        self.evaluation.train_begin(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        """Validation begins, or the sanity check."""
        self.begun.append("sanity" if trainer.sanity_checking else "validate")
        self.evaluation.begin(trainer, pl_module, "validate")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Validation has ended, or the sanity check."""
        self.evaluation.end(trainer, pl_module, "validate")

    def on_test_start(self, trainer: Any, pl_module: Any) -> None:
        """Test begins."""
        self.begun.append("test")
        self.evaluation.begin(trainer, pl_module, "test")

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Test has ended."""
        self.evaluation.end(trainer, pl_module, "test")


class Model(pl.LightningModule):
    """A line through points; ``val/acc`` of epoch n is ``accuracy[n]``, and may be left out."""

    def __init__(self, accuracy: tuple[float | None, ...] = (), act: Any = None) -> None:
        super().__init__()
        self.line = torch.nn.Linear(1, 1)
        self.accuracy, self.act = accuracy, act

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        """Return the squared error."""
        loss = ((self.line(batch[0]) - batch[0]) ** 2).mean()
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log the squared error."""
        self.log("val/loss", ((self.line(batch[0]) - batch[0]) ** 2).mean())

    def on_validation_epoch_end(self) -> None:
        """Log the accuracy that was planned, and do what the test wants done."""
        epoch = self.current_epoch
        planned = self.accuracy[epoch] if epoch < len(self.accuracy) else None
        if planned is not None:
            self.log("val/acc", planned)
        if self.act is not None:
            self.act(self)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log the squared error."""
        self.log("test/loss", ((self.line(batch[0]) - batch[0]) ** 2).mean())

    def configure_optimizers(self) -> Any:
        """Return plain gradient descent."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


def points() -> DataLoader[Any]:
    """Return four batches of two points."""
    return DataLoader(TensorDataset(torch.arange(8.0).unsqueeze(1) / 8), batch_size=2)


def trainer_for(
    evaluation: Evaluation, directory: Path, *, batches: bool = False, **more: Any
) -> pl.Trainer:
    """Return a quiet trainer on the CPU with the hooks."""
    settings = {
        "max_epochs": 3,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": directory,
    }
    return pl.Trainer(callbacks=[Hooks(evaluation, batches=batches)], **(settings | more))

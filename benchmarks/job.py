"""One training with one kind of tracking, as a process; prints what it measured as JSON.

Usage: python job.py KIND [STEPS]. KIND is bare, session, session_wandb, wandb or mlflow.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

warnings.filterwarnings("ignore")


class Clock(Callback):
    """Notes when the fit began and how long its steps took."""

    def __init__(self) -> None:
        self.began = 0.0
        self.steps: list[float] = []
        self._last = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the start."""
        self.began = self._last = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        """Note a step."""
        now = time.perf_counter()
        self.steps.append(now - self._last)
        self._last = now


class Tiny(LightningModule):
    """One layer: whatever costs time here is not the model."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(32, 1)

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Log one metric, as people do."""
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("train/loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


@contextlib.contextmanager
def tracked(kind: str) -> Iterator[dict[str, Any]]:
    """Give the Trainer's options for one kind of tracking, and close it."""
    if kind.startswith("session"):
        from keisei_lightning import SessionCallback, open_session

        kinds = ["wandb"] if kind == "session_wandb" else []
        with open_session("run", session={"tracking": {"kinds": kinds}}):
            yield {"callbacks": [SessionCallback()], "logger": False}
    elif kind == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        logger = WandbLogger(project="bench", mode="offline", save_dir="run")
        yield {"logger": logger, "callbacks": []}
        logger.experiment.finish()
    elif kind == "mlflow":
        import mlflow

        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        mlflow.pytorch.autolog(log_models=False)
        with mlflow.start_run():
            yield {"logger": False, "callbacks": []}
    else:
        yield {"logger": False, "callbacks": []}


def main(kind: str, steps: int) -> None:
    """Train and print the figures."""
    torch.set_num_threads(1)
    data = DataLoader(TensorDataset(torch.randn(steps * 2, 32)), batch_size=2)
    clock, started = Clock(), time.perf_counter()
    closing = 0.0
    with tracked(kind) as options:
        callbacks = [*options.pop("callbacks"), clock]
        trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            callbacks=callbacks,
            **options,
        )
        trainer.fit(Tiny(), data)
        closing = time.perf_counter()
    ended = time.perf_counter()
    ordered = sorted(clock.steps[50:] or clock.steps)
    print(
        json.dumps(
            {
                "step_us": 1e6 * ordered[len(ordered) // 2],
                "mean_step_us": 1e6 * sum(ordered) / len(ordered),
                "before_fit_s": clock.began - started,
                "close_s": ended - closing,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3000)

"""A real, small fit with tracking; used in the tests and, as a program, by the fault table."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader, TensorDataset


class Line(LightningModule):
    """Fits a line; logs its loss every step."""

    def __init__(self, pause_s: float = 0.0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
        self.pause_s = pause_s
        self.save_hyperparameters({"lr": 0.1})

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        """One step, optionally slow."""
        (x,) = batch
        loss: torch.Tensor = (self.layer(x) - x.sum(1, keepdim=True)).pow(2).mean()
        self.log("train/loss", loss)
        if self.pause_s:
            time.sleep(self.pause_s)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Validated(Line):
    """The same, with a validation."""

    def validation_step(self, batch: Any, index: int) -> None:
        """Log the validation loss."""
        (x,) = batch
        self.log("val/loss", self.layer(x).mean())


class Attach(Callback):
    """Adds a session's logger where a session does: in ``setup``."""

    def __init__(self, tracking: Any) -> None:
        self.tracking = tracking
        self.start_s = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Add the logger and start the trackers."""
        begin = time.monotonic()
        trainer.loggers = [self.tracking.logger()]
        self.tracking.start()
        self.start_s = time.monotonic() - begin


def make_trainer(directory: Path, steps: int, **more: Any) -> Trainer:
    """Return a quiet Trainer on the CPU that logs every step."""
    options: dict[str, Any] = {
        "max_steps": steps,
        "log_every_n_steps": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "default_root_dir": directory,
    }
    return Trainer(**(options | more))


def loader() -> DataLoader[Any]:
    """Return the same 32 samples every time, in order."""
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(32, 4, generator=generator)), batch_size=4)


def main(directory: Path) -> None:
    """Run one fit with W&B and report, as JSON on the last line, what it cost and gave."""
    from keisei_lightning.config import TrackerKind, TrackingConfig
    from keisei_lightning.tracking import Tracking

    ask = json.loads(os.environ["SMALL_FIT"])
    seed_everything(1, verbose=False)
    trainer = make_trainer(directory, ask["steps"])
    model = Line(ask.get("pause_s", 0.0))
    report: dict[str, Any] = {}
    tracking = None
    if ask.get("tracked", True):
        tracking = Tracking.open(
            TrackingConfig(kinds=[TrackerKind.wandb], **ask.get("config", {})),
            directory=directory,
            session_id=ask.get("id", "amber-1"),
            name="a run",
            group="a sweep",
            tags=["fault"],
            attempt=ask.get("attempt", 1),
            close_budget_s=ask["budget_s"],
        )
        tracking.hyperparams({"model": {"lr": 0.1}})
        attach = Attach(tracking)
        trainer.callbacks.append(attach)
    else:
        from lightning.pytorch.loggers import CSVLogger

        trainer.loggers = [CSVLogger(directory)]
    begin = time.monotonic()
    trainer.fit(model, loader())
    report["fit_s"] = time.monotonic() - begin
    report["steps"] = trainer.global_step
    report["result"] = [parameter.tolist() for parameter in model.parameters()]
    if tracking is not None:
        report["start_s"] = attach.start_s
        begin = time.monotonic()
        facts = tracking.close(3, ask["budget_s"])
        report["close_s"] = time.monotonic() - begin
        report["trackers"] = [{name: getattr(f, name) for name in f.__slots__} for f in facts]
    report["end"] = time.time()
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

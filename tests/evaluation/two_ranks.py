"""Run as a program: trainings on two ranks, each of which writes down what became of it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from tiny_training import Model, Sinks, points, trainer_for

from keisei_lightning.config import LimitConfig, OnViolation
from keisei_lightning.errors import SlaViolationError

LIMIT = {"val/acc": LimitConfig(min=0.9)}


class OwnAccuracy(Model):
    """Every rank has its own accuracy, and rank 1 takes its time."""

    def on_validation_epoch_end(self) -> None:
        """Log an accuracy that only rank 0 finds bad, in the second epoch."""
        bad = self.current_epoch == 1 and self.global_rank == 0
        self.log("val/acc", 0.5 if bad else 0.95, sync_dist=False)
        time.sleep(0.4 * self.global_rank)


class Arena(Model):
    """Rank 0 alone plays, between the validations."""

    def __init__(self, evaluation: Any) -> None:
        super().__init__((0.95,) * 9)
        self.evaluation = evaluation

    def on_train_epoch_start(self) -> None:
        """Lose in the second epoch."""
        if self.global_rank == 0:
            self.evaluation.log_evaluation({"win_rate": 0.0 if self.current_epoch == 1 else 1.0})


def run(name: str, directory: Path, policy: OnViolation, *, arena: bool = False) -> None:
    """Train once and write down the steps, the lines and the error of this rank."""
    sinks = Sinks()
    limits = {"evaluation/win_rate": LimitConfig(min=0.5)} if arena else LIMIT
    evaluation = sinks.evaluation(limits, policy)
    trainer = trainer_for(
        evaluation, directory, max_epochs=4, devices=2, strategy="ddp", num_sanity_val_steps=2
    )
    model: pl.LightningModule = Arena(evaluation) if arena else OwnAccuracy()
    error = None
    try:
        trainer.fit(model, points(), points())
    except SlaViolationError as raised:
        error = str(raised)
    outcome = {
        "steps": trainer.global_step,
        "stopped": evaluation.stopped_by_sla,
        "error": error,
        "lines": sinks.lines,
        "logged": len(sinks.logged),
    }
    (directory / f"{name}.rank{trainer.global_rank}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    folder, name = Path(sys.argv[1]), sys.argv[2]
    run(name, folder, OnViolation[name.removeprefix("arena_")], arena=name.startswith("arena"))

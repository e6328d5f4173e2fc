"""Fixtures of the evaluation room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
from tiny_training import Model, Sinks, points, trainer_for

from keisei_lightning.evaluation.evaluation import Evaluation


@pytest.fixture
def sinks() -> Sinks:
    """Empty sinks."""
    return Sinks()


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., pl.Trainer]:
    """Run a real fit with an evaluation in its hooks, and give back the trainer."""

    def run(
        evaluation: Evaluation, model: Model | None = None, *, batches: bool = False, **more: Any
    ) -> pl.Trainer:
        trainer = trainer_for(evaluation, tmp_path, batches=batches, **more)
        trainer.fit(model or Model(), points(), points())
        return trainer

    return run

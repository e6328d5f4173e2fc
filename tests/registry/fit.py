"""A small real training in a session; run as a script by the tests.

``python fit.py DIRECTORY URL STEPS``: at step 30 it says so with a file ``halfway`` and waits for
the file ``go``; at the end it prints how many steps it made and the longest of them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from keisei_lightning import SessionCallback, open_session


class Model(pl.LightningModule):
    """One layer."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.place = place
        self.begun: list[float] = []

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        """Take a step, and a rest, so that beats come in between."""
        self.begun.append(time.perf_counter())
        if index == 30:
            (self.place / "halfway").touch()
            while not (self.place / "go").exists():
                time.sleep(0.01)
            self.begun.append(time.perf_counter())
        time.sleep(0.01)
        return self.layer(batch).mean()

    def configure_optimizers(self) -> Any:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), 0.1)


def main() -> None:
    """Train."""
    place, url, steps = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    settings = {
        "registry": {"url": url, "timeout_s": 2.0, "cleanup_interval_s": 0.5},
        "heartbeat": {"interval_s": 0.2},
        "console": {"banner": False},
    }
    model = Model(place)
    data = DataLoader(torch.randn(steps, 2))  # type: ignore[arg-type]
    with open_session(place / "run", session=settings) as session:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        trainer = pl.Trainer(
            max_epochs=1, accelerator="cpu", callbacks=[SessionCallback()], **quiet
        )
        trainer.fit(model, data)
        taken = trainer.global_step
        closing = time.perf_counter()
    closed = time.perf_counter() - closing
    gaps = [b - a for a, b in zip(model.begun[32:], model.begun[33:], strict=False)]
    print(
        json.dumps({"id": session.record.id, "steps": taken, "longest": max(gaps), "close": closed})
    )


if __name__ == "__main__":
    main()

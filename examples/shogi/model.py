"""A small convolutional network that gives every move of a position a logit."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from positions import MOVES, PLANES
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

__all__ = ["Policy"]

Batch = tuple[Tensor, Tensor, Tensor]


class Policy(LightningModule):
    """Learns to move as the teacher does.

    Args:
        lr: Learning rate of Adam.
        width: Channels of the two hidden layers.

    """

    def __init__(self, lr: float = 0.003, width: int = 48) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.network = nn.Sequential(
            nn.Conv2d(PLANES, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, MOVES // 81, kernel_size=1),
            nn.Flatten(),
        )

    def forward(self, positions: Tensor) -> Tensor:
        """Give the logits, (batch, 27 x 81), of positions, (batch, 42, 9, 9)."""
        logits: Tensor = self.network(positions)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the cross entropy over the possible moves and log it as ``train/loss``."""
        logits = self._possible_logits(batch)
        loss = cross_entropy(logits, batch[2])
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log ``val/loss`` and ``val/agreement``, how often the teacher's move is the best."""
        self._log_agreement("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log ``test/loss`` and ``test/agreement``."""
        self._log_agreement("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    def _possible_logits(self, batch: Batch) -> Tensor:
        positions, allowed, _ = batch
        logits: Tensor = self(positions)
        return logits.masked_fill(~allowed, float("-inf"))

    def _log_agreement(self, stage: str, batch: Batch) -> None:
        logits = self._possible_logits(batch)
        agreement = (logits.argmax(dim=1) == batch[2]).float().mean()
        metrics = {
            f"{stage}/loss": cross_entropy(logits, batch[2]),
            f"{stage}/agreement": agreement,
        }
        self.log_dict(metrics, prog_bar=True, sync_dist=True)

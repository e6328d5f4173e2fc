"""A small convolutional network that reads handwritten digits."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

__all__ = ["DigitClassifier"]


class DigitClassifier(LightningModule):
    """Classifies 8 x 8 images into the ten digits.

    Args:
        lr: Learning rate of SGD with Nesterov momentum.
        width: Channels of the first convolution; the second has twice as many.

    """

    def __init__(self, lr: float = 0.05, width: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.network = nn.Sequential(
            nn.Conv2d(1, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * 2 * 2, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits, (batch, 10), of images, (batch, 1, 8, 8) in [0, 1]."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Give the cross entropy of a batch and log it as ``train/loss``."""
        images, digits = batch
        loss = cross_entropy(self(images), digits)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val/loss`` and ``val/acc``."""
        self._log_evaluation("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``test/loss`` and ``test/acc``."""
        self._log_evaluation("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give SGD with Nesterov momentum."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, nesterov=True)

    def _log_evaluation(self, stage: str, batch: tuple[Tensor, Tensor]) -> None:
        images, digits = batch
        logits = self(images)
        accuracy = (logits.argmax(dim=1) == digits).float().mean()
        metrics = {
            f"{stage}/loss": cross_entropy(logits, digits),
            f"{stage}/acc": accuracy,
        }
        self.log_dict(metrics, prog_bar=True, sync_dist=True)

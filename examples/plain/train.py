"""Train a digit classifier in one file, without Hydra: the session is a ``with`` block.

python train.py
python train.py --seed 7 --directory runs/seed-7
"""

from __future__ import annotations

import argparse
import warnings

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, random_split

from keisei_lightning import SessionCallback, open_session

# All images fit into a few hundred kilobytes: worker processes would only cost time here.
warnings.filterwarnings("ignore", message=".*does not have many workers")

Batch = tuple[Tensor, Tensor]


class Perceptron(LightningModule):
    """One hidden layer between the 64 pixels of an image and the ten digits."""

    def __init__(self, lr: float = 0.2, width: int = 256) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.lr = lr
        self.network = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the cross entropy of a batch."""
        return self._log_metrics("train", batch)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log ``val/loss`` and ``val/acc``."""
        self._log_metrics("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log ``test/loss`` and ``test/acc``."""
        self._log_metrics("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give SGD with Nesterov momentum."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, nesterov=True)

    def _log_metrics(self, stage: str, batch: Batch) -> Tensor:
        pixels, digits = batch
        logits = self.network(pixels)
        loss = cross_entropy(logits, digits)
        accuracy = (logits.argmax(dim=1) == digits).float().mean()
        self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": accuracy}, prog_bar=True)
        return loss


def digit_loaders() -> list[DataLoader[tuple[Tensor, ...]]]:
    """Give the loaders for training, validation and test of scikit-learn's 1 797 digits."""
    pixels, digits = load_digits(return_X_y=True)
    images = TensorDataset(
        torch.tensor(pixels / 16, dtype=torch.float32), torch.tensor(digits, dtype=torch.int64)
    )
    held_out_alike = torch.Generator().manual_seed(0)  # in every run, whatever its seed
    train, val, test = random_split(images, [1257, 270, 270], generator=held_out_alike)
    return [
        DataLoader(train, batch_size=32, shuffle=True),
        DataLoader(val, batch_size=270),
        DataLoader(test, batch_size=270),
    ]


def main() -> None:
    """Fit and test in one session."""
    parser = argparse.ArgumentParser(description="Train a digit classifier without Hydra.")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--directory", help="without it, train_out/ beside this file")
    args = parser.parse_args()

    torch.set_num_threads(1)  # more threads only slow down a model this small
    with open_session(directory=args.directory, seed=args.seed, name="digits"):
        train, val, test = digit_loaders()
        trainer = Trainer(
            max_epochs=15,
            log_every_n_steps=5,
            logger=False,
            callbacks=[SessionCallback(), ModelCheckpoint(monitor="val/loss")],
        )
        trainer.fit(Perceptron(), train, val)
        trainer.test(ckpt_path="best", dataloaders=test)


if __name__ == "__main__":
    main()

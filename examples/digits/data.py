"""The handwritten digits that come with scikit-learn: 1 797 images of 8 x 8 pixels."""

from __future__ import annotations

import warnings

import torch
from lightning.pytorch import LightningDataModule
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, random_split

__all__ = ["Digits"]

# All images fit into a few hundred kilobytes: worker processes would only cost time here.
warnings.filterwarnings("ignore", message=".*does not have many workers")

Loader = DataLoader[tuple[Tensor, ...]]


class Digits(LightningDataModule):
    """Gives 1 257 images to train on, 270 to validate and 270 to test; nothing is downloaded.

    Args:
        batch_size: Images in a batch.
        split_seed: Decides which images are held out; not the seed of the run, so that runs with
            different seeds stay comparable.

    """

    def __init__(self, batch_size: int = 32, split_seed: int = 0) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.split_seed = split_seed

    def setup(self, stage: str) -> None:
        """Load the images, scale them to [0, 1] and split them."""
        pixels, digits = load_digits(return_X_y=True)
        images = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.train_set, self.val_set, self.test_set = random_split(
            TensorDataset(images, torch.tensor(digits, dtype=torch.int64)),
            lengths=[1257, 270, 270],
            generator=torch.Generator().manual_seed(self.split_seed),
        )

    def train_dataloader(self) -> Loader:
        """Give the shuffled training images."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Loader:
        """Give the validation images."""
        return DataLoader(self.val_set, batch_size=self.batch_size)

    def test_dataloader(self) -> Loader:
        """Give the test images."""
        return DataLoader(self.test_set, batch_size=self.batch_size)

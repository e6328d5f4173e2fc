"""Teach a small network to move, and let it play real games of shogi after each epoch.

python train.py
python train.py trainer.max_epochs=8 arena.games=20 session/tracking=wandb
python train.py -m model.lr=0.01,0.003 session/sla=none
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import hydra
from hydra.utils import instantiate

if TYPE_CHECKING:  # Hydra imports what the config names; train.py --help stays quick.
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
    from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Play untrained, train, play against moves not seen before; give the last validation loss."""
    import torch

    torch.set_num_threads(1)  # for a network this small, more threads only wait for each other
    model: LightningModule = instantiate(cfg.model)
    data: LightningDataModule = instantiate(cfg.data)
    trainer: Trainer = instantiate(cfg.trainer)

    trainer.validate(model, data, verbose=False)
    trainer.fit(model, data)
    # nan: the run was stopped before its first validation.
    val_loss = float(trainer.callback_metrics.get("val/loss", "nan"))
    trainer.test(model, data, verbose=False)
    return val_loss


if __name__ == "__main__":
    main()

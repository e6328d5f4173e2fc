"""Train a digit classifier. The session comes with the config; this file need not know of it.

python train.py
python train.py model.lr=0.01 trainer.max_epochs=5 session.seed=7 session/tracking=wandb
python train.py -m model.lr=0.1,0.01
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
    """Fit, test the best checkpoint, and give the last validation loss to a sweeper."""
    model: LightningModule = instantiate(cfg.model)
    data: LightningDataModule = instantiate(cfg.data)
    trainer: Trainer = instantiate(cfg.trainer)

    trainer.fit(model, data)
    # nan: the run was stopped before its first validation.
    val_loss = float(trainer.callback_metrics.get("val/loss", "nan"))

    best = getattr(trainer.checkpoint_callback, "best_model_path", None)
    trainer.test(model, data, ckpt_path=best or None)
    return val_loss


if __name__ == "__main__":
    main()

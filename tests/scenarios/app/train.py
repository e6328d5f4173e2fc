"""The tiny training as a Hydra job."""

import hydra
from omegaconf import DictConfig, OmegaConf
from parts import life


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float:
    """Run it."""
    return life(cfg.what, cfg.place, **OmegaConf.to_container(cfg.trainer))


if __name__ == "__main__":
    main()

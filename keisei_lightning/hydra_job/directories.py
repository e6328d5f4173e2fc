"""Hydra's output directory: made to be writable before Hydra makes it.

Hydra itself fails on a read-only output root before any of our code could help, so the fallback is
chosen in ``on_run_start`` and ``on_multirun_start``, whose changes Hydra still follows.
"""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from keisei_lightning import ranks
from keisei_lightning.run_directory import default_fallback

__all__ = ["prepare_run", "prepare_sweep"]

_log = logging.getLogger(__name__)


def prepare_run(config: DictConfig) -> None:
    """Send a run to a directory that can be written, before Hydra makes it."""
    _redirect(config, "run", str(config.hydra.run.dir))


def prepare_sweep(config: DictConfig) -> None:
    """Send a sweep to a directory that can be written, before Hydra makes it."""
    _redirect(config, "sweep", str(config.hydra.sweep.dir))


def _redirect(config: DictConfig, kind: str, wanted: str) -> None:
    if ranks.rank_of() > 0 and ranks.published() is None:
        # Ranks started from outside must not leave output directories of their own behind.
        place = tempfile.mkdtemp(prefix="keisei-rank-")
        _set(config, kind, place, output_subdir=None)
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        return
    problem = _problem(Path(wanted))
    if problem is None:
        return
    fallback = OmegaConf.select(config, "session.fallback_dir") or default_fallback()
    place = str(Path(fallback) / Path(wanted).name)
    _log.warning(
        "%s cannot be written (%s): this %s goes to %s. Set hydra.%s.dir, or "
        "session.fallback_dir, to choose another place.",
        *(wanted, problem, kind, place, kind),
    )
    _set(config, kind, place)


def _problem(wanted: Path) -> str | None:
    """Why a directory cannot be made and written, ``None`` when it can; leaves it in place."""
    try:
        wanted.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=wanted):
            return None
    except OSError as error:
        return error.strerror or str(error)


def _set(config: DictConfig, kind: str, place: str, **more: Any) -> None:
    with read_write(config), open_dict(config):
        config.hydra[kind].dir = place
        # A sweep's jobs are composed anew from these overrides.
        config.hydra.overrides.hydra.append(f'hydra.{kind}.dir="{place}"')
        for key, value in more.items():
            config.hydra[key] = value
            config.hydra.overrides.hydra.append(f"hydra.{key}={'null' if value is None else value}")

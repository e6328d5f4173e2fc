"""The command line of one job of a sweep, as if it had been started alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["single_run"]

_SWEEP_ONLY = ("hydra.sweep.", "hydra.launcher", "hydra/launcher", "hydra.sweeper", "hydra/sweeper")
_OTHERS = ("hydra.mode", "hydra.run.dir", "hydra.output_subdir", "hydra.job.name")


def single_run(argv: Sequence[str], config: Any) -> list[str]:
    """Return the arguments that make a single run of the sweep's job that runs now.

    Args:
        argv: The arguments of the sweep, without the program.
        config: The job's config with its ``hydra`` node.
    """
    overrides = config.hydra.overrides
    task = [str(item) for item in overrides.task]
    hydra = [str(item) for item in overrides.hydra]
    kept = [item for item in hydra if not _of_the_sweep(item)]
    return [*_flags(argv), *task, *kept, "hydra.mode=RUN"]


def _of_the_sweep(override: str) -> bool:
    bare = override.lstrip("+~")
    return bare.startswith(_SWEEP_ONLY) or bare.partition("=")[0] in _OTHERS


def _flags(argv: Sequence[str]) -> list[str]:
    """Hydra's own options that say which config is composed."""
    from hydra._internal.utils import get_args_parser

    args, _ = get_args_parser().parse_known_args(list(argv))
    flags = []
    for option in ("config_path", "config_name", "config_dir"):
        value = getattr(args, option, None)
        if value is not None:
            flags += [f"--{option.replace('_', '-')}", str(value)]
    return flags

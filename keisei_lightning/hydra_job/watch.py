"""Noticing the end of a Hydra job that Hydra does not report.

``hydra.core.utils.run_job`` ends, on whatever way out, with ``HydraConfig.instance().cfg = …`` in
a ``finally`` block. While a job runs, that one object gets a class that notices the assignment;
``sys.exception()`` is then the exception on its way out. Where Hydra does it differently nothing
is noticed, and the interpreter's exit closes the session.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["unwatch", "watch"]


def watch(ended: Callable[[BaseException | None], None]) -> None:
    """Call ``ended`` with the propagating exception when the running job is left."""
    from hydra.core.hydra_config import HydraConfig

    instance = HydraConfig.instance()
    original = type(instance)
    if original is not HydraConfig:
        return

    class WatchedHydraConfig(HydraConfig):
        """Hydra's own, until the job is left."""

        def __setattr__(self, key: str, value: Any) -> None:
            super().__setattr__(key, value)
            if key == "cfg":
                unwatch()
                ended(sys.exception())

    instance.__class__ = WatchedHydraConfig


def unwatch() -> None:
    """Stop watching; harmless when nothing is watched."""
    from hydra.core.hydra_config import HydraConfig

    instance = HydraConfig.instance()
    if type(instance) is not HydraConfig:
        instance.__class__ = HydraConfig

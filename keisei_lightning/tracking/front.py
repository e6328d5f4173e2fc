"""Which logger a process gets; Lightning is imported only when one is made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keisei_lightning.config import TrackingConfig
from keisei_lightning.tracking.wandb_settings import WandbOptions

if TYPE_CHECKING:
    from keisei_lightning.tracking.logger import Front

__all__ = ["make_logger", "silent_logger"]


def make_logger(front: Front | None, options: WandbOptions, kinds: tuple[str, ...]) -> Any:
    """Return a ``WandbLogger`` of ours when W&B is among ``kinds``, else a plain one.

    Args:
        front: Where it hands everything to; None makes it silent.
        options: Id, name, directory and project.
        kinds: The trackers whose own object ``experiment`` may give.
    """
    from keisei_lightning.tracking.logger import JournalLogger, SessionWandbLogger

    common: dict[str, Any] = {
        "directory": options.directory,
        "name": options.name,
        "id": options.id,
        "kinds": kinds,
    }
    if "wandb" in kinds:
        return SessionWandbLogger(front, project=options.project, **common)
    return JournalLogger(front, **common)


def silent_logger(
    directory: str | Path,
    *,
    journal: bool = False,
    config: TrackingConfig | None = None,
    name: str = "",
    session_id: str = "",
) -> Any:
    """Return a logger for a process that has no session of its own: no trackers, no W&B.

    Args:
        directory: The run directory.
        journal: Whether it writes ``metrics.jsonl`` (rank 0 of a spawned group) or nothing.
        config: The ``session.tracking`` node; with W&B in it the logger is a ``WandbLogger``.
        name: Of the session.
        session_id: Of the session.
    """
    from keisei_lightning.tracking.logger import JournalFront

    directory = Path(directory).absolute()
    front = JournalFront(directory / "metrics.jsonl") if journal else None
    options = WandbOptions(
        id=session_id,
        name=name,
        directory=directory,
        project=(config and config.project) or os.environ.get("WANDB_PROJECT") or "lightning_logs",
    )
    kinds = () if config is None else tuple(str(getattr(k, "value", k)) for k in config.kinds)
    return make_logger(front, options, kinds)

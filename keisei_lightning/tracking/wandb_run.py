"""A ``wandb.Run``, ours or the user's: what it is sent, what the record says of it, how it ends."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keisei_lightning.record import Tracker
from keisei_lightning.tracking import wandb_core
from keisei_lightning.tracking.journal import Entry
from keisei_lightning.tracking.wandb_settings import sync_command

__all__ = [
    "STEP",
    "Closing",
    "close_run",
    "payload",
    "run_facts",
    "set_global_run",
    "unset_global_run",
]

_log = logging.getLogger(__name__)

STEP = "trainer/global_step"


@dataclass(frozen=True, slots=True)
class Closing:
    """What became of a run: whether all of it is on disk, and whether the server has got it."""

    on_disk: bool
    uploaded: bool


def close_run(run: Any, exit_code: int, deadline: float, core: Any) -> Closing:
    """Finish a run by ``deadline``: ``finish``, then the service's teardown, then SIGKILL.

    Args:
        run: A ``wandb.Run``.
        exit_code: Explicit; wandb's own guess does not count.
        deadline: As of ``time.monotonic``.
        core: The process of wandb-core, or None when it is not known.

    """
    if getattr(run, "_hooks", None) is not None:
        run._hooks = None
    offline = bool(run.settings.mode in ("offline", "dryrun"))
    log = Path(run.settings.sync_dir, "logs", "debug-internal.log")
    left = deadline - time.monotonic()
    finish = wandb_core.bounded(lambda: run.finish(exit_code=exit_code), min(1.0, left * 0.55))
    frozen = not finish.done and wandb_core.is_frozen(core)
    if not frozen:
        finish.wait(left * 0.55 - 1.0)
    if finish.done and finish.error is None:
        whole = not getattr(run, "_finish_timed_out", False) and not _had_fatal_error(log)
        return Closing(on_disk=True, uploaded=whole and not offline)
    if (
        not frozen
        and not finish.done
        and wandb_core.teardown((deadline - time.monotonic()) * 0.3, exit_code)
    ):
        return Closing(on_disk=True, uploaded=False)
    wandb_core.kill_core(core)
    wandb_core.teardown(0.5)
    return Closing(on_disk=False, uploaded=False)


def run_facts(run: Any) -> Tracker:
    """Return the facts of a live run; while it lives, all of it counts as not sent."""
    mode = str(run.settings.mode)
    if mode == "disabled" or getattr(run, "disabled", False):
        return Tracker(kind="wandb", id=run.id, mode="disabled", sync="not_needed")
    mode = "offline" if mode in ("offline", "dryrun") else mode
    return Tracker(
        kind="wandb",
        id=str(run.id),
        url=None if mode == "offline" else run.url,
        mode=mode,
        sync="pending",
        sync_command=sync_command([run.settings.sync_dir], mode),
    )


def payload(entry: Entry, *, media_only: bool = False) -> dict[str, Any]:
    """Return what ``run.log`` gets: never ``step=``, the step is a metric of its own."""
    values: dict[str, Any] = dict(entry.media)
    if not media_only:
        values.update(entry.metrics)
    if entry.step is not None:
        values[STEP] = entry.step
    if entry.epoch is not None:
        values["epoch"] = entry.epoch
    values["_timestamp"] = entry.time  # it may have waited in the queue
    return values


def set_global_run(run: Any) -> None:
    """Make ``wandb.run`` and ``wandb.log`` mean this run, unless the user has one of his own."""
    import wandb

    if wandb.run is not None:
        return
    try:
        from wandb.sdk.wandb_init import _set_global_run

        _set_global_run(run)
    except Exception:
        _log.debug("wandb.run could not be set", exc_info=True)


def unset_global_run(run: Any) -> None:
    """Take a run back from ``wandb.run``: one that was cut off does not do it itself."""
    import wandb

    if wandb.run is not run:
        return
    try:
        from wandb.sdk.lib import module

        module.unset_globals()
    except Exception:
        _log.debug("wandb.run could not be unset", exc_info=True)


def _had_fatal_error(log: Path) -> bool:
    """Whether wandb-core gave up sending (say, a 401 in mid-run): ``finish`` does not tell."""
    try:
        return b"fatal error" in log.read_bytes()
    except OSError:
        return False

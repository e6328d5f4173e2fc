"""A W&B run that the user's own logger has opened: recorded, completed and closed, not doubled."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from keisei_lightning.record import Tracker
from keisei_lightning.tracking import wandb_core
from keisei_lightning.tracking.journal import Entry
from keisei_lightning.tracking.wandb_run import close_run, payload, run_facts, unset_global_run

__all__ = ["AdoptedWandb", "adoptable", "open_run"]


class AdoptedWandb:
    """The run behind a user's ``WandbLogger`` (``feed.Sink``).

    Args:
        logger: His logger; it goes on logging by itself, so only entries of ours are added.
        foreign: The run that was open before the session. It is his to finish if he opened it
            himself; what his logger opened belongs to the Trainer's life and so to the session.
        on_change: Called when the facts have changed.
    """

    kind = "wandb"

    def __init__(self, logger: Any, foreign: Any, *, on_change: Callable[[], None]) -> None:
        self.run: Any = None
        self._logger = logger
        self._foreign = foreign
        self._on_change = on_change
        self._core: Any = None
        self._facts = Tracker(kind="wandb")

    def open(self) -> None:
        """Find the run; it exists already, since the Trainer makes it before any callback."""
        run = self._logger.experiment
        if not hasattr(run, "settings"):
            return  # Lightning's placeholder: nothing is logged anywhere
        self.run = run
        self._core = wandb_core.core_process()
        if not self._is_foreign:
            wandb_core.forget_exit_hook()
        self._facts = run_facts(run)

    def log(self, entry: Entry) -> None:
        """Add what the Trainer's loggers were not given."""
        if self.run is not None and entry.ours:
            self.run.log(payload(entry))

    def config(self, params: Mapping[str, Any]) -> None:
        """Add to the run's config."""
        if self.run is not None:
            self.run.config.update(dict(params), allow_val_change=True)

    def tick(self) -> None:
        """Nothing to do: the process is the user's."""

    def finish(self, exit_code: int, deadline: float) -> None:
        """End the run with the true exit code, unless the user had opened it himself."""
        if self.run is None or self._is_foreign or self._facts.mode == "disabled":
            return
        closing = close_run(self.run, exit_code, deadline, self._core)
        unset_global_run(self.run)
        if not wandb_core.active_runs():
            wandb_core.teardown(max(0.5, deadline - time.monotonic()))
        if closing.uploaded:
            self._facts = dataclasses.replace(self._facts, sync="done", sync_command=None)
        self._on_change()

    def kill(self) -> None:
        """End wandb-core, unless the run is the user's to finish."""
        if not self._is_foreign:
            wandb_core.kill_core(self._core)

    def facts(self) -> Tracker:
        """Return id, url, mode and what is left to be sent."""
        return self._facts

    @property
    def _is_foreign(self) -> bool:
        run = self.run
        return run is not None and run is self._foreign and not _made_by(self._logger, run)


def adoptable(loggers: Iterable[Any]) -> list[Any]:
    """Return those that are a ``WandbLogger`` (of either package name) and not ours."""
    return [
        logger
        for logger in loggers
        if any(cls.__name__ == "WandbLogger" for cls in type(logger).__mro__)
        and not type(logger).__module__.startswith("keisei_lightning.")
    ]


def _made_by(logger: Any, run: Any) -> bool:
    """Whether Lightning's logger has opened a run itself: it always resumes, in its project."""
    wanted = getattr(logger, "_wandb_init", {})
    settings = run.settings
    return bool(
        settings.resume == wanted.get("resume") and settings.project == wanted.get("project")
    )


def open_run() -> Any:
    """Return the W&B run that is open in this process, if W&B is imported at all."""
    return getattr(sys.modules.get("wandb"), "run", None)

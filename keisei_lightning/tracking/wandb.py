"""W&B as a consumer: everything of it runs on its feed's thread, bounded, and can only fail."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keisei_lightning.record import Sync, Tracker
from keisei_lightning.tracking import wandb_core
from keisei_lightning.tracking.journal import Entry, read_entries
from keisei_lightning.tracking.wandb_run import (
    STEP,
    close_run,
    payload,
    run_facts,
    set_global_run,
    unset_global_run,
)
from keisei_lightning.tracking.wandb_settings import (
    WandbOptions,
    choose_mode,
    has_key,
    run_settings,
)

__all__ = ["WandbSink"]

OFFLINE_INIT_S = 20.0
REPLAY_NEEDS_S = 0.8


class WandbSink:
    """One W&B run, which survives its server and its own process (``feed.Sink``).

    It starts online when it can, goes on offline with the same id when W&B does not answer, and
    when wandb-core dies or freezes it makes a new, complete offline copy out of the journal.
    """

    kind = "wandb"

    def __init__(
        self,
        options: WandbOptions,
        journal: Path,
        *,
        warn: Callable[[str, str], None],
        on_change: Callable[[], None],
        redact: Callable[[str], str] = str,
    ) -> None:
        self.run: Any = None
        self.refused = 0
        self._options = options
        self._journal = journal
        self._journal_start = _size(journal)
        self._warn = warn
        self._on_change = on_change
        self._redact = redact
        self._params: dict[str, Any] = {}
        self._core: Any = None
        self._seen = 0
        self._copied = self._ended = self._quieted = False
        self._facts = Tracker(kind="wandb", id=options.id, mode=options.mode, sync="pending")

    def open(self) -> None:
        """Import W&B and start the run; offline when that fails."""
        if "WANDB_ERROR_REPORTING" not in os.environ:
            os.environ["WANDB_ERROR_REPORTING"] = "false"  # else the exit waits for telemetry
            self._quieted = True
        import wandb

        mode, why = choose_mode(
            self._options.mode, _configured_mode(wandb), key=has_key(os.environ, _base_url(wandb))
        )
        if why:
            self._warn("tracking/wandb/offline", f"W&B runs offline: {why}")
        try:
            self._start(mode, resume="allow" if self._options.attempt > 1 else None)
        except BaseException as error:
            if mode == "offline":
                raise
            self._go_offline(error)

    def log(self, entry: Entry) -> None:
        """Send one entry; when W&B's process is gone, make the copy."""
        self._seen += bool(entry.metrics)
        try:
            self.run.log(payload(entry))
        except Exception as error:
            if self._is_lost(error):
                self._copy(error)
                if entry.media:
                    self.run.log(payload(entry, media_only=True))
            else:
                self._refused(error)
                if entry.media:
                    with contextlib.suppress(Exception):
                        self.run.log(payload(dataclasses.replace(entry, media={})))

    def config(self, params: Mapping[str, Any]) -> None:
        """Add to the run's config."""
        self._params.update(params)
        try:
            self.run.config.update(dict(params), allow_val_change=True)
        except Exception as error:
            if not self._is_lost(error):
                self._refused(error)
            else:
                self._copy(error)

    def tick(self) -> None:
        """Notice that wandb-core has died although nothing was logged."""
        if self._core is not None and self._core.poll() is not None:
            self._copy(ConnectionResetError("its process has ended"))

    def finish(self, exit_code: int, deadline: float) -> None:
        """End the run in three stages; copy it from the journal when its data is not complete."""
        try:
            if self.run is not None:
                self._finish(exit_code, deadline)
        finally:
            self._ended = True
            wandb_core.in_use.discard(id(self))
            if self._quieted:
                os.environ.pop("WANDB_ERROR_REPORTING", None)

    def _finish(self, exit_code: int, deadline: float) -> None:
        closing = close_run(self.run, exit_code, deadline, self._core)
        uploaded = closing.uploaded
        if not closing.on_disk or (not uploaded and self._resumed_online()):
            self._copy_and_finish(exit_code, deadline)
        unset_global_run(self.run)
        if not wandb_core.active_runs():
            wandb_core.teardown(max(0.5, deadline - time.monotonic()))
        sync: Sync = "done" if uploaded else "pending"
        if self._facts.mode == "disabled":
            sync = "not_needed"
        self._set(sync=sync, sync_command=self._facts.sync_command if sync == "pending" else None)

    def kill(self) -> None:
        """End wandb-core, so that whatever waits for it fails at once."""
        wandb_core.kill_core(wandb_core.core_process() or self._core)

    def facts(self) -> Tracker:
        """Return id, url, mode and what is left to be sent."""
        return self._facts

    def _start(self, mode: str, *, resume: str | None) -> None:
        wandb_core.guard_exit()
        limit = OFFLINE_INIT_S if mode == "offline" else self._options.init_timeout + 2
        with wandb_core.other_hooks_kept():
            call = wandb_core.bounded(lambda: self._init(mode, resume), limit)
            if not call.done:
                self.kill()
                call.wait(2.0)
        self.run = call.result()
        self._core = wandb_core.core_process()
        wandb_core.forget_exit_hook()
        self.run.define_metric(STEP)
        self.run.define_metric("*", step_metric=STEP, step_sync=True)
        set_global_run(self.run)
        if self._params:
            self.run.config.update(self._params, allow_val_change=True)
        if not self._ended:
            self._facts = run_facts(self.run)
            self._on_change()

    def _init(self, mode: Any, resume: Any) -> Any:
        import wandb

        options = self._options
        known = wandb.Settings.model_fields
        settings = run_settings(options, known, argv=sys.argv, redact=self._redact)
        return wandb.init(
            id=options.id,
            name=options.name,
            project=options.project,
            entity=options.entity,
            group=options.group,
            job_type=options.job_type,
            notes=options.notes,
            tags=list(options.tags) or None,
            dir=str(options.directory),
            mode=mode,
            resume=resume,
            reinit="create_new",
            settings=wandb.Settings(**settings),
        )

    def _go_offline(self, error: BaseException) -> None:
        if not wandb_core.teardown(2.0):  # the id stays in use until then
            self.kill()
        self._start("offline", resume="allow" if self._options.attempt > 1 else None)
        self._warn(
            "tracking/wandb/offline",
            f"W&B could not be reached ({self._redact(_words(error))}); the run goes on offline. "
            f"Send it later with: {self._facts.sync_command}",
        )

    def _is_lost(self, error: BaseException) -> bool:
        """Whether an error means that wandb-core is gone, rather than that a value is wrong."""
        if isinstance(error, OSError) or self._core is None:
            return isinstance(error, OSError)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._core.wait(0.5)
        return self._core.poll() is not None

    def _refused(self, error: BaseException) -> None:
        self.refused += 1
        if self.refused > 1:
            return
        self._warn(
            "tracking/wandb/refused",
            f"W&B did not take a value ({self._redact(_words(error))}); the others go on",
        )

    def _copy(self, error: BaseException) -> None:
        """Start over as an offline run that holds everything the journal has, once."""
        if self._copied:
            raise error
        self._copied = True
        url = self._facts.url
        self.kill()
        wandb_core.teardown(2.0)
        unset_global_run(self.run)
        # No resume: when this copy is sent it must replace what has arrived already.
        self._start("offline", resume=None)
        for entry in self._replayed():
            self.run.log(payload(entry))
        self._set(url=url)
        self._warn(
            "tracking/wandb/copy",
            f"W&B's process has failed ({self._redact(_words(error))}); the run was copied from "
            f"metrics.jsonl and goes on offline. Send it later with: {self._facts.sync_command}",
        )

    def _replayed(self) -> list[Entry]:
        """Return the entries of earlier attempts, and of this one those that were given to us."""
        before = list(read_entries(self._journal, until=self._journal_start))
        every = read_entries(self._journal)
        return list(itertools.islice(every, len(before) + self._seen))

    def _copy_and_finish(self, exit_code: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        if self._copied or left < REPLAY_NEEDS_S:
            return

        def copy() -> None:
            self._copy(TimeoutError("it did not end in time"))
            self.run.finish(exit_code=exit_code)

        before = self._facts
        call = wandb_core.bounded(copy, left - 0.3)
        if not call.done or call.error is not None:
            self._ended = True
            self.kill()
            self._facts = before  # what it has on disk is all there is

    def _resumed_online(self) -> bool:
        """Whether sending the directory later would send again what has arrived."""
        return self._options.attempt > 1 and self._facts.mode == "online"

    def _set(self, **changes: Any) -> None:
        if self._ended:
            return
        self._facts = dataclasses.replace(self._facts, **changes)
        self._on_change()


def _configured_mode(wandb: Any) -> str | None:
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    try:
        mode = wandb.sdk.wandb_setup.singleton().settings.mode
    except Exception:
        return None
    return None if mode == "online" else str(mode)


def _base_url(wandb: Any) -> str:
    try:
        return str(wandb.sdk.wandb_setup.singleton().settings.base_url)
    except Exception:
        return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(":")

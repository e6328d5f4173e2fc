"""W&B as a consumer: everything of it runs on its feed's thread, bounded, and can only fail."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from keisei_lightning.record import Sync, Tracker
from keisei_lightning.tracking import wandb_core
from keisei_lightning.tracking.journal import Entry, read_entries
from keisei_lightning.tracking.wandb_directories import (
    can_be_continued,
    has_data,
    mark_sent,
    unsent,
)
from keisei_lightning.tracking.wandb_run import (
    STEP,
    close_run,
    payload,
    run_facts,
    set_global_run,
    unset_global_run,
)
from keisei_lightning.tracking.wandb_settings import WandbOptions, sync_command
from keisei_lightning.tracking.wandb_start import start_run, wanted_mode

__all__ = ["WandbSink"]

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
        mode, why = wanted_mode(self._options)
        if why:
            self._warn("tracking/wandb/offline", f"W&B runs offline: {why}")
        try:
            self._begin(mode)
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
        if self._copied and closing.on_disk:
            self._supersede()
        if not closing.on_disk or (not uploaded and self._resumed_online()):
            self._copy_and_finish(exit_code, deadline)
        unset_global_run(self.run)
        if not wandb_core.active_runs():
            wandb_core.teardown(max(0.5, deadline - time.monotonic()))
        sync: Sync = "done" if uploaded else "pending"
        if uploaded:
            mark_sent(Path(self.run.settings.sync_dir))
        if self._facts.mode == "disabled":
            sync = "not_needed"
        command = self._facts.sync_command if sync == "pending" else None
        if command is not None and not has_data(Path(shlex.split(command)[-1])):
            command = None  # W&B's process was cut off before it wrote anything
            self._warn(
                "tracking/wandb/empty",
                "W&B has written nothing that could be sent; metrics.jsonl has every metric",
            )
        self._ended = False
        self._set(sync=sync, sync_command=command)

    def kill(self) -> None:
        """End wandb-core, so that whatever waits for it fails at once."""
        wandb_core.kill_core(wandb_core.core_process() or self._core)

    def facts(self) -> Tracker:
        """Return id, url, mode and what is left to be sent."""
        return self._facts

    def _begin(self, mode: str) -> None:
        """Start the run, together with what earlier attempts have not sent yet."""
        options = self._options
        earlier = unsent(options.directory, options.id)
        if options.attempt == 1 or mode == "disabled":
            earlier = []
        again = any(mode != "offline" or not can_be_continued(d) for d in earlier)
        self._start(mode, resume=None if again or options.attempt == 1 else "allow")
        if again:
            self._send(read_entries(self._journal, until=self._journal_start))
            mark_sent(*earlier)
        elif earlier:
            directories = [*earlier, Path(self.run.settings.sync_dir)]
            self._set(sync_command=sync_command(directories, "offline"))

    def _start(self, mode: str, *, resume: str | None) -> None:
        wandb_core.in_use.add(id(self))
        self.run = start_run(self._options, mode, resume, self._redact)
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

    def _send(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.run.log(payload(entry))

    def _go_offline(self, error: BaseException) -> None:
        if not wandb_core.teardown(2.0):  # the id stays in use until then
            self.kill()
        self._begin("offline")
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
        self._send(self._replayed())
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
            self._supersede()

        before = self._facts
        call = wandb_core.bounded(copy, left - 0.3)
        if not call.done or call.error is not None:
            self._ended = True
            self.kill()
            self._facts = before  # what it has on disk is all there is

    def _supersede(self) -> None:
        """Mark every directory but that of the copy, which has all they have."""
        mine = Path(self.run.settings.sync_dir)
        others = unsent(self._options.directory, self._options.id)
        mark_sent(*(directory for directory in others if directory != mine))

    def _resumed_online(self) -> bool:
        """Whether sending the directory later would send again what has arrived."""
        return self._options.attempt > 1 and self._facts.mode == "online"

    def _set(self, **changes: Any) -> None:
        if self._ended:
            return
        self._facts = dataclasses.replace(self._facts, **changes)
        self._on_change()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip().rstrip(":")

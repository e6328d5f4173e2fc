"""One session's tracking: the journal, its feeds, and the one logger the Trainer gets."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from keisei_lightning.config import TrackingConfig
from keisei_lightning.record import Tracker
from keisei_lightning.tracking.adoption import AdoptedWandb, adoptable, open_run
from keisei_lightning.tracking.feed import STUCK_AFTER_S, Feed, Sink
from keisei_lightning.tracking.front import make_logger
from keisei_lightning.tracking.hyperparameters import plain
from keisei_lightning.tracking.journal import Journal
from keisei_lightning.tracking.local import LocalSink
from keisei_lightning.tracking.wandb import WandbSink
from keisei_lightning.tracking.wandb_settings import WandbOptions

__all__ = ["Tracking"]

_log = logging.getLogger(__name__)

_wandb_imported_by_us = False


class Tracking:
    """The journal and the trackers of one session; see :meth:`open`."""

    def __init__(
        self,
        options: WandbOptions,
        kinds: tuple[str, ...],
        *,
        redact: Callable[[str], str],
        on_change: Callable[[], None],
        warn: Callable[[str, str], None],
    ) -> None:
        self.journal = Journal(options.directory / "metrics.jsonl", redact)
        self._options = options
        self._redact = redact
        self._tell = on_change
        self._warn = warn
        self._foreign = open_run()
        self._lock = threading.Lock()
        self._closed: tuple[Tracker, ...] | None = None
        self._waited = False
        self._started = False
        self._closing = False
        self._told: tuple[Tracker, ...] = ()
        self._adopted: list[Any] = []
        self._front: Any = None
        self._params: dict[str, Any] = {}
        self._feeds: list[Feed] = []
        self._feeds = [self._feed(self._sink(kind)) for kind in kinds]

    @classmethod
    def open(
        cls,
        config: TrackingConfig,
        *,
        directory: Path,
        session_id: str,
        name: str,
        group: str | None = None,
        job_num: int | None = None,
        tags: Iterable[str] = (),
        attempt: int = 1,
        close_budget_s: float = 30.0,
        redact: Callable[[str], str] = str,
        on_change: Callable[[], None] = lambda: None,
        warn: Callable[[str, str], None] | None = None,
    ) -> Self:
        """Return the tracking of a session; nothing of a tracker is imported or started yet.

        Args:
            config: The ``session.tracking`` node.
            directory: The run directory.
            session_id: Also the id of the W&B run, which the next attempt continues.
            name: Of the session and the W&B run.
            group: The sweep; W&B's group.
            job_num: Of a sweep's job; becomes a W&B tag ``job-<n>``.
            tags: Labels for the W&B run.
            attempt: 1 for the first.
            close_budget_s: Seconds the close of the session may take.
            redact: Applied to every text that is written or sent.
            on_change: Called from any thread when :attr:`facts` have changed.
            warn: Called with a key and a message, once per kind of trouble; default: logged.
        """
        labels = [*tags, *([f"job-{job_num}"] if job_num is not None else [])]
        options = WandbOptions(
            id=session_id,
            name=redact(name),
            directory=Path(directory).absolute(),
            project=config.project or os.environ.get("WANDB_PROJECT") or "lightning_logs",
            entity=config.entity,
            group=redact(group) if group else None,
            job_type=config.job_type,
            notes=redact(config.notes) if config.notes else None,
            tags=tuple(redact(str(label)) for label in labels),
            mode=config.mode,
            attempt=attempt,
            init_timeout=float(config.init_timeout),
            close_budget_s=close_budget_s,
            settings=dict(config.settings),
        )
        kinds = tuple(dict.fromkeys(str(getattr(k, "value", k)) for k in config.kinds))
        return cls(options, kinds, redact=redact, on_change=on_change, warn=warn or _log_warning)

    def adopt(self, loggers: Iterable[Any]) -> bool:
        """Take over the W&B run of a user's own ``WandbLogger``; call it before :meth:`start`.

        Ours is dropped then. A run he had opened before the session is recorded, never finished.

        Returns:
            Whether there was one.
        """
        if self._started:
            return False
        theirs = adoptable(loggers)
        if not theirs:
            return False
        for feed in [f for f in self._feeds if f.sink.kind == "wandb"]:
            self.journal.detach(feed.put)
            self._feeds.remove(feed)
        for logger in theirs:
            sink = AdoptedWandb(logger, self._foreign, on_change=self._on_change)
            self._feeds.append(self._feed(sink, stuck_after_s=float("inf")))
            self._adopted.append(logger)
        return True

    def start(self) -> None:
        """Start the trackers' threads; after other ranks were launched, which must not inherit W&B.

        Returns at once, except when the user has imported wandb himself: he may be about to call
        ``wandb.log``, so the run is waited for, no longer than ``init_timeout`` and two seconds.
        """
        global _wandb_imported_by_us
        if self._started or self._closed is not None:
            return
        self._started = True
        with_wandb = [f for f in self._feeds if isinstance(f.sink, WandbSink)]
        user_imported = "wandb" in sys.modules and not _wandb_imported_by_us
        _wandb_imported_by_us = (bool(with_wandb) and not user_imported) or _wandb_imported_by_us
        for feed in self._feeds:
            if self._params:
                feed.config(self._params)
            feed.start()
        if user_imported:
            self._wait(with_wandb)

    def logger(self, global_zero: bool = True) -> Any:
        """Return the logger for ``trainer.loggers``; a silent one of the same type elsewhere."""
        if not global_zero:
            return make_logger(None, self._options, self._kinds)
        if self._front is None:
            self._front = make_logger(self, self._options, self._kinds)
        return self._front

    def owns(self, logger: Any) -> bool:
        """Whether a logger gets by itself what :meth:`log` is given: ours, and an adopted one."""
        return any(logger is known for known in (self._front, *self._adopted))

    def log(
        self, metrics: Mapping[str, Any], step: int | None = None, epoch: float | None = None
    ) -> None:
        """Write metrics that the Trainer's loggers were not given; never raises."""
        try:
            self.journal.log(metrics, step, epoch)
        except Exception as error:
            self._warn("tracking/journal", f"metrics could not be written: {error!r}")

    def logged(self, metrics: Mapping[str, Any], step: int | None, epoch: float | None) -> None:
        """Write metrics that the Trainer gave to all of its loggers; never raises."""
        try:
            self.journal.log(metrics, step, epoch, ours=False)
        except Exception as error:
            self._warn("tracking/journal", f"metrics could not be written: {error!r}")

    def hyperparams(self, tree: Any) -> None:
        """Send hyper-parameters, redacted and made plain, to every tracker; never raises."""
        params = plain(tree, self._redact)
        if not isinstance(params, dict):
            return
        if not self._started:
            self._params.update(params)
            return
        for feed in self._feeds:
            feed.config(params)

    def experiment(self, kinds: tuple[str, ...]) -> Any:
        """Return the first of these trackers' own object (a ``wandb.Run`` …), waiting bounded."""
        feeds = [feed for kind in kinds for feed in self._feeds if feed.sink.kind == kind]
        if not feeds or not self._started:
            return None
        if not self._waited and not feeds[0].opened.is_set():
            self._waited = True
            self._wait(feeds[:1])
        for feed in feeds:
            found = _experiment(feed.sink)
            if found is not None and not feed.broken:
                return found
        return None

    @property
    def facts(self) -> tuple[Tracker, ...]:
        """What the record says of the trackers."""
        if self._closed is not None:
            return self._closed
        return tuple(feed.sink.facts() for feed in self._feeds)

    @property
    def last(self) -> dict[str, float]:
        """The last value of every metric."""
        return dict(self.journal.last)

    def close(self, exit_code: int = 0, budget_s: float = 30.0) -> tuple[Tracker, ...]:
        """End every tracker, at the same time, within ``budget_s`` seconds; idempotent.

        Returns:
            The final :attr:`facts`.
        """
        with self._lock:
            if self._closed is not None:
                return self._closed
            self._closing = True
            deadline = time.monotonic() + budget_s
            closers = [
                threading.Thread(target=feed.close, args=(exit_code, deadline), daemon=True)
                for feed in self._feeds
            ]
            for closer in closers:
                closer.start()
            for closer in closers:
                closer.join(max(0.0, deadline - time.monotonic()) + 0.5)
            self.journal.close()
            self._closed = tuple(_final(feed) for feed in self._feeds)
            return self._closed

    @property
    def _kinds(self) -> tuple[str, ...]:
        return tuple(f.sink.kind for f in self._feeds if not isinstance(f.sink, AdoptedWandb))

    def _on_change(self) -> None:
        # Whoever closes us reads the facts himself, and may hold the lock of the record.
        facts = self.facts
        if not self._closing and facts != self._told:
            self._told = facts
            self._tell()

    def _sink(self, kind: str) -> Sink:
        if kind != "wandb":
            return LocalSink(kind, self._options.directory, self._options.attempt)
        return WandbSink(
            self._options,
            self.journal.path,
            warn=self._warn,
            on_change=self._on_change,
            redact=self._redact,
        )

    def _feed(self, sink: Sink, stuck_after_s: float = STUCK_AFTER_S) -> Feed:
        feed = Feed(sink, warn=self._warn, on_change=self._on_change, stuck_after_s=stuck_after_s)
        self.journal.attach(feed.put)
        return feed

    def _wait(self, feeds: Iterable[Feed]) -> None:
        deadline = time.monotonic() + self._options.init_timeout + 2.0
        for feed in feeds:
            feed.opened.wait(max(0.0, deadline - time.monotonic()))


def _final(feed: Feed) -> Tracker:
    facts = feed.sink.facts()
    if feed.started or facts.sync != "pending":
        return facts
    # Never started: there is nothing to be sent.
    return Tracker(kind=facts.kind, id=facts.id, mode=facts.mode)


def _experiment(sink: Sink) -> Any:
    if isinstance(sink, WandbSink):
        return sink.run
    return sink.experiment if isinstance(sink, LocalSink) else None


def _log_warning(key: str, message: str) -> None:
    _log.warning("%s", message)

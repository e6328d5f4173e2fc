"""A rank other than 0: it seeds, keeps a log of its own, and leaves its last words. No more.

Nothing here is a collective call but the one in ``setup``, where every rank takes part.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keisei_lightning import ranks, seeding
from keisei_lightning.config import SessionConfig
from keisei_lightning.errors import SessionStateError
from keisei_lightning.lifecycle import attaching
from keisei_lightning.lifecycle.bystander import Bystander
from keisei_lightning.lifecycle.evaluating import evaluation_of_rank
from keisei_lightning.record import ExceptionFacts, LastWords, Place
from keisei_lightning.redaction import make_redactor

__all__ = ["JoinedRank", "enter", "join", "joins"]

_log = logging.getLogger(__name__)


def joins() -> bool:
    """Whether this process takes part in a session that another process keeps.

    Ranks above 0 do, and the children of ``ddp_spawn``; a program that a run starts for other
    purposes inherits the identity in its environment, and is a run of its own.
    """
    if ranks.rank_of() > 0:
        return True
    return ranks.published() is not None and multiprocessing.parent_process() is not None


def enter(config: SessionConfig) -> Bystander:
    """Return what this process has instead of a session, set up for the job that starts."""
    if not config.enabled:
        return Bystander()
    joined = JoinedRank(config, ranks.rank_of())
    joined.begin()
    return joined


@contextlib.contextmanager
def join(config: SessionConfig) -> Iterator[Bystander]:
    """Do the same for a ``with`` block."""
    from keisei_lightning.session import set_current

    bystander = enter(config)
    before = set_current(bystander)
    try:
        yield bystander
    except BaseException as error:
        bystander.leave(error)
        raise
    else:
        bystander.leave(None)
    finally:
        set_current(before)


class JoinedRank(Bystander):
    """The part that a rank above 0 has in a session."""

    def __init__(self, config: SessionConfig, rank: int) -> None:
        super().__init__()
        self.config = config
        self.rank = rank
        self.redactor = make_redactor(keys=config.redaction.keys, env_names=config.redaction.env)
        self._undo: list[Callable[[], object]] = []
        self._located: Path | None = None
        self._spoken = False
        self._logging = False
        self._place = Place()

    @property
    def directory(self) -> Path:
        """The run directory.

        Raises:
            SessionStateError: Rank 0 has not shared it yet.
        """
        if self._located is None:
            raise SessionStateError(
                "the run directory is not known on this rank before the Trainer is set up"
            )
        return self._located

    def begin(self) -> None:
        """Seed, take over signals, and start the log if the directory is known."""
        from keisei_lightning.signals import SignalGuard

        identity = ranks.published()
        if identity is not None:
            self._settle(identity)
        self.guard = SignalGuard(
            grace_s=self.config.close.signal_budget_s,
            on_deadline=lambda number: os._exit(128 + number),
            in_training=lambda: self.in_training and not self.evaluating,
            # Lightning's observer kills rank 0 when a child of its launcher exits with an error.
            exit_code=lambda number: 0 if identity is not None else 128 + number,
        )
        with _quiet("signals"):
            self.guard.install()
            self._undo.append(self.guard.restore)
        with _quiet("seed"):
            self._seed(identity)

    def attach(self, trainer: Any, module: Any) -> None:
        """Take part in the one collective, and give the Trainer a logger and a folder."""
        # Before anything can fail: rank 0 waits for this rank's part in the collective.
        self.evaluation = evaluation_of_rank(self.config, trainer.global_rank)
        # In a spawned group rank 0 is a child as well, and the session is its parent's.
        own = ranks.published() if trainer.is_global_zero else None
        shared = attaching.share(own, trainer)
        if shared is not None:
            self._settle(shared)
        if self._located is None:
            return
        if attaching.wants_loggers(trainer):
            attaching.add_logger(trainer, self._logger(trainer.is_global_zero))
        attaching.place_checkpoints(trainer, self.paths, self.config)

    def _logger(self, journal: bool) -> Any:
        """A logger for the callbacks that ask for one; on a spawned rank 0 it keeps the journal."""
        from keisei_lightning.tracking import silent_logger

        return silent_logger(
            self.directory,
            journal=journal,
            config=self.config.tracking,
            name=self.name,
            session_id=self.id,
        )

    def speak(self, trainer: Any, exception: BaseException) -> None:
        """Leave the last words of this rank."""
        self._place = attaching.place_of(trainer)
        self.in_training = False
        if isinstance(exception, Exception):
            self._write(exception)

    def leave(self, exception: BaseException | None) -> None:
        """End this rank's part."""
        if isinstance(exception, Exception):
            self._write(exception)
        for undo in reversed(self._undo):
            with _quiet("close"):
                undo()
        self._undo.clear()

    def _settle(self, identity: ranks.Identity) -> None:
        self.id, self.name, self.seed = identity.id, identity.name, identity.seed
        self._located = Path(identity.directory)
        if self._logging or not self.config.console.capture:
            return
        from keisei_lightning.console import Capture

        with _quiet("log"):
            capture = Capture(self.paths.logs, self.redactor.text, rank=max(self.rank, 1))
            self._undo.append(capture.close)
            self._logging = True

    def _seed(self, identity: ranks.Identity | None) -> None:
        seed = identity.seed if identity is not None else None
        if seed is None:
            drawn = ranks.launch_seed(os.environ, None) if self.config.seed is None else None
            seed = seeding.resolve_seed(
                self.config.seed, base=self.config.base_seed, published=drawn
            )
        self.seed = seed
        restore = seeding.seed_process(seed)
        self._undo.append(restore.restore)

    def _write(self, exception: Exception) -> None:
        if self._spoken or self._located is None:
            return
        from keisei_lightning.ending import story

        self._spoken = True
        redact = self.redactor.text
        words = LastWords(
            rank=self.rank,
            exception=ExceptionFacts(
                type=type(exception).__name__, message=redact(str(exception))[:2000]
            ),
            place=self._place,
        )
        with _quiet("last words"):
            ranks.write_words(self.paths.rank_words(self.rank), words, redact(story(exception)))


@contextlib.contextmanager
def _quiet(kind: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        _log.warning("%s on rank %d: %s", kind, ranks.rank_of(), error)

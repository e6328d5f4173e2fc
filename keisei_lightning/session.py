"""One session: what a run knows about itself, and its one close.

The parts are put together in ``opening``; here they are used, and taken down in reverse.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keisei_lightning import seeding
from keisei_lightning.config import SessionConfig
from keisei_lightning.errors import SessionStateError
from keisei_lightning.lifecycle import attaching, closing
from keisei_lightning.lifecycle.bystander import Bystander
from keisei_lightning.lifecycle.parts import Parts
from keisei_lightning.lifecycle.record_keeper import RecordKeeper
from keisei_lightning.lifecycle.summary import summary
from keisei_lightning.record import Ending, Place, Reason, SessionRecord, Status
from keisei_lightning.run_directory import RunDirectory

if TYPE_CHECKING:
    from keisei_lightning.evaluation.evaluation import Evaluation
    from keisei_lightning.signals import SignalGuard

__all__ = ["Session", "current_session", "peek", "set_current"]


class Session:
    """The life of one run, from the first line of the job to its recorded ending.

    Made by Hydra's callback, by :func:`open_session` or by ``SessionCallback``; never by hand.
    """

    def __init__(self, record: SessionRecord, directory: RunDirectory, parts: Parts) -> None:
        self.parts = parts
        self._directory = directory
        self._keeper = RecordKeeper(record, directory, parts)
        self._gate = threading.Lock()
        self._undo: list[tuple[str, Callable[[float], object]]] = []
        self._started = time.monotonic()
        self._trainer: Callable[[], Any] = lambda: None
        self._place = Place()
        self.logger: Any = None  # ours among the loggers of the Trainer
        self.best: dict[str, float] = {}  # the best value of each metric a checkpoint monitors
        self._pid = os.getpid()
        self.fit_reason: Reason | None = None
        self.failure: BaseException | None = None  # what the Trainer reported last
        self.exit: SystemExit | None = None  # what sys.exit was called with, where we watch it
        self.born_in: Path | None = None  # Hydra's output directory, when nobody opened us
        self.in_training = False
        self.evaluating = False

    # What a user reads

    @property
    def id(self) -> str:
        """The id, unique over all sessions."""
        return self.record.id

    @property
    def name(self) -> str:
        """The name people see."""
        return self.record.name

    @property
    def status(self) -> Status:
        """Where the session stands."""
        return self.record.status

    @property
    def record(self) -> SessionRecord:
        """The record as it stands now; a frozen copy."""
        return self._keeper.record

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self._directory.path

    @property
    def paths(self) -> RunDirectory:
        """Where each file of the run is."""
        return self._directory

    @property
    def config(self) -> SessionConfig:
        """The settings of the session."""
        return self.parts.config

    @property
    def seed(self) -> int | None:
        """The seed of this run; ``None`` when it was not ours to set."""
        return self.record.seed

    @property
    def rank(self) -> int:
        """The global rank of this process: a session lives on rank 0."""
        return 0

    @property
    def is_leader(self) -> bool:
        """Whether this process keeps the record."""
        return True

    def rng(self, name: str, kind: str = "numpy") -> Any:
        """Return a generator of its own for one purpose, the same in every run with this seed.

        Args:
            name: What it is for, e.g. ``"augment"``.
            kind: ``"numpy"`` for a ``numpy.random.Generator``, ``"torch"`` for a
                ``torch.Generator``.
        """
        return seeding.generator(self.seed or 0, name, kind)

    def summary(self) -> dict[str, Any]:
        """The facts people ask for first: name, id, directory, seed, device, status, run time."""
        return summary(self.record, self.elapsed_s)

    # What a user does

    def log_evaluation(
        self, result: Any, *, step: int | None = None, stage: str | None = None
    ) -> None:
        """Log an evaluation as ``evaluation/<metric>`` and check it against the SLA.

        Args:
            result: An :class:`~keisei_lightning.EvaluationResult`, an object of its shape, or a
                mapping of metric names to numbers.
            step: The global step it belongs to; the current one unless given.
            stage: What was evaluated; ``"evaluation"`` unless the result says.

        Raises:
            SessionError: The result has the wrong shape; the message names the field.
            SlaViolationError: The SLA is broken and ``session.sla.on_violation`` is ``fail``.
        """
        if self.parts.evaluation is not None:
            self.parts.evaluation.log_evaluation(result, step=step, stage=stage)

    def log_evaluation_performance(self, performance: Mapping[str, float]) -> None:
        """Log figures of your own as ``evaluation/performance/<figure>``."""
        if self.parts.evaluation is not None:
            self.parts.evaluation.log_performance(performance)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics to ``metrics.jsonl`` and every tracker."""
        if self.parts.tracking is not None:
            place = self.place
            self.parts.tracking.log(
                metrics, step=place.step if step is None else step, epoch=place.epoch
            )

    def add_artifact(self, key: str, path: str | Path) -> None:
        """Note a file under a key in the record; the same key again replaces it."""
        self._keeper.add("artifacts", {key: str(path)})

    # What the callbacks and parts do

    def change(self, **changes: Any) -> None:
        """Change the record and write it.

        Raises:
            SessionStateError: The status change is not allowed.
        """
        self._keeper.change(**changes)

    def save(self) -> None:
        """Write the record with what the trackers say now."""
        self._keeper.save()

    def end(self, ending: Ending) -> None:
        """Write the ending.

        Raises:
            SessionStateError: There is one already.
        """
        self._keeper.end(ending, self.elapsed_s)

    def on_close(self, name: str, undo: Callable[[float], object]) -> None:
        """Add a step of the close; it gets the seconds that are left of the budget."""
        self._undo.append((name, undo))

    @property
    def guard(self) -> SignalGuard | None:
        """What takes care of the terminating signals."""
        return self.parts.guard

    @property
    def evaluation(self) -> Evaluation | None:
        """What measures and judges evaluations."""
        return self.parts.evaluation

    @property
    def trainer(self) -> Any:
        """The Trainer that was attached last, ``None`` when there is none or it is gone."""
        return self._trainer()

    @property
    def place(self) -> Place:
        """Where the run is, or was when last marked."""
        return attaching.place_of(self.trainer, self._place)

    @property
    def last_place(self) -> Place:
        """Where the run was when last marked."""
        return self._place

    def mark(self) -> None:
        """Remember where the run is."""
        self._place = self.place

    @property
    def elapsed_s(self) -> float:
        """Seconds since the session opened, by a clock that never jumps."""
        return time.monotonic() - self._started

    def attach(self, trainer: Any, module: Any) -> None:
        """Make a Trainer part of the session; called in every ``setup``.

        Raises:
            SessionCapacityError: The session was refused when it opened.
        """
        if self.parts.refusal is not None:
            raise self.parts.refusal
        self._trainer = weakref.ref(trainer)  # kept alive by the user, not by us
        self.in_training = self.evaluating = False
        attaching.attach(self, trainer)

    @property
    def is_open(self) -> bool:
        """Whether the ending is still to be written."""
        return not self._gate.locked()

    @property
    def is_mine(self) -> bool:
        """Whether this process opened it, rather than a parent that was forked."""
        return self._pid == os.getpid()

    def close(
        self,
        exception: BaseException | None = None,
        *,
        closed_by: str,
        budget_s: float | None = None,
        inside_trainer: bool = False,
        children: Sequence[Any] = (),
    ) -> None:
        """End the session: the ending first, then all steps in reverse; the first call wins.

        Args:
            exception: What ends it, ``None`` for an ordinary end.
            closed_by: The hook that calls.
            budget_s: Seconds for everything; from ``session.close`` unless given.
            inside_trainer: Whether a Trainer is running.
            children: The processes of the other ranks, where Lightning started them.
        """
        if not self.is_mine or not self._gate.acquire(blocking=False):
            return
        ending = closing.Closing(self, exception, closed_by, inside_trainer, children)
        with contextlib.ExitStack() as stack:
            if self.guard is not None:
                stack.enter_context(self.guard.held())
            try:
                ending.run(self._undo, budget_s)
            finally:
                if _current is self:
                    set_current(None)

    def die(self, signal: Any) -> None:
        """The deadline after a signal: end what can be ended, and leave the process at once."""
        children = attaching.children_of(self.trainer)
        try:
            self.close(closed_by="deadline", budget_s=3.0)
        finally:
            for child in children:  # a rank that hangs would outlive us
                with contextlib.suppress(OSError):
                    child.kill()
            os._exit(128 + signal)


_current: Session | Bystander | None = None


def current_session() -> Session | Bystander:
    """Return the session of this process.

    On ranks other than 0, and with ``session=none``, what is returned has the same surface and
    logs nothing.

    Raises:
        SessionStateError: No session is open.
    """
    if _current is None:
        raise SessionStateError(
            "no session is open in this process: run with +session=default, "
            "use `with open_session(...)`, or give the Trainer a SessionCallback first"
        )
    return _current


def set_current(session: Session | Bystander | None) -> Session | Bystander | None:
    """Make a session the current one and return the one before."""
    global _current
    before, _current = _current, session
    return before


def peek() -> Session | Bystander | None:
    """The current session, or ``None``; one inherited through a fork counts as none of ours."""
    if isinstance(_current, Session) and not _current.is_mine:
        return None
    return _current

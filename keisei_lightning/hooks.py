"""What the callback's hooks do: find the session, guard, pass on."""

from __future__ import annotations

import atexit
import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from keisei_lightning.ending import fit_reason
from keisei_lightning.errors import SessionCapacityError, SessionConfigError, SlaViolationError
from keisei_lightning.lifecycle import attaching
from keisei_lightning.lifecycle.bystander import Bystander
from keisei_lightning.lifecycle.failing import fail, give_ctrl_c_back
from keisei_lightning.lifecycle.presentation import show_opening
from keisei_lightning.session import Session, peek

__all__ = [
    "batch_hooks",
    "checked",
    "on_evaluation_end",
    "on_evaluation_start",
    "on_exception",
    "on_setup",
    "on_stage",
    "on_train_end",
    "on_train_start",
    "state",
]

_log = logging.getLogger(__name__)


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check settings when the callback is made, not when the Trainer starts.

    Raises:
        SessionConfigError: A setting is wrong.
    """
    from keisei_lightning.lifecycle.settings import settings

    settings(dict(given))
    return dict(given)


def on_setup(trainer: Any, module: Any, given: Mapping[str, Any]) -> None:
    """Open a session if there is none, and attach it.

    Raises:
        SessionCapacityError: Too many sessions run, and the user asked to be stopped by that.
        SessionConfigError: A setting is wrong.
    """
    try:
        give_ctrl_c_back()
        session = _session_for(given)
        session.attach(trainer, module)
        if isinstance(session, Session):
            show_opening(session, trainer)
    except (SessionCapacityError, SessionConfigError):
        raise
    except Exception:
        _log.warning("the session could not be attached; training goes on", exc_info=True)


def on_stage(trainer: Any) -> None:
    """A stage begins: Lightning's signal handlers are in place, ours goes around them."""
    with _guarded("signals") as session:
        if session is not None and session.guard is not None:
            session.guard.wrap_trainer()


def on_train_start(trainer: Any) -> None:
    """Training begins."""
    on_stage(trainer)
    with _guarded("training") as session:
        if session is not None:
            session.in_training = True
            if session.evaluation is not None:
                session.evaluation.train_begin(trainer)


def on_train_end(trainer: Any) -> None:
    """Training ended without an exception.

    Raises:
        SystemExit: A signal came too late for Lightning to honour it.
    """
    guard = None
    with _guarded("end of training") as session:
        if session is not None:
            session.in_training = False
            guard = session.guard
        if isinstance(session, Session):
            evaluation = session.parts.evaluation
            by_sla = evaluation is not None and evaluation.stopped_by_sla
            session.fit_reason = fit_reason(attaching.fit_facts(trainer, stopped_by_sla=by_sla))
            session.best = attaching.best_scores(trainer)
            session.mark()
    if guard is not None:
        guard.check()


def on_evaluation_start(trainer: Any, module: Any, stage: str) -> None:
    """A validation or test begins."""
    on_stage(trainer)
    with _guarded("evaluation") as session:
        if session is None:
            return
        session.evaluating = True
        if session.evaluation is not None:
            session.evaluation.begin(trainer, module, stage)


def on_evaluation_end(trainer: Any, module: Any, stage: str) -> None:
    """A validation or test ended.

    Raises:
        SlaViolationError: The SLA is broken and ``session.sla.on_violation`` is ``fail``.
    """
    with _guarded("evaluation") as session:
        if session is None:
            return
        session.evaluating = False
        if session.evaluation is not None:
            session.evaluation.end(trainer, module, stage)
        if isinstance(session, Session):
            session.mark()
            session.save()


def on_exception(trainer: Any, exception: BaseException) -> None:
    """Something was raised inside the Trainer."""
    with _guarded("exception") as session:
        if isinstance(session, Session):
            fail(session, trainer, exception)
        elif session is not None:
            session.speak(trainer, exception)


def batch_hooks() -> dict[str, Any]:
    """The hooks around each evaluation batch, only when percentiles over batches are asked for."""
    with _guarded("batch latency") as session:
        evaluation = session.evaluation if session is not None else None
        if evaluation is not None and session.config.evaluation.batch_latency:
            return {
                f"on_{stage}_batch_{when}": _hook(getattr(evaluation, f"batch_{step}"))
                for stage in ("validation", "test")
                for when, step in (("start", "begin"), ("end", "end"))
            }
    return {}


def _hook(call: Any) -> Any:
    def hook(*ignored: Any, **more: Any) -> None:
        call()

    return hook


def state() -> dict[str, Any]:
    """The identity that goes into checkpoints, as plain types."""
    session = peek()
    if not isinstance(session, Session):
        return {}
    record = session.record
    trackers = {tracker.kind: tracker.id for tracker in record.trackers if tracker.id}
    return {"session_id": record.id, "attempt": record.attempt, "trackers": trackers}


def _session_for(given: Mapping[str, Any]) -> Session | Bystander:
    from keisei_lightning.lifecycle.standalone import open_alone, outlived

    session = peek()
    if session is not None and not outlived(session):
        return session
    if isinstance(session, Session):
        session.close(session.failure, closed_by="next job")
    opened = open_alone(given)
    if isinstance(opened, Session):
        atexit.register(_at_exit, opened)
    return opened


def _at_exit(session: Session) -> None:
    from keisei_lightning.lifecycle.standalone import last_exception

    session.close(last_exception(session), closed_by="atexit")


@contextlib.contextmanager
def _guarded(kind: str) -> Any:
    """Give the session, and let no error of ours out but those the user asked for."""
    session = peek()
    try:
        yield session
    except SlaViolationError:
        raise
    except Exception as error:
        _note(session, kind, error)


def _note(session: Session | Bystander | None, kind: str, error: Exception) -> None:
    if isinstance(session, Session):
        session.parts.faults.note(kind, f"{type(error).__name__}: {error}")
    else:
        _log.warning("%s: %s", kind, error)
    _log.debug("%s", kind, exc_info=True)

"""What happens when something is raised inside the Trainer."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from keisei_lightning.lifecycle.attaching import children_of
from keisei_lightning.session import Session

__all__ = ["fail", "give_ctrl_c_back"]

_CHILDREN_GRACE_S = 2.0
_ctrl_c_held = False


def fail(session: Session, trainer: Any, exception: BaseException) -> None:
    """Note the exception, and close where neither Hydra nor a ``with`` block would in time.

    An ``Exception`` is left to whoever owns the job, because user code may catch it and go on;
    with several ranks it is not, because Lightning kills rank 0 within 5 s of another's death.
    """
    session.mark()
    session.failure = exception
    session.in_training = session.evaluating = False
    if isinstance(exception, KeyboardInterrupt):
        _hold_ctrl_c(trainer)
    signalled = session.guard is not None and session.guard.received is not None
    if type(exception).__name__ == "SIGTERMException" or (signalled and _is_exit(exception)):
        # Lightning's exception carries no code, so the process would end with 0.
        exception.code = 128 + (_received(session) or signal.SIGTERM)  # type: ignore[attr-defined]
    if trainer.world_size > 1:
        with _observer_stopped(trainer) as children:
            budget = session.config.close.ddp_failure_budget_s
            session.close(
                exception,
                closed_by="on_exception",
                budget_s=budget,
                inside_trainer=True,
                children=children,
            )
    elif not isinstance(exception, Exception):
        session.close(exception, closed_by="on_exception", inside_trainer=True)


def give_ctrl_c_back() -> None:
    """Undo what an earlier Ctrl-C left, for a program that goes on after it."""
    global _ctrl_c_held
    if _ctrl_c_held and threading.current_thread() is threading.main_thread():
        _ctrl_c_held = False
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _hold_ctrl_c(trainer: Any) -> None:
    """Keep a second Ctrl-C from changing the exit code on the way out.

    Lightning ignores it during its shutdown and then puts the old handler back, just before it
    leaves with ``sys.exit(1)``.
    """
    global _ctrl_c_held
    connector = getattr(trainer, "_signal_connector", None)
    handlers = getattr(connector, "_original_handlers", None)
    if isinstance(handlers, dict) and signal.SIGINT in handlers:
        handlers[signal.SIGINT] = signal.SIG_IGN
        _ctrl_c_held = True


def _is_exit(exception: BaseException) -> bool:
    return isinstance(exception, SystemExit)


def _received(session: Session) -> int | None:
    return session.guard.received if session.guard is not None else None


@contextlib.contextmanager
def _observer_stopped(trainer: Any) -> Iterator[list[Any]]:
    """Keep Lightning's child observer from killing us while we write; then end the children.

    The observer reads ``launcher.procs``; with nobody to watch its thread ends. It stays empty: a
    sweep goes on after this job, and must not be killed for it. The children are ours to end.
    """
    children = children_of(trainer)
    if children:
        trainer.strategy.launcher.procs.clear()
    try:
        yield children
    finally:
        _end(children)


def _end(children: list[Any]) -> None:
    """Ask the children to end; those that do not are killed."""
    deadline = time.monotonic() + _CHILDREN_GRACE_S
    for child in children:
        with contextlib.suppress(OSError):
            child.terminate()
    for child in children:
        try:
            child.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                child.kill()
                child.wait(_CHILDREN_GRACE_S)

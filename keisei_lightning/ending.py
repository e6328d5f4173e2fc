"""How a session ended: the decision from the facts, as pure functions.

The exit codes are those of the process: 128 + signal after a signal (the convention of POSIX
shells), 1 after Ctrl-C inside Lightning, 130 outside it, and otherwise what the program returns.
"""

from __future__ import annotations

import signal as signals
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from keisei_lightning.record import Ending, ExceptionFacts, LastWords, Place, Reason, Status

__all__ = ["FitFacts", "classify", "exit_code_of", "fit_reason", "outside", "story"]

_PEER_ERRORS = ("closed by peer", "gloo", "nccl", "connection reset", "broken pipe", "store")


@dataclass(frozen=True, slots=True)
class FitFacts:
    """What the Trainer says at the end of a fit."""

    step: int = 0
    max_steps: int = -1
    epochs: int = 0
    max_epochs: int | None = None
    time_is_up: bool = False
    stopped_early: bool = False
    stopped_by_sla: bool = False
    should_stop: bool = False


def fit_reason(facts: FitFacts) -> Reason:
    """Why a fit that returned came to its end, in the order in which Lightning looks."""
    if facts.stopped_by_sla:
        return "sla"
    if 0 <= facts.max_steps <= facts.step:
        return "max_steps"
    if facts.max_epochs is not None and 0 <= facts.max_epochs <= facts.epochs:
        return "max_epochs"
    if facts.time_is_up:
        return "max_time"
    if facts.stopped_early:
        return "early_stopping"
    return "stopped" if facts.should_stop else "finished"


def exit_code_of(exception: SystemExit) -> int:
    """The code the process exits with after ``exception``, as the interpreter computes it."""
    code = exception.code
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def classify(
    exception: BaseException | None,
    *,
    closed_by: str,
    signal: signals.Signals | None = None,
    reason: Reason | None = None,
    place: Place | None = None,
    rank: int = 0,
    others: Sequence[LastWords] = (),
    inside_trainer: bool = False,
    redact: Callable[[str], str] = str,
) -> Ending:
    """Say how a session ended.

    Args:
        exception: What propagates, or ``None`` after an ordinary end.
        closed_by: The hook that noticed.
        signal: The terminating signal that was received, if any; it outranks the exception,
            because in DDP a signal surfaces as whatever collective it broke.
        reason: Why the last fit ended, if there was one.
        place: Where in the run it happened.
        rank: The rank that speaks.
        others: The last words of other ranks.
        inside_trainer: Whether a Trainer was running, which decides Ctrl-C's exit code.
        redact: Removes secrets from the exception's message.
    """
    where = place or Place()
    ending = Ending(
        status=Status.COMPLETED,
        reason=reason or "finished",
        stage=where.stage,
        epoch=where.epoch,
        step=where.step,
        exit_code=0,
        closed_by=closed_by,
    )
    if signal is not None:
        return replace(
            ending,
            status=Status.TERMINATED,
            reason="signal",
            signal=signal.name,
            rank=rank,
            exit_code=128 + signal,
        )
    if exception is None:
        return ending
    ending = _judged(replace(ending, rank=rank), exception, inside_trainer)
    if ending.status is Status.FAILED and ending.reason == "exception":
        return _blame(ending, exception, others, redact)
    if ending.reason in ("sla", "capacity", "pruned"):
        return replace(ending, exception=_facts(exception, redact))
    return ending


def outside(place: Place) -> Place:
    """The place of something that happened after, or between, the Trainer's runs."""
    return replace(place, stage=None)


def story(exception: BaseException) -> str:
    """The traceback of an exception with its causes, as text."""
    return "".join(traceback.format_exception(exception))


def _judged(ending: Ending, exception: BaseException, inside_trainer: bool) -> Ending:
    """The ending with status, reason, signal and exit code of an exception."""
    names = {kind.__name__ for kind in type(exception).__mro__}
    if "SIGTERMException" in names:
        code = 128 + signals.SIGTERM
        return replace(
            ending, status=Status.TERMINATED, reason="signal", signal="SIGTERM", exit_code=code
        )
    if _from_ctrl_c(exception):
        return replace(
            ending,
            status=Status.INTERRUPTED,
            reason="keyboard_interrupt",
            signal="SIGINT",
            exit_code=_code_after_ctrl_c(exception, inside_trainer),
        )
    if isinstance(exception, SystemExit):
        code = exit_code_of(exception)
        status = Status.COMPLETED if code == 0 else Status.FAILED
        return replace(ending, status=status, reason="exit", exit_code=code)
    if "TrialPruned" in names:
        return replace(ending, status=Status.PRUNED, reason="pruned", exit_code=0)
    reason: Reason = "exception"
    if "SlaViolationError" in names:
        reason = "sla"
    elif "SessionCapacityError" in names:
        reason = "capacity"
    return replace(ending, status=Status.FAILED, reason=reason, exit_code=1)


def _code_after_ctrl_c(exception: BaseException, inside_trainer: bool) -> int:
    if isinstance(exception, SystemExit):
        return exit_code_of(exception)
    if inside_trainer or not isinstance(exception, KeyboardInterrupt):
        return 1
    return 128 + signals.SIGINT


def _from_ctrl_c(exception: BaseException) -> bool:
    """Whether Ctrl-C is what began it.

    Lightning turns Ctrl-C into ``sys.exit(1)`` after its own shutdown, and another callback may
    fail while it handles the interrupt; both carry it as their context.
    """
    seen: set[int] = set()
    link: BaseException | None = exception
    while link is not None and id(link) not in seen:
        if isinstance(link, KeyboardInterrupt):
            return True
        seen.add(id(link))
        link = link.__cause__ or link.__context__
    return False


def _blame(
    ending: Ending,
    exception: BaseException,
    others: Sequence[LastWords],
    redact: Callable[[str], str],
) -> Ending:
    culprit = next((words for words in others if words.exception or words.signal), None)
    own = _facts(exception, redact)
    if culprit is None or not _is_peer_error(exception):
        return replace(ending, exception=own)
    facts = culprit.exception or ExceptionFacts(
        type="RankKilled", message=f"rank {culprit.rank} was killed by {culprit.signal}"
    )
    return replace(
        ending,
        rank=culprit.rank,
        exception=facts,
        signal=culprit.signal,
        stage=culprit.place.stage or ending.stage,
        epoch=culprit.place.epoch if culprit.place.epoch is not None else ending.epoch,
        step=culprit.place.step if culprit.place.step is not None else ending.step,
    )


def _is_peer_error(exception: BaseException) -> bool:
    text = str(exception).lower()
    return isinstance(exception, RuntimeError | OSError) and any(
        mark in text for mark in _PEER_ERRORS
    )


def _facts(exception: BaseException, redact: Callable[[str], str]) -> ExceptionFacts:
    return ExceptionFacts(type=type(exception).__name__, message=redact(str(exception))[:2000])

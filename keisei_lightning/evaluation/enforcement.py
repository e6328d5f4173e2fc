"""What a broken SLA does to the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from keisei_lightning.config import OnViolation
from keisei_lightning.errors import SlaViolationError
from keisei_lightning.evaluation.judge import Judgement
from keisei_lightning.evaluation.sla import describe
from keisei_lightning.record import Place, Violation

if TYPE_CHECKING:
    import lightning.pytorch as pl

__all__ = ["Enforcement"]

_log = logging.getLogger(__name__)


class Enforcement:
    """Warns, stops or fails as ``on_violation`` says.

    With several ranks, what is found between evaluations waits in ``deferred`` for the next one:
    the other ranks know nothing of it, and one rank that stops alone would hang the rest.
    """

    def __init__(self, policy: OnViolation) -> None:
        self.policy = policy
        self.deferred: tuple[Violation, ...] = ()
        self.stopped = False

    @property
    def may_end_run(self) -> bool:
        """Whether a violation can stop or fail the run."""
        return self.policy in (OnViolation.stop, OnViolation.fail)

    def defer(self, judgement: Judgement, place: Place) -> None:
        """Warn now and act at the end of the next evaluation."""
        self._warn(_words(judgement.verdict.violations, place))
        if judgement.serious and self.may_end_run:
            self.deferred = tuple(dict.fromkeys(self.deferred + judgement.verdict.violations))

    def act(
        self,
        judgement: Judgement | None,
        place: Place,
        trainer: pl.Trainer | None,
        *,
        deferred: tuple[Violation, ...] = (),
        loud: bool = True,
    ) -> None:
        """Do to the run what the policy says, on every rank alike.

        Args:
            judgement: The verdict, if there was anything to judge.
            place: Where in the run it was reached.
            trainer: The trainer, if there is one yet.
            deferred: What rank 0 had deferred.
            loud: Whether this rank is the one that warns.

        Raises:
            SlaViolationError: A violation is serious and the policy is ``fail``.
        """
        found = () if judgement is None else judgement.verdict.violations
        violations = tuple(dict.fromkeys((*deferred, *found)))
        self.deferred = ()
        if not violations:
            return
        words = _words(violations, place)
        if loud and found:
            self._warn(words)
        if not deferred and not (judgement is not None and judgement.serious):
            return
        if self.policy is OnViolation.fail:
            raise SlaViolationError(f"{words} (session.sla.on_violation is fail)")
        if self.policy is OnViolation.stop and trainer is not None and trainer.state.fn == "fit":
            trainer.should_stop = True
            self.stopped = True

    def _warn(self, words: str) -> None:
        if self.policy is not OnViolation.record:
            _log.warning(words)


def _words(violations: tuple[Violation, ...], place: Place) -> str:
    return f"SLA violated in {place.stage} at step {place.step}: " + "; ".join(
        describe(violation) for violation in violations
    )

"""The close of a session: the ending is on disk before anything slow is touched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from keisei_lightning import ending as endings
from keisei_lightning import ranks
from keisei_lightning.evaluation.cost import cost
from keisei_lightning.record import Ending, Status
from keisei_lightning.run_directory import write_atomic

if TYPE_CHECKING:
    from keisei_lightning.session import Session

__all__ = ["Closing"]

Undo = Callable[[float], object]


class Closing:
    """One close: what ended the session, and the steps that are left.

    Args:
        session: Whose close it is.
        exception: What ends it, ``None`` for an ordinary end.
        closed_by: The hook that noticed.
        inside_trainer: Whether a Trainer is running.
        children: The processes of the other ranks, where Lightning started them.
    """

    def __init__(
        self,
        session: Session,
        exception: BaseException | None,
        closed_by: str,
        inside_trainer: bool,
        children: Sequence[Any],
    ) -> None:
        self._session = session
        self._exception = exception
        self._closed_by = closed_by
        self._inside = inside_trainer
        self._children = children

    def run(self, steps: list[tuple[str, Undo]], budget_s: float | None) -> None:
        """Write the ending, then take the steps in reverse; none is skipped.

        Args:
            steps: Names and undos, in the order in which the session opened; emptied.
            budget_s: Seconds for everything; from ``session.close`` unless given.
        """
        started = time.monotonic()
        session = self._session
        faults, look = session.parts.faults, session.parts.look
        if look is not None:
            with faults.guarded("last look"):
                look()
        ending = self._plainly()
        with faults.guarded("how it ended"):
            ending = self._ending()
        with faults.guarded("ending"):
            session.end(ending)
        with faults.guarded("cost"):
            self._price()
        with faults.guarded("error.txt"):
            self._tell(ending)
        budget = self._budget(ending) if budget_s is None else budget_s
        while steps:
            name, undo = steps.pop()
            with faults.guarded(f"close: {name}"):
                undo(max(started + budget - time.monotonic(), 0.1))
        if not session.paths.error.exists():  # the disk may have room again
            with faults.guarded("error.txt"):
                self._tell(ending)
        session.save()

    def _plainly(self) -> Ending:
        """The ending from the exception alone, should the rest not be known."""
        return endings.classify(self._exception, closed_by=self._closed_by)

    def _ending(self) -> Ending:
        session = self._session
        spoken = ranks.read_words(session.paths.ranks)
        codes = {rank: child.poll() for rank, child in enumerate(self._children, start=1)}
        return endings.classify(
            self._exception,
            closed_by=self._closed_by,
            signal=session.guard.received if session.guard else None,
            reason=session.fit_reason,
            place=self._place(),
            others=(*spoken, *ranks.killed_children(codes)),
            inside_trainer=self._inside,
            redact=session.parts.redactor.text,
        )

    def _place(self) -> Any:
        """Where it ended: inside the Trainer where that is, else where the exception was."""
        session = self._session
        if self._inside:
            return session.place
        if self._exception is None or self._exception is not session.failure:
            return endings.outside(session.last_place)
        return session.last_place

    def _price(self) -> None:
        session, price = self._session, self._session.config.cost.price_per_device_hour
        if price is not None:
            record = session.record
            spent = cost(record.duration_s or 0.0, record.world_size or 1, price)
            session.change(cost=spent)

    def _tell(self, ending: Ending) -> None:
        session, exception = self._session, self._exception
        if exception is None or ending.status is Status.COMPLETED:
            return
        text = endings.story(exception) + ranks.stories(session.paths.ranks)
        write_atomic(session.paths.error, session.parts.redactor.text(text).encode())

    def _budget(self, ending: Ending) -> float:
        close = self._session.config.close
        if ending.status in (Status.TERMINATED, Status.INTERRUPTED):
            return close.signal_budget_s
        return close.budget_s

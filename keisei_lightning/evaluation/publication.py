"""Where what an evaluation found goes: the loggers, ``evaluations.jsonl`` and the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keisei_lightning.evaluation.findings import Findings
from keisei_lightning.evaluation.judge import Judgement
from keisei_lightning.record import Place, SlaVerdict, to_json

__all__ = ["Publication"]


@dataclass(frozen=True, slots=True)
class Publication:
    """The sinks of rank 0.

    ``write`` takes a line of ``evaluations.jsonl``, ``log`` metrics and their step for every
    logger, ``on_verdict`` where the session stands with its limits.
    """

    write: Callable[[dict[str, Any]], None]
    log: Callable[[Mapping[str, float], int | None], None]
    on_verdict: Callable[[SlaVerdict], None]

    def put(
        self,
        steps: ExitStack,
        found: Findings,
        judgement: Judgement | None,
        place: Place,
        *,
        standing: SlaVerdict,
        unlogged: Mapping[str, float],
    ) -> None:
        """Put what has to be told on the stack: a sink that fails skips none of the others.

        Args:
            steps: Closes right after, and then calls the sinks.
            found: What was found.
            judgement: The verdict on it, if there was anything to judge.
            place: Where in the run that was.
            standing: The last verdicts of all stages as one.
            unlogged: Those of the metrics that no logger has got yet.
        """
        news = {**unlogged, **found.cost()}
        if judgement is not None:
            news |= judgement.metrics()
            steps.callback(self.on_verdict, standing)
        if news:
            steps.callback(self.log, news, place.step)
        line = {
            "stage": place.stage,
            "step": place.step,
            "epoch": place.epoch,
            "time": datetime.now(UTC).isoformat(),
            "metrics": found.metrics,
            "performance": found.performance,
            "sla": None if judgement is None else judgement.verdict,
        }
        steps.callback(self.write, to_json(line))

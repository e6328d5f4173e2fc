"""What one rank found in an evaluation, and what all ranks make of it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from keisei_lightning.evaluation.sla import SlaState
from keisei_lightning.record import Violation

__all__ = ["Findings", "agreed", "gathered", "worst"]

_PERFORMANCE = "evaluation/performance/"


@dataclass(frozen=True, slots=True)
class Findings:
    """What one rank knows at the end of an evaluation.

    Args:
        metrics: What the evaluation measured and what was logged in it, by full name.
        others: Further metrics that limits may name (those of the training).
        performance: What it cost, by short name.
        texts: Violations in the words of people's own checks.
        elsewhere: Names that were judged when they were logged, outside an evaluation.
        deferred: Violations found there, on which all ranks can only act together.
        baseline: Values that relative limits compare with.
        states: What the last verdicts left, by stage and limit.
        fault: Why this could not be found out, if so; nothing is judged then.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)
    performance: Mapping[str, float] = field(default_factory=dict)
    texts: Sequence[str] = ()
    elsewhere: Sequence[str] = ()
    deferred: Sequence[Violation] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)
    states: Mapping[tuple[str, str], SlaState] = field(default_factory=dict)
    fault: str = ""

    def cost(self) -> dict[str, float]:
        """Return the performance figures under the names they are logged by."""
        return {f"{_PERFORMANCE}{name}": value for name, value in self.performance.items()}

    def named(self) -> dict[str, float]:
        """Return the metrics and the performance figures under the names they are logged by."""
        return {**self.metrics, **self.cost()}

    def joined(self, given: Findings) -> Findings:
        """Return these findings with what people logged on top."""
        return replace(
            self,
            metrics={**self.metrics, **given.metrics},
            performance={**self.performance, **given.performance},
            texts=(*self.texts, *given.texts),
        )


def gathered(findings: Findings) -> list[Findings]:
    """Return the findings of every rank; a collective call, if there is a process group."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        return [findings]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, findings)
    return everyone


def agreed(everyone: Sequence[Findings]) -> Findings:
    """Return rank 0's findings with the worst rank's performance.

    Rank 0 knows the history and what people logged there, so that every rank that judges these
    findings comes to the same verdict.
    """
    return replace(everyone[0], performance=worst([one.performance for one in everyone]))


def worst(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the highest value of each figure: in all of them, more is worse."""
    names = dict.fromkeys(name for one in figures for name in one)
    return {name: max(one[name] for one in figures if name in one) for name in names}

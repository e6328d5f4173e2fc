"""Whether an evaluation kept its limits: pure functions on numbers, no clock, no disk."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from keisei_lightning.config import LimitConfig, Severity
from keisei_lightning.record import SlaVerdict, Violation

__all__ = ["SlaState", "combined", "concerns", "describe", "matches", "verdict"]

_STAGE_NAMES = {"validate": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True, slots=True)
class SlaState:
    """What one verdict leaves to the next.

    ``streaks`` counts breaches in a row by (limit, metric); ``serious`` says whether a limit of
    severity ``error`` (or a person's own check) was violated, so that something is to be done.
    """

    streaks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    serious: bool = False


def verdict(
    metrics: Mapping[str, float],
    limits: Mapping[str, LimitConfig],
    *,
    epoch: int | None = None,
    step: int | None = None,
    grace: int = 1,
    state: SlaState | None = None,
    baseline: Mapping[str, float] | None = None,
    texts: Iterable[str] = (),
) -> tuple[SlaVerdict, SlaState]:
    """Return whether `metrics` keep `limits`, and what the next verdict has to know.

    Args:
        metrics: Values by name.
        limits: Limits by metric name or pattern. A name that is among the metrics is never read
            as a pattern; a pattern applies to every metric it matches.
        epoch: Epochs behind the run; ``None`` when no warm-up counts any more.
        step: Steps behind the run; ``None`` likewise.
        grace: Breaches in a row that make a violation, for limits that do not say their own.
        state: What the last verdict left.
        baseline: Values that relative limits compare with; a metric without one is not compared.
        texts: Violations in the words of people's own checks; all are kept.

    Returns:
        The verdict, its violations in the order of their names (people's own words last), and the
        state. A missing metric and NaN break a limit unless it is optional. Limits that are
        warming up are not judged, and their count of breaches starts anew.
    """
    before = (state or SlaState()).streaks
    streaks: dict[tuple[str, str], int] = {}
    violations: list[Violation] = []
    serious = False
    for limit_name, metric, limit in _pairs(metrics, limits, epoch, step):
        broken = _breaches(metric, metrics.get(metric), limit, baseline or {})
        if not broken:
            continue
        streak = before.get((limit_name, metric), 0) + 1
        streaks[limit_name, metric] = streak
        if streak >= (grace if limit.grace is None else limit.grace):
            violations += broken
            serious |= limit.severity is Severity.error
    own = [Violation(metric=text, kind="text") for text in dict.fromkeys(texts)]
    found = (*sorted(dict.fromkeys(violations), key=_order), *own)
    return SlaVerdict(not found, found), SlaState(streaks, serious or bool(own))


def concerns(name: str, limit: LimitConfig, stage: str) -> bool:
    """Return whether a limit counts in `stage`.

    A limit says so itself (``stage``), or its name does: ``val/…`` and ``val_…`` are judged in
    ``validate`` only, ``test/…`` and ``test_…`` in ``test`` only, every other name in both.
    """
    if limit.stage is not None:
        return limit.stage == stage
    first = name.replace("_", "/").partition("/")[0]
    owners = [owner for owner, prefixes in _STAGE_NAMES.items() if first in prefixes]
    return not owners or stage in owners


def combined(verdicts: Iterable[SlaVerdict]) -> SlaVerdict:
    """Return one verdict for several stages: passed if all did, every violation once."""
    found = [violation for verdict in verdicts for violation in verdict.violations]
    return SlaVerdict(not found, tuple(dict.fromkeys(found)))


def describe(violation: Violation) -> str:
    """Return a violation in words: ``val/acc=0.5 (min 0.9)``."""
    if violation.kind == "text":
        return violation.metric
    if violation.kind == "missing":
        return f"{violation.metric} is missing"
    if violation.kind == "nan":
        return f"{violation.metric} is NaN"
    return f"{violation.metric}={violation.value:g} ({violation.kind} {violation.limit:g})"


def matches(name: str, metrics: Iterable[str]) -> list[str]:
    """Return the metrics that a limit's name or pattern stands for."""
    names = list(metrics)
    return [name] if name in names else [metric for metric in names if fnmatchcase(metric, name)]


def _pairs(
    metrics: Mapping[str, float],
    limits: Mapping[str, LimitConfig],
    epoch: int | None,
    step: int | None,
) -> Iterator[tuple[str, str, LimitConfig]]:
    for name, limit in limits.items():
        if _warming_up(limit, epoch, step):
            continue
        for metric in matches(name, metrics) or [name]:
            yield name, metric, limit


def _warming_up(limit: LimitConfig, epoch: int | None, step: int | None) -> bool:
    early = epoch is not None and epoch < limit.after_epoch
    return early or (step is not None and step < limit.after_step)


def _breaches(
    metric: str, value: float | None, limit: LimitConfig, baseline: Mapping[str, float]
) -> list[Violation]:
    if value is None or math.isnan(value):
        kind = "missing" if value is None else "nan"
        return [] if limit.optional else [Violation(metric, value, None, kind)]
    found = []
    if limit.min is not None and value < limit.min:
        found.append(Violation(metric, value, limit.min, "min"))
    if limit.max is not None and value > limit.max:
        found.append(Violation(metric, value, limit.max, "max"))
    past = baseline.get(metric)
    if past is None or not math.isfinite(past):
        return found
    more, less = limit.max_increase_percent, limit.max_decrease_percent
    if more is not None and value > past + abs(past) * more / 100:
        found.append(Violation(metric, value, more, "max_increase_percent"))
    if less is not None and value < past - abs(past) * less / 100:
        found.append(Violation(metric, value, less, "max_decrease_percent"))
    return found


def _order(violation: Violation) -> tuple[str, str, float]:
    return violation.metric, violation.kind, violation.limit or 0.0

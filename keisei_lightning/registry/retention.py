"""Which ended sessions may go: pure rules over records, never a running or a pinned one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from keisei_lightning.errors import SessionConfigError
from keisei_lightning.record import SessionRecord, Status
from keisei_lightning.registry.liveness import seconds

__all__ = ["CLASSIC", "Doomed", "Retention", "doomed"]


def _status(given: Status | str) -> Status:
    try:
        return Status(given)
    except ValueError as error:
        known = ", ".join(status.value for status in Status if status.is_final)
        raise SessionConfigError(f"prune: {error}; use some of {known}") from error


@dataclass(frozen=True, slots=True)
class Retention:
    """What may go and what stays; a session goes when a rule says so and none keeps it.

    Args:
        statuses: Only these (final) statuses may go at all.
        older_than_s: Goes when it ended this long ago; absent: age does not matter, unless
            ``older_by_status_s`` says otherwise.
        older_by_status_s: The same for single statuses; it comes before ``older_than_s``.
        keep_last: The newest so many stay, whatever their age.
        keep_best: So many with the best ``metric`` stay.
        metric: The metric that ``keep_best`` looks at; those without it are not among the best.
        mode: Whether a small or a large value is better.
    """

    statuses: frozenset[Status] = frozenset(status for status in Status if status.is_final)
    older_than_s: float | None = None
    older_by_status_s: Mapping[Status, float] = field(default_factory=dict)
    keep_last: int = 0
    keep_best: int = 0
    metric: str | None = None
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        object.__setattr__(self, "statuses", frozenset(map(_status, self.statuses)))
        unended = sorted(status.value for status in self.statuses if not status.is_final)
        if unended:
            raise SessionConfigError(f"prune: {', '.join(unended)} sessions are never removed")
        if self.keep_best and not self.metric:
            raise SessionConfigError("prune: keep_best needs the metric to judge by")
        if self.mode not in ("min", "max"):
            raise SessionConfigError(f"prune: mode is {self.mode!r}; use min or max")
        if min(self.keep_last, self.keep_best) < 0:
            raise SessionConfigError("prune: keep_last and keep_best cannot be negative")


CLASSIC = Retention(
    older_than_s=24 * 3600.0,
    older_by_status_s={Status.FAILED: 3600.0, Status.COMPLETED: 6 * 3600.0},
)
"""Failed ones go after an hour, completed ones after six, any other after a day."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """A session that may go, and the rule that says so."""

    record: SessionRecord
    reason: str


def doomed(
    records: Iterable[SessionRecord],
    rules: Retention,
    *,
    now: float,
    pinned: Collection[str] = (),
) -> tuple[Doomed, ...]:
    """Return the sessions that may go, oldest first.

    Args:
        records: All sessions; those that stay matter for ``keep_last`` and ``keep_best``.
        rules: What may go and what stays.
        now: Seconds since 1970.
        pinned: Ids of sessions that never go.
    """
    ended = [r for r in records if r.status in rules.statuses and r.status.is_final]
    ended.sort(key=lambda record: (_end(record), record.id))
    kept = set(pinned)
    kept.update(record.id for record in ended[max(0, len(ended) - rules.keep_last) :])
    kept.update(_best(ended, rules))
    gone = []
    for record in ended:
        reason = _reason(record, rules, now)
        if record.id not in kept and reason is not None:
            gone.append(Doomed(record, reason))
    return tuple(gone)


def _reason(record: SessionRecord, rules: Retention, now: float) -> str | None:
    limit = rules.older_by_status_s.get(record.status, rules.older_than_s)
    if limit is None:
        return record.status.value
    age = now - _end(record)
    if age < limit:
        return None
    return f"{record.status.value} {_duration(age)} ago"


def _best(ended: Iterable[SessionRecord], rules: Retention) -> list[str]:
    if not rules.keep_best or rules.metric is None:
        return []
    sign = 1.0 if rules.mode == "min" else -1.0
    valued = [
        (sign * value, -_end(record), record.id)
        for record in ended
        if (value := record.metrics.get(rules.metric)) is not None and not math.isnan(value)
    ]
    return [id for _, _, id in sorted(valued)[: rules.keep_best]]


def _end(record: SessionRecord) -> float:
    times = (seconds(record.ended_at), seconds(record.started_at), seconds(record.created_at))
    # A session that says nothing of its time counts as just ended: in doubt it stays.
    return next((time for time in times if time is not None), math.inf)


def _duration(age_s: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if age_s >= length:
            return f"{age_s / length:.0f} {unit}"
    return f"{max(0.0, age_s):.0f} s"

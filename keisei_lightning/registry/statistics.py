"""Totals, ages, durations and health of the sessions, and the same for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from keisei_lightning.record import Status

__all__ = ["Health", "Statistics", "health", "prometheus"]

WARNING_PERCENT = 70.0
CRITICAL_PERCENT = 90.0

AGE_BUCKETS: Mapping[str, tuple[float, float]] = {
    "<1h": (0.0, 3600.0),
    "1-6h": (3600.0, 6 * 3600.0),
    "6-24h": (6 * 3600.0, 24 * 3600.0),
    ">24h": (24 * 3600.0, float("inf")),
}
"""Name and bounds (seconds, upper one excluded) of the age classes."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Figures over all sessions; ages (since creation) and durations in seconds.

    ``active`` counts the sessions that hold a slot; ``utilisation_percent`` is that of
    ``max_concurrent``.
    """

    total: int = 0
    active: int = 0
    max_concurrent: int = 0
    utilisation_percent: float = 0.0
    by_status: Mapping[str, int] = field(default_factory=dict)
    oldest_age_s: float | None = None
    newest_age_s: float | None = None
    mean_age_s: float | None = None
    age_buckets: Mapping[str, int] = field(default_factory=dict)
    mean_duration_s: float | None = None
    longest_duration_s: float | None = None
    shortest_duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """``healthy``, ``warning`` or ``critical``, and why; sessions are named by their ids."""

    status: Literal["healthy", "warning", "critical"]
    utilisation_percent: float
    active: int
    max_concurrent: int
    stuck: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    cleanup_age_s: float | None = None
    cleanup_alive: bool | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing needs attention."""
        return self.status == "healthy"


def health(
    statistics: Statistics,
    *,
    stuck: tuple[str, ...] = (),
    dead: tuple[str, ...] = (),
    cleanup_age_s: float | None = None,
    cleanup_interval_s: float = 300.0,
) -> Health:
    """Judge: healthy below 70 % utilisation, warning below 90 %, else critical.

    A stuck session, or clean-ups that have stopped while sessions run, make it a warning.
    """
    used = statistics.utilisation_percent
    alive = _cleaning(statistics, cleanup_age_s, cleanup_interval_s)
    status: Literal["healthy", "warning", "critical"] = "healthy"
    if used >= CRITICAL_PERCENT:
        status = "critical"
    elif used >= WARNING_PERCENT or stuck or alive is False:
        status = "warning"
    return Health(
        status=status,
        utilisation_percent=used,
        active=statistics.active,
        max_concurrent=statistics.max_concurrent,
        stuck=stuck,
        dead=dead,
        cleanup_age_s=cleanup_age_s,
        cleanup_alive=alive,
    )


def prometheus(statistics: Statistics, health: Health | None = None) -> str:
    """Return the figures in Prometheus' text exposition format, version 0.0.4."""
    lines: list[str] = []
    _metric(
        lines,
        "keisei_sessions",
        "Sessions by status.",
        {f'{{status="{s.value}"}}': statistics.by_status.get(s.value, 0) for s in Status},
    )
    _metric(
        lines,
        "keisei_sessions_by_age",
        "Sessions by age since creation.",
        {f'{{age="{name}"}}': statistics.age_buckets.get(name, 0) for name in AGE_BUCKETS},
    )
    single = {
        "keisei_sessions_active": ("Sessions that hold a slot.", statistics.active),
        "keisei_sessions_max": ("Sessions that may run at once.", statistics.max_concurrent),
        "keisei_utilisation_percent": ("Slots in use.", statistics.utilisation_percent),
        "keisei_session_age_seconds_max": ("Oldest session.", statistics.oldest_age_s),
        "keisei_session_duration_seconds_mean": ("Ended ones.", statistics.mean_duration_s),
    }
    if health is not None:
        grade = ("healthy", "warning", "critical").index(health.status)
        single["keisei_health"] = ("0 healthy, 1 warning, 2 critical.", grade)
        single["keisei_sessions_stuck"] = ("Sessions without progress.", len(health.stuck))
        single["keisei_sessions_dead"] = ("Sessions whose process is gone.", len(health.dead))
        single["keisei_cleanup_age_seconds"] = ("Since the last.", health.cleanup_age_s)
    for name, (words, value) in single.items():
        if value is not None:
            _metric(lines, name, words, {"": value})
    return "\n".join(lines) + "\n"


def _cleaning(
    statistics: Statistics, cleanup_age_s: float | None, interval_s: float
) -> bool | None:
    """Whether clean-ups go on; ``None`` where none is due: nothing runs, or they are off."""
    if not statistics.active or interval_s <= 0:
        return None
    return cleanup_age_s is not None and cleanup_age_s <= 3 * interval_s


def _metric(lines: list[str], name: str, words: str, values: Mapping[str, float]) -> None:
    lines.append(f"# HELP {name} {words}")
    lines.append(f"# TYPE {name} gauge")
    lines.extend(f"{name}{labels} {value:.10g}" for labels, value in values.items())

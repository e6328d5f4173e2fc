"""Which sessions a command means: filters over records, and one session by what a person typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from keisei_lightning.cli.trouble import NothingFoundError, UsageError
from keisei_lightning.cli.wording import instant
from keisei_lightning.record import Liveness, SessionRecord, Status

__all__ = [
    "NEWEST_FIRST",
    "SORT_KEYS",
    "Entry",
    "Query",
    "matches",
    "newest_first",
    "pattern",
    "pick",
    "sort",
]

_EPOCH = datetime.min.replace(tzinfo=UTC)
_SHOWN_CANDIDATES = 8

SortKey = Callable[[SessionRecord], object]


@dataclass(frozen=True, slots=True)
class Entry:
    """A session as a reader finds it; ``liveness`` is ``None`` once it has ended."""

    record: SessionRecord
    liveness: Liveness | None = None
    pinned: bool = False

    @property
    def word(self) -> str:
        """What is to be said of its state: the liveness while it runs, else the status."""
        return (self.liveness or self.record.status).value


SORT_KEYS: dict[str, SortKey] = {
    "created": lambda r: instant(r.created_at),
    "started": lambda r: instant(r.started_at),
    "ended": lambda r: instant(r.ended_at),
    "duration": lambda r: r.duration_s,
    "progress": lambda r: r.progress.percent if r.progress else None,
    "step": lambda r: r.progress.step if r.progress else None,
    "eta": lambda r: r.progress.eta_s if r.progress else None,
    "name": lambda r: r.name,
    "id": lambda r: r.id,
    "status": lambda r: r.status.value,
    "group": lambda r: r.group,
    "seed": lambda r: r.seed,
    "host": lambda r: r.host,
    "cost": lambda r: r.cost,
}
NEWEST_FIRST = frozenset({"created", "started", "ended"})


@dataclass(frozen=True, slots=True)
class Query:
    """What a list is narrowed to; what is empty or absent does not narrow."""

    statuses: frozenset[Status] = frozenset()
    liveness: frozenset[Liveness] = frozenset()
    group: str | None = None
    tags: tuple[str, ...] = ()
    name: str | None = None
    since: datetime | None = None


def matches(query: Query, entry: Entry) -> bool:
    """Return whether a session is in.

    ``name`` is a part of the name, or all of it with ``*`` and ``?``; tags must all be there.
    """
    record = entry.record
    created = instant(record.created_at)
    return (
        (not query.statuses or record.status in query.statuses)
        and (not query.liveness or entry.liveness in query.liveness)
        and (query.group is None or query.group == record.group)
        and set(query.tags) <= set(record.tags)
        and (query.name is None or _is_like(pattern(query.name), record.name))
        and (query.since is None or (created is not None and created >= query.since))
    )


def pattern(name: str) -> str:
    """Return a part of a name as a pattern for the whole of it."""
    return name if any(mark in name for mark in "*?") else f"*{name}*"


def newest_first(entries: Iterable[Entry]) -> list[Entry]:
    """Return the sessions by the time they were made, the newest first."""
    return sort(entries, "created")


def sort(entries: Iterable[Entry], key: str, *, reverse: bool = False) -> list[Entry]:
    """Return the sessions in order; those that do not have the key come last, either way.

    Args:
        entries: What to sort.
        key: One of :data:`SORT_KEYS` or the name of a metric.
        reverse: Turn the order round; times start with the newest, all else with the smallest.

    Raises:
        UsageError: No session has a metric of that name.
    """
    entries = list(entries)
    if key not in SORT_KEYS and entries and all(key not in e.record.metrics for e in entries):
        raise UsageError(
            f"cannot sort by {key!r}: no session here has a metric of that name",
            f"other keys: {', '.join(SORT_KEYS)}",
        )
    value = SORT_KEYS.get(key) or (lambda record: record.metrics.get(key))
    keyed = [(value(entry.record), entry) for entry in sorted(entries, key=lambda e: e.record.id)]
    # NaN is not equal to itself: it has no place in an order.
    present = [pair for pair in keyed if pair[0] is not None and pair[0] == pair[0]]
    absent = [entry for k, entry in keyed if k is None or k != k]
    present.sort(key=lambda pair: pair[0], reverse=reverse != (key in NEWEST_FIRST))  # type: ignore[arg-type, return-value]
    return [entry for _, entry in present] + absent


def pick(reference: str, entries: Sequence[Entry]) -> Entry:
    """Return the one session that an id, a name or the start of either stands for.

    An exact id goes before an exact name, that before the start of an id, then of a name.

    Raises:
        NothingFoundError: There is none.
        UsageError: There are several; the message lists them.
    """
    readings: tuple[Callable[[SessionRecord], bool], ...] = (
        lambda r: r.id == reference,
        lambda r: r.name == reference,
        lambda r: r.id.startswith(reference),
        lambda r: r.name.startswith(reference),
    )
    for reading in readings if reference else ():
        found = list({e.record.id: e for e in entries if reading(e.record)}.values())
        if len(found) == 1:
            return found[0]
        if found:
            raise _ambiguous(reference, [entry.record for entry in newest_first(found)])
    raise NothingFoundError(
        f"no session has the id or name {reference!r}", "`keisei ls` shows those there are"
    )


def _is_like(pattern: str, name: str) -> bool:
    parts = (re.escape(c).replace(r"\*", ".*").replace(r"\?", ".") for c in pattern)
    return re.fullmatch("".join(parts), name, re.IGNORECASE | re.DOTALL) is not None


def _ambiguous(reference: str, found: Sequence[SessionRecord]) -> UsageError:
    shown = found[:_SHOWN_CANDIDATES]
    words = ", ".join(r.id if r.name == r.id else f"{r.id} ({r.name})" for r in shown)
    more = f" and {len(found) - len(shown)} more" if len(found) > len(shown) else ""
    return UsageError(
        f"{reference!r} stands for {len(found)} sessions: {words}{more}",
        "give more of the id, or the whole of it",
    )

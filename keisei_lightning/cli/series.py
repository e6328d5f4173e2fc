"""The metrics of a run as series over steps, read from ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from keisei_lightning.cli.text_file import tail

__all__ = ["Point", "Summary", "chosen", "latest", "read", "summarize"]

_LATEST = 200  # lines from the end
_NOT_METRICS = frozenset({"step", "epoch", "time"})

Series = Mapping[str, Sequence["Point"]]


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a metric; without a step in the file, the number of the line stands in."""

    step: int
    epoch: int | None
    value: float


@dataclass(frozen=True, slots=True)
class Summary:
    """A series in one line; ``min`` and ``max`` leave out NaN and are absent if there is no more.

    ``nonfinite`` counts the values that were NaN or infinite.
    """

    last: float
    step: int
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None
    count: int
    nonfinite: int


def read(path: Path) -> dict[str, list[Point]]:
    """Return every metric in the file, in the order they first appear, each by step.

    A line that is damaged (the run was killed while writing) is passed over; of two values for
    one step (a resumed run) the later stands.

    Raises:
        OSError: The file cannot be read.
    """
    found: dict[str, dict[int, Point]] = {}
    with path.open("rb") as file:
        for number, row in enumerate(_rows(file)):
            step, epoch = _integer(row.get("step")), _integer(row.get("epoch"))
            for name, raw in row.items():
                value = None if name in _NOT_METRICS else _value(raw)
                if value is not None:
                    at = number if step is None else step
                    found.setdefault(name, {})[at] = Point(at, epoch, value)
    return {name: [points[at] for at in sorted(points)] for name, points in found.items()}


def latest(path: Path) -> tuple[int | None, int | None, dict[str, float]]:
    """Return the last step, its epoch and the last values, from the end of the file only.

    A run that was killed logged more than its last heartbeat told.
    """
    try:
        lines = [line.encode() for line in tail(path, _LATEST)]
    except OSError:
        return None, None, {}
    step, epoch, values = None, None, dict[str, float]()
    for row in _rows(lines):
        step, epoch = _integer(row.get("step")), _integer(row.get("epoch"))
        numbers = ((k, _value(raw)) for k, raw in row.items() if k not in _NOT_METRICS)
        values.update((name, number) for name, number in numbers if number is not None)
    return step, epoch, values


def chosen(series: Series, patterns: Sequence[str]) -> tuple[dict[str, Sequence[Point]], list[str]]:
    """Return the series whose names match (``val/*``), in the order asked; and what has none."""
    if not patterns:
        return dict(series), []
    picked: dict[str, Sequence[Point]] = {}
    missing = []
    for pattern in patterns:
        names = [name for name in series if name == pattern or fnmatchcase(name, pattern)]
        picked.update((name, series[name]) for name in names)
        if not names:
            missing.append(pattern)
    return picked, missing


def summarize(points: Sequence[Point]) -> Summary:
    """Return a series, which must not be empty, in one line."""
    finite = [point for point in points if math.isfinite(point.value)]
    low = min(finite, key=lambda p: p.value, default=None)
    high = max(finite, key=lambda p: p.value, default=None)
    return Summary(
        last=points[-1].value,
        step=points[-1].step,
        min=low.value if low else None,
        min_step=low.step if low else None,
        max=high.value if high else None,
        max_step=high.step if high else None,
        count=len(points),
        nonfinite=len(points) - len(finite),
    )


def _rows(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row


def _integer(raw: Any) -> int | None:
    return int(raw) if isinstance(raw, int | float) and math.isfinite(raw) else None


def _value(raw: Any) -> float | None:
    if isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, int | float):
        try:
            return float(raw)
        except OverflowError:
            return math.inf
    return float(raw) if raw in ("NaN", "Infinity", "-Infinity") else None

"""A line chart in characters: eight dots to a cell where the terminal can show Braille."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from keisei_lightning.cli.wording import number

__all__ = ["chart", "sparkline"]

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # Braille, by row and column
_BARS = "▁▂▃▄▅▆▇█"
_ASCII = "_.-=+*#@"


def chart(
    points: Sequence[tuple[float, float]], *, width: int, height: int, braille: bool = True
) -> list[str]:
    """Return a chart of (x, y) points as lines of at most ``width`` cells.

    Points that are not finite are left out. Axes are labelled with the extremes.
    """
    points = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not points:
        return ["(no finite values)"]
    (left, right), (low, high) = _range(x for x, _ in points), _range(y for _, y in points)
    labels = {0: number(high), height // 2: number((low + high) / 2), height - 1: number(low)}
    margin = max(len(label) for label in labels.values())
    columns = max(4, width - margin - 2)
    across, up = (2, 4) if braille else (1, 1)
    dots = _trace(
        [
            (
                round(_share(x, left, right) * (columns * across - 1)),
                round((1 - _share(y, low, high)) * (height * up - 1)),
            )
            for x, y in points
        ]
    )
    rows = _braille(dots, columns, height) if braille else _stars(dots, columns, height)
    side, corner, dash = ("│", "└", "─") if braille else ("|", "+", "-")
    lines = [f"{labels.get(i, ''):>{margin}} {side}{row.rstrip()}" for i, row in enumerate(rows)]
    lines.append(" " * margin + f" {corner}" + dash * columns)
    lines.append(" " * (margin + 2) + _ends(number(left), number(right), columns))
    return lines


def sparkline(values: Sequence[float], width: int, *, blocks: bool = True) -> str:
    """Return the course of a series in one line of at most ``width`` characters."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite or width < 1:
        return ""
    size = max(1, math.ceil(len(finite) / width))
    means = [_mean(finite[i : i + size]) for i in range(0, len(finite), size)]
    low, high = min(means), max(means)
    marks = _BARS if blocks else _ASCII
    return "".join(marks[round(_share(mean, low, high) * (len(marks) - 1))] for mean in means)


def _ends(left: str, right: str, width: int) -> str:
    """Return the labels of an axis: both if there is room and they differ, else one, else none."""
    if left != right and len(left) + len(right) < width:
        return left + right.rjust(width - len(left))
    return left if len(left) <= width else ""


def _mean(values: Sequence[float]) -> float:
    return sum(value / len(values) for value in values)


def _range(values: object) -> tuple[float, float]:
    found = list(values)  # type: ignore[call-overload]
    return min(found), max(found)


def _share(value: float, low: float, high: float) -> float:
    """Return where a value lies between two others, 0 to 1; in the middle if they are the same."""
    # Halved first: the difference of two huge numbers would overflow.
    span = high / 2 - low / 2
    return (value / 2 - low / 2) / span if span > 0 else 0.5


def _trace(points: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    """Return the dots of the lines between the points."""
    dots = set(points)
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = max(abs(x1 - x0), abs(y1 - y0))
        for i in range(1, steps):
            dots.add((x0 + round((x1 - x0) * i / steps), y0 + round((y1 - y0) * i / steps)))
    return dots


def _braille(dots: set[tuple[int, int]], columns: int, height: int) -> list[str]:
    cells = [[0] * columns for _ in range(height)]
    for x, y in dots:
        cells[y // 4][x // 2] |= _DOTS[y % 4][x % 2]
    return ["".join(chr(0x2800 + cell) if cell else " " for cell in row) for row in cells]


def _stars(dots: set[tuple[int, int]], columns: int, height: int) -> list[str]:
    return ["".join("*" if (x, y) in dots else " " for x in range(columns)) for y in range(height)]

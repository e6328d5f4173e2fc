"""A table of one line a row that always fits: columns go in order of rank, never wrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

__all__ = ["Column", "Sheet", "fit", "shorten"]

GAP = 2
_BIGGEST = 1 << 30


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a sheet.

    Args:
        title: Shown above it.
        rank: When the line is too narrow the column with the highest rank goes first; 0 never.
        right: Whether its cells end, rather than start, below each other.
        least: Cells it may be shortened to before any column goes; ``None``: never shortened.
        keep: The end of a long cell that stays readable.
    """

    title: str
    rank: int = 0
    right: bool = False
    least: int | None = None
    keep: Literal["start", "end"] = "start"


def fit(columns: Sequence[Column], wanted: Sequence[int], width: int) -> dict[int, int]:
    """Return which columns stay, and how wide each is, so that one line is at most ``width``.

    Args:
        columns: All columns in their order.
        wanted: The widest cell of each, in terminal cells.
        width: Cells there are in a line.
    """
    kept = list(range(len(columns)))
    while len(kept) > 1:
        least = {i: min(wanted[i], columns[i].least or wanted[i]) for i in kept}
        droppable = [i for i in kept if columns[i].rank > 0]
        if _line(least) <= width or not droppable:
            break
        kept.remove(max(droppable, key=lambda i: (columns[i].rank, i)))
    while len(kept) > 1 and _line(dict.fromkeys(kept, 1)) > width:
        kept.pop()
    flexible = [i for i in kept if columns[i].least is not None]
    widths = _shrunk({i: wanted[i] for i in kept}, flexible, columns, width)
    return _shrunk(widths, kept, [Column("", least=1)] * len(columns), width)


def _line(widths: dict[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _shrunk(
    widths: dict[int, int], who: Sequence[int], columns: Sequence[Column], width: int
) -> dict[int, int]:
    """Take cells from the widest of ``who`` until the line fits or all are at their least."""
    widths = dict(widths)
    while (excess := _line(widths) - width) > 0:
        able = [i for i in who if widths[i] > max(1, columns[i].least or 1)]
        if not able:
            break
        widest = max(able, key=lambda i: widths[i])
        second = max((widths[i] for i in able if i != widest), default=0)
        floor = max(1, columns[widest].least or 1)
        widths[widest] = max(floor, widths[widest] - excess, min(second, widths[widest] - 1))
    return widths


def shorten(text: Text, width: int, keep: Literal["start", "end"] = "start") -> Text:
    """Return the text in at most ``width`` cells, an ellipsis where something is missing."""
    if text.cell_len <= width:
        return text
    if keep == "start":
        text = text.copy()
        text.truncate(width, overflow="ellipsis")
        return text
    plain = text.plain
    while cell_len(plain) > width - 1:
        plain = plain[1:]
    return Text("…" + plain, style=text.style)


class Sheet:
    """Rows under titled columns, rendered to lines.

    Args:
        columns: The columns in their order.
        width: Cells in a line, or ``None`` for as wide as it takes (output that is no terminal).
        sparse: Leave out columns that say nothing, and show no ``-`` for an empty cell.
    """

    def __init__(
        self, columns: Sequence[Column], *, width: int | None = None, sparse: bool = True
    ) -> None:
        self.columns = list(columns)
        self.width = width
        self.sparse = sparse
        self.rows: list[list[Text]] = []

    def add(self, *cells: Text | str) -> None:
        """Add a row; strings are taken literally."""
        self.rows.append([Text(cell) if isinstance(cell, str) else cell for cell in cells])

    def lines(self) -> list[Text]:
        """Return the titles and the rows, each as one line."""
        columns, rows = self._without_empty() if self.sparse else (self.columns, self.rows)
        titles = [Text(column.title, style="bold") for column in columns]
        wanted = [
            max(cell_len(column.title), *(row[i].cell_len for row in rows), 1)
            for i, column in enumerate(columns)
        ]
        widths = fit(columns, wanted, _BIGGEST if self.width is None else self.width)
        return [_joined(cells, columns, widths, self.sparse) for cells in (titles, *rows)]

    def _without_empty(self) -> tuple[list[Column], list[list[Text]]]:
        full = [
            i
            for i, column in enumerate(self.columns)
            if column.rank == 0 or any(row[i].plain for row in self.rows)
        ]
        return [self.columns[i] for i in full], [[row[i] for i in full] for row in self.rows]


def _joined(
    cells: Sequence[Text], columns: Sequence[Column], widths: dict[int, int], sparse: bool
) -> Text:
    line = Text()
    for position, (index, width) in enumerate(widths.items()):
        cell, column = cells[index], columns[index]
        if not cell.plain and not sparse:
            cell = Text("-")
        cell = shorten(cell, width, column.keep)
        blank = " " * (width - cell.cell_len)
        line.append(" " * GAP if position else "")
        line.append_text(Text(blank) + cell if column.right else cell + Text(blank))
    line.rstrip()
    return line

"""``keisei metrics``: the numbers a run logged, as a table or drawn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from keisei_lightning.cli import series, wording
from keisei_lightning.cli.chart import chart, sparkline
from keisei_lightning.cli.options import AsJson, Debug, Directories, Reference, RegistryUrl
from keisei_lightning.cli.screen import Screen, complain, print_json
from keisei_lightning.cli.series import Point
from keisei_lightning.cli.sheet import Column
from keisei_lightning.cli.source import files_of, one_session
from keisei_lightning.cli.trouble import NothingFoundError
from keisei_lightning.record import SessionRecord

__all__ = ["metrics"]

_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
ROWS = 20


def metrics(
    session: Reference = None,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[METRIC]...", help="Names or patterns such as 'val/*'; else all."),
    ] = None,
    plot: Annotated[bool, typer.Option("--plot", "-p", help="Draw each over the steps.")] = False,
    history: Annotated[bool, typer.Option("--history", help="Every value, a step a line.")] = False,
    height: Annotated[int, typer.Option("--height", min=3, max=60, help="Lines a plot.")] = 10,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-l",
            min=0,
            help=f"The last N lines of --history, 0 for all; {ROWS} on a terminal, else all.",
            show_default=False,
        ),
    ] = None,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Show the metrics of a session: last, least and greatest value, or all, or drawn."""
    record = one_session(session, directories, registry).record
    found, missing = series.chosen(_read(record), names or ())
    for pattern in missing:
        complain(f"session {record.id} has no metric {pattern!r}")
    if not found:
        raise NothingFoundError(f"session {record.id} has logged nothing of that kind")
    screen = Screen()
    if limit is None and screen.terminal and not as_json:
        limit = ROWS
    if as_json:
        _json(record, found, history)
    elif history:
        _history(screen, found, limit)
    elif plot:
        _plots(screen, found, height)
    else:
        _table(screen, found)
    return 1 if missing else 0


def _read(record: SessionRecord) -> series.Series:
    """Return the journal's series, or where there is no journal the record's last values."""
    path: Path | None = None
    try:
        path = files_of(record) / "metrics.jsonl"
        found: series.Series = series.read(path)
    except (OSError, NothingFoundError):
        found = {}
    if found or not record.metrics:
        return found
    complain(f"no history of {record.id} here: these are the last values in its record")
    step = record.progress.step if record.progress and record.progress.step else 0
    return {name: [Point(step, None, value)] for name, value in record.metrics.items()}


def _json(record: SessionRecord, found: series.Series, history: bool) -> None:
    document: dict[str, object] = {
        "id": record.id,
        "metrics": {name: series.summarize(points) for name, points in found.items()},
    }
    if history:
        document["history"] = found
    print_json(document)


def _table(screen: Screen, found: series.Series) -> None:
    sheet = screen.sheet(
        [
            Column("METRIC", least=16, keep="end"),
            Column("LAST", right=True),
            Column("AT STEP", rank=4, right=True),
            Column("MIN", rank=1, right=True),
            Column("AT", rank=5, right=True),
            Column("MAX", rank=1, right=True),
            Column("AT", rank=5, right=True),
            Column("VALUES", rank=3, right=True),
            Column("NOT FINITE", rank=2, right=True),
            *([Column("COURSE", rank=6)] if screen.terminal else []),
        ]
    )
    blocks = _unicode()
    for name, points in found.items():
        summary = series.summarize(points)
        course = [Text(sparkline([p.value for p in points], 24, blocks=blocks), style="cyan")]
        sheet.add(
            wording.one_line(name),
            wording.number(summary.last),
            str(summary.step),
            wording.number(summary.min),
            _text(summary.min_step),
            wording.number(summary.max),
            _text(summary.max_step),
            str(summary.count),
            str(summary.nonfinite or ""),
            *(course if screen.terminal else []),
        )
    screen.lines(sheet.lines())


def _history(screen: Screen, found: series.Series, limit: int | None) -> None:
    names = list(found)
    rows: dict[int, dict[str, Point]] = {}
    for name, points in found.items():
        for point in points:
            rows.setdefault(point.step, {})[name] = point
    epochs = any(p.epoch is not None for row in rows.values() for p in row.values())
    sheet = screen.sheet(
        [
            Column("STEP", right=True),
            *([Column("EPOCH", right=True)] if epochs else []),
            *(Column(wording.one_line(n), rank=i, right=True) for i, n in enumerate(names)),
        ]
    )
    for step in islice(sorted(rows), max(0, len(rows) - limit) if limit else 0, None):
        row = rows[step]
        epoch = next((p.epoch for p in row.values() if p.epoch is not None), None)
        cells = (wording.number(row[n].value) if n in row else "" for n in names)
        sheet.add(str(step), *([_text(epoch)] if epochs else []), *cells)
    lines = sheet.lines()
    screen.lines(lines)
    left_out = len(rows) - (len(lines) - 1)
    if left_out:
        complain(f"{left_out} earlier steps are not shown", "--limit 0 shows all")


def _plots(screen: Screen, found: series.Series, height: int) -> None:
    braille = _unicode()
    for position, (name, points) in enumerate(found.items()):
        if position:
            screen.line("")
        last = wording.number(points[-1].value)
        screen.line((wording.one_line(name), "bold"), (f"  last {last}", "dim"))
        for line in _drawn(points, screen.columns, height, braille):
            screen.line((line, _COLOURS[position % len(_COLOURS)]))


def _drawn(points: Sequence[Point], width: int, height: int, braille: bool) -> list[str]:
    pairs = [(float(point.step), point.value) for point in points]
    return chart(pairs, width=width, height=height, braille=braille)


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def _unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")

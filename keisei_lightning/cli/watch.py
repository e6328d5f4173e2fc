"""``keisei watch``: what runs, as it runs."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.live import Live
from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.listing import document, elapsed, eta, label
from keisei_lightning.cli.options import AsJson, Debug, Directories, Group, RegistryUrl
from keisei_lightning.cli.screen import Screen, print_json_line, status_style
from keisei_lightning.cli.selection import Entry, Query
from keisei_lightning.cli.sheet import Column
from keisei_lightning.cli.source import Source, open_source
from keisei_lightning.errors import SessionError
from keisei_lightning.record import Liveness, Status

__all__ = ["bar", "watch"]

BAR = 20
RECENT = 5
_LIVE = frozenset({Status.PENDING, Status.RUNNING})


def watch(
    interval: Annotated[
        float, typer.Option("--interval", "-i", min=0.1, help="Seconds between two looks.")
    ] = 2.0,
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            "-c",
            min=1,
            help="Look so many times; without end on a terminal, else once.",
            show_default=False,
        ),
    ] = None,
    group: Group = None,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Show what runs, with progress bars, until Ctrl-C; the latest to end are shown below."""
    screen = Screen()
    looks = count if count is not None or screen.terminal else 1
    with open_source(directories or (), registry) as source:
        try:
            if as_json or not screen.terminal:
                _plain(screen, source, group, looks, interval, as_json)
            else:
                _live(screen, source, group, looks, interval)
        except KeyboardInterrupt:
            pass
    return 0


def bar(share: float | None, width: int, *, ascii_only: bool = False) -> str:
    """Return a progress bar of exactly ``width`` characters; ``share`` is 0 to 1."""
    full, empty = ("#", ".") if ascii_only else ("━", "─")
    done = 0 if share is None or not share > 0 else min(width, int(share * width))
    return full * done + empty * (width - done)


def _live(
    screen: Screen, source: Source, group: str | None, looks: int | None, interval: float
) -> None:
    lines: list[Text] = []
    with Live(console=screen.console, auto_refresh=False, screen=False) as live:
        while True:
            size = shutil.get_terminal_size()
            screen.width = screen.console.width = max(20, size.columns)
            room = max(3, size.lines - 3)
            try:
                lines = _frame(screen, *_look(source, group))
            except SessionError as error:  # the registry is locked or away: it may come back
                note = Text(wording.one_line(str(error)), style="yellow")
                lines = [note, *lines[1:]]
            live.update(Text("\n").join(lines[:room]), refresh=True)
            looks = None if looks is None else looks - 1
            if looks == 0:
                return
            time.sleep(interval)


def _plain(
    screen: Screen,
    source: Source,
    group: str | None,
    looks: int | None,
    interval: float,
    as_json: bool,
) -> None:
    while True:
        running, recent = _look(source, group)
        if as_json:
            at = datetime.now(UTC).isoformat()
            print_json_line({"at": at, "sessions": [document(r) for r in (*running, *recent)]})
        else:
            screen.lines(_frame(screen, running, recent))
            screen.console.file.flush()
        looks = None if looks is None else looks - 1
        if looks == 0:
            return
        time.sleep(interval)


def _look(source: Source, group: str | None) -> tuple[Sequence[Entry], Sequence[Entry]]:
    """Return what is not over, and what ended last."""
    running = source.entries(Query(statuses=_LIVE, group=group))
    ended = source.entries(Query(statuses=frozenset(Status) - _LIVE, group=group), limit=RECENT * 4)
    ended.sort(key=lambda e: e.record.ended_at or "", reverse=True)
    return running, ended[:RECENT]


def _frame(screen: Screen, running: Sequence[Entry], recent: Sequence[Entry]) -> list[Text]:
    now = datetime.now(UTC)
    words = Counter(entry.word for entry in running)
    counts = ", ".join(f"{number} {word}" for word, number in words.items()) or "nothing runs"
    clock = now.astimezone().strftime("%H:%M:%S")
    head = Text.assemble((counts, "bold"), (f"   {clock}", "dim"))
    sheet = screen.sheet(
        [
            Column("ID", least=18),
            Column("NAME", rank=6, least=20),
            Column("STATE"),
            Column("PROGRESS", rank=2),
            Column("%", rank=1, right=True),
            Column("ETA", rank=3, right=True),
            Column("EPOCH", rank=8, right=True),
            Column("STEP", rank=4, right=True),
            Column("STEPS/S", rank=5, right=True),
            Column("TIME", rank=7, right=True),
            Column("BEAT", rank=9, right=True),
            Column("HOST", rank=10, least=8),
        ]
    )
    ascii_only = "utf" not in (screen.console.encoding or "").lower()
    for entry in (*running, *recent):
        sheet.add(*_cells(entry, now, sparse=sheet.sparse, ascii_only=ascii_only))
    return [head, *sheet.lines()] if running or recent else [head]


def _cells(entry: Entry, now: datetime, *, sparse: bool, ascii_only: bool) -> list[Text | str]:
    record, word = entry.record, entry.word
    progress = record.progress
    share = progress.percent / 100 if progress and progress.percent is not None else None
    beat = wording.instant(record.heartbeat.at) if record.heartbeat else None
    running = not record.status.is_final and entry.liveness is not Liveness.DEAD
    drawn = "" if share is None else bar(share, BAR, ascii_only=ascii_only)
    return [
        wording.one_line(record.id),
        label(record) if sparse else wording.one_line(record.name),
        Text(word, style=status_style(word)),
        Text(drawn, style=status_style(word)),
        wording.percent(progress.percent) if progress else "",
        wording.duration(eta(entry)),
        "" if progress is None or progress.epoch is None else str(progress.epoch),
        "" if progress is None or progress.step is None else str(progress.step),
        wording.number(progress.steps_per_s) if progress and running else "",
        wording.duration(elapsed(record, now)),
        wording.ago(beat, now) if running else "",
        wording.one_line(record.host or ""),
    ]

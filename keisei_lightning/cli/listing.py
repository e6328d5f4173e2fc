"""``keisei ls``: many sessions, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.text import Text

from keisei_lightning.cli import selection, wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, Group, RegistryUrl
from keisei_lightning.cli.screen import Screen, complain, print_json, status_style
from keisei_lightning.cli.selection import Entry, Query
from keisei_lightning.cli.sheet import Column, Sheet
from keisei_lightning.cli.source import open_source
from keisei_lightning.cli.trouble import ExitCode, UsageError
from keisei_lightning.record import Liveness, SessionRecord, Status, to_json

__all__ = ["document", "elapsed", "eta", "label", "ls"]

FIRST_PAGE = 50
_STATUSES = ", ".join(Status)
_LIVENESSES = ", ".join(Liveness)


def ls(
    status: Annotated[
        list[Status] | None,
        typer.Option("--status", "-s", metavar="STATUS", help=f"Only {_STATUSES}; repeatable."),
    ] = None,
    liveness: Annotated[
        list[Liveness] | None,
        typer.Option("--liveness", metavar="WORD", help=f"Only {_LIVENESSES}; repeatable."),
    ] = None,
    group: Group = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", "-t", metavar="TAG", help="Only with this tag; repeatable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", "-n", metavar="PART", help="Only with this in the name.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="WHEN", help="Only younger: 90m, 2h, 3d or 2026-01-31."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            "--sort", metavar="KEY", help=f"{', '.join(selection.SORT_KEYS)}, or a metric."
        ),
    ] = "created",
    reverse: Annotated[bool, typer.Option("--reverse", "-r", help="The other way round.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            "-l",
            metavar="N",
            min=0,
            help=f"At most so many, 0 for all; {FIRST_PAGE} on a terminal, else all.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", metavar="METRIC", help="Show this metric too; repeatable."),
    ] = None,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """List sessions with status, liveness, progress and ETA; the newest first."""
    query = Query(
        statuses=frozenset(status or ()),
        liveness=frozenset(liveness or ()),
        group=group,
        tags=tuple(tag or ()),
        name=name,
        since=None if since is None else _moment(since),
    )
    screen = Screen()
    a_page = limit is None and screen.terminal and not as_json
    if a_page:
        limit = FIRST_PAGE
    with open_source(directories or (), registry) as source:
        entries = source.entries(query, limit + 1 if limit else None, key=sort, reverse=reverse)
    shown = entries[:limit] if limit else entries
    if as_json:
        print_json([document(entry) for entry in shown])
    elif shown:
        screen.lines(_overview(screen, shown, metric or ()).lines())
    if not shown:
        complain("no session matches" if query != Query() else "there is no session yet")
        return ExitCode.NOTHING_FOUND
    if a_page and len(shown) < len(entries):
        complain(f"only the first {len(shown)} are shown", "--limit 0 shows all")
    return ExitCode.DONE


def document(entry: Entry) -> dict[str, object]:
    """Return the JSON of a session: the keys of ``session.json``, ``liveness`` and ``pinned``."""
    return {**to_json(entry.record), "liveness": entry.liveness, "pinned": entry.pinned}


def _overview(screen: Screen, entries: Sequence[Entry], metrics: Sequence[str]) -> Sheet:
    """Return the table of many sessions."""
    sheet = screen.sheet(
        [
            Column("ID", least=18),
            Column("NAME", rank=1, least=20),
            Column("STATUS"),
            Column("LIVE", rank=2),
            Column("%", rank=3, right=True),
            Column("ETA", rank=5, right=True),
            Column("AGE", rank=4, right=True),
            *(Column(one, rank=3, right=True, least=6, keep="end") for one in metrics),
            Column("TIME", rank=7, right=True),
            Column("EPOCH", rank=9, right=True),
            Column("STEP", rank=8, right=True),
            Column("WHY", rank=6, least=10),
            Column("GROUP", rank=11, least=10, keep="end"),
            Column("TAGS", rank=12, least=8),
            Column("SEED", rank=13, right=True),
            Column("HOST", rank=14, least=8),
            Column("DIRECTORY", rank=15, least=20, keep="end"),
        ]
    )
    now = datetime.now(UTC)
    for entry in entries:
        _fill(sheet, entry, metrics, now)
    return sheet


def _fill(sheet: Sheet, entry: Entry, metrics: Sequence[str], now: datetime) -> None:
    """Add the line of one session."""
    record, liveness = entry.record, entry.liveness
    progress = record.progress
    ending = record.ending
    place = progress or ending
    sheet.add(
        wording.one_line(record.id),
        label(record) if sheet.sparse else wording.one_line(record.name),
        Text(record.status.value, style=status_style(record.status)),
        Text(liveness or "", style=status_style(liveness or "")),
        wording.percent(progress.percent) if progress else "",
        wording.duration(eta(entry)),
        wording.ago(wording.instant(record.created_at), now),
        *(wording.number(record.metrics.get(one)) for one in metrics),
        wording.duration(elapsed(record, now)),
        _count(place.epoch if place else None),
        _count(place.step if place else None),
        ending.reason if ending and ending.reason not in (record.status, "finished") else "",
        wording.one_line(record.group or ""),
        wording.one_line(",".join(record.tags)),
        "" if record.seed is None else str(record.seed),
        wording.one_line(record.host or ""),
        wording.one_line(record.directory or ""),
    )


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def label(record: SessionRecord) -> str:
    """Return a name to stand beside the id: without the id, if it ends with that."""
    name, id = wording.one_line(record.name), wording.one_line(record.id)
    return name.removesuffix(id).rstrip("-_") if name.endswith(id) else name


def eta(entry: Entry) -> float | None:
    """Return the seconds that are left, of a session that is not over."""
    over = entry.record.status.is_final or entry.liveness is Liveness.DEAD
    return None if over or entry.record.progress is None else entry.record.progress.eta_s


def elapsed(record: SessionRecord, now: datetime) -> float | None:
    """Return the seconds a session took, or has taken up to its last sign of life."""
    if record.duration_s is not None or record.status.is_final:
        return record.duration_s
    start = wording.instant(record.started_at)
    beat = wording.instant(record.heartbeat.at) if record.heartbeat else now
    return None if start is None or beat is None else (beat - start).total_seconds()


def _moment(text: str) -> datetime:
    try:
        return wording.since(text, datetime.now(UTC))
    except ValueError:
        raise UsageError(
            f"--since {text!r} is no time", "write 90m, 2h, 3d, or a date such as 2026-01-31"
        ) from None

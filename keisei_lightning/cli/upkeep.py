"""``keisei cleanup`` and ``keisei reindex``: the registry brought in line with what is true."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, RegistryUrl, Yes
from keisei_lightning.cli.screen import Screen, complain, print_json, status_style
from keisei_lightning.cli.selection import Entry
from keisei_lightning.cli.sheet import Column
from keisei_lightning.cli.trouble import ExitCode, UsageError

if TYPE_CHECKING:
    from keisei_lightning.registry import Registry

__all__ = ["cleanup", "reindex"]


def cleanup(
    yes: Yes = False,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Mark sessions lost that died without a word; only shows them until --yes."""
    from keisei_lightning.cli.registry_source import open_index

    with open_index(directories or (), registry) as index:
        found = _dead(index)
        count = index.cleanup() if yes else len(found)
    if as_json:
        ids = [entry.record.id for entry in found]
        print_json({"dry_run": not yes, "count": count, "sessions": ids})
        return 0
    screen = Screen()
    if found:
        screen.lines(_table(screen, found))
    sessions = f"{count} session{'' if count == 1 else 's'}"
    if yes:
        screen.line(f"{sessions} marked lost")
    else:
        screen.line(f"{sessions} would be marked lost")
    if found and not yes:
        complain("nothing was changed", "--yes does it")
    return 0


def reindex(
    roots: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Where the runs are.")],
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Bring every run directory under DIR into the registry, which is made if there is none."""
    from keisei_lightning.cli.registry_source import open_or_make_registry

    for root in roots:
        if not root.is_dir():
            raise UsageError(f"{root}: there is no such directory")
    with open_or_make_registry(registry) as index:
        done = [index.reindex(root.absolute()) for root in roots]
        place = str(index.path or index.url)
    found, written = sum(one.found for one in done), sum(one.written for one in done)
    damaged = [str(path) for one in done for path in one.damaged]
    copies = [str(path) for one in done for path in one.duplicates]
    if as_json:
        facts = {"found": found, "written": written, "damaged": damaged, "duplicates": copies}
        print_json({"registry": place, **facts})
    else:
        screen = Screen()
        screen.facts(
            [
                ("found", f"{found} run director{'y' if found == 1 else 'ies'}"),
                ("written", str(written)),
                ("registry", wording.one_line(place)),
                *(("damaged", Text(wording.one_line(path), style="red")) for path in damaged),
                *(("a copy", Text(wording.one_line(path), style="yellow")) for path in copies),
            ]
        )
    return ExitCode.DONE if found else ExitCode.NOTHING_FOUND


def _dead(index: Registry) -> list[Entry]:
    """Return what a clean-up would look at: the dead, and those stale for long enough."""
    from keisei_lightning.record import Liveness
    from keisei_lightning.registry.liveness import beat_age

    found = []
    for state in (Liveness.DEAD, Liveness.STALE):
        for one in index.entries(liveness=state):
            age = beat_age(one.record, index.now, one.seen_at)
            long = age is None or age >= index.config.inactive_after_s
            if state is Liveness.DEAD or long:
                found.append(Entry(one.record, one.liveness, one.pinned))
    return found


def _table(screen: Screen, found: list[Entry]) -> list[Text]:
    sheet = screen.sheet(
        [
            Column("ID", least=18),
            Column("NAME", rank=3, least=12),
            Column("LIVE"),
            Column("LAST BEAT", rank=1, right=True),
            Column("STEP", rank=2, right=True),
            Column("HOST", rank=4, least=8),
            Column("PID", rank=5, right=True),
        ]
    )
    now = datetime.now(UTC)
    for entry in found:
        record = entry.record
        beat = record.heartbeat.at if record.heartbeat else record.started_at
        step = record.progress.step if record.progress else None
        sheet.add(
            wording.one_line(record.id),
            wording.one_line(record.name),
            Text(entry.word, style=status_style(entry.word)),
            wording.ago(wording.instant(beat), now),
            "" if step is None else str(step),
            wording.one_line(record.host or ""),
            str(record.pid or ""),
        )
    return sheet.lines()

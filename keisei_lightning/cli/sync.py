"""``keisei sync``: send the W&B data that a run could not send itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, RegistryUrl
from keisei_lightning.cli.screen import Screen, complain, print_json
from keisei_lightning.cli.selection import Entry, Query, newest_first
from keisei_lightning.cli.sending import Result, send
from keisei_lightning.cli.source import Source, entry_of, open_source, read_run, run_directory
from keisei_lightning.cli.trouble import ExitCode
from keisei_lightning.record import Liveness, SessionRecord, Tracker

__all__ = ["Outcome", "pending", "sync"]

_STYLES = {"done": "green", "pending": "yellow"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one tracker's pending data; ``output`` is the last line the tool said."""

    id: str
    name: str
    tracker: str | None
    command: str
    result: Result
    output: str = ""


def sync(
    sessions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SESSION]...", help="Only these; else all that are pending."),
    ] = None,
    timeout: Annotated[
        float, typer.Option("--timeout", min=1.0, help="Seconds that one run may take.")
    ] = 300.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what is pending, in order.")
    ] = False,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Send pending W&B runs, the oldest first, each within a time limit."""
    outcomes = []
    screen = Screen()
    with open_source(directories or (), registry) as source:
        for record, tracker in pending(_entries(source, sessions or ())):
            outcome = _outcome(record, tracker, "pending")
            if not dry_run:
                outcome = _outcome(record, tracker, *send(record, tracker, timeout))
            outcomes.append(outcome)
            if not as_json:
                _print(screen, outcome)
            if outcome.result == "done":
                _mark(source, record, tracker)
    if as_json:
        print_json(outcomes)
    elif not outcomes:
        screen.line("nothing is pending")
    failed = [outcome for outcome in outcomes if outcome.result not in ("done", "pending")]
    return ExitCode.NOT_HEALTHY if failed else ExitCode.DONE


def pending(entries: Sequence[Entry]) -> Iterator[tuple[SessionRecord, Tracker]]:
    """Yield what is to be sent, in the order the runs were made.

    A session that still runs is left alone: its data is not complete.
    """
    for entry in reversed(newest_first(entries)):
        record = entry.record
        over = record.status.is_final or entry.liveness is Liveness.DEAD
        for tracker in record.trackers if over else ():
            if tracker.sync == "pending" and tracker.sync_command:
                yield record, tracker


def _entries(source: Source, references: Sequence[str]) -> list[Entry]:
    if not references:
        return [_fresh(entry) for entry in source.entries(Query())]
    return [
        entry_of(read_run(directory)) if (directory := run_directory(one)) else source.find(one)
        for one in references
    ]


def _fresh(entry: Entry) -> Entry:
    """Return a session that has something pending as its run directory has it."""
    record = entry.record
    if not record.directory or all(tracker.sync != "pending" for tracker in record.trackers):
        return entry
    own = read_run(Path(record.directory))
    return entry_of(own) if own.id == record.id else entry


def _mark(source: Source, record: SessionRecord, tracker: Tracker) -> None:
    """Note in the run's record, and in the registry, that nothing is pending any more."""
    from keisei_lightning.run_directory import RunDirectory, write_record

    directory = Path(record.directory) if record.directory else None
    now = read_run(directory) if directory and directory.is_dir() else record
    now = now if now.id == record.id else record
    synced = dataclasses.replace(tracker, sync="done")
    now = now.update(trackers=tuple(synced if t == tracker else t for t in now.trackers))
    if directory and directory.is_dir():
        try:
            write_record(RunDirectory(directory), now)
        except OSError as error:
            complain(f"{record.id} was sent, but its record cannot say so: {error}")
    source.store(now)


def _outcome(record: SessionRecord, tracker: Tracker, result: Result, output: str = "") -> Outcome:
    command = tracker.sync_command or ""
    return Outcome(record.id, record.name, tracker.id, command, result, output)


def _print(screen: Screen, outcome: Outcome) -> None:
    style = _STYLES.get(outcome.result, "red")
    said = outcome.command if outcome.result == "pending" else outcome.output
    screen.line(
        (f"{outcome.result:<8}", style),
        f" {wording.one_line(outcome.id)}  ",
        Text(wording.one_line(said), style="dim"),
    )

"""``keisei sync``: send the W&B data that a run could not send itself."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, RegistryUrl
from keisei_lightning.cli.screen import Screen, complain, print_json
from keisei_lightning.cli.selection import Entry, Query, newest_first
from keisei_lightning.cli.source import RECORD, Source, entry_of, open_source, read_run
from keisei_lightning.cli.trouble import ExitCode, UsageError
from keisei_lightning.record import Liveness, SessionRecord, Tracker

__all__ = ["Outcome", "commands", "pending", "sync"]

Result = Literal["done", "failed", "timeout", "refused", "pending"]

_SETTING = re.compile(r"WANDB_[A-Z_]+=.*", re.DOTALL)
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
                outcome = _send(record, tracker, timeout)
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


def commands(text: str) -> list[tuple[dict[str, str], list[str]]]:
    """Return the settings and arguments of each ``wandb sync`` in a recorded command.

    Records travel with their directories, so what stands in them is not run as it is: only
    ``wandb sync`` calls, one after another, with ``WANDB_`` settings, and never by a shell.

    Raises:
        ValueError: It is something else.
    """
    words = shlex.split(text)
    found = []
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        one, words = words[:end], words[end + 1 :]
        settings = {}
        while one and _SETTING.fullmatch(one[0]):
            name, _, value = one.pop(0).partition("=")
            settings[name] = value
        if len(one) > 2 and one[1] == "-m" and Path(one[0]).name.startswith("python"):
            one = one[2:]
        if len(one) < 3 or Path(one[0]).name != "wandb" or one[1] != "sync":
            raise ValueError("the recorded command is no `wandb sync`")
        found.append((settings, one[1:]))
    if not found:
        raise ValueError("the recorded command is empty")
    return found


def _entries(source: Source, references: Sequence[str]) -> list[Entry]:
    if not references:
        return [_fresh(entry) for entry in source.entries(Query())]
    return [
        entry_of(read_run(Path(one))) if (Path(one) / RECORD).is_file() else source.find(one)
        for one in references
    ]


def _fresh(entry: Entry) -> Entry:
    """Return a session that has something pending as its run directory has it."""
    record = entry.record
    if not record.directory or all(tracker.sync != "pending" for tracker in record.trackers):
        return entry
    own = read_run(Path(record.directory))
    return entry_of(own) if own.id == record.id else entry


def _send(record: SessionRecord, tracker: Tracker, timeout: float) -> Outcome:
    try:
        calls = commands(tracker.sync_command or "")
    except ValueError as error:
        return _outcome(record, tracker, "refused", f"{error}; run it yourself if you trust it")
    said = ""
    for settings, arguments in calls:
        arguments = [_where_it_is(argument, record) for argument in arguments]
        result, said = _call([*_wandb(), *arguments], settings, record.directory, timeout)
        if result == "done" and not all(_is_sent(Path(one)) for one in arguments[1:]):
            result = "failed"  # `wandb sync` exits 0 after an error, too
        if result != "done":
            return _outcome(record, tracker, result, said)
    return _outcome(record, tracker, "done", said)


def _where_it_is(argument: str, record: SessionRecord) -> str:
    """Return a path in the command as it is now, should the run directory have been moved."""
    if not argument.startswith("-") and record.directory and not Path(argument).exists():
        moved = Path(record.directory, "wandb", Path(argument).name)
        if moved.exists():
            return str(moved)
    return argument


def _is_sent(path: Path) -> bool:
    """Return whether W&B has marked the runs in a directory as sent; not asked of an option."""
    files = list(path.glob("*.wandb")) if path.is_dir() else [path]
    sent = [file.with_suffix(".wandb.synced").exists() for file in files]
    return str(path).startswith("-") or (bool(sent) and all(sent))


def _wandb() -> list[str]:
    """Return how to start W&B's command: the one beside this interpreter, else the PATH's."""
    beside = Path(sys.executable).with_name("wandb")
    found = str(beside) if beside.is_file() else shutil.which("wandb")
    if found is None:
        raise UsageError("there is no `wandb` command here", "pip install wandb")
    return [found]


def _call(
    command: Sequence[str], settings: dict[str, str], directory: str | None, timeout: float
) -> tuple[Result, str]:
    """Run one command in a process group of its own, which is ended when its time is up."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **settings},
        cwd=directory if directory and Path(directory).is_dir() else None,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return "timeout", f"stopped after {wording.duration(timeout)}; the data is kept"
    finally:
        _end(process)
    lines = [wording.one_line(line) for line in output.decode("utf-8", "replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "")
    return ("done" if process.returncode == 0 else "failed"), said


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process group, also after Ctrl-C."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


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

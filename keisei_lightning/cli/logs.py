"""``keisei logs``: what a run said, and what it says now."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from keisei_lightning.cli import wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, Reference, RegistryUrl
from keisei_lightning.cli.screen import print_json, print_json_line
from keisei_lightning.cli.source import files_of, liveness_of, one_session, read_run
from keisei_lightning.cli.text_file import decoded, follow, tail
from keisei_lightning.cli.trouble import CommandError, NothingFoundError, UsageError
from keisei_lightning.record import Liveness, SessionRecord

__all__ = ["logs"]


def logs(
    session: Reference = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until it ends.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("--lines", "-n", min=0, help="Only the last N lines.", show_default=False),
    ] = None,
    training: Annotated[bool, typer.Option("--training", help="training.log (default)")] = False,
    evaluation: Annotated[bool, typer.Option("--evaluation", help="evaluation.log")] = False,
    stdout: Annotated[bool, typer.Option("--stdout", help="What went to stdout.")] = False,
    stderr: Annotated[bool, typer.Option("--stderr", help="What went to stderr.")] = False,
    rank: Annotated[
        int | None, typer.Option("--rank", min=0, help="The log of rank N.", show_default=False)
    ] = None,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Print a log of a session, and with -f what is added to it until the session ends."""
    chosen = {"training": training, "evaluation": evaluation, "stdout": stdout, "stderr": stderr}
    names = [name for name, wanted in chosen.items() if wanted]
    if rank is not None:
        names.append(f"rank{rank}" if rank else "training")
    if len(names) > 1:
        raise UsageError(f"one log at a time, not {' and '.join(names)}")
    record = one_session(session, directories, registry).record
    path = _log_file(record, names[0] if names else None, follow)
    if follow:
        _follow(path, record, lines, as_json)
    elif as_json:
        found = [wording.clean(line) for line in _lines(path, lines)]
        print_json({"id": record.id, "stream": path.stem, "path": str(path), "lines": found})
    else:
        for line in _lines(path, lines):
            sys.stdout.write(wording.clean(line) + "\n")
    return 0


def _lines(path: Path, count: int | None) -> Iterator[str]:
    try:
        if count is not None:
            yield from tail(path, count)
            return
        with path.open("rb") as file:
            for line in file:
                yield from decoded(line)
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error


def _log_file(record: SessionRecord, name: str | None, follow: bool) -> Path:
    """Return the log asked for, or without a wish the first that says something."""
    folder = files_of(record) / "logs"
    if name is None:
        wanted = [folder / f"{stem}.log" for stem in ("training", "stdout", "stderr")]
        path = next((path for path in wanted if path.is_file() and path.stat().st_size), wanted[0])
    else:
        path = folder / f"{name}.log"
    if path.is_file() or (follow and not record.status.is_final):
        return path
    there = sorted(p.stem for p in folder.glob("*.log"))
    hint = f"there are: {', '.join(there)}" if there else "nothing was captured in this run"
    raise NothingFoundError(f"session {record.id} has no {path.name}", hint)


def _follow(path: Path, record: SessionRecord, lines: int | None, as_json: bool) -> None:
    for line in follow(path, 10 if lines is None else lines, _ended(record)):
        if as_json:
            print_json_line({"line": wording.clean(line)})
        else:
            sys.stdout.write(wording.clean(line) + "\n")
            sys.stdout.flush()


def _ended(record: SessionRecord) -> Callable[[], bool]:
    """Return a function that says whether the session is over: final, or its process dead."""

    def ended() -> bool:
        now = read_run(files_of(record))
        return now.status.is_final or liveness_of(now) is Liveness.DEAD

    return ended

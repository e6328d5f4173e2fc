"""Where records come from: the registry, or the run directories themselves."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from keisei_lightning.cli.selection import Entry, Query, matches, newest_first, pick, sort
from keisei_lightning.cli.trouble import NothingFoundError, UsageError
from keisei_lightning.errors import SessionNotFoundError
from keisei_lightning.record import Liveness, SessionRecord, damaged

if TYPE_CHECKING:
    from keisei_lightning.machine import Machine

__all__ = [
    "DirectorySource",
    "Source",
    "entry_of",
    "files_of",
    "liveness_of",
    "one_session",
    "open_source",
    "read_run",
    "run_directories",
]

RECORD = "session.json"
PINNED_TAG = "pinned"
_NOT_RUNS = frozenset(
    {"checkpoints", "logs", "provenance", "ranks", "wandb", "by-status", "node_modules"}
)


class Source(Protocol):
    """Records to read, whatever keeps them."""

    def entries(
        self,
        query: Query,
        limit: int | None = None,
        *,
        key: str = "created",
        reverse: bool = False,
    ) -> list[Entry]:
        """Return what matches, in the order of :func:`selection.sort`, at most ``limit``."""
        ...

    def find(self, reference: str) -> Entry:
        """Return the one session meant, as fresh as its run directory has it."""
        ...

    def store(self, record: SessionRecord) -> None:
        """Note a record that has changed in its run directory."""
        ...


class DirectorySource:
    """The ``session.json`` files under some directories."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(roots)

    def entries(
        self,
        query: Query,
        limit: int | None = None,
        *,
        key: str = "created",
        reverse: bool = False,
    ) -> list[Entry]:
        """Return what matches, in the order of :func:`selection.sort`, at most ``limit``."""
        found = (entry for entry in self._all() if matches(query, entry))
        return sort(found, key, reverse=reverse)[:limit]

    def find(self, reference: str) -> Entry:
        """Return the one session meant."""
        return pick(reference, list(self._all()))

    def store(self, record: SessionRecord) -> None:
        """Do nothing: the run directory itself is the source."""

    def _all(self) -> Iterator[Entry]:
        seen: set[str] = set()
        for root in self.roots:
            for directory in run_directories(root):
                real = os.path.realpath(directory)
                if real not in seen:
                    seen.add(real)
                    yield entry_of(read_run(directory))


@contextmanager
def open_source(directories: Sequence[Path], url: str | None) -> Iterator[Source]:
    """Open the run directories given, else the registry given, else the project's registry.

    Raises:
        UsageError: Both are given, or a directory does not exist.
        NothingFoundError: There is no registry; the hint names run directories close by.
    """
    if not directories:
        from keisei_lightning.cli.registry_source import RegistrySource, open_registry

        with open_registry(url) as registry:
            yield RegistrySource(registry)
        return
    if url:
        raise UsageError("--dir and --registry exclude each other")
    checked_directories(directories)
    yield DirectorySource(directories)


def checked_directories(directories: Sequence[Path]) -> None:
    """Make sure that the directories exist.

    Raises:
        UsageError: One does not.
    """
    for directory in directories:
        if not directory.is_dir():
            raise UsageError(f"--dir {directory}: there is no such directory")


def one_session(
    reference: str | None,
    directories: Sequence[Path] | None,
    url: str | None,
    *,
    wanted: Sequence[Query] = (Query(),),
    otherwise: str = "there is no session yet",
) -> Entry:
    """Return the session a command is about.

    Args:
        reference: Id, start of an id, name, or a run directory (which needs no registry at all);
            ``None`` for the newest session there is.
        directories: Run directories to look under.
        url: The registry to look in.
        wanted: What, one or the other, the newest must be when there is no reference.
        otherwise: What is to be said when there is no such session.
    """
    if reference and (directory := run_directory(reference)):
        return entry_of(read_run(directory))
    with open_source(directories or (), url) as source:
        if reference is not None:
            return source.find(reference)
        newest = newest_first(e for query in wanted for e in source.entries(query, 1))
    if not newest:
        raise NothingFoundError(otherwise)
    return newest[0]


def run_directory(reference: str) -> Path | None:
    """Return the run directory that a path to it, or to its record, names."""
    path = Path(reference)
    try:
        if path.name == RECORD and path.is_file():
            return path.parent
        return path if (path / RECORD).is_file() else None
    except (OSError, ValueError):  # no path at all: too long, or with a NUL in it
        return None


def run_directories(root: Path, *, at_most: int | None = None) -> Iterator[Path]:
    """Yield every directory at or under ``root`` that holds a record; links are not followed.

    Args:
        root: Where to start.
        at_most: How many directories to look into.
    """
    for folder, below, files in islice(os.walk(root), at_most):
        if RECORD in files:
            yield Path(folder)
        below[:] = sorted(d for d in below if d not in _NOT_RUNS and not d.startswith("."))


def read_run(directory: Path) -> SessionRecord:
    """Return the record of a run directory, with the directory where it is now.

    A record that cannot be read becomes one that says so; nothing is raised for it.
    """
    from keisei_lightning.run_directory import read_record

    where = os.path.abspath(directory)
    try:
        record = read_record(directory)
    except SessionNotFoundError as error:
        return damaged(Path(where).name, str(error), directory=where)
    return dataclasses.replace(record, directory=where)


def files_of(record: SessionRecord) -> Path:
    """Return the run directory of a session.

    Raises:
        NothingFoundError: It is not there.
    """
    directory = Path(record.directory) if record.directory else None
    if directory is None or not directory.is_dir():
        raise NothingFoundError(
            f"the run directory of {record.id} is not there: {directory or 'none is recorded'}",
            "on which host it ran `keisei show` says; if it was moved, name it by its path",
        )
    return directory


def entry_of(record: SessionRecord) -> Entry:
    """Return a record with its liveness."""
    from keisei_lightning.registry.run_files import is_pinned

    pinned = PINNED_TAG in record.tags or is_pinned(record.directory)
    return Entry(record, liveness_of(record), pinned)


def liveness_of(record: SessionRecord) -> Liveness | None:
    """Return what may be believed of a record that says it runs; ``None`` for an ended one."""
    if record.status.is_final:
        return None
    from keisei_lightning.registry.liveness import liveness

    return liveness(record, now=time.time(), machine=_machine())


@cache
def _machine() -> Machine:
    from keisei_lightning.machine import this_machine

    return this_machine()

"""The registry as a source of records, and the hint where there is none."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from keisei_lightning.cli.selection import NEWEST_FIRST, Entry, Query, matches, pattern, pick, sort
from keisei_lightning.cli.source import (
    checked_directories,
    liveness_of,
    run_directories,
)
from keisei_lightning.cli.trouble import NothingFoundError, UsageError
from keisei_lightning.errors import SessionError, SessionNotFoundError
from keisei_lightning.record import SessionRecord, Status

if TYPE_CHECKING:
    from keisei_lightning.registry import Registry

__all__ = ["RegistrySource", "open_index", "open_or_make_registry", "open_registry"]

_SETTINGS = {
    "SESSION_MAX_CONCURRENT": ("max_concurrent", int),
    "SESSION_TIMEOUT_SECS": ("inactive_after_s", float),
    "SESSION_CLEANUP_INTERVAL": ("cleanup_interval_s", float),
}
_COLUMNS = {
    "created": "created_at",
    "started": "started_at",
    "ended": "ended_at",
    "duration": "duration_s",
    "name": "name",
    "id": "id",
    "status": "status",
    "group": "group_name",
    "host": "host",
}
_LIVE = (Status.PENDING, Status.RUNNING)
_USUAL_OUTPUTS = ("outputs", "multirun")
_LOOKED_AT = 300


class RegistrySource:
    """The records of a registry; those of one session as fresh as its run directory has them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    def entries(
        self,
        query: Query,
        limit: int | None = None,
        *,
        key: str = "created",
        reverse: bool = False,
    ) -> list[Entry]:
        """Return what matches, in the order of :func:`selection.sort`, at most ``limit``.

        The database does what it can; the rest (several tags or livenesses, an order it does not
        know, such as that of a metric) is done here.
        """
        from keisei_lightning.registry import Filters

        rest = len(query.tags) > 1 or len(query.liveness) > 1 or key not in _COLUMNS
        found = self.registry.entries(
            Filters(
                status=query.statuses or (_LIVE if query.liveness else None),
                group=query.group,
                tag=query.tags[0] if query.tags else None,
                name=None if query.name is None else pattern(query.name),
                since=query.since,
            ),
            liveness=next(iter(query.liveness)) if len(query.liveness) == 1 else None,
            sort=_COLUMNS.get(key, "created_at"),
            descending=(key in NEWEST_FIRST) != reverse,
            limit=None if rest else limit,
        )
        entries = (Entry(one.record, one.liveness, one.pinned) for one in found)
        if rest:
            entries = (entry for entry in entries if matches(query, entry))
        return sort(entries, key, reverse=reverse)[:limit]

    def find(self, reference: str) -> Entry:
        """Return the one session meant, as its run directory has it if that can be read here."""
        try:
            found = self.registry.entry(self.registry.find(reference).id)
        except SessionNotFoundError:
            # Nothing, or several: which of the two, and which several, is said the same way
            # for every source.
            known = pick(reference, self.entries(Query()))
            found = self.registry.entry(known.record.id)
        record = found.record
        own = _own_word(record)
        if own is None or own.id != record.id or own.attempt < record.attempt:
            return Entry(record, found.liveness, found.pinned)
        return Entry(own, liveness_of(own), found.pinned)

    def store(self, record: SessionRecord) -> None:
        """Note a record that has changed in its run directory."""
        self.registry.put(record)


@contextmanager
def open_registry(url: str | None) -> Iterator[Registry]:
    """Open the registry given, else the project's; one that is not there is not made.

    Raises:
        NothingFoundError: There is none; the hint names run directories close by.
    """
    from keisei_lightning.registry import find_database

    target = url or find_database()
    if target is None or not _is_there(str(target)):
        what = f"no registry at {url}" if url else "no registry (.keisei/sessions.db) here or above"
        raise NothingFoundError(what, _hint())
    with _opened(str(target)) as registry:
        yield registry


@contextmanager
def open_index(directories: Sequence[Path], url: str | None) -> Iterator[Registry]:
    """Open a registry; over the run directories given, one that is gone afterwards."""
    if not directories:
        with open_registry(url) as registry:
            yield registry
        return
    checked_directories(directories)
    with TemporaryDirectory(prefix="keisei-") as folder, _opened(f"{folder}/x.db") as registry:
        for directory in directories:
            registry.reindex(directory)
        yield registry


@contextmanager
def open_or_make_registry(url: str | None) -> Iterator[Registry]:
    """Open the registry given, else the project's; one that is not there is made."""
    with _opened(url) as registry:
        yield registry


@contextmanager
def _opened(target: str | None) -> Iterator[Registry]:
    from keisei_lightning.registry import Registry

    with Registry(target, _settings(), relink=_relink) as registry:
        yield registry


def _relink(folder: Path, record: SessionRecord) -> None:
    from keisei_lightning.run_directory import RunDirectory, link_status

    link_status(RunDirectory(folder), record)


def _own_word(record: SessionRecord) -> SessionRecord | None:
    """Return what the run directory says of the session; ``None`` if it cannot be read here."""
    from keisei_lightning.registry.run_files import read_run

    try:
        own = read_run(record.directory)
    except SessionError:
        return None
    return own and dataclasses.replace(own, directory=record.directory)


def _settings() -> dict[str, float]:
    """Return the limits that the environment sets, as it does for the runs themselves."""
    found = {}
    for variable, (key, kind) in _SETTINGS.items():
        if text := os.environ.get(variable):
            try:
                found[key] = kind(text)
            except ValueError:
                raise UsageError(f"${variable} is {text!r}, which is no number") from None
    return found


def _is_there(target: str) -> bool:
    if "://" not in target:
        return Path(target).is_file()
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(target)
    except ArgumentError as error:
        raise UsageError(f"--registry: {error}") from error
    return url.get_backend_name() != "sqlite" or Path(url.database or "").is_file()


def _hint() -> str:
    """Return what to do without a registry: name directories near here that hold runs."""
    usual = [os.environ.get("KEISEI_LOG_DIR") or "outputs", *_USUAL_OUTPUTS]
    places = [*map(Path, dict.fromkeys(usual)), *sorted(Path().glob("*_out")), Path()]
    near = [p for p in places if p.is_dir() and next(_some_runs(p), None) is not None]
    if not near:
        return "give the directory that holds the runs: --dir DIR"
    where = near[0]
    return (
        f"there are runs under {where}: add --dir {where}, or make a registry of them with "
        f"`keisei reindex {where}`"
    )


def _some_runs(root: Path) -> Iterator[Path]:
    """Yield runs under a directory without looking through all of a large one."""
    yield from run_directories(root, at_most=_LOOKED_AT)

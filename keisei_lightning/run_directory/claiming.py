"""Taking a run directory for one session alone, however many want it at once."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from keisei_lightning.atomic_file import create_exclusive
from keisei_lightning.errors import SessionError, SessionNotFoundError
from keisei_lightning.record import Ending, Progress, SessionRecord, Status
from keisei_lightning.run_directory.folder_lock import locked
from keisei_lightning.run_directory.owner import owner_is_alive, process_facts
from keisei_lightning.run_directory.paths import RunDirectory
from keisei_lightning.run_directory.record_file import encoded, load, read_record, write_record

__all__ = ["Claim", "claim", "default_fallback"]

_SIBLINGS = 1000


@dataclass(frozen=True, slots=True)
class Claim:
    """A run directory that is ours.

    Attributes:
        directory: Where the run's files go.
        record: The record as it was written there: of an earlier attempt it keeps id and name.
        previous: The record of that earlier attempt.
        note: What a person should be told, when it is not the directory he wanted.
    """

    directory: RunDirectory
    record: SessionRecord
    previous: SessionRecord | None = None
    note: str | None = None


def claim(
    wanted: Path,
    record: SessionRecord,
    *,
    fallback: Path | None = None,
    resume: bool = True,
    is_alive: Callable[[SessionRecord], bool] = owner_is_alive,
) -> Claim:
    """Take a run directory for one session alone and write its record there.

    Of any number of processes that want the same directory at once, one gets it; each other gets
    a sibling ``<directory>-<id>``. A directory whose session has ended or died is taken for that
    session's next attempt, except by another job of a sweep: the old record stays as
    ``session.attempt-<n>.json``. A record that cannot be read is set aside as
    ``session.damaged-<n>.json``.

    Args:
        wanted: The run directory; made with its parents.
        record: The record to publish; ``directory`` is filled in.
        fallback: Folder for a directory of this run when ``wanted`` cannot be used; without it,
            or when that cannot be used either, one in the system's temporary folder.
        resume: Whether an ended session may be continued; otherwise it is left alone and this
            one gets a sibling.
        is_alive: Whether a session that has not ended still runs.

    Raises:
        SessionError: No directory could be used; the message names each and why.
    """
    try:
        return _claim_or_sibling(Path(os.path.abspath(wanted)), record, resume, is_alive)
    except (OSError, ValueError) as error:
        cause, told = error, f"run directory {os.fspath(wanted)!r} cannot be used ({_why(error)})"
    for folder in (fallback, None) if fallback is not None else (None,):
        try:
            place = Path(os.path.abspath(folder or default_fallback())) / _folder_name(record)
            taken = _claim_or_sibling(place, record, False, is_alive)
        except (OSError, ValueError) as error:
            told += f", nor can {str(folder) if folder else 'a temporary one'!r} ({_why(error)})"
        else:
            told += f"; the files of this run are in {taken.directory.path}"
            return replace(taken, note=told)
    raise SessionError(f"{told}; give one that can be written, session.directory=...") from cause


def _claim_or_sibling(
    wanted: Path, record: SessionRecord, resume: bool, is_alive: Callable[[SessionRecord], bool]
) -> Claim:
    first = _claim_here(wanted, record, resume, is_alive)
    if isinstance(first, Claim):
        return first
    for number in range(1, _SIBLINGS):
        end = record.id if number == 1 else f"{record.id}-{number}"
        place = wanted.with_name(f"{wanted.name}-{end}")
        taken = _claim_here(place, record, False, is_alive)
        if isinstance(taken, Claim):
            told = f"run directory {wanted} belongs to session {first.id} ({_whose(first)})"
            return replace(taken, note=f"{told}; the files of this run are in {place}")
    raise FileExistsError(f"{_SIBLINGS} directories {wanted.name}-{record.id}-* are taken")


def _claim_here(
    path: Path, record: SessionRecord, resume: bool, is_alive: Callable[[SessionRecord], bool]
) -> Claim | SessionRecord:
    """Claim exactly this directory, or return the record of the session that has it."""
    path.mkdir(parents=True, exist_ok=True)
    directory, note = RunDirectory(path), None
    with locked(path) as alone:
        try:
            holder = load(directory.record)
        except SessionNotFoundError:
            pass
        except SessionError as error:
            if not alone:  # it may be another's, being written right now
                return read_record(directory.record)
            kept = _set_aside(directory)
            note = f"{error}; it was set aside as {kept.name}"
        else:
            over = holder.status.is_final or not is_alive(holder)
            if not (resume and over and _same_job(holder, record)):
                return holder
            return _next_attempt(directory, record, holder, alone)
        fresh = record.update(directory=str(path))
        if create_exclusive(directory.record, encoded(fresh)):
            return Claim(directory, fresh, note=note)
        return read_record(directory.record)


def _same_job(one: SessionRecord, other: SessionRecord) -> bool:
    # Jobs of a sweep whose directories collide are no attempts of each other.
    return None in (one.job_num, other.job_num) or one.job_num == other.job_num


def _next_attempt(
    directory: RunDirectory, record: SessionRecord, previous: SessionRecord, alone: bool
) -> Claim | SessionRecord:
    if not _keep(directory, previous, alone):
        return previous
    for leftover in directory.path.glob(".session.*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()
    renewed = record.update(
        id=previous.id,
        name=previous.name,
        attempt=previous.attempt + 1,
        created_at=previous.created_at or record.created_at,
        directory=str(directory.path),
    )
    write_record(directory, renewed)
    return Claim(directory, renewed, previous)


def _keep(directory: RunDirectory, previous: SessionRecord, alone: bool) -> bool:
    """Keep the old record as a file of its own; ``False``: another is resuming this session."""
    data, stem = encoded(_ended(previous)), f"session.attempt-{previous.attempt}"
    for name in (stem, *(f"{stem}-{number}" for number in range(2, _SIBLINGS))):
        file = directory.path / f"{name}.json"
        # Without a lock this file decides between two that resume at once. With the lock, one
        # that exists is from somebody who died right here, or from before a damaged record.
        if create_exclusive(file, data):
            return True
        if not alone:
            return False
        if file.read_bytes() == data:
            return True
    return False


def _ended(record: SessionRecord) -> SessionRecord:
    """Return the record of an attempt that is over: one that died without a word is lost."""
    if record.status.is_final:
        return record
    at = record.heartbeat.at if record.heartbeat else record.started_at or record.created_at
    progress = record.progress or Progress()
    ending = Ending(
        status=Status.LOST,
        reason="lost",
        stage=progress.stage,
        epoch=progress.epoch,
        step=progress.step,
        closed_by="next attempt",
    )
    return record.update(status=Status.LOST, ending=ending, ended_at=at)


def _set_aside(directory: RunDirectory) -> Path:
    names = (directory.path / f"session.damaged-{number}.json" for number in count(1))
    free = next(name for name in names if not os.path.lexists(name))
    os.rename(directory.record, free)
    return free


def default_fallback() -> Path:
    """Return this user's folder in the temporary one, for runs that can be written nowhere else.

    Raises:
        OSError: There is no temporary folder that can be written.
    """
    user = re.sub(r"[^A-Za-z0-9._-]", "-", str(process_facts()["user"]))
    folder = Path(tempfile.gettempdir(), f"keisei-{user}")
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix=f"keisei-{user}-"))
    return folder


def _folder_name(record: SessionRecord) -> str:
    name = record.name if record.id in record.name else f"{record.name}-{record.id}"
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[-200:].lstrip("-.") or record.id


def _whose(record: SessionRecord) -> str:
    state = f"{record.status.value}, attempt {record.attempt}"
    return state if record.status.is_final else f"{state}, pid {record.pid} on {record.host}"


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)

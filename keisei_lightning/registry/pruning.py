"""Removing what retention gave up: guarded deletion of run directories, then of records."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from keisei_lightning.errors import SessionError
from keisei_lightning.record import SessionRecord
from keisei_lightning.registry.retention import Doomed
from keisei_lightning.registry.run_files import RECORD, is_pinned, read_run

__all__ = ["Kept", "Pruned", "delete_run", "measure", "obstacle"]

_GRAVE = ".keisei-pruned-"


@dataclass(frozen=True, slots=True)
class Kept:
    """A session that a guard protected, and why."""

    record: SessionRecord
    reason: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would go in a dry run; ``freed_bytes`` of run directories."""

    dry_run: bool
    removed: tuple[Doomed, ...] = ()
    kept: tuple[Kept, ...] = ()
    freed_bytes: int = 0


def obstacle(record: SessionRecord, roots: Sequence[Path]) -> str | None:
    """Return why the run directory must not be deleted; ``None`` when nothing speaks against it.

    It must lie inside a root, be reached through no link, hold our claim (a ``session.json`` with
    the same id and an ending), no other session's, and not hold the current directory.
    """
    if not record.directory:
        return "it has no run directory"
    folder = Path(os.path.abspath(record.directory))
    if not os.path.lexists(folder):
        return None
    root = next((root for root in _ways(roots) if _inside(folder, root)), None)
    if root is None:
        return f"{folder} is outside {', '.join(map(str, roots)) or 'every root'}"
    if _has_link(folder, root) or not folder.is_dir():
        return f"{folder} is or goes through a link, or is no directory"
    if _holds_us(folder):
        return f"the current directory is in {folder}"
    if is_pinned(folder):
        return f"{folder} is pinned"
    return _claim_problem(record, folder) or _guests(folder)


def measure(folder: Path) -> int:
    """Return the bytes in a directory, links not followed."""
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size
            except OSError:
                continue
    return total


def delete_run(
    record: SessionRecord, roots: Sequence[Path], still_there: Callable[[], bool]
) -> None:
    """Delete the run directory after looking at every guard once more.

    It is renamed first, so that whoever looks sees it whole or not at all.

    Raises:
        SessionError: A guard protects it now.
        OSError: It cannot be deleted.
    """
    if not still_there():
        raise SessionError("the session has changed in the meantime")
    reason = obstacle(record, roots)
    if reason is not None:
        raise SessionError(reason)
    folder = Path(os.path.abspath(record.directory or ""))
    if not os.path.lexists(folder):
        return
    grave = folder.with_name(f"{_GRAVE}{folder.name[:100]}")
    folder.rename(grave)
    try:
        # Whatever was renamed must be the run that was judged, not one put there in between.
        problem = _claim_problem(record, grave)
        if problem is not None:
            raise SessionError(problem)
    except BaseException:
        grave.rename(folder)
        raise
    shutil.rmtree(grave)
    _drop_links(folder)


def _drop_links(folder: Path) -> None:
    """Remove the links to a deleted run: those by its status, and ``latest``."""
    by_status = (path / folder.name for path in (folder.parent / "by-status").glob("*"))
    for link in (*by_status, folder.parent / "latest"):
        if link.is_symlink() and not link.exists():
            with contextlib.suppress(OSError):
                link.unlink()


def _ways(roots: Sequence[Path]) -> list[Path]:
    """Return the roots as they were given and as they really are: people may name a link."""
    given = [Path(os.path.abspath(root)) for root in roots]
    return [*given, *(Path(os.path.realpath(root)) for root in given)]


def _inside(folder: Path, root: Path) -> bool:
    return folder != root and folder.is_relative_to(root) and root != Path(root.anchor)


def _has_link(folder: Path, root: Path) -> bool:
    """Whether a step from the root (that people chose) down to the folder is a link."""
    here = root
    for part in folder.relative_to(root).parts:
        here = here / part
        if stat.S_ISLNK(os.lstat(here).st_mode):
            return True
    return False


def _holds_us(folder: Path) -> bool:
    try:
        return Path.cwd().resolve().is_relative_to(folder.resolve())
    except OSError:
        return False


def _claim_problem(record: SessionRecord, folder: Path) -> str | None:
    try:
        own = read_run(folder)
    except SessionError as error:
        return str(error)
    if own is None:
        return f"{folder} holds no {RECORD}: it is not ours"
    if own.id != record.id:
        return f"{folder} belongs to session {own.id}"
    if not own.status.is_final:
        return f"its own record says {own.status.value}"
    return None


def _guests(folder: Path) -> str | None:
    for parent, folders, files in os.walk(folder):
        if parent != str(folder) and RECORD in files:
            return f"another session's directory lies in it: {parent}"
        folders.sort()
    return None

"""Where the registry of a project is, and whether the place is fit for SQLite."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["default_database", "file_system", "find_database", "is_network"]

DATABASE = Path(".keisei") / "sessions.db"
_PROJECT_MARKS = (".git", "pyproject.toml")
_SYSTEM = tuple(
    Path(name)
    for name in [
        "/bin",
        "/boot",
        "/dev",
        "/etc",
        "/lib",
        "/lib64",
        "/proc",
        "/root",
        "/run",
        "/sbin",
        "/sys",
        "/usr",
        "/var",
    ]
)
_NETWORK = frozenset(
    [
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "ncpfs",
        "afs",
        "lustre",
        "gpfs",
        "beegfs",
        "glusterfs",
        "ceph",
        "9p",
        "orangefs",
        "pvfs2",
        "panfs",
        "wekafs",
        "davfs",
        "virtiofs",
    ]
)
_NETWORK_FUSE = ("sshfs", "glusterfs", "ceph", "beegfs", "moosefs", "mfs", "s3", "gcs", "rclone")


def find_database(start: Path | str | None = None) -> Path | None:
    """Return the project's database, searched upwards like ``.git``; ``None`` if there is none."""
    for folder in _candidates(start):
        if (folder / DATABASE.parent).is_dir():
            return folder / DATABASE
    return None


def default_database(start: Path | str | None = None) -> Path:
    """Return where the project's database is or would be made.

    The one found upwards; else beside the nearest ``.git`` or ``pyproject.toml``; else in the
    start folder. Never in ``/``, a system folder, a shared temporary folder or the home
    directory itself: then in ``$XDG_STATE_HOME/keisei``.
    """
    found = find_database(start)
    if found is not None:
        return found
    candidates = list(_candidates(start))
    for folder in candidates:
        if any((folder / mark).exists() for mark in _PROJECT_MARKS):
            return folder / DATABASE
    origin = _absolute(start)
    if origin is not None and origin in candidates:
        return origin / DATABASE
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(state) / "keisei" / DATABASE.name


def file_system(path: Path, mounts: str) -> str | None:
    """Return the type of the file system that ``path`` lies on, read from a ``mountinfo`` text."""
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        fields, _, tail = line.partition(" - ")
        words, kinds = fields.split(), tail.split()
        if len(words) < 5 or not kinds:
            continue
        point = Path(words[4].encode().decode("unicode_escape", "replace"))
        depth = len(point.parts)
        if path.is_relative_to(point) and (best is None or depth >= best[0]):
            best = (depth, kinds[0])
    return best[1] if best else None


def is_network(path: Path) -> str | None:
    """Return the network file system that ``path`` lies on, ``None`` for a local one."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
        kind = file_system(path.resolve(), mounts)
    except (OSError, RuntimeError):
        return None
    if kind is None:
        return None
    fuse = kind.removeprefix("fuse.")
    over_fuse = kind.startswith("fuse.") and fuse.startswith(_NETWORK_FUSE)
    return kind if kind in _NETWORK or over_fuse else None


def _candidates(start: Path | str | None) -> Iterator[Path]:
    """Yield the folders from ``start`` upwards that may hold a registry."""
    origin = _absolute(start)
    if origin is None:
        return
    home = Path(os.path.expanduser("~"))
    for folder in (origin, *origin.parents):
        if folder == home:
            return
        if not _forbidden(folder):
            yield folder


def _absolute(start: Path | str | None) -> Path | None:
    try:
        return Path(os.path.abspath(start if start is not None else Path.cwd()))
    except OSError:  # the current directory is gone
        return None


def _forbidden(folder: Path) -> bool:
    if folder == Path(folder.anchor) or folder in _SYSTEM:
        return True
    try:
        mode = folder.stat().st_mode
    except OSError:
        return False
    # Sticky and open to all, like /tmp: anyone could plant a database there.
    return bool(mode & stat.S_ISVTX and mode & stat.S_IWOTH)

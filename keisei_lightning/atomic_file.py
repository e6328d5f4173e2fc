"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

__all__ = ["create_exclusive", "write_atomic"]

_NO_LINKS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
)
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def write_atomic(path: str | os.PathLike[str], data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader, and whoever comes after a crash, sees old or new, never half.

    Raises:
        OSError: It could not be written; the old file is as it was and nothing is left behind.
    """
    path = Path(path)
    temporary = _written_beside(path, data, mode)
    try:
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    _sync_folder(path.parent)


def create_exclusive(path: str | os.PathLike[str], data: bytes, mode: int = 0o600) -> bool:
    """Create a file, complete at once; ``False`` when it exists: of many, one creates it.

    A hard link to a complete temporary file decides, which holds on network file systems too;
    where links are not supported, ``O_EXCL`` does, and the file may for a moment be short.

    Raises:
        OSError: It could not be written; nothing is left behind.
    """
    path = Path(path)
    temporary = _written_beside(path, data, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        # NFS may report a link that it made a moment ago, when its first answer got lost.
        return os.stat(temporary).st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return _create_in_place(path, data, mode)
    finally:
        _remove(temporary)
    _sync_folder(path.parent)
    return True


def _create_in_place(path: Path, data: bytes, mode: int) -> bool:
    try:
        _write_new(path, data, mode)
    except FileExistsError:
        return False
    return True


def _written_beside(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    _write_new(temporary, data, mode)
    return temporary


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            os.fchmod(file.fileno(), mode)  # the umask may have taken more than we want
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
            _sync(file.fileno())
    except BaseException:
        _remove(path)
        raise


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut; a file system that cannot is no reason to fail."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()

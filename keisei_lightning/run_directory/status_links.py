"""Links beside the run directories: by status, and the latest."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from keisei_lightning.record import SessionRecord, Status
from keisei_lightning.run_directory.paths import RunDirectory

__all__ = ["link_status"]

_log = logging.getLogger(__name__)


def link_status(directory: RunDirectory, record: SessionRecord) -> bool:
    """Show the run as ``by-status/<STATUS>/<name>`` and, while it runs, as ``latest``.

    These are links beside the run directory, which itself never moves. Failing is harmless.

    Returns:
        Whether the links stand.
    """
    view, name = directory.path.parent / "by-status", directory.path.name
    link = view / record.status.value.upper() / name
    target = Path("..", "..", name)
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        olds = [view / status.value.upper() / name for status in Status]
        for old in (old for old in olds if old != link and old.is_symlink()):
            os.replace(old, link) if not os.path.lexists(link) else old.unlink()
        _link(link, target)
        if not record.status.is_final:
            _link(directory.path.parent / "latest", Path(name))
    except (OSError, ValueError) as error:
        _log.debug("no links by status for %s: %s", directory.path, error)
        return False
    return True


def _link(link: Path, target: Path) -> None:
    """Point a link somewhere, without a moment at which there is none."""
    if link.is_symlink() and os.readlink(link) == str(target):
        return
    if os.path.lexists(link) and not link.is_symlink():
        raise FileExistsError(f"{link} is no link of ours")
    temporary = link.with_name(f".{os.getpid()}-{time.monotonic_ns()}.tmp")
    os.symlink(target, temporary)
    try:
        os.replace(temporary, link)
    except OSError:
        temporary.unlink()
        raise

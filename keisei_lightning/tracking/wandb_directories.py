"""W&B's own directories in a run directory: which of them are still to be sent.

W&B marks what ``wandb sync`` has sent with a file ``<run>.wandb.synced``; we do the same for runs
that were sent while they ran, and for those whose data a newer directory holds as well.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["can_be_continued", "has_data", "mark_sent", "unsent"]

EMPTY = 7  # bytes of a file that only has its header


def unsent(directory: Path, id: str) -> list[Path]:
    """Return the directories of a W&B run that were not sent, oldest first.

    Args:
        directory: The run directory of the session, which holds ``wandb/``.
        id: Of the W&B run.
    """
    found = []
    for file in directory.glob(f"wandb/*run-*/{_escape(f'run-{id}.wandb')}"):
        if not file.parent.is_symlink() and not file.with_suffix(".wandb.synced").exists():
            found.append(file.parent)
    return sorted(found, key=lambda path: path.name.removeprefix("offline-"))


def can_be_continued(directory: Path) -> bool:
    """Whether sending it first, and the next attempt's directory after it, gives the whole run.

    Not so when it was online (what has arrived would be sent again) or holds nothing, because the
    process was killed before W&B wrote anything.
    """
    return directory.name.startswith("offline-") and has_data(directory)


def has_data(directory: Path) -> bool:
    """Return whether W&B has written anything that could be sent."""
    sizes = [file.stat().st_size for file in directory.glob("*.wandb")]
    return bool(sizes) and min(sizes) > EMPTY


def mark_sent(*directories: Path) -> None:
    """Mark directories so that neither we nor ``wandb sync`` send them again."""
    for directory in directories:
        for file in directory.glob("*.wandb"):
            with contextlib.suppress(OSError):
                file.with_suffix(".wandb.synced").touch()


def _escape(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)

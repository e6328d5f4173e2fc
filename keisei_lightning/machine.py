"""What this machine knows: its name, its boot, and which processes run on it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["UNREADABLE", "Machine", "identity", "process_started_at", "this_machine"]

UNREADABLE = -1.0
"""Start time of a process that exists but hides it (``/proc`` mounted with ``hidepid``)."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that tell a dead process from one that runs elsewhere.

    ``process_started_at`` gives the start of the process with a pid (seconds since 1970), ``None``
    when there is none, :data:`UNREADABLE` when it will not say.
    """

    host: str
    boot_id: str | None = None
    booted_at: float | None = None
    pid_namespace: int | None = None
    process_started_at: Callable[[int], float | None] = lambda pid: None


def this_machine() -> Machine:
    """Return the facts of the machine, container and moment this is called in."""
    import psutil

    return Machine(
        host=socket.gethostname(),
        boot_id=_boot_id(),
        booted_at=psutil.boot_time(),
        pid_namespace=_pid_namespace(),
        process_started_at=process_started_at,
    )


def identity() -> dict[str, Any]:
    """Return ``host``, ``pid``, ``pid_started_at``, ``boot_id`` and ``pid_namespace`` of us.

    ``pid_started_at`` follows the system clock when that is set: refresh it with each beat.
    """
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started_at": process_started_at(os.getpid()),
        "boot_id": _boot_id(),
        "pid_namespace": _pid_namespace(),
    }


def process_started_at(pid: int) -> float | None:
    """Return when the process started, ``None`` if it is gone; a zombie is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return float(process.create_time())
    except psutil.NoSuchProcess:
        return UNREADABLE if _answers(pid) else None
    except (psutil.Error, OSError, ValueError, OverflowError):
        return UNREADABLE


def _answers(pid: int) -> bool:
    # With hidepid another user's process has no /proc entry, yet the kernel says "not permitted".
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@cache
def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() or None
    except OSError:
        return None


def _pid_namespace() -> int | None:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return None

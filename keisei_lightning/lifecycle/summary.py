"""The facts of a session that people ask for first."""

from __future__ import annotations

from typing import Any

from keisei_lightning.console import duration
from keisei_lightning.record import SessionRecord

__all__ = ["summary"]


def summary(record: SessionRecord, elapsed_s: float) -> dict[str, Any]:
    """Return name, id, directory, seed, device, status, run time (HH:MM:SS) and the like.

    Args:
        record: The facts.
        elapsed_s: Seconds since the session opened, for one that still runs.
    """
    run_time = record.duration_s if record.duration_s is not None else elapsed_s
    return {
        "id": record.id,
        "name": record.name,
        "directory": record.directory,
        "status": record.status.value,
        "pid": record.pid,
        "seed": record.seed,
        "device": record.device,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "run_time": duration(run_time),
        "argv": list(record.argv),
        "trackers": [tracker.kind for tracker in record.trackers],
        "exit_code": record.ending.exit_code if record.ending else None,
    }

"""Keeps the record of one session: changed under a lock, written whole, indexed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from keisei_lightning.lifecycle.parts import Parts
from keisei_lightning.record import Ending, SessionRecord
from keisei_lightning.run_directory import RunDirectory, link_status, write_record

__all__ = ["RecordKeeper", "now"]


def now() -> str:
    """The time as it stands in a record: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class RecordKeeper:
    """The one place where a session's record changes; any thread may.

    What cannot be written now (a full disk, a deleted directory) is written at the next beat: the
    record is always written whole.

    Args:
        record: As the run directory was claimed with.
        directory: Where it is written.
        parts: What the record is completed from: warnings, trackers, last metrics.
    """

    def __init__(self, record: SessionRecord, directory: RunDirectory, parts: Parts) -> None:
        self._record = record
        self._directory = directory
        self._parts = parts
        self._lock = threading.RLock()

    @property
    def record(self) -> SessionRecord:
        """The record as it stands now; a frozen copy."""
        with self._lock:
            return self._record

    def change(self, **changes: Any) -> None:
        """Change fields and write.

        Raises:
            SessionStateError: The status change is not allowed.
        """
        with self._lock:
            before = self._record.status
            self._record = self._record.update(**changes)
            moved = self._record.status is not before
        self.save()
        if moved:
            link_status(self._directory, self.record)

    def add(self, field: str, values: Mapping[str, Any]) -> None:
        """Add to a field that holds a mapping, and write."""
        with self._lock:
            self.change(**{field: {**getattr(self._record, field), **values}})

    def end(self, ending: Ending, elapsed_s: float) -> None:
        """Write the ending.

        Raises:
            SessionStateError: There is one already.
        """
        with self._lock:
            self._record = self._record.end(ending, at=now(), duration_s=round(elapsed_s, 3))
        self.save()
        link_status(self._directory, self.record)

    def save(self) -> None:
        """Write the record as it stands, with what the trackers say now."""
        parts = self._parts
        with self._lock:
            facts: dict[str, Any] = {"warnings": parts.faults.counts}
            if parts.tracking is not None:
                facts["metrics"] = {**self._record.metrics, **parts.tracking.last}
                facts["trackers"] = parts.tracking.facts
            self._record = self._record.update(**facts)
            with parts.faults.guarded("record could not be written"):
                write_record(self._directory, self._record)
        if parts.push is not None:
            with parts.faults.guarded("registry"):
                parts.push(self.record)

"""What earlier runs of the same config reached: the median that relative limits compare with."""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from keisei_lightning.errors import SessionError
from keisei_lightning.record import SessionRecord, Status, from_json

__all__ = ["Baseline", "History", "medians", "sibling_records"]

_log = logging.getLogger(__name__)
_SWEEP = "multirun.yaml"  # Hydra writes it into the directory of every sweep
_LOOK_AT_MOST = 200  # records read, newest first: a long-lived output folder holds thousands


class Baseline(Protocol):
    """What gives the values that relative limits compare with."""

    def __call__(self) -> Mapping[str, float]:
        """Return the values by metric name; a metric without history is absent."""
        ...


@dataclass(frozen=True, slots=True)
class History:
    """The baseline over the completed runs that `source` knows.

    Args:
        source: Gives records in any order; sibling run directories (:func:`sibling_records`)
            or a registry.
        config_hash: Runs with this hash count; ``None`` when there is none, and no baseline.
        id: The id of the session that asks, which never is its own history.
        runs: How many of the newest runs count.
    """

    source: Callable[[], Iterable[SessionRecord]]
    config_hash: str | None
    id: str
    runs: int = 10

    def __call__(self) -> dict[str, float]:
        """Return the median of each metric over the runs that count."""
        same = [
            record
            for record in self.source()
            if record.status is Status.COMPLETED
            and record.config_hash is not None
            and record.config_hash == self.config_hash
            and record.id != self.id
        ]
        same.sort(key=lambda record: record.ended_at or "", reverse=True)
        return medians(same[: max(self.runs, 0)])


def medians(records: Iterable[SessionRecord]) -> dict[str, float]:
    """Return the median of each metric over the records that have it; NaN and infinity are none."""
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.metrics.items():
            if math.isfinite(value):
                values.setdefault(name, []).append(value)
    return {name: statistics.median(found) for name, found in values.items()}


def sibling_records(directory: Path) -> Iterator[SessionRecord]:
    """Yield the records of the run directories beside `directory`, newest first.

    The jobs of a sweep also have the jobs of neighbouring sweeps beside them. Only real folders
    are looked at, no links; a record that cannot be read is passed over.
    """
    found = sorted(_records(directory.resolve()), key=_modified, reverse=True)
    for path in islice(found, _LOOK_AT_MOST):
        try:
            yield from_json(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, SessionError) as error:
            _log.debug("%s is passed over for the baseline: %s", path, error)


def _records(directory: Path) -> Iterator[Path]:
    # Only a sweep's parent is searched one level deeper: a run's may be the whole project.
    parents = [directory.parent]
    if (directory.parent / _SWEEP).is_file():
        sweeps = _folders(directory.parent.parent)
        parents = [directory.parent, *(path for path in sweeps if (path / _SWEEP).is_file())]
    for folder in dict.fromkeys(run for parent in parents for run in _folders(parent)):
        path = folder / "session.json"
        if folder != directory and path.is_file() and not path.is_symlink():
            yield path


def _folders(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            return [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

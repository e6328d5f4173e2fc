"""Reads W&B's offline files (``run-<id>.wandb``) back: what would be sent if it were synced now.

The file is a LevelDB log (32 KiB blocks; a record is cut where a block ends) of protobuf records;
the records are parsed with wandb's own protobuf classes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["WandbFile", "read_wandb_file", "run_directories"]

BLOCK = 32768
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class WandbFile:
    """One offline file; ``exit_code`` is None when the run has no recorded end."""

    id: str | None = None
    name: str | None = None
    project: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None

    def values(self, metric: str) -> list[Any]:
        """Return the values of a metric in order."""
        return [line[metric] for line in self.history if metric in line]


def run_directories(directory: Path) -> list[Path]:
    """Return W&B's run directories in a run directory of ours, oldest first."""
    found = [p for p in Path(directory, "wandb").glob("*run-*-*") if p.is_dir()]
    return sorted((p for p in found if not p.is_symlink()), key=lambda p: p.stat().st_ctime_ns)


def read_wandb_file(path: Path) -> WandbFile:
    """Read a ``.wandb`` file, or the one in a run directory of W&B's."""
    from wandb.proto import wandb_internal_pb2

    if path.is_dir():
        (path,) = path.glob("*.wandb")
    result = WandbFile()
    for payload in _payloads(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(payload)
        _take(result, record)
    return result


def _take(result: WandbFile, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run = record.run
        result.id, result.name, result.project = run.run_id, run.display_name, run.project
        result.group, result.tags = run.run_group, tuple(run.tags)
        _update(result.config, run.config)
    elif kind == "config":
        _update(result.config, record.config)
    elif kind == "history":
        line: dict[str, Any] = {}
        for item in record.history.item:
            _nest(line, list(item.nested_key) or [item.key], json.loads(item.value_json))
        result.history.append(line)
    elif kind == "exit":
        result.exit_code = record.exit.exit_code


def _update(config: dict[str, Any], record: Any) -> None:
    for item in record.update:
        _nest(config, list(item.nested_key) or [item.key], json.loads(item.value_json))


def _nest(target: dict[str, Any], keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        target = target.setdefault(key, {})
    target[keys[-1]] = value


def _payloads(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B", "not a W&B file"
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + HEADER])
        chunk = data[position + HEADER : position + HEADER + length]
        if kind == 0 or len(chunk) < length:
            return  # the writer was killed here
        position += HEADER + length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            yield parts

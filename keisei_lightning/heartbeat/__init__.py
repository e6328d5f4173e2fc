"""Signs of life of a running session, read from outside its training thread."""

from __future__ import annotations

from keisei_lightning.heartbeat.pace import Pace, advance, progress
from keisei_lightning.heartbeat.resources import Meter, Resources
from keisei_lightning.heartbeat.thread import Beat, Heartbeat, promise
from keisei_lightning.heartbeat.trainer import Snapshot, snapshot

__all__ = [
    "Beat",
    "Heartbeat",
    "Meter",
    "Pace",
    "Resources",
    "Snapshot",
    "advance",
    "progress",
    "promise",
    "snapshot",
]

"""The heartbeat of a session: what its thread reads from the Trainer and writes to the record."""

from __future__ import annotations

import dataclasses

from keisei_lightning.heartbeat import Beat, Heartbeat, Snapshot, snapshot
from keisei_lightning.run_directory import process_facts
from keisei_lightning.session import Session

__all__ = ["start_heartbeat"]


def start_heartbeat(session: Session) -> None:
    """Start the thread; it follows whatever Trainer the session is attached to."""

    def read() -> Snapshot | None:
        trainer = session.trainer
        return None if trainer is None else snapshot(trainer)

    def write(beat: Beat) -> None:
        sign = beat.heartbeat
        if beat.resources is not None:
            sign = dataclasses.replace(sign, **dataclasses.asdict(beat.resources))
        record = session.record
        session.change(
            heartbeat=sign,
            progress=beat.progress or record.progress,
            checkpoint=beat.checkpoint or record.checkpoint,
            # Counted from the boot time, so it moves when the clock is set.
            pid_started_at=process_facts()["pid_started_at"],
        )

    heartbeat = Heartbeat(session.config.heartbeat.interval_s, read, write)
    session.parts.look = heartbeat.once
    session.on_close("heartbeat", lambda left: heartbeat.stop(min(left, 1.0)))
    heartbeat.start()

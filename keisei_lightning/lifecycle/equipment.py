"""The parts of a session, each opened with its undo."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from keisei_lightning import ranks
from keisei_lightning.effective_config import config_hash, diff, effective, save
from keisei_lightning.errors import SessionCapacityError
from keisei_lightning.lifecycle.record_keeper import now
from keisei_lightning.record import Git, SessionRecord, Status
from keisei_lightning.run_directory import RunDirectory, link_status, write_atomic
from keisei_lightning.session import Session


def open_console(session: Session) -> None:
    """Capture the console, keep a log of our own, and show the summary at the end."""
    parts = session.parts
    if parts.config.console.capture:
        with parts.faults.guarded("console capture"):
            from keisei_lightning.console import Capture

            capture = Capture(session.paths.logs, parts.redactor.text)
            session.on_close("console capture", lambda left: capture.close())
    with parts.faults.guarded("training log"):
        from keisei_lightning.console import attach_training_log

        log = attach_training_log(session.paths.logs, parts.redactor.text, session.id)
        session.parts.note = log.note
        session.on_close("training log", lambda left: log.close())

    def summary(left: float) -> None:
        from keisei_lightning.lifecycle.presentation import show_closing

        show_closing(session)

    session.on_close("summary", summary)


def open_signals(session: Session) -> None:
    """Take over SIGTERM and SIGHUP."""
    from keisei_lightning.signals import SignalGuard

    guard = SignalGuard(
        grace_s=session.config.close.signal_budget_s,
        on_deadline=session.die,
        in_training=lambda: session.in_training and not session.evaluating,
    )
    with session.parts.faults.guarded("signals"):
        guard.install()
        session.parts.guard = guard
        session.on_close("signals", lambda left: guard.restore())


def publish(session: Session) -> None:
    """Put the identity into the environment, where Lightning's child ranks will find it."""
    record = session.record
    before = dict(os.environ)
    ranks.publish(
        ranks.Identity(
            record.id, record.name, str(session.directory), record.seed, record.attempt, os.getpid()
        )
    )
    session.on_close("environment", lambda left: ranks.restore_environment(before))


def save_config(session: Session, task_config: Any, previous: SessionRecord | None) -> None:
    """Save the effective config; the diff says what changed since the attempt before."""
    if task_config is None:
        return
    tree = effective(task_config, session.parts.redactor)
    session.parts.effective = tree
    old = None
    if previous is not None:
        with contextlib.suppress(OSError):
            old = session.paths.effective_config_json.read_bytes()
    for warning in save(
        session.directory, tree, pickle=session.config.pickle_config, write=write_atomic
    ):
        session.parts.faults.note("effective config", warning)
    if old is not None:
        note_config(session, old, f"attempt {session.record.attempt - 1}")
    session.change(config_hash=config_hash(tree))


def note_config(session: Session, before: bytes, name: str) -> None:
    """Write ``effective_config.diff`` when the config differs from an older one (as JSON)."""
    import json

    text = diff(json.loads(before), session.parts.effective or {}, name, "now")
    if text:
        write_atomic(session.paths.effective_config_diff, text.encode())


def open_tracking(session: Session) -> None:
    """Open the journal and prepare the trackers; nothing of them is imported yet."""
    from keisei_lightning.tracking import Tracking

    record, parts = session.record, session.parts
    tracking = Tracking.open(
        parts.config.tracking,
        directory=session.directory,
        session_id=record.id,
        name=record.name,
        group=record.group,
        job_num=record.job_num,
        tags=record.tags,
        attempt=record.attempt,
        redact=parts.redactor.text,
        close_budget_s=parts.config.close.budget_s,
        on_change=session.save,
        warn=parts.faults.note,
    )
    parts.tracking = tracking
    if parts.effective:
        tracking.hyperparams(parts.effective)

    def finish(left: float) -> None:
        ending = session.record.ending
        code = ending.exit_code if ending is not None and ending.exit_code is not None else 1
        tracking.close(exit_code=code, budget_s=0.8 * left)
        session.save()

    session.on_close("tracking", finish)


def open_provenance(session: Session, cwd: Path) -> None:
    """Write down commit, diff, packages and machine, in a thread."""
    from keisei_lightning.provenance import Provenance

    def found(git: Git | None) -> None:
        session.change(git=git)

    provenance = Provenance(session.paths.provenance, cwd, session.parts.redactor.text, found)
    session.on_close("provenance", lambda left: provenance.join(min(left, 5.0)))


def open_evaluation(session: Session) -> None:
    """Build what measures and judges evaluations."""
    from keisei_lightning.lifecycle.evaluating import evaluation_of

    session.parts.evaluation = evaluation_of(session)


def open_registry(session: Session, cwd: Path) -> None:
    """Ask for admission, and have the index follow the record."""
    config = session.config.registry
    if not config.enabled:
        return
    faults = session.parts.faults
    with faults.guarded("registry"):
        from keisei_lightning.registry.follower import Follower

        follower = Follower(config, cwd=cwd, directory=session.directory, relink=_relink)
        session.on_close("registry", lambda left: _let_go(session, follower, left))
        try:
            follower.admit(session.record)
        except SessionCapacityError as error:
            session.parts.refusal = error
        else:
            # The index says "running" since the answer; an older record must not come after it.
            session.change(status=Status.RUNNING, started_at=now())
        session.parts.push = follower.push
        follower.push(session.record)


def _relink(directory: Path, record: SessionRecord) -> None:
    link_status(RunDirectory(directory), record)


def _let_go(session: Session, follower: Any, left: float) -> None:
    follower.push(session.record)
    if not follower.close(left):
        session.parts.faults.note(
            "registry",
            "the database did not take the ending in time; `keisei reindex` will bring it in",
        )


def open_heartbeat(session: Session) -> None:
    """Start the heartbeat."""
    from keisei_lightning.lifecycle.beating import start_heartbeat

    start_heartbeat(session)

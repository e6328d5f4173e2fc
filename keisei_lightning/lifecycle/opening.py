"""Opening a session, in order: identity, run directory, record, console, signals, seed,
effective config, provenance, registry, heartbeat.

Each step that changes something outside the session leaves its undo with the session.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keisei_lightning import ranks, seeding
from keisei_lightning.config import SessionConfig
from keisei_lightning.effective_config import secret_values
from keisei_lightning.lifecycle import equipment
from keisei_lightning.lifecycle.faults import Faults
from keisei_lightning.lifecycle.parts import Parts
from keisei_lightning.lifecycle.record_keeper import now
from keisei_lightning.record import SessionRecord, Status
from keisei_lightning.redaction import Redactor, make_redactor
from keisei_lightning.run_directory import (
    claim,
    process_facts,
)
from keisei_lightning.session import Session, set_current

__all__ = ["Plan", "open_plan"]


@dataclass(frozen=True)
class Plan:
    """What is known before a session opens."""

    config: SessionConfig
    directory: Path
    id: str
    name: str
    group: str | None = None
    job_num: int | None = None
    overrides: tuple[str, ...] = ()
    task_config: Any = None
    seeded: bool = True  # False where seeding would come too late to be honest
    cwd: Path = field(default_factory=Path.cwd)
    argv: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))


def open_plan(plan: Plan) -> Session:
    """Open the session of this process and make it the current one.

    Raises:
        SessionError: Neither the run directory nor the fallback can be used.
    """
    config = plan.config
    redactor = make_redactor(
        keys=config.redaction.keys,
        env_names=config.redaction.env,
        secrets=secret_values(plan.task_config),
    )
    faults = Faults(redactor.text)
    seed = _seed(plan)
    taken = claim(
        plan.directory,
        _record(plan, redactor, seed),
        fallback=Path(config.fallback_dir) if config.fallback_dir else None,
    )
    record = taken.record.update(directory=str(taken.directory.path))
    session = Session(record, taken.directory, Parts(config, redactor, faults))
    set_current(session)
    equipment.open_console(session)
    if taken.note:
        faults.note("run directory", taken.note)
    equipment.open_signals(session)
    equipment.publish(session)
    if plan.seeded and seed is not None:
        with faults.guarded("seed"):
            restore = seeding.seed_process(seed)
            session.on_close("seed", lambda left: restore.restore())
    with faults.guarded("effective config"):
        equipment.save_config(session, plan.task_config, taken.previous)
    with faults.guarded("provenance"):
        equipment.open_provenance(session, plan.cwd)
    equipment.open_registry(session, plan.cwd)
    with faults.guarded("tracking"):
        equipment.open_tracking(session)
    with faults.guarded("evaluation"):
        equipment.open_evaluation(session)
    if session.parts.refusal is None and session.status is Status.PENDING:
        session.change(status=Status.RUNNING, started_at=now())
    with faults.guarded("heartbeat"):
        equipment.open_heartbeat(session)
    return session


def _seed(plan: Plan) -> int | None:
    if not plan.seeded:
        value = os.environ.get("PL_GLOBAL_SEED", "")
        return int(value) if value.isdigit() else None
    drawn = None
    if plan.config.seed is None and ranks.from_outside():
        drawn = ranks.launch_seed(os.environ, plan.job_num)
    return seeding.resolve_seed(
        plan.config.seed, base=plan.config.base_seed, job_num=plan.job_num, published=drawn
    )


def _record(plan: Plan, redactor: Redactor, seed: int | None) -> SessionRecord:
    return SessionRecord(
        id=plan.id,
        name=redactor.text(plan.name),
        status=Status.PENDING,
        group=plan.group,
        job_num=plan.job_num,
        tags=tuple(plan.config.tags),
        created_at=now(),
        argv=tuple(redactor.argv(plan.argv)),
        overrides=tuple(redactor.overrides(plan.overrides)),
        seed=seed,
        **process_facts(),
    )

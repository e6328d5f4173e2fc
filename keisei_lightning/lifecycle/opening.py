"""Opening a session, in order: identity, run directory, record, console, signals, seed,
effective config, provenance, registry, heartbeat.

Each step that changes something outside the session leaves its undo with the session.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keisei_lightning import naming, ranks, seeding
from keisei_lightning.config import SessionConfig
from keisei_lightning.effective_config import config_hash, diff, effective, save, secret_values
from keisei_lightning.errors import SessionCapacityError, SessionConfigError, SessionStateError
from keisei_lightning.lifecycle.faults import Faults
from keisei_lightning.record import Git, SessionRecord, Status
from keisei_lightning.redaction import Redactor, make_redactor
from keisei_lightning.run_directory import Claim, claim, process_facts, write_atomic
from keisei_lightning.session import Parts, Session, now, peek, set_current

__all__ = ["Plan", "open_plan", "open_session", "settings"]

_UNSET: Any = object()


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
    argv: tuple[str, ...] = field(default_factory=lambda: tuple(sys.argv))


def settings(values: Any = None, **more: Any) -> SessionConfig:
    """Return the settings of a session, checked against the schema.

    Args:
        values: A :class:`SessionConfig`, a ``session`` config node or a mapping.
        more: Further settings by name.

    Raises:
        SessionConfigError: A key does not exist or a value has the wrong type.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(values, str):
        raise SessionConfigError(
            f"session is the string {values!r}: the config group was not composed. Write "
            f"`defaults: [session: {values}]` in your config, or `+session={values}` on the "
            "command line, and check that keisei-lightning is installed where Hydra runs"
        )
    try:
        node = OmegaConf.structured(SessionConfig)
        for part in (values, more):
            if OmegaConf.is_config(part):  # resolved where it stands: its root has the answers
                part = OmegaConf.to_container(part, resolve=True, enum_to_str=True)
            if part is not None:
                node = OmegaConf.merge(node, part)
        config = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise SessionConfigError(f"session settings: {error}") from error
    if not isinstance(config, SessionConfig):
        raise SessionConfigError(f"session settings: {type(values).__name__} is no mapping")
    check(config)
    return config


def check(config: SessionConfig) -> None:
    """Check what types cannot say.

    Raises:
        SessionConfigError: A setting makes no sense; the message names it.
    """
    from keisei_lightning.evaluation.limits import check_limits

    seeding.check_policy(config.seed)
    check_limits(config.sla)


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
    _open_console(session)
    if taken.note:
        faults.note("run directory", taken.note)
    _open_signals(session)
    _publish(session)
    if plan.seeded and seed is not None:
        with faults.guarded("seed"):
            restore = seeding.seed_process(seed)
            session.on_close("seed", lambda left: restore.restore())
    with faults.guarded("effective config"):
        _save_config(session, plan, taken)
    with faults.guarded("tracking"):
        _open_tracking(session)
    with faults.guarded("provenance"):
        _open_provenance(session)
    with faults.guarded("evaluation"):
        _open_evaluation(session)
    _open_registry(session)
    if session.parts.refusal is None:
        session.change(status=Status.RUNNING, started_at=now())
    with faults.guarded("heartbeat"):
        _open_heartbeat(session)
    return session


@contextlib.contextmanager
def open_session(
    directory: str | Path | None = None,
    *,
    name: str | None = None,
    id: str | None = None,
    seed: Any = _UNSET,
    tags: Sequence[str] = (),
    config: Any = None,
    session: Any = None,
) -> Iterator[Session | Any]:
    """Open a session for a ``with`` block: the whole life cycle for a script without Hydra.

    Args:
        directory: The run directory; ``<script>_out/<name>`` unless given. A directory that holds
            an ended session is that session's next attempt.
        name: What people see; generated unless given.
        id: Generated unless given.
        seed: A number, ``None`` (drawn and recorded) or ``"derive"``; 42 unless given.
        tags: Free labels.
        config: Your own configuration (a mapping, dataclass, Namespace or OmegaConf node); it is
            saved, redacted, as the effective config. A ``session`` node in it counts as settings.
        session: Settings, as under ``session`` in a Hydra config, e.g.
            ``{"tracking": {"kinds": ["wandb"]}}``.

    Yields:
        The open :class:`Session` (on ranks other than 0 an object of the same surface).

    Raises:
        SessionConfigError: A setting is wrong.
        SessionCapacityError: Too many sessions run and ``on_capacity`` is ``refuse``.
        SessionError: A session is open already, or no directory can be used.
    """
    more: dict[str, Any] = {} if seed is _UNSET else {"seed": seed}
    if tags:
        more["tags"] = list(tags)
    node = config.get("session") if isinstance(config, Mapping) else None
    if session is None and node is not None:
        session = node
    settled = settings(session, **more)
    from keisei_lightning.lifecycle.joining import join, joins

    if not settled.enabled or joins():
        with join(settled) as bystander:
            yield bystander
        return
    opened = _open_block(settled, directory, name, id, config)
    try:
        yield opened
    except BaseException as error:
        opened.close(error, closed_by="with")
        raise
    opened.close(closed_by="with")


def _open_block(
    config: SessionConfig,
    directory: str | Path | None,
    name: str | None,
    id: str | None,
    task_config: Any,
) -> Session:
    current = peek()
    if isinstance(current, Session) and current.is_open:
        raise SessionStateError(
            f"session {current.id} is open in this process already; use current_session(), "
            "or close it before opening another"
        )
    id = naming.sanitise(id or config.id or naming.make_id())
    given = name or config.name
    wanted = directory or config.directory
    label = naming.choose_name(given, None, None, Path(wanted).name if wanted else id)
    if wanted is None:
        wanted = script_folder() / (label if given is None else f"{label}-{id}")
    opened = open_plan(
        Plan(
            config=config,
            directory=Path(wanted).absolute(),
            id=id,
            name=label,
            group=config.group,
            task_config=task_config,
        )
    )
    if opened.parts.refusal is not None:
        opened.close(opened.parts.refusal, closed_by="open")
        raise opened.parts.refusal
    return opened


def script_folder() -> Path:
    """``<script>_out`` beside the script that runs, or in the current directory without one."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if not script:
        return Path.cwd() / "session_out"
    path = Path(script).absolute()
    return path.parent / f"{path.stem}_out"


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


def _open_console(session: Session) -> None:
    parts = session.parts
    if parts.config.console.capture:
        with parts.faults.guarded("console capture"):
            from keisei_lightning.console import Capture

            capture = Capture(session.paths.logs, parts.redactor.text)
            session.on_close("console capture", lambda left: capture.close())
    with parts.faults.guarded("training log"):
        from keisei_lightning.console import attach_training_log

        log = attach_training_log(session.paths.logs, parts.redactor.text, session.id)
        session.on_close("training log", lambda left: log.close())


def _open_signals(session: Session) -> None:
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


def _publish(session: Session) -> None:
    record = session.record
    before = dict(os.environ)
    ranks.publish(
        ranks.Identity(
            record.id, record.name, str(session.directory), record.seed, record.attempt, os.getpid()
        )
    )
    session.on_close("environment", lambda left: ranks.restore_environment(before))


def _save_config(session: Session, plan: Plan, taken: Claim) -> None:
    if plan.task_config is None:
        return
    tree = effective(plan.task_config, session.parts.redactor)
    session.parts.effective = tree
    old = None
    if taken.previous is not None:
        with contextlib.suppress(OSError):
            old = session.paths.effective_config_json.read_bytes()
    for warning in save(
        session.directory, tree, pickle=plan.config.pickle_config, write=write_atomic
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


def _open_tracking(session: Session) -> None:
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
        on_change=session.save,
        warn=parts.faults.note,
    )
    parts.tracking = tracking
    if parts.effective:
        tracking.hyperparams(parts.effective)

    def finish(left: float) -> None:
        ending = session.record.ending
        code = ending.exit_code if ending is not None and ending.exit_code is not None else 1
        tracking.close(exit_code=code, budget_s=left)
        session.save()

    session.on_close("tracking", finish)


def _open_provenance(session: Session) -> None:
    from keisei_lightning.provenance import Provenance

    def found(git: Git | None) -> None:
        session.change(git=git)

    provenance = Provenance(
        session.paths.provenance, Path.cwd(), session.parts.redactor.text, found
    )
    session.on_close("provenance", lambda left: provenance.join(min(left, 5.0)))


def _open_evaluation(session: Session) -> None:
    from keisei_lightning.lifecycle.evaluating import evaluation_of

    session.parts.evaluation = evaluation_of(session)


def _open_registry(session: Session) -> None:
    config = session.config.registry
    if not config.enabled:
        return
    faults = session.parts.faults
    with faults.guarded("registry"):
        from keisei_lightning.registry.follower import Follower

        follower = Follower(config, cwd=Path.cwd(), directory=session.directory)
        session.on_close("registry", lambda left: _let_go(session, follower, left))
        try:
            follower.admit(session.record)
        except SessionCapacityError as error:
            session.parts.refusal = error
        session.parts.push = follower.push


def _let_go(session: Session, follower: Any, left: float) -> None:
    follower.push(session.record)
    if not follower.close(left):
        session.parts.faults.note(
            "registry",
            "the database did not take the ending in time; `keisei reindex` will bring it in",
        )


def _open_heartbeat(session: Session) -> None:
    from keisei_lightning.lifecycle.beating import start_heartbeat

    start_heartbeat(session)

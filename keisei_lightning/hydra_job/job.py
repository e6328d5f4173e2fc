"""What a Hydra job means for its session: where it lives, what it is called, how it ended."""

from __future__ import annotations

import atexit
import contextlib
import logging
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from keisei_lightning import naming
from keisei_lightning.errors import SessionCapacityError, SessionConfigError, SessionError
from keisei_lightning.lifecycle.bystander import Bystander
from keisei_lightning.session import Session, peek, set_current

__all__ = ["begin_job", "check_early", "end_job", "outcome"]

_log = logging.getLogger(__name__)


def check_early(seed: Any, sla: Any) -> None:
    """Check before any job starts what the schema cannot.

    Raises:
        SessionConfigError: The seed or a limit makes no sense.
    """
    from keisei_lightning.lifecycle.settings import settings

    if seed is None and sla is None:
        return
    settings({"seed": seed, **({"sla": sla} if sla is not None else {})})


def begin_job(config: DictConfig) -> None:
    """Open the session of the job that starts; errors never stop the job.

    A wrong config and a full registry are raised later, by ``SessionCallback.setup``: Hydra
    swallows what its callbacks raise.
    """
    from keisei_lightning.lifecycle.joining import enter, joins
    from keisei_lightning.lifecycle.opening import open_plan
    from keisei_lightning.lifecycle.settings import settings

    set_current(None)
    try:
        settled = settings(OmegaConf.select(config, "session"))
        if not settled.enabled or joins():
            set_current(enter(settled))
            return
        session = open_plan(_plan(config, settled))
        _pretend_single_run(session, config)
        _watch_exit()
    except (SessionCapacityError, SessionConfigError) as error:
        set_current(Bystander(failure=error))  # raised where Hydra does not swallow it
    except SessionError as error:
        _log.warning("no session: %s; the job goes on", error)
        set_current(Bystander())
    except Exception:
        _log.warning("the session could not be opened; the job goes on", exc_info=True)


def end_job(exception: BaseException | None, cfg: Any = None) -> None:
    """Close the session of the job that ended."""
    session = peek()
    if isinstance(session, Session):
        closed_by = "on_job_end" if exception is None or isinstance(exception, Exception) else "job"
        with session.parts.faults.guarded("effective config"):
            _note_changes(session, cfg)
        session.close(exception, closed_by=closed_by)
    elif isinstance(session, Bystander):
        session.leave(exception)
    set_current(None)


_exit_watched = False


def _watch_exit() -> None:
    """The last resort, should Hydra never say that the job ended."""
    global _exit_watched
    if not _exit_watched:
        _exit_watched = True
        atexit.register(_at_exit)


def _at_exit() -> None:
    session = peek()
    if isinstance(session, Session):
        session.close(session.failure, closed_by="atexit")


def outcome(job_return: Any) -> BaseException | None:
    """The exception a job ended with, ``None`` when it returned."""
    value = getattr(job_return, "_return_value", None)
    failed = getattr(getattr(job_return, "status", None), "name", "") == "FAILED"
    return value if failed and isinstance(value, BaseException) else None


def _plan(config: DictConfig, settled: Any) -> Any:
    from keisei_lightning.lifecycle.opening import Plan

    hydra = config.hydra
    output = Path(str(hydra.runtime.output_dir))
    sweeping = "MULTIRUN" in str(hydra.mode)
    overrides = tuple(str(override) for override in hydra.overrides.task)
    told = [o.partition("=")[2] for o in overrides if o.lstrip("+").startswith("session.name=")]
    id = settled.id or naming.make_id()
    name = naming.choose_name(
        None, told[-1] if told else None, settled.name, naming.name_from_directory(output, id)
    )
    return Plan(
        config=settled,
        directory=Path(settled.directory).absolute() if settled.directory else output,
        id=naming.sanitise(id),
        name=name,
        group=settled.group or (_group(hydra) if sweeping else None),
        job_num=_job_num(hydra) if sweeping else None,
        overrides=overrides,
        task_config=_task(config),
        cwd=Path(str(hydra.runtime.cwd)),
    )


def _group(hydra: Any) -> str:
    return Path(str(hydra.sweep.dir)).absolute().name


def _job_num(hydra: Any) -> int | None:
    num = OmegaConf.select(hydra, "job.num", throw_on_missing=False)
    return int(num) if num is not None else None


def _task(config: DictConfig) -> Any:
    import copy

    task = copy.copy(config)
    with read_write(task), open_dict(task):
        del task["hydra"]
    return task


def _note_changes(session: Session, cfg: Any) -> None:
    if cfg is None or session.parts.effective is None:
        return
    from keisei_lightning.effective_config import diff, effective
    from keisei_lightning.run_directory import write_atomic

    now = effective(cfg, session.parts.redactor)
    text = diff(session.parts.effective, now, "effective_config.yaml", "at the end of the run")
    if text:
        before = b""
        with contextlib.suppress(OSError):
            before = session.paths.effective_config_diff.read_bytes()
        write_atomic(session.paths.effective_config_diff, before + text.encode())


def _pretend_single_run(session: Session, config: DictConfig) -> None:
    """While the job runs, look to Lightning's DDP launcher like a single run of this job.

    The launcher starts rank 1 with our command line and our ``hydra.run.dir``; in a sweep that
    would be the whole sweep, in directories of its own.
    """
    from hydra.core.hydra_config import HydraConfig

    from keisei_lightning.hydra_job.command_line import single_run

    cfg: Any = HydraConfig.instance().cfg
    argv, excepthook = list(sys.argv), sys.excepthook
    if "MULTIRUN" in str(config.hydra.mode):
        sys.argv[1:] = single_run(argv[1:], config)
    if cfg is not None:
        with read_write(cfg.hydra), open_dict(cfg.hydra):
            cfg.hydra.run.dir = str(config.hydra.runtime.output_dir)

    def restore(left: float) -> None:
        sys.argv[:] = argv
        sys.excepthook = excepthook  # torch wraps it anew with each process group
        if "MULTIRUN" in str(config.hydra.mode):
            _leave_process_group()

    session.on_close("command line", restore)


def _leave_process_group() -> None:
    """End the process group, or the next job would use it without starting other ranks."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()

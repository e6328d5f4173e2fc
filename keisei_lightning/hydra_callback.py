"""The Hydra callback: a job begins, a job ends, however it ends.

Hydra pickles this object into launchers' workers, so it holds no live state. Hydra 1.3 calls
``on_job_end`` neither on Ctrl-C nor on ``sys.exit``: there the job's end is seen by
``job_watch``.
"""

from __future__ import annotations

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from keisei_lightning.hydra_job.watch import unwatch, watch

__all__ = ["HydraSessionCallback"]


class HydraSessionCallback(Callback):
    """Opens the session before the user's function and closes it after.

    ``session/default.yaml`` configures it; there is no need to name it in a config.

    Args:
        seed: ``session.seed``, checked before any job starts.
        sla: ``session.sla``, likewise.
        ignored: Anything else is tolerated, because an error here would stop every job.

    Raises:
        SessionConfigError: The seed or a limit makes no sense.
    """

    def __init__(self, seed: Any = None, sla: Any = None, **ignored: Any) -> None:
        from keisei_lightning.hydra_job.job import check_early

        check_early(seed, sla)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called before a single run: make sure that its directory can be written."""
        from keisei_lightning.hydra_job.directories import prepare_run

        prepare_run(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called before a sweep: make sure that its directory can be written."""
        from keisei_lightning.hydra_job.directories import prepare_sweep

        prepare_sweep(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Called in the process that runs the job, before the user's function."""
        from keisei_lightning.hydra_job.job import begin_job, end_job

        watch(end_job)  # before: a signal may come while the job waits for admission
        begin_job(config)

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Called after the user's function returned or raised an ``Exception``."""
        from keisei_lightning.hydra_job.job import end_job, outcome

        unwatch()
        end_job(outcome(job_return), cfg=job_return.cfg)

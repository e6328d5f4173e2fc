"""Starting a W&B run: which way, and never longer than allowed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from keisei_lightning.tracking import wandb_core
from keisei_lightning.tracking.wandb_settings import (
    WandbOptions,
    choose_mode,
    has_key,
    run_settings,
)

__all__ = ["start_run", "wanted_mode"]

OFFLINE_INIT_S = 20.0


def wanted_mode(options: WandbOptions) -> tuple[str, str]:
    """Return the mode to start in and, when it is not what W&B would have done, why."""
    import wandb

    key = has_key(os.environ, _base_url(wandb))
    return choose_mode(options.mode, _configured_mode(wandb), key=key)


def start_run(
    options: WandbOptions, mode: str, resume: str | None, redact: Callable[[str], str]
) -> Any:
    """Return a started ``wandb.Run``; ``wandb.run`` is left as it was.

    Raises:
        Exception: Whatever ``wandb.init`` raises.
        TimeoutError: It did not return in time although its process was killed.
    """
    wandb_core.guard_exit()
    limit = OFFLINE_INIT_S if mode == "offline" else options.init_timeout + 2
    with wandb_core.other_hooks_kept():
        call = wandb_core.bounded(lambda: _init(options, mode, resume, redact), limit)
        if not call.done:
            wandb_core.kill_core(wandb_core.core_process())
            call.wait(2.0)
    return call.result()


def _init(options: WandbOptions, mode: Any, resume: Any, redact: Callable[[str], str]) -> Any:
    import wandb

    known = wandb.Settings.model_fields
    settings = run_settings(options, known, argv=sys.argv, redact=redact)
    return wandb.init(
        id=options.id,
        name=options.name,
        project=options.project,
        entity=options.entity,
        group=options.group,
        job_type=options.job_type,
        notes=options.notes,
        tags=list(options.tags) or None,
        dir=str(options.directory),
        mode=mode,
        resume=resume,
        reinit="create_new",
        settings=wandb.Settings(**settings),
    )


def _configured_mode(wandb: Any) -> str | None:
    if os.environ.get("WANDB_MODE"):
        return os.environ["WANDB_MODE"]
    try:
        mode = wandb.sdk.wandb_setup.singleton().settings.mode
    except Exception:
        return None
    return None if mode == "online" else str(mode)


def _base_url(wandb: Any) -> str:
    try:
        return str(wandb.sdk.wandb_setup.singleton().settings.base_url)
    except Exception:
        return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")

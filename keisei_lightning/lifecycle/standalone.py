"""A session that nobody opened: ``Trainer(callbacks=[SessionCallback()])`` and nothing else.

It opens when the Trainer is set up and ends with the interpreter, which alone knows what the
script did after its last fit.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keisei_lightning import naming
from keisei_lightning.lifecycle.bystander import Bystander
from keisei_lightning.session import Session, set_current

__all__ = ["last_exception", "open_alone", "outlived"]

_GROUPS = ("default", "debug", "minimal", "none")


def open_alone(given: Mapping[str, Any]) -> Session | Bystander:
    """Open a session for a Trainer that has none.

    Raises:
        SessionConfigError: A setting is wrong, or the config group was named but not composed.
        SessionCapacityError: Too many sessions run.
    """
    from keisei_lightning.lifecycle.block import script_folder
    from keisei_lightning.lifecycle.joining import enter, joins
    from keisei_lightning.lifecycle.opening import Plan, open_plan
    from keisei_lightning.lifecycle.settings import settings

    settled = settings(dict(given))
    output = _hydra_output()
    if output is not None:
        _check_group(output)
    if not settled.enabled or joins():
        bystander = enter(settled)
        set_current(bystander)
        return bystander
    id = settled.id or naming.make_id()
    generated = naming.name_from_directory(output, id) if output is not None else id
    name = naming.choose_name(None, None, settled.name, generated)
    wanted = Path(settled.directory) if settled.directory else output or script_folder() / name
    session = open_plan(
        Plan(config=settled, directory=wanted.absolute(), id=id, name=name, seeded=False)
    )
    session.born_in = output
    _watch_exit(session)
    return session


def outlived(session: Session | Bystander) -> bool:
    """Whether a session opened here belongs to an earlier job of a sweep."""
    if not isinstance(session, Session) or session.born_in is None:
        return False
    return _hydra_output() != session.born_in


def last_exception(session: Session) -> BaseException | None:
    """What ended the interpreter, as far as it says."""
    value = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    if isinstance(value, BaseException):
        return value
    return session.exit


def _hydra_output() -> Path | None:
    hydra_config = sys.modules.get("hydra.core.hydra_config")
    if hydra_config is None or not hydra_config.HydraConfig.initialized():
        return None
    return Path(str(hydra_config.HydraConfig.get().runtime.output_dir))


def _check_group(output: Path) -> None:
    """Find ``session: default`` written as a value: Hydra composes a string and says nothing."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from keisei_lightning.lifecycle.settings import settings

    subdir = HydraConfig.get().output_subdir
    written = output / str(subdir) / "config.yaml"
    if subdir is None or not written.is_file():
        return
    try:
        node = OmegaConf.select(OmegaConf.load(written), "session")
    except Exception:  # unreadable by us, yet it was fine for Hydra
        return
    if node in _GROUPS:
        settings(node)  # raises, and says what to write


def _watch_exit(session: Session) -> None:
    """Remember the code of ``sys.exit``: at interpreter exit nobody can ask for it any more."""
    original = sys.exit

    def exit(status: Any = None, /) -> Any:
        session.exit = SystemExit(status)
        original(status)

    sys.exit = exit

    def restore(left: float) -> None:
        if sys.exit is exit:
            sys.exit = original

    session.on_close("sys.exit", restore)

"""The settings of a session, checked."""

from __future__ import annotations

from typing import Any

from keisei_lightning import seeding
from keisei_lightning.config import SessionConfig
from keisei_lightning.errors import SessionConfigError

__all__ = ["check", "settings"]


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

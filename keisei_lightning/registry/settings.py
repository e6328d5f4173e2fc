"""The registry's part of the config, whatever form it comes in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from keisei_lightning.config import CapacityPolicy, CapacityScope, RegistryConfig
from keisei_lightning.errors import SessionConfigError

__all__ = ["settings"]

_NOT_NEGATIVE = ("max_concurrent", "wait_timeout_s", "cleanup_interval_s", "inactive_after_s")


def settings(given: Any = None) -> RegistryConfig:
    """Return checked settings from a :class:`RegistryConfig`, a mapping or an OmegaConf node.

    A whole ``session`` node will do as well: its ``registry`` is taken.

    Raises:
        SessionConfigError: A key is unknown or a value cannot be; the message names it.
    """
    if given is None:
        return RegistryConfig()
    given = getattr(given, "registry", given)
    if isinstance(given, Mapping) and isinstance(given.get("registry"), Mapping):
        given = given["registry"]
    facts = dataclasses.asdict(given) if isinstance(given, RegistryConfig) else dict(given)
    # asdict copies observers; the objects themselves are meant.
    if isinstance(given, RegistryConfig):
        facts["observers"] = list(given.observers)
    known = {field.name for field in dataclasses.fields(RegistryConfig)}
    unknown = sorted(set(map(str, facts)) - known)
    if unknown:
        raise SessionConfigError(
            f"session.registry has no key {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    config = RegistryConfig(**facts)
    config.scope = _choice(CapacityScope, "scope", config.scope)
    config.on_capacity = _choice(CapacityPolicy, "on_capacity", config.on_capacity)
    for name in _NOT_NEGATIVE:
        if getattr(config, name) < 0:
            raise SessionConfigError(f"session.registry.{name} is negative")
    if config.timeout_s <= 0:
        raise SessionConfigError("session.registry.timeout_s must be more than 0 seconds")
    return config


def _choice(kind: Any, key: str, value: Any) -> Any:
    try:
        return kind(getattr(value, "value", value))
    except ValueError as error:
        known = ", ".join(member.value for member in kind)
        raise SessionConfigError(
            f"session.registry.{key} is {value!r}; use one of {known}"
        ) from error

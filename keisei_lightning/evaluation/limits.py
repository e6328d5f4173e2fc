"""The limits as configured: checked, with their mistakes named, before a job starts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from keisei_lightning.config import LimitConfig, OnViolation, Severity, SlaConfig
from keisei_lightning.errors import SessionConfigError

__all__ = ["check_limits", "limits_of"]

_BOUNDS = ("min", "max", "max_increase_percent", "max_decrease_percent")
_STAGES = ("validate", "test")


def check_limits(config: SlaConfig) -> None:
    """Check the ``session.sla`` node.

    Raises:
        SessionConfigError: A limit makes no sense; the message names its key and what to write.
    """
    if config.grace < 1:
        raise SessionConfigError(
            f"session.sla.grace is {config.grace}; "
            "it counts breaches in a row and must be 1 or more"
        )
    _enum(OnViolation, config.on_violation, "session.sla.on_violation")
    for name, limit in limits_of(config).items():
        _check(f"session.sla.limits[{name!r}]", limit)


def limits_of(config: SlaConfig) -> dict[str, LimitConfig]:
    """Return the limits by name; plain mappings, as written in Python code, become limits.

    Raises:
        SessionConfigError: A limit is neither a mapping nor a limit, or has an unknown key.
    """
    return {
        str(name): _limit(f"session.sla.limits[{name!r}]", limit)
        for name, limit in config.limits.items()
    }


def _limit(where: str, value: Any) -> LimitConfig:
    if isinstance(value, LimitConfig):
        return value
    if not isinstance(value, Mapping):
        raise SessionConfigError(f"{where} is {value!r}; write a mapping such as {{max: 5000}}")
    known = [item.name for item in fields(LimitConfig)]
    unknown = sorted(str(key) for key in value if key not in known)
    if unknown:
        raise SessionConfigError(
            f"{where} has the unknown key {', '.join(unknown)}; the keys are {', '.join(known)}"
        )
    given = {str(key): item for key, item in value.items()}
    given["severity"] = _enum(Severity, given.get("severity", Severity.error), f"{where}.severity")
    return LimitConfig(**given)


def _enum(kind: Any, value: Any, where: str) -> Any:
    if isinstance(value, kind):
        return value
    try:
        return kind[str(value)]
    except KeyError:
        choices = ", ".join(item.name for item in kind)
        raise SessionConfigError(f"{where} is {value!r}; it is one of {choices}") from None


def _check(where: str, limit: LimitConfig) -> None:
    given = {name: getattr(limit, name) for name in _BOUNDS if getattr(limit, name) is not None}
    if not given:
        raise SessionConfigError(f"{where} has neither min nor max; give one of them.")
    for name, value in given.items():
        _check_bound(where, name, value)
    if limit.min is not None and limit.max is not None and limit.min > limit.max:
        raise SessionConfigError(
            f"{where} has min {limit.min:g} above max {limit.max:g}; "
            "no value keeps both, swap them or drop one."
        )
    _check_counts(where, limit)
    if limit.stage is not None and limit.stage not in _STAGES:
        raise SessionConfigError(
            f"{where}.stage is {limit.stage!r}; it is validate or test, or null for both."
        )


def _check_bound(where: str, name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise SessionConfigError(f"{where}.{name} is {value!r}; it must be a number.")
    if name.endswith("_percent") and value < 0:
        raise SessionConfigError(
            f"{where}.{name} is {value:g}; it is how far the metric may move, 0 or more."
        )


def _check_counts(where: str, limit: LimitConfig) -> None:
    for name in ("after_epoch", "after_step"):
        if getattr(limit, name) < 0:
            raise SessionConfigError(
                f"{where}.{name} is {getattr(limit, name)}; it must be 0 or more."
            )
    if limit.grace is not None and limit.grace < 1:
        raise SessionConfigError(
            f"{where}.grace is {limit.grace}; it counts breaches in a row and must be 1 or more."
        )

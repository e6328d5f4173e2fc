"""The session life cycle for PyTorch Lightning and Hydra.

Names are loaded on first use: Hydra imports this package in every application of the
environment, so the import itself must cost next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keisei_lightning.callback import SessionCallback
    from keisei_lightning.config import SessionConfig
    from keisei_lightning.errors import (
        SessionCapacityError,
        SessionConfigError,
        SessionError,
        SessionLockError,
        SessionNotFoundError,
        SessionStateError,
        SlaViolationError,
    )
    from keisei_lightning.evaluation.result import EvaluationResult
    from keisei_lightning.hydra_callback import HydraSessionCallback
    from keisei_lightning.lifecycle.block import open_session
    from keisei_lightning.record import SessionRecord, Status, Violation
    from keisei_lightning.registry.store import Registry
    from keisei_lightning.session import Session, current_session

__all__ = [
    "EvaluationResult",
    "HydraSessionCallback",
    "Registry",
    "Session",
    "SessionCallback",
    "SessionCapacityError",
    "SessionConfig",
    "SessionConfigError",
    "SessionError",
    "SessionLockError",
    "SessionNotFoundError",
    "SessionRecord",
    "SessionStateError",
    "SlaViolationError",
    "Status",
    "Violation",
    "current_session",
    "open_session",
]

_HOMES = {
    "EvaluationResult": "evaluation.result",
    "HydraSessionCallback": "hydra_callback",
    "Registry": "registry.store",
    "Session": "session",
    "SessionCallback": "callback",
    "SessionConfig": "config",
    "SessionRecord": "record",
    "Status": "record",
    "Violation": "record",
    "current_session": "session",
    "open_session": "lifecycle.block",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("keisei-lightning")
    if name not in __all__:
        raise AttributeError(f"module 'keisei_lightning' has no attribute {name!r}")
    home = importlib.import_module(f"keisei_lightning.{_HOMES.get(name, 'errors')}")
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

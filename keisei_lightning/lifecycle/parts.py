"""What opening put together for a session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keisei_lightning.config import SessionConfig
from keisei_lightning.errors import SessionError
from keisei_lightning.lifecycle.faults import Faults
from keisei_lightning.record import SessionRecord
from keisei_lightning.redaction import Redactor

if TYPE_CHECKING:
    from keisei_lightning.evaluation.evaluation import Evaluation
    from keisei_lightning.signals import SignalGuard
    from keisei_lightning.tracking import Tracking

__all__ = ["Parts"]


@dataclass
class Parts:
    """What opening put together; absent parts were turned off or failed."""

    config: SessionConfig
    redactor: Redactor
    faults: Faults
    guard: SignalGuard | None = None
    tracking: Tracking | None = None
    evaluation: Evaluation | None = None
    push: Callable[[SessionRecord], None] | None = None
    look: Callable[[], object] | None = None  # one beat, here and now
    note: Callable[[str], None] | None = None  # a plain line for training.log
    effective: Mapping[str, Any] | None = None
    refusal: SessionError | None = None
    banner_shown: bool = False

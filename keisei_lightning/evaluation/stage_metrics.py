"""Which of Lightning's metrics one evaluation logged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["StageMetrics"]


class StageMetrics:
    """Tells what an evaluation logged from what the training logged.

    Lightning keeps both in one mapping (``callback_metrics``) and makes a new tensor for each new
    value, so a value that was there at the start, the same object, is no news.
    """

    def __init__(self) -> None:
        self._before: Mapping[str, Any] = {}
        self._evaluated: set[str] = set()

    def begin(self, metrics: Mapping[str, Any]) -> None:
        """Remember what is known before the evaluation."""
        self._before = dict(metrics)

    def end(self, metrics: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
        """Return what this evaluation logged, and what the training did.

        What only an earlier evaluation logged is in neither: a value of then would hide that it is
        missing now.
        """
        fresh = {name for name, value in metrics.items() if value is not self._before.get(name)}
        self._before = {}
        self._evaluated |= fresh
        training = set(metrics) - self._evaluated
        return _floats(metrics, fresh), _floats(metrics, training)


def _floats(metrics: Mapping[str, Any], names: set[str]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if name in names}

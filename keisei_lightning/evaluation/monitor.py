"""What an evaluation costs: time, memory, CPU and GPU, measured from its start to its end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keisei_lightning.evaluation import gpu

if TYPE_CHECKING:
    import torch

__all__ = ["Monitor", "percentile", "percentiles", "training_impact"]

_MB = 1024.0 * 1024.0


@dataclass(frozen=True, slots=True)
class _Start:
    at: float
    wall_us: int
    cpu_s: float
    memory: int


@dataclass(slots=True)
class Monitor:
    """Measures one evaluation after the other on one process.

    Args:
        device: Where the model runs; accelerators are waited for before a clock is read.
        clock: Seconds, never going back.
        warmup_batches: Batches of each evaluation that the percentiles leave out.
    """

    device: torch.device
    clock: Callable[[], float] = time.perf_counter
    warmup_batches: int = 1
    _start: _Start | None = None
    _trained_since: float | None = None
    _batch_at: float | None = None
    _batches_ms: list[float] = field(default_factory=list)

    def training_began(self) -> None:
        """Mark the moment from which time counts as training."""
        self._trained_since = self.clock()

    def training_ended(self) -> None:
        """Forget the training window: what comes next is no part of training."""
        self._trained_since = None

    def begin(self) -> None:
        """Start measuring; the peak memory of a CUDA device is counted from here."""
        gpu.synchronize(self.device)
        gpu.reset_peak_memory(self.device)
        self._batch_at, self._batches_ms = None, []
        self._start = _Start(
            self.clock(), time.time_ns() // 1000, time.process_time(), self._memory()
        )

    def batch_begin(self) -> None:
        """Start the clock of one batch."""
        gpu.synchronize(self.device)
        self._batch_at = self.clock()

    def batch_end(self) -> None:
        """Stop the clock of one batch."""
        if self._batch_at is not None:
            gpu.synchronize(self.device)
            self._batches_ms.append((self.clock() - self._batch_at) * 1000)
            self._batch_at = None

    def end(self) -> dict[str, float]:
        """Return the figures of the evaluation by name; what cannot be known is absent.

        ``latency_ms`` is the whole evaluation. ``memory_overhead_mb`` (1024² bytes) is how much
        the resident memory of this process grew, on CUDA how far the peak of allocated device
        memory rose above the start. ``cpu_utilization_percent`` is the CPU time of this process,
        all threads, over the wall time: 200 is two cores. ``training_impact_percent`` is the share
        of the evaluation in the time since the last one.
        """
        start, self._start = self._start, None
        if start is None:
            return {}
        gpu.synchronize(self.device)
        now, cpu_s = self.clock(), time.process_time()
        seconds = max(now - start.at, 0.0)
        found = {
            "latency_ms": seconds * 1000,
            "memory_overhead_mb": max(self._peak_memory() - start.memory, 0) / _MB,
        }
        if seconds > 0:
            found["cpu_utilization_percent"] = max(cpu_s - start.cpu_s, 0.0) / seconds * 100
        if self._trained_since is not None:
            impact = training_impact(seconds, start.at - self._trained_since)
            found["training_impact_percent"] = impact
            self._trained_since = now
        busy = gpu.utilization_percent(self.device, since_us=start.wall_us)
        if busy is not None:
            found["gpu_utilization_percent"] = busy
        return found | percentiles(self._batches_ms[self.warmup_batches :])

    def _memory(self) -> int:
        on_device = gpu.allocated_memory(self.device)
        return _resident_memory() if on_device is None else on_device

    def _peak_memory(self) -> int:
        on_device = gpu.peak_memory(self.device)
        return _resident_memory() if on_device is None else on_device


def training_impact(evaluation_s: float, training_s: float) -> float:
    """Return evaluation time as a percentage of training and evaluation time together."""
    total = evaluation_s + max(training_s, 0.0)
    return evaluation_s / total * 100 if total > 0 else 0.0


def percentiles(batches_ms: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 of batch latencies in ms; nothing when there was no batch."""
    if not batches_ms:
        return {}
    ordered = sorted(batches_ms)
    return {f"batch_latency_ms_p{q}": percentile(ordered, q) for q in (50, 95, 99)}


def percentile(ordered: Sequence[float], q: float) -> float:
    """Return the `q`-th percentile (0 to 100) of sorted values, interpolated linearly."""
    place = (len(ordered) - 1) * q / 100
    low, high = math.floor(place), math.ceil(place)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _resident_memory() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)

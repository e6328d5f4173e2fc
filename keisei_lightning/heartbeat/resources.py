"""What the process takes of the machine: CPU, memory, GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Meter", "Resources", "chosen"]

_MB = 1024.0 * 1024.0


@dataclass(frozen=True, slots=True)
class Resources:
    """CPU in percent of one core, memory in MB, GPU in percent; absent when unknown, never 0."""

    cpu_percent: float | None = None
    rss_mb: float | None = None
    gpu_memory_mb: float | None = None
    gpu_percent: float | None = None


class Meter:
    """Reads the process's resources; CPU is that since the reading before."""

    def __init__(self) -> None:
        self._process: Any = None
        self._gpus: Sequence[Any] | None = None

    def read(self) -> Resources:
        """Return what is taken now; what cannot be read is absent."""
        cpu = rss = memory = busy = None
        with contextlib.suppress(Exception):
            cpu, rss = self._own()
        with contextlib.suppress(Exception):
            memory, busy = self._gpu()
        return Resources(cpu, rss, memory, busy)

    def _own(self) -> tuple[float | None, float]:
        import psutil

        first = self._process is None or self._process.pid != os.getpid()
        if first:
            self._process = psutil.Process()
        cpu = self._process.cpu_percent(None)
        # The first reading has nothing to compare with and says 0.
        return None if first else float(cpu), self._process.memory_info().rss / _MB

    def _gpu(self) -> tuple[float | None, float | None]:
        if self._gpus is None:
            self._gpus = ()  # once is enough where there is no GPU or no driver
            self._gpus = _devices()
        if not self._gpus:
            return None, None
        import pynvml

        mine = {device: _memory_of(device, os.getpid()) for device in self._gpus}
        used = [device for device, memory in mine.items() if memory is not None]
        # In a container the driver names the host's pids: then all visible devices are ours.
        devices = used or list(self._gpus)
        memory = sum(
            mine[device] or float(pynvml.nvmlDeviceGetMemoryInfo(device).used) for device in devices
        )
        rates = [float(pynvml.nvmlDeviceGetUtilizationRates(device).gpu) for device in devices]
        return memory / _MB, sum(rates) / len(rates)


def chosen(visible: str | None, uuids: Sequence[str]) -> list[int]:
    """Return which devices ``CUDA_VISIBLE_DEVICES`` shows, given the uuids of all; no value: all.

    As CUDA reads it: numbers or uuids (their beginning will do), up to the first that fits none.
    """
    if visible is None:
        return list(range(len(uuids)))
    found: list[int] = []
    for word in (part.strip() for part in visible.split(",")):
        if word.isdigit():
            matches = [int(word)] if int(word) < len(uuids) else []
        else:
            matches = [i for i, uuid in enumerate(uuids) if word and uuid.startswith(word)]
        if len(matches) != 1:
            break
        found += matches
    return found


def _devices() -> list[Any]:
    import pynvml

    pynvml.nvmlInit()
    devices = [
        pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
    ]
    uuids = [str(pynvml.nvmlDeviceGetUUID(device)) for device in devices]
    return [devices[i] for i in chosen(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)]


def _memory_of(device: Any, pid: int) -> float | None:
    import pynvml

    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(device):
        if process.pid == pid and process.usedGpuMemory is not None:
            return float(process.usedGpuMemory)
    return None

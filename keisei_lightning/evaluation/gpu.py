"""What an accelerator can tell about itself; on a CPU every answer is ``None``."""

from __future__ import annotations

import logging
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = [
    "allocated_memory",
    "peak_memory",
    "reset_peak_memory",
    "synchronize",
    "utilization_percent",
]

_log = logging.getLogger(__name__)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU has nothing to wait for."""
    import torch

    if device.type == "cpu":
        return
    backend = getattr(torch, device.type, None)
    wait = getattr(backend, "synchronize", None)
    if wait is None:
        return
    if device.type == "mps":  # one device, and no argument for it
        wait()
    else:
        wait(device)


def reset_peak_memory(device: torch.device) -> None:
    """Let the peak of a CUDA device count from now."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def allocated_memory(device: torch.device) -> int | None:
    """Return the bytes that tensors hold on a CUDA device."""
    import torch

    return torch.cuda.memory_allocated(device) if device.type == "cuda" else None


def peak_memory(device: torch.device) -> int | None:
    """Return the most bytes that tensors held on a CUDA device since the last reset."""
    import torch

    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def utilization_percent(device: torch.device, *, since_us: int) -> float | None:
    """Return how busy a CUDA device was since a moment (µs since 1970), 0 to 100.

    The mean of the driver's samples since then, else its latest figure; ``None`` without a CUDA
    device, without its driver library, or when the driver does not tell.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception as error:  # no package, no driver library, no permission
        _log.debug("GPU utilization is unknown: %s", error)
        return None
    try:
        handle = _handle(pynvml, device)
        mean = _mean_of_samples(pynvml, handle, since_us)
        return _latest(pynvml, handle) if mean is None else mean
    except Exception as error:
        _log.debug("GPU utilization is unknown: %s", error)
        return None
    finally:
        pynvml.nvmlShutdown()


def _handle(pynvml: Any, device: torch.device) -> Any:
    """Return NVML's handle; found by UUID, as CUDA_VISIBLE_DEVICES renumbers torch's devices."""
    import torch

    index = torch.cuda.current_device() if device.index is None else device.index
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    if uuid is None:
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    return pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")


def _mean_of_samples(pynvml: Any, handle: Any, since_us: int) -> float | None:
    try:
        _, samples = pynvml.nvmlDeviceGetSamples(
            handle, pynvml.NVML_GPU_UTILIZATION_SAMPLES, since_us
        )
    except pynvml.NVMLError:  # no sample since then, or not on this GPU
        return None
    values = [sample.sampleValue.uiVal for sample in samples if sample.timeStamp >= since_us]
    return statistics.fmean(values) if values else None


def _latest(pynvml: Any, handle: Any) -> float:
    return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)

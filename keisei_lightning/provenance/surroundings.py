"""The packages, the machine and the scheduler that a run had around it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from keisei_lightning.redaction import is_secret_env

__all__ = ["environment", "packages"]

_SHOWN = re.compile(
    # Schedulers
    r"(SLURM|SBATCH|PBS|LSB|LSF|SGE|FLUX)_\w+|KUBERNETES_\w+|HOSTNAME|JOB_ID|TASK_ID"
    # Devices, threads and determinism
    r"|(CUDA|HIP|ROCR|NVIDIA)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER|CUDA_LAUNCH_BLOCKING"
    r"|CUBLAS_WORKSPACE_CONFIG|NVIDIA_TF32_OVERRIDE|(OMP|MKL|OPENBLAS|NUMEXPR)_NUM_THREADS"
    r"|(PYTORCH|TORCH|NCCL|GLOO)_\w+|PYTHONHASHSEED"
    # Ranks
    r"|RANK|LOCAL_RANK|GROUP_RANK|NODE_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_(ADDR|PORT)"
    r"|TORCHELASTIC_\w+|OMPI_COMM_WORLD_\w+"
    # Where the interpreter and its packages are
    r"|VIRTUAL_ENV|CONDA_(PREFIX|DEFAULT_ENV)|PYTHONPATH|LD_LIBRARY_PATH"
)
# Besides what is secret by its name: a Slurm job may carry its login in SLURM_JWT.
_SECRET = re.compile(r"JWT|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_MB = 1 << 20


def packages() -> list[str]:
    """Return every installed distribution as ``name==version``, sorted; editable ones too."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        with contextlib.suppress(Exception):  # one broken installation hides no other
            metadata = distribution.metadata
            name, version = metadata["Name"], metadata["Version"]
            if name:
                # The first on the path is the one that is imported.
                found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), f"{name}=={version}")
    return [found[key] for key in sorted(found)]


def environment(
    redact: Callable[[str], str], environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what the run found on its machine, as plain JSON values.

    ``python``, ``executable``, ``platform``, ``cpu`` (model and counts), ``memory_mb``, ``gpus``
    (name, memory, driver), ``torch`` when it has been imported, and in ``variables`` those of the
    scheduler and a few others that shape a run; none that holds a secret.
    """
    return {
        "python": sys.version,
        "executable": redact(sys.executable or ""),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "memory_mb": _memory_mb(),
        "gpus": _gpus(),
        "torch": _torch(),
        "variables": _variables(redact, os.environ if environ is None else environ),
    }


def _variables(redact: Callable[[str], str], environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: redact(value)
        for name, value in sorted(environ.items())
        if _SHOWN.fullmatch(name) and not _SECRET.search(name) and not is_secret_env(name)
    }


def _cpu() -> dict[str, Any]:
    import psutil

    model = None
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.partition(":")[2] for line in file if "model name" in line), None)
    return {
        "model": model.strip() if model else platform.machine(),
        "logical": os.cpu_count(),
        "physical": psutil.cpu_count(logical=False),
        "allowed": len(os.sched_getaffinity(0)),
    }


def _memory_mb() -> int | None:
    import psutil

    return int(psutil.virtual_memory().total // _MB)


def _torch() -> dict[str, Any] | None:
    """Return torch's versions if somebody has imported it; importing it is not our business."""
    torch: Any = sys.modules.get("torch")
    version = getattr(torch, "__version__", None)
    if version is None:
        return None
    built = getattr(torch, "version", None)
    return {
        "version": str(version),
        "cuda": getattr(built, "cuda", None),
        "hip": getattr(built, "hip", None),
    }


def _gpus(timeout_s: float = 5.0) -> list[dict[str, Any]]:
    """Ask the driver in a thread of its own: one that is ill may never answer."""
    found: list[dict[str, Any]] = []
    thread = threading.Thread(target=_ask_driver, args=(found,), name="keisei-gpus", daemon=True)
    thread.start()
    thread.join(timeout_s)
    return list(found)


def _ask_driver(found: list[dict[str, Any]]) -> None:
    with contextlib.suppress(Exception):  # no driver, no library, no permission: no GPUs
        import pynvml

        pynvml.nvmlInit()
        try:
            driver = _word(pynvml.nvmlSystemGetDriverVersion())
            for index in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total
                name = _word(pynvml.nvmlDeviceGetName(handle))
                found.append({"name": name, "memory_mb": int(memory) // _MB, "driver": driver})
        finally:
            pynvml.nvmlShutdown()


def _word(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

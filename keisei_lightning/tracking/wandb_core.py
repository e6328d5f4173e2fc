"""The process behind W&B (wandb-core): found, ended in bounded time, never left behind.

Everything private to wandb is touched here only, and guarded: with a version that looks different
we lose the shortcut, not the run.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

__all__ = [
    "Call",
    "active_runs",
    "bounded",
    "core_process",
    "forget_exit_hook",
    "guard_exit",
    "in_use",
    "is_frozen",
    "kill_core",
    "other_hooks_kept",
    "teardown",
]

_log = logging.getLogger(__name__)
T = TypeVar("T")


class Call(Generic[T]):
    """A call running in its own daemon thread, which can be waited for and left behind."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.value: T | None = None
        self.error: BaseException | None = None
        self._done = threading.Event()
        self._function = function
        threading.Thread(target=self._run, name="keisei-bounded", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether the call has returned or raised."""
        return self._done.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait; return whether it is done."""
        return self._done.wait(max(0.0, seconds))

    def result(self) -> T:
        """Return what the call gave, or raise what it raised.

        Raises:
            TimeoutError: It is not done.
        """
        if not self.done:
            raise TimeoutError("W&B did not answer in time")
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]

    def _run(self) -> None:
        try:
            self.value = self._function()
        except BaseException as error:  # wandb calls sys.exit in its teardown
            self.error = error
        self._done.set()


def bounded(function: Callable[[], T], seconds: float) -> Call[T]:
    """Run ``function`` in a thread of its own and wait for at most ``seconds``."""
    call = Call(function)
    call.wait(seconds)
    return call


def core_process() -> subprocess.Popen[bytes] | None:
    """Return the wandb-core this process has started, if any."""
    connection = _connection()
    process = getattr(getattr(connection, "_proc", None), "_process", None)
    return process if isinstance(process, subprocess.Popen) else None


def kill_core(process: subprocess.Popen[bytes] | None) -> None:
    """SIGKILL it (a stopped one too) and reap it."""
    if process is None:
        return
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def is_frozen(process: subprocess.Popen[bytes] | None) -> bool:
    """Return whether it is stopped (SIGSTOP), so that nothing it is asked will be answered."""
    import psutil

    try:
        return process is not None and psutil.Process(process.pid).status() == "stopped"
    except psutil.Error:
        return False


def teardown(seconds: float, exit_code: int = 0) -> bool:
    """Shut W&B's service of this process down; return whether it went in time.

    With unfinished runs it makes the service write what it has, end them with ``exit_code`` and
    give up uploading.
    """
    if "wandb" not in sys.modules:
        return True
    process = core_process()
    wandb = sys.modules["wandb"]
    call: Call[None] = bounded(lambda: wandb.teardown(exit_code), seconds)
    gone = call.done and (process is None or process.poll() is not None)
    os.environ.pop("WANDB_SERVICE", None)  # of a service that is no more
    _drop_log_handlers()
    return gone


def active_runs() -> list[Any]:
    """Return the unfinished runs of this process, ours and the user's."""
    with contextlib.suppress(Exception):
        from wandb.sdk import wandb_setup

        singleton = wandb_setup._singleton
        return list(singleton._active_runs) if singleton is not None else []
    return []


def forget_exit_hook() -> None:
    """Take wandb's atexit hook away, which waits for uploads without bound; ours replaces it."""
    cleanup = getattr(_connection(), "_cleanup", None)
    if cleanup is None:
        return
    with contextlib.suppress(Exception):
        cleanup()
        guard_exit()


@contextlib.contextmanager
def other_hooks_kept() -> Iterator[None]:
    """Put ``sys.exit`` and ``sys.excepthook`` back: wandb replaces both for good at its start."""
    before = sys.exit, sys.excepthook
    try:
        yield
    finally:
        if _is_wandbs(sys.exit):
            sys.exit = before[0]
        if _is_wandbs(sys.excepthook):
            sys.excepthook = before[1]


in_use: set[int] = set()
"""Runs of sessions that are still open: whoever closes these ends W&B as well."""

_guarded = False


def guard_exit() -> None:
    """Register, once, the last bounded shutdown of W&B, for runs that nobody finished."""
    global _guarded
    if not _guarded:
        _guarded = True
        atexit.register(_last_teardown)


def _last_teardown() -> None:
    process = core_process()
    if process is not None and not in_use and not teardown(5.0):
        kill_core(process)


def _connection() -> Any:
    module = sys.modules.get("wandb.sdk.wandb_setup")
    return getattr(getattr(module, "_singleton", None), "_connection", None)


def _is_wandbs(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("wandb.")


def _drop_log_handlers() -> None:
    """Close the log files of runs that were cut off: wandb itself does so only in ``finish``."""
    logger = logging.getLogger("wandb")
    if active_runs():
        return
    for handler in list(logger.handlers):
        if isinstance(handler, logging.FileHandler) and _is_of_a_run(handler.baseFilename):
            logger.removeHandler(handler)
            handler.close()


def _is_of_a_run(path: str) -> bool:
    return Path(path).name == "debug.log" and Path(path).parent.name == "logs"

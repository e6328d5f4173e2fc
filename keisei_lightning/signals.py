"""SIGTERM and SIGHUP become an ending: recorded, passed on once, bounded by a deadline.

Handlers are installed only in the main thread and only where the handler is the default one;
they are chained with Lightning's and put back. Nothing is ever installed on SIGUSR1 or SIGUSR2,
which belong to Slurm's requeue. What Lightning does on SIGTERM is in its ``_SignalConnector``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["SignalGuard"]

_OURS = (signal.SIGTERM, signal.SIGHUP)


class SignalGuard:
    """The terminating signals of one session.

    Args:
        grace_s: Seconds between the first signal and the deadline.
        on_deadline: Called on the guard's thread when the process outlived the grace; it is
            expected to write the ending and to leave with ``os._exit``.
        in_training: Whether Lightning will end the fit after the batch that runs now.
        exit_code: The process's exit code for a signal; 128 + number unless given.
    """

    def __init__(
        self,
        *,
        grace_s: float,
        on_deadline: Callable[[signal.Signals], None],
        in_training: Callable[[], bool],
        exit_code: Callable[[signal.Signals], int] = lambda number: 128 + number,
    ) -> None:
        self.received: signal.Signals | None = None
        self._grace_s = grace_s
        self._on_deadline = on_deadline
        self._in_training = in_training
        self._exit_code = exit_code
        self._held = 0
        self._installed: dict[signal.Signals, Any] = {}
        self._wrapped: Callable[[int, FrameType | None], Any] | None = None
        self._wakeup: tuple[int, int, int] | None = None
        self._interrupted = False

    def install(self) -> bool:
        """Take over the default handlers; does nothing outside the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return False
        for number in _OURS:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._installed[number] = signal.signal(number, self._handle)
        if self._installed:
            self._watch()
        return bool(self._installed)

    def restore(self) -> None:
        """Put everything back as it was found; whoever replaced us since is left alone."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, previous in self._installed.items():
            if signal.getsignal(number) in (self._handle, self._wrapped):
                signal.signal(number, previous)
        self._installed = {}
        if self._wakeup is not None and self.received is None:
            reader, writer, previous_fd = self._wakeup
            self._wakeup = None
            signal.set_wakeup_fd(previous_fd)
            os.write(writer, b"\0")  # ends the watching thread, which closes both ends
            del reader

    def wrap_trainer(self) -> None:
        """Let only the first SIGTERM reach the Trainer's handler.

        Lightning's DDP handler broadcasts; called twice on one rank (process group and forwarded
        by rank 0) the collectives no longer match and all ranks hang.
        """
        if signal.SIGTERM not in self._installed:
            return
        current: Any = signal.getsignal(signal.SIGTERM)
        foreign = callable(current) and current not in (self._handle, self._wrapped)
        if not foreign or threading.current_thread() is not threading.main_thread():
            return

        def once(number: int, frame: FrameType | None) -> None:
            if self.received is not None:
                return
            self.received = signal.Signals(number)
            try:
                current(number, frame)
            finally:
                if not self._held and not self._in_training():
                    raise SystemExit(self._exit_code(self.received))

        self._wrapped = once
        signal.signal(signal.SIGTERM, once)

    def check(self) -> None:
        """Leave now if a signal came that Lightning did not honour.

        Raises:
            SystemExit: With 128 + the signal's number.
        """
        if self.received is not None:
            raise SystemExit(self._exit_code(self.received))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nothing raised by a signal or Ctrl-C interrupts this block; it is raised after it."""
        before = self.received
        with contextlib.ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():
                stack.enter_context(self._ctrl_c_held())
            self._held += 1
            try:
                yield
            finally:
                self._held -= 1
        if before is None and self.received is not None:
            raise SystemExit(self._exit_code(self.received))
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def _ctrl_c_held(self) -> Iterator[None]:
        previous = signal.getsignal(signal.SIGINT)
        if previous is not signal.default_int_handler:
            yield  # ignored (a background job) or somebody else's: leave it
            return

        def note(number: int, frame: FrameType | None) -> None:
            self._interrupted = True

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, previous)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = signal.Signals(number)
        if not self._held:
            raise SystemExit(self._exit_code(self.received))

    def _watch(self) -> None:
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        previous = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        if previous != -1:  # an event loop owns it: the deadline then needs no second owner
            signal.set_wakeup_fd(previous)
            os.close(reader)
            os.close(writer)
            return
        self._wakeup = (reader, writer, previous)
        threading.Thread(
            target=self._wait, args=(reader, writer), name="keisei-signals", daemon=True
        ).start()

    def _wait(self, reader: int, writer: int) -> None:
        """Sleep until a terminating signal arrives, also while the main thread is stuck in C."""
        while True:
            numbers = os.read(reader, 64)
            if b"\0" in numbers or not numbers:
                os.close(reader)
                os.close(writer)
                return
            caught = [number for number in _OURS if number in numbers and self._owns(number)]
            if caught:
                threading.Event().wait(self._grace_s)
                self._on_deadline(caught[0])
                return

    def _owns(self, number: signal.Signals) -> bool:
        if self.received is not None:
            return True
        handler = signal.getsignal(number)
        chain = getattr(handler, "signal_handlers", [handler])  # Lightning's composed handler
        return any(link in (self._handle, self._wrapped) for link in chain)

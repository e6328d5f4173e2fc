"""Fixtures shared by every room: nothing a test changes in this process outlives it."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before anybody imports torch: its threads stall one another when several processes share 2 cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_CATCHABLE = [number for number in signal.Signals if number not in (signal.SIGKILL, signal.SIGSTOP)]


def _environment() -> Callable[[], None]:
    before = dict(os.environ)

    def restore() -> None:
        for key in set(os.environ) - set(before):
            del os.environ[key]
        os.environ.update(before)

    return restore


def _place() -> Callable[[], None]:
    directory, argv = Path.cwd(), list(sys.argv)

    def restore() -> None:
        os.chdir(directory)
        sys.argv[:] = argv

    return restore


def _random_numbers() -> Callable[[], None]:
    """Remember the generators; numpy and torch only if somebody has imported them already."""
    python = random.getstate()
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    torch_state = torch.get_rng_state() if torch is not None else None

    def restore() -> None:
        random.setstate(python)
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        if torch is not None:
            torch.set_rng_state(torch_state)

    return restore


def _signals() -> Callable[[], None]:
    before = {number: signal.getsignal(number) for number in _CATCHABLE}

    def restore() -> None:
        for number, handler in before.items():
            # None stands for a handler that was not installed by Python: it cannot be put back.
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return restore


def _logging() -> Callable[[], None]:
    def loggers() -> dict[str, logging.Logger]:
        known = logging.root.manager.loggerDict
        named = {name: item for name, item in known.items() if isinstance(item, logging.Logger)}
        return {"": logging.root, **named}

    before = {
        name: (list(item.handlers), item.level, item.propagate, item.disabled)
        for name, item in loggers().items()
    }

    def restore() -> None:
        for name, item in loggers().items():
            # A library that was imported during the test keeps the handlers of its own logger.
            if name not in before and not name.startswith("keisei_lightning"):
                continue
            handlers, level, propagate, disabled = before.get(name, ([], 0, True, False))
            for handler in set(item.handlers) - set(handlers):
                # A handler of pytest's own is pytest's to close.
                if not type(handler).__module__.startswith("_pytest"):
                    handler.close()
            item.handlers[:] = handlers
            item.propagate, item.disabled = propagate, disabled
            item.setLevel(level)

    return restore


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Put back environment, place, random numbers, signal handlers and logging after a test."""
    restores = [_environment(), _place(), _random_numbers(), _signals(), _logging()]
    yield
    for restore in restores:
        restore()


@pytest.fixture(
    params=["with a space", 'quote\'s "and" `$HOME`', "größe-日本語-🦊", "lr=0.1,x=[1,2]%d"],
    ids=["space", "quotes", "unicode", "override"],
)
def weird_tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder of a name that breaks what is carelessly quoted or split."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    return folder

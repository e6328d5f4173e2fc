"""What tests of code around sessions need: a registry to throw away, records, a clock, patience."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from keisei_lightning.record import SessionRecord

if TYPE_CHECKING:
    from keisei_lightning.registry.store import Registry

__all__ = ["FakeClock", "make_record", "temporary_registry", "wait_for"]

T = TypeVar("T")

_numbers = itertools.count(1)


@contextlib.contextmanager
def temporary_registry(config: Any = None, **arguments: Any) -> Iterator[Registry]:
    """Give an empty registry in a temporary folder, closed and removed afterwards.

    Args:
        config: Settings as for :class:`~keisei_lightning.Registry`.
        **arguments: Anything else that it takes, such as ``clock`` or ``observers``.
    """
    from keisei_lightning.registry.store import Registry

    with (
        tempfile.TemporaryDirectory(prefix="keisei-test-") as folder,
        Registry(Path(folder) / ".keisei" / "sessions.db", config, **arguments) as registry,
    ):
        yield registry


def make_record(**facts: Any) -> SessionRecord:
    """Return a pending record with an id, a name and a time of its own; ``facts`` replace any."""
    number = next(_numbers)
    moment = 1_700_000_000 + number
    defaults: dict[str, Any] = {
        "id": f"test-{number:05d}",
        "name": f"run-{number}",
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(moment)),
    }
    return SessionRecord(**{**defaults, **facts})


class FakeClock:
    """A clock that stands still until it is told; call it for the seconds since 1970."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Move on (or, with a negative number, back) and return the new time."""
        self.now += seconds
        return self.now


def wait_for(
    condition: Callable[[], T], timeout: float = 30.0, *, interval: float = 0.02, what: str = ""
) -> T:
    """Return the condition's value as soon as it is true.

    Raises:
        TimeoutError: It was not within ``timeout`` seconds; the message says what.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(condition, "__name__", "the condition")
            raise TimeoutError(f"{name} was not so within {timeout:g} s (last: {value!r})")
        time.sleep(interval)

"""A registry opened: its settings, its database, and how it is closed."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from keisei_lightning.config import RegistryConfig
from keisei_lightning.machine import Machine, this_machine
from keisei_lightning.registry.cleaner import Cleaner
from keisei_lightning.registry.cleaning import Relink
from keisei_lightning.registry.database import Database
from keisei_lightning.registry.events import Dispatcher, Observer, build_observers
from keisei_lightning.registry.location import default_database
from keisei_lightning.registry.locking import Locks
from keisei_lightning.registry.settings import settings

__all__ = ["Opened"]


class Opened:
    """The state of one registry; its methods are those of :class:`Registry`."""

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        config: RegistryConfig | Mapping[str, Any] | None = None,
        *,
        observers: Iterable[Observer] = (),
        cwd: str | os.PathLike[str] | None = None,
        clock: Callable[[], float] = time.time,
        machine: Callable[[], Machine] = this_machine,
        relink: Relink | None = None,
        hold_connections: bool = True,
    ) -> None:
        self._config = settings(config)
        start = Path(cwd) if cwd is not None else None
        target = url or self._config.url or default_database(start)
        self._database = Database(
            target, timeout_s=self._config.timeout_s, clock=clock, hold=hold_connections
        )
        self._machine = machine
        self._relink = relink
        self._locks = Locks(self._database, machine)
        self._dispatcher = Dispatcher([*build_observers(self._config.observers), *observers])
        self._cleaner: Cleaner | None = None

    @classmethod
    def from_config(cls, config: Any, **arguments: Any) -> Self:
        """Return the registry that a ``session.registry`` (or whole ``session``) node describes."""
        return cls(None, settings(config), **arguments)

    @property
    def config(self) -> RegistryConfig:
        """A copy of the settings in force."""
        return dataclasses.replace(self._config)

    @property
    def path(self) -> Path | None:
        """The SQLite file; ``None`` for a PostgreSQL."""
        return self._database.path

    @property
    def url(self) -> str:
        """The database's URL with its password hidden."""
        return self._database.url.render_as_string(hide_password=True)

    @property
    def now(self) -> float:
        """Seconds since 1970 by the database's clock."""
        return self._database.now()

    def close(self, timeout: float = 5.0) -> bool:
        """Stop the background work and give the connections back; whether all ended in time."""
        deadline = time.monotonic() + timeout
        stopped = self._cleaner.stop(timeout) if self._cleaner is not None else True
        told = self._dispatcher.close(max(0.0, deadline - time.monotonic()))
        self._database.close()
        return stopped and told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Registry({self.url!r})"

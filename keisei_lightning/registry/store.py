"""The registry: the index over many sessions, in one SQL database."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from keisei_lightning.config import RegistryConfig
from keisei_lightning.record import SessionRecord, Status
from keisei_lightning.registry.admission import Admission, Gate, Waiting
from keisei_lightning.registry.cleaner import Cleaner
from keisei_lightning.registry.cleaning import clean
from keisei_lightning.registry.entry import STUCK_AFTER_S, Entry, Updated
from keisei_lightning.registry.events import Event, EventType
from keisei_lightning.registry.figures import cleanup_at, figures, note_cleanup, troubled
from keisei_lightning.registry.listing import Listing
from keisei_lightning.registry.pruning import Pruned
from keisei_lightning.registry.reindex import Reindexed, reindex
from keisei_lightning.registry.removal import prune
from keisei_lightning.registry.retention import Retention
from keisei_lightning.registry.settings import settings
from keisei_lightning.registry.statistics import Health, Statistics, health, prometheus

__all__ = ["Entry", "Registry", "Updated"]


class Registry(Listing):
    """The index over many sessions in one database; instances are independent of each other.

    Records come out as copies and change only through the methods. Everything that touches the
    database raises :class:`SessionLockError` when it stays locked for ``timeout_s`` and
    :class:`SessionError` when it cannot be used. Threads may share an instance.

    Args:
        url: A SQLAlchemy URL or the path of a SQLite file; absent: ``config.url``, else the
            project's ``.keisei/sessions.db``, found upwards like ``.git``.
        config: Limits and times; a :class:`RegistryConfig`, a mapping or a config node.
        observers: Told what happens through this instance, besides those of the config.
        cwd: Where the search for the project's database starts.
        clock: Seconds since 1970.
        machine: The facts that liveness is judged by.
        relink: Called with a run's directory and record after a clean-up has marked it lost.
        hold_connections: Keep connections to a server open between calls.
    """

    def admit(
        self,
        record: SessionRecord,
        *,
        progress: Callable[[Waiting], None] | None = None,
        timeout: float | None = None,
    ) -> Admission:
        """Write the session down as running if ``max_concurrent`` allows one more.

        Args:
            record: The session that wants to run.
            progress: Called while waiting, with who is in the way.
            timeout: Seconds to wait for a slot; absent: ``config.wait_timeout_s``.

        Raises:
            SessionCapacityError: There is no slot; the message names the limit and what runs.
        """
        before = self._peek(record.id) if self._dispatcher else None
        answer = self.gate.admit(record, progress=progress, timeout=timeout)
        running = dataclasses.replace(record, status=Status.RUNNING)
        self._dispatcher.tell(before, running, at=self.now)
        return answer

    @property
    def gate(self) -> Gate:
        """Admission as single questions, for who cannot wait in one call."""
        return Gate(self._database, self._config, self._machine)

    def cleanup(self) -> int:
        """Mark the dead and the long stale as lost, here and in their run directories.

        Never one that is alive, never another host's on a guess. Returns how many.
        """
        cleaned = clean(
            self._database,
            self._machine(),
            inactive_after_s=self._config.inactive_after_s,
            relink=self._relink,
        )
        note_cleanup(self._database)
        for record in cleaned.lost:
            self._dispatcher.publish(Event(EventType.LOST, record, self.now))
        for record in cleaned.caught_up:
            self._dispatcher.publish(Event(EventType.CLOSED, record, self.now))
        return len(cleaned.lost)

    def prune(
        self,
        rules: Retention,
        *,
        files: bool = False,
        roots: Iterable[str | os.PathLike[str]] | None = None,
        dry_run: bool = True,
    ) -> Pruned:
        """Remove ended sessions by the rules; only says what would go unless ``dry_run=False``.

        Args:
            rules: What may go and what stays; running and pinned sessions always stay.
            files: Delete the run directories too, not only the records.
            roots: Directories outside of which nothing is deleted; absent: the project's (the one
                that holds ``.keisei``), none for other databases.
            dry_run: Change nothing.
        """
        allowed = self.roots if roots is None else tuple(Path(root) for root in roots)
        pruned = prune(self._database, rules, files=files, roots=allowed, dry_run=dry_run)
        if not dry_run:
            for gone in pruned.removed:
                self._dispatcher.publish(Event(EventType.REMOVED, gone.record, self.now))
        return pruned

    @property
    def roots(self) -> tuple[Path, ...]:
        """The project directory of a ``.keisei/sessions.db``; nothing for other databases."""
        path = self._database.path
        return (path.parent.parent,) if path and path.parent.name == ".keisei" else ()

    def reindex(
        self,
        directory: str | os.PathLike[str],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> Reindexed:
        """Bring every run directory below ``directory`` in; a damaged SQLite file is set aside.

        Args:
            directory: Where to look for ``session.json`` files.
            progress: Called with the number of run directories found so far.
        """
        self._database.set_aside_if_damaged()
        return reindex(self._database, Path(directory), progress=progress)

    def start_cleaning(self, interval_s: float | None = None) -> None:
        """Clean up now and then in the background until :meth:`close`."""
        interval = self._config.cleanup_interval_s if interval_s is None else interval_s
        if self._cleaner is None and interval > 0:
            self._cleaner = Cleaner(self.cleanup, interval)
            self._cleaner.start()

    def statistics(self) -> Statistics:
        """Return totals, ages and durations over all sessions."""
        return figures(
            self._database,
            self._machine(),
            max_concurrent=self._config.max_concurrent,
            inactive_after_s=self._config.inactive_after_s,
        )

    def health(self, *, stuck_after_s: float = STUCK_AFTER_S) -> Health:
        """Return whether the registry and its sessions are well, and what is not."""
        stuck, dead = troubled(self._database, self._machine(), stuck_after_s=stuck_after_s)
        cleaned = cleanup_at(self._database)
        return health(
            self.statistics(),
            stuck=stuck,
            dead=dead,
            cleanup_age_s=self.now - cleaned if cleaned is not None else None,
            cleanup_interval_s=self._config.cleanup_interval_s,
        )

    def prometheus(self) -> str:
        """Return statistics and health as a Prometheus text exposition."""
        return prometheus(self.statistics(), self.health())

    def reconfigure(self, config: RegistryConfig | Mapping[str, Any]) -> int:
        """Take new settings (not another database); lower limits clean up at once.

        Returns how many sessions were found lost.
        """
        old, new = self._config, settings(config)
        self._config = new
        self._database.timeout_s = new.timeout_s
        shrunk = (
            new.max_concurrent < old.max_concurrent or new.inactive_after_s < old.inactive_after_s
        )
        return self.cleanup() if shrunk else 0

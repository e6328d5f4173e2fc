"""The thread that writes a run's provenance while the run goes on."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from keisei_lightning.atomic_file import write_atomic
from keisei_lightning.provenance.git import git_diff, git_facts
from keisei_lightning.provenance.surroundings import environment, packages
from keisei_lightning.record import Git

__all__ = ["Provenance"]

_log = logging.getLogger(__name__)


class Provenance:
    """Collects, off the training thread, what a run can be repeated from; starts at once.

    Writes ``environment.json``, ``packages.txt`` and, in a git repository, ``git.diff``; what
    fails is one warning and hinders nothing else.

    Args:
        directory: The folder ``provenance/`` of the run; made if need be.
        cwd: Where the code is: its repository is the one that is asked.
        redact: Hides the secrets in a text.
        on_git: Called once, from the thread, with the commit, or ``None`` without a repository.
        timeout_s: Seconds git may take for the commit; the diff may take four times as long.
    """

    def __init__(
        self,
        directory: Path,
        cwd: Path,
        redact: Callable[[str], str],
        on_git: Callable[[Git | None], object] = lambda git: None,
        *,
        timeout_s: float = 5.0,
    ) -> None:
        self._directory, self._cwd = Path(directory), Path(cwd)
        self._redact, self._on_git, self._timeout_s = redact, on_git, timeout_s
        self._found: Git | None = None
        self._thread = threading.Thread(target=self._collect, name="keisei-provenance", daemon=True)
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the files, at most so many seconds; whether all is done."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _collect(self) -> None:
        for step in (self._git, self._environment, self._packages, self._diff):
            try:
                step()
            except Exception as error:
                _log.warning(
                    "provenance: %s was not recorded (%s: %s)",
                    *(step.__name__.strip("_"), type(error).__name__, self._safe(error)),
                )

    def _git(self) -> None:
        self._found = git_facts(self._cwd, self._timeout_s)
        self._on_git(self._found)

    def _environment(self) -> None:
        found = environment(self._redact)
        self._write("environment.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    def _packages(self) -> None:
        self._write("packages.txt", "".join(f"{line}\n" for line in packages()))

    def _diff(self) -> None:
        if self._found is None:  # no repository, or a git that hangs
            return
        diff = git_diff(self._cwd, self._redact, timeout_s=4 * self._timeout_s)
        if diff is not None:
            self._write("git.diff", diff)

    def _write(self, name: str, content: str | bytes) -> None:
        data = content if isinstance(content, bytes) else content.encode("utf-8", "replace")
        self._directory.mkdir(parents=True, exist_ok=True)
        write_atomic(self._directory / name, data)

    def _safe(self, error: Exception) -> str:
        try:
            return self._redact(str(error))
        except Exception:  # the redactor itself is what failed
            return "details withheld"

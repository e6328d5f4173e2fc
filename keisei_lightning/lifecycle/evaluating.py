"""The evaluation of a session: where its lines, metrics and verdicts go."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keisei_lightning.config import SessionConfig
from keisei_lightning.evaluation.baseline import History, sibling_records
from keisei_lightning.evaluation.evaluation import Evaluation
from keisei_lightning.lifecycle.attaching import log_to_others
from keisei_lightning.record import SlaVerdict, to_json
from keisei_lightning.session import Session

__all__ = ["evaluation_of", "evaluation_of_rank"]


def evaluation_of(session: Session) -> Evaluation:
    """Build the evaluation of a session on rank 0."""
    config = session.config

    lines = _Lines(session.paths.evaluations)
    session.on_close("evaluations.jsonl", lambda left: lines.flush())

    def write(line: Mapping[str, Any]) -> None:
        redacted = session.parts.redactor.tree(to_json(line))
        lines.write(json.dumps(redacted, ensure_ascii=False) + "\n")

    def log(metrics: Mapping[str, float], step: int | None) -> None:
        session.log_metrics(metrics, step)
        log_to_others(session, metrics, step)

    def verdict(verdict: SlaVerdict) -> None:
        session.change(sla=verdict)

    def configure(values: Mapping[str, Any]) -> None:
        if session.parts.tracking is not None:
            session.parts.tracking.hyperparams(values)

    def baseline() -> Mapping[str, float]:
        history = History(
            lambda: sibling_records(session.directory),
            config_hash=session.record.config_hash,
            id=session.id,
            runs=config.evaluation.baseline_runs,
        )
        return history()

    return Evaluation(
        config.evaluation,
        config.sla,
        baseline=baseline,
        write=write,
        log=log,
        on_verdict=verdict,
        configure=configure,
    )


class _Lines:
    """Appends lines to a file; what a full disk does not take is kept and comes first next time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = b""

    def write(self, line: str) -> None:
        """Append a line.

        Raises:
            OSError: It has to wait.
        """
        self._waiting += line.encode("utf-8", "backslashreplace")
        self.flush()

    def flush(self) -> None:
        """Append what waits.

        Raises:
            OSError: It has to wait on.
        """
        if not self._waiting:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(descriptor, self._waiting) :]
        finally:
            os.close(descriptor)


def evaluation_of_rank(config: SessionConfig, rank: int) -> Evaluation:
    """Build the evaluation of another rank, which only takes part in the collective."""

    def nothing(*ignored: Any) -> None:
        return None

    return Evaluation(
        config.evaluation,
        config.sla,
        write=nothing,
        log=nothing,
        on_verdict=nothing,
        configure=nothing,
        rank=rank,
    )

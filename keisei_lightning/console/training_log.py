"""``logs/training.log`` and ``logs/evaluation.log``: our own log lines and Lightning's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from keisei_lightning.console.log_file import LogFile

__all__ = ["TrainingLog", "attach_training_log"]

OURS = "keisei_lightning"
EVALUATION = "keisei_lightning.evaluation"
_LIGHTNING = ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning")


class TrainingLog:
    """The handlers of one session; made by :func:`attach_training_log`."""

    def __init__(self, handlers: Iterable[tuple[str, _FileHandler]], note: _FileHandler) -> None:
        self._handlers = list(handlers)
        self._note = note
        _Level.raised()

    def note(self, line: str) -> None:
        """Write a line to ``training.log`` alone, past every other handler."""
        record = logging.LogRecord(OURS, logging.INFO, "", 0, "%s", (line,), None)
        self._note.handle(record)

    def close(self) -> None:
        """Remove the handlers and leave logging as it was found; twice is harmless."""
        if not self._handlers:
            return
        for name, handler in self._handlers:
            logging.getLogger(name).removeHandler(handler)
            handler.close()
        self._handlers.clear()
        _Level.lowered()


def attach_training_log(logs: Path, redact: Callable[[str], str], id: str) -> TrainingLog:
    """Write the lines of our loggers and Lightning's to ``training.log`` until it is closed.

    Lines of ``keisei_lightning.evaluation`` go to ``evaluation.log`` as well. Every line carries
    the time, the level and ``[keisei <id>]``. What other handlers show does not change.
    """
    training = _FileHandler(LogFile(logs / "training.log"), redact, id)
    evaluation = _FileHandler(LogFile(logs / "evaluation.log"), redact, id)
    handlers = [(name, training) for name in (OURS, *_LIGHTNING)]
    handlers.append((EVALUATION, evaluation))
    for name, handler in handlers:
        logging.getLogger(name).addHandler(handler)
    return TrainingLog(handlers, training)


class _FileHandler(logging.Handler):
    def __init__(self, file: LogFile, redact: Callable[[str], str], id: str) -> None:
        super().__init__(logging.INFO)
        self._file = file
        self._redact = redact
        self._last: logging.LogRecord | None = None
        self.setFormatter(
            logging.Formatter(f"%(asctime)s %(levelname)s [keisei {id}] %(name)s: %(message)s")
        )

    def emit(self, record: logging.LogRecord) -> None:
        if record is self._last:  # it came by "lightning.pytorch" and comes again by "lightning"
            return
        self._last = record
        try:
            text = self._redact(self.format(record))
            self._file.write(text.splitlines())
        except Exception:  # the user's logging call is not to fail
            return

    def close(self) -> None:
        self._last = None
        self._file.close()
        super().close()


class _Forward(logging.Handler):
    """Passes on to the root's handlers what they would have got without us."""

    def emit(self, record: logging.LogRecord) -> None:
        parent = logging.getLogger(OURS).parent
        if parent is not None and record.levelno >= parent.getEffectiveLevel():
            parent.callHandlers(record)


class _Level:
    """Lets our INFO lines exist although the root logger wants none of them (it is at WARNING)."""

    _users = 0
    _forward: _Forward | None = None

    @classmethod
    def raised(cls) -> None:
        logger = logging.getLogger(OURS)
        cls._users += 1
        untouched = logger.level == logging.NOTSET and logger.propagate
        if cls._users == 1 and untouched and logger.getEffectiveLevel() > logging.INFO:
            cls._forward = _Forward()
            logger.addHandler(cls._forward)
            logger.setLevel(logging.INFO)
            logger.propagate = False

    @classmethod
    def lowered(cls) -> None:
        logger = logging.getLogger(OURS)
        cls._users -= 1
        if cls._users or cls._forward is None:
            return
        logger.removeHandler(cls._forward)
        cls._forward = None
        if logger.level == logging.INFO:
            logger.setLevel(logging.NOTSET)
        logger.propagate = True

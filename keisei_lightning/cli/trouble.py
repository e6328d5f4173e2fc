"""What goes wrong in a command, said in one or two lines and an exit code."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CommandError", "ExitCode", "NothingFoundError", "UsageError"]


class ExitCode(IntEnum):
    """What the shell is told."""

    DONE = 0
    NOTHING_FOUND = 1
    NOT_HEALTHY = 1
    USAGE = 2
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class CommandError(Exception):
    """A command cannot go on; ``hint`` says what to do about it."""

    code = ExitCode.NOTHING_FOUND

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class NothingFoundError(CommandError):
    """No session, file or metric answers to what was asked."""


class UsageError(CommandError):
    """The command was called in a way that has no meaning."""

    code = ExitCode.USAGE

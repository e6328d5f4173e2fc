"""Errors on their way out: a line and an exit code, never a traceback unless asked for."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import ParamSpec

import typer

from keisei_lightning.cli.screen import complain
from keisei_lightning.cli.trouble import CommandError, ExitCode
from keisei_lightning.errors import SessionConfigError, SessionError

__all__ = ["guarded", "set_debug"]

P = ParamSpec("P")
_debug = False


def set_debug(value: bool) -> bool:
    """Remember that tracebacks are wanted."""
    global _debug
    _debug = _debug or value
    return value


def guarded(command: Callable[P, int | None]) -> Callable[P, None]:
    """Return a command that ends with an exit code whatever happens in it."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = command(*args, **kwargs) or ExitCode.DONE
            sys.stdout.flush()
        except (typer.Exit, typer.BadParameter):
            raise
        except BrokenPipeError:
            code = _reader_is_gone()
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        except CommandError as error:
            complain(str(error), error.hint)
            code = error.code
        except SessionConfigError as error:
            complain(str(error))
            code = ExitCode.USAGE
        except SessionError as error:
            complain(str(error))
            code = ExitCode.NOTHING_FOUND
        except Exception as error:
            if _debug:
                raise
            complain(f"{type(error).__name__}: {error}", "add --debug to see where")
            code = ExitCode.NOTHING_FOUND
        raise typer.Exit(int(code))

    return run


def _reader_is_gone() -> int:
    """Send what is still buffered nowhere, so that the interpreter's own flush stays quiet."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        pass
    return ExitCode.BROKEN_PIPE

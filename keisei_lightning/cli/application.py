"""The commands of ``keisei`` put together."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from keisei_lightning.cli import (
    comparison,
    condition,
    detail,
    failure,
    listing,
    logs,
    metrics,
    pruning,
    sync,
    upkeep,
    watch,
)
from keisei_lightning.cli.guard import guarded, set_debug
from keisei_lightning.cli.screen import complain

__all__ = ["application", "run"]

COMMANDS: dict[str, Callable[..., int | None]] = {
    "ls": listing.ls,
    "show": detail.show,
    "why": failure.why,
    "logs": logs.logs,
    "metrics": metrics.metrics,
    "watch": watch.watch,
    "compare": comparison.compare,
    "stats": condition.stats,
    "health": condition.health,
    "sync": sync.sync,
    "cleanup": upkeep.cleanup,
    "prune": pruning.prune,
    "reindex": upkeep.reindex,
}


def application() -> typer.Typer:
    """Return the Typer application with every command."""
    app = typer.Typer(
        name="keisei",
        help="Training sessions: what ran, what runs, how it ended and why.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    for name, command in COMMANDS.items():
        app.command(name)(guarded(command))
    return app


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    _secure_streams()
    logging.getLogger("keisei_lightning").addHandler(_Complaints(logging.WARNING))
    try:
        application()(None if argv is None else list(argv), prog_name="keisei")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    return 0


class _Complaints(logging.Handler):
    """Warnings of the rooms below, said like every other one."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(record.getMessage())


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"keisei-lightning {version('keisei-lightning')}\n")
        raise typer.Exit


def _common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Training sessions: what ran, what runs, how it ended and why."""
    set_debug(debug)


def _secure_streams() -> None:
    """Have streams that exist and that can say every name, if need be with question marks."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - lives as long as we do
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")

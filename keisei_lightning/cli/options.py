"""The options and arguments that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from keisei_lightning.cli import guard

__all__ = [
    "AsJson",
    "Debug",
    "Directories",
    "Group",
    "Reference",
    "References",
    "RegistryUrl",
    "Yes",
]


def _complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the ids that start with what was typed; a shell never sees an error."""
    from keisei_lightning.cli.selection import Query
    from keisei_lightning.cli.source import open_source

    try:
        given = ctx.params
        with open_source(given.get("directories") or (), given.get("registry")) as source:
            entries = source.entries(Query(), limit=500)
        found = (entry.record for entry in entries)
        return [(r.id, f"{r.status.value} {r.name}") for r in found if r.id.startswith(incomplete)]
    except Exception:
        return []


Directories = Annotated[
    list[Path] | None,
    typer.Option(
        "--dir",
        "-d",
        metavar="DIR",
        help="Read the run directories under DIR instead of the registry; may be repeated.",
        file_okay=False,
    ),
]
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="URL",
        envvar="KEISEI_REGISTRY_URL",
        help="URL or SQLite file of the registry; by default .keisei/sessions.db found upwards.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug",
        help="Show the traceback of an unexpected error.",
        callback=guard.set_debug,
        is_eager=True,
        expose_value=False,
    ),
]
Group = Annotated[
    str | None, typer.Option("--group", "-g", metavar="GROUP", help="Only this sweep.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it; without, nothing is changed.")]
Reference = Annotated[
    str | None,
    typer.Argument(
        metavar="[SESSION]",
        help="Id, start of an id, name, or run directory; the newest session when left out.",
        show_default=False,
        autocompletion=_complete,
    ),
]
References = Annotated[
    list[str],
    typer.Argument(
        metavar="SESSION...",
        help="Ids, starts of ids, names, or run directories.",
        autocompletion=_complete,
    ),
]

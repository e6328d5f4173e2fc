"""``keisei stats`` and ``keisei health``: figures over all sessions, and whether all is well."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from keisei_lightning.cli import wording
from keisei_lightning.cli.options import AsJson, Debug, Directories, RegistryUrl
from keisei_lightning.cli.screen import Screen, print_json, status_style
from keisei_lightning.cli.trouble import ExitCode, UsageError

if TYPE_CHECKING:
    from keisei_lightning.registry.statistics import Health, Statistics

__all__ = ["health", "stats"]

_COLOURS = {"healthy": "green", "warning": "yellow", "critical": "bold red"}

Facts = Iterator[tuple[str, str | Text]]


def stats(
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Print Prometheus' text exposition format.")
    ] = False,
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Show how many sessions there are, by status and age, how long they took, and use of slots."""
    from keisei_lightning.cli.registry_source import open_index

    if prometheus and as_json:
        raise UsageError("--prometheus and --json exclude each other")
    with open_index(directories or (), registry) as index:
        if prometheus:
            sys.stdout.write(index.prometheus())
            return 0
        figures = index.statistics()
    if as_json:
        print_json(figures)
    else:
        screen = Screen()
        screen.facts(_totals(figures))
        screen.facts(
            ((k, Text(str(n), style=status_style(k))) for k, n in figures.by_status.items() if n),
            title="by status",
        )
        screen.facts(((k, str(n)) for k, n in figures.age_buckets.items() if n), title="by age")
    return ExitCode.DONE if figures.total else ExitCode.NOTHING_FOUND


def health(
    directories: Directories = None,
    registry: RegistryUrl = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> int:
    """Say whether all is well: use of slots, stuck and dead sessions, clean-up; exit 1 if not."""
    from keisei_lightning.cli.registry_source import open_index

    with open_index(directories or (), registry) as index:
        state = index.health()
    if as_json:
        print_json(state)
    else:
        screen = Screen()
        screen.line((state.status, _COLOURS[state.status]))
        screen.facts(_findings(state))
    return ExitCode.DONE if state.healthy else ExitCode.NOT_HEALTHY


def _totals(figures: Statistics) -> Facts:
    yield "sessions", str(figures.total)
    used = f"{figures.utilisation_percent:.0f}%"
    yield "active", f"{figures.active} of {figures.max_concurrent} slots ({used})"
    yield "oldest", wording.duration(figures.oldest_age_s)
    yield "newest", wording.duration(figures.newest_age_s)
    yield "mean age", wording.duration(figures.mean_age_s)
    if figures.mean_duration_s is not None:
        shortest = wording.duration(figures.shortest_duration_s)
        longest = wording.duration(figures.longest_duration_s)
        mean = wording.duration(figures.mean_duration_s)
        yield "run time", f"{mean} on average, from {shortest} to {longest}"


def _findings(state: Health) -> Facts:
    used = f"{state.utilisation_percent:.0f}%"
    yield "slots", f"{state.active} of {state.max_concurrent} in use ({used})"
    if state.stuck:
        yield "stuck", Text(wording.one_line(", ".join(state.stuck)), style="yellow")
    if state.dead:
        yield "dead", Text(wording.one_line(", ".join(state.dead)), style="red")
        yield "", "`keisei cleanup` shows what to do about them"
    if state.cleanup_age_s is not None:
        yield "clean-up", f"{wording.duration(state.cleanup_age_s)} ago"
    elif state.cleanup_alive is False:
        yield "clean-up", Text("none has been made while sessions run", style="yellow")

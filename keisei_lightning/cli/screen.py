"""Where output goes: a terminal of some width, or a pipe that gets plain lines; and JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from keisei_lightning.cli.sheet import Column, Sheet
from keisei_lightning.cli.wording import one_line
from keisei_lightning.record import Liveness, Status, to_json

__all__ = ["Screen", "complain", "print_json", "status_style"]

_STYLES: Mapping[str, str] = {
    Status.PENDING: "dim",
    Status.RUNNING: "cyan",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.INTERRUPTED: "yellow",
    Status.TERMINATED: "yellow",
    Status.PRUNED: "magenta",
    Status.LOST: "bold red",
    Liveness.ALIVE: "green",
    Liveness.STALLED: "yellow",
    Liveness.STALE: "yellow",
    Liveness.DEAD: "bold red",
}


def status_style(word: str) -> str:
    """Return the colour of a status or a liveness."""
    return _STYLES.get(word, "")


class Screen:
    """Standard output as this process has it.

    A terminal gets colours (unless ``NO_COLOR`` is set) and lines of its width; anything else
    gets the same lines plain and as long as they are.
    """

    def __init__(self) -> None:
        self.terminal = sys.stdout.isatty()
        self.console = _console(sys.stdout)
        self.width: int | None = max(20, self.console.width) if self.terminal else None

    @property
    def colours(self) -> bool:
        """Whether colours reach the reader."""
        return self.console.color_system is not None and not self.console.no_color

    @property
    def columns(self) -> int:
        """The width to draw in, also where there is no terminal."""
        return self.width or 100

    def line(self, *parts: str | Text | tuple[str, str]) -> None:
        """Print one line, never wrapped; strings are literal, tuples are text and style."""
        text = Text.assemble(*parts)
        if self.width is not None:
            text.truncate(self.width, overflow="ellipsis")
        self.raw(text)

    def raw(self, text: Text) -> None:
        """Print a text as long as it is."""
        self.console.print(text, soft_wrap=True, no_wrap=True, overflow="ignore", crop=False)

    def lines(self, lines: Iterable[Text]) -> None:
        """Print lines that were fitted already."""
        for line in lines:
            self.raw(line)

    def sheet(self, columns: Sequence[Column]) -> Sheet:
        """Return an empty table of this screen's width."""
        return Sheet(columns, width=self.width, sparse=self.terminal)

    def facts(self, facts: Iterable[tuple[str, str | Text]], *, title: str | None = None) -> None:
        """Print a label and a value a line; facts without a value are left out.

        A value longer than the line goes on below itself where there is a terminal.
        """
        shown = [(label, Text(v) if isinstance(v, str) else v) for label, v in facts if str(v)]
        if not shown:
            return
        if title is not None:
            self.line((title, "bold"))
        indent = max(9, *(len(label) for label, _ in shown)) + 2
        for label, value in shown:
            for number, piece in enumerate(self._wrapped(value, indent)):
                self.line((("" if number else label).ljust(indent), "dim"), piece)

    def _wrapped(self, value: Text, indent: int) -> Iterable[Text]:
        if self.width is None or value.cell_len <= self.width - indent:
            return [value]
        return value.wrap(self.console, max(10, self.width - indent))


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the caller what a reader that went away means; Rich would exit with 1."""
        raise BrokenPipeError


def _console(file: Any) -> Console:
    plain = bool(os.environ.get("NO_COLOR"))
    return _Console(
        file=file,
        color_system=None if plain else "auto",
        width=shutil.get_terminal_size((100, 24)).columns if file.isatty() else None,
        markup=False,
        emoji=False,
        highlight=False,
    )


def print_json(value: Any) -> None:
    """Print a value as JSON: indented on a terminal, everything escaped that is not ASCII."""
    text = json.dumps(to_json(value), indent=2, allow_nan=False)
    sys.stdout.write(text + "\n")


def print_json_line(value: Any) -> None:
    """Print a value as one line of JSON and send it off."""
    sys.stdout.write(json.dumps(to_json(value), allow_nan=False) + "\n")
    sys.stdout.flush()


def complain(message: str, hint: str | None = None) -> None:
    """Say on standard error what is wrong and what to do about it."""
    if sys.stderr is None:
        return
    console = _console(sys.stderr)
    text = Text.assemble(("keisei: ", "bold red"), one_line(message))
    if hint:
        text.append("\n        " + one_line(hint), style="dim")
    console.print(text, soft_wrap=True)

"""What a terminal would have shown: output without colours, progress bars as their last state."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Screen"]

_TOKEN = re.compile(
    r"""
      (?P<text>[^\x00-\x1f\x7f\x9b]+)
    | (?P<csi>(?:\x1b\[|\x9b)(?P<args>[0-?]*)[ -/]*(?P<final>[@-~]))
    | (?P<other>\x1b\][^\x07\x1b]*(?:\x07|\x1b\\) | \x1b[PX^_][^\x1b]*\x1b\\ | \x1b[ -/]+[0-~]
        | \x1b[0-Z\\^-~])
    | (?P<control>[\x00-\x1f\x7f\x9b])
    """,
    re.VERBOSE,
)
_UNFINISHED = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[PX^_][^\x1b]*\x1b?|[ -/]*)?\Z"
)
_SPECIAL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x9b]")
_MAX_ROWS = 64
_MAX_WIDTH = 1 << 16
_MAX_ESCAPE = 256


@dataclass(slots=True)
class _Row:
    text: str = ""
    redrawn: bool = False
    logged: str | None = None


class Screen:
    """A small terminal: takes what a program writes, gives the lines worth keeping.

    An ordinary line is given when its newline comes. A line that is drawn again and again (``\\r``,
    cursor up) is given in its last state, when the output moves on, and while it runs at most once
    every ``snapshot_s`` seconds. At most 64 rows are remembered.
    """

    def __init__(self, snapshot_s: float = 30.0) -> None:
        self._snapshot_s = snapshot_s
        self._snapshot_at: float | None = None
        self._rows = [_Row()]
        self._row = 0
        self._column = 0
        self._carry = ""

    def feed(self, text: str, now: float) -> list[str]:
        """Return the lines that are complete after ``text`` was written at ``now`` (seconds)."""
        if self._carry:
            text, self._carry = self._carry + text, ""
        lines: list[str] = []
        if _SPECIAL.search(text) or self._row != len(self._rows) - 1:
            self._terminal(text, lines)
        else:
            self._plain(text, lines)
        lines += self._snapshot(now)
        return lines

    def close(self) -> list[str]:
        """Return what was not complete yet."""
        self._carry = ""
        lines = self._redrawn()
        row = self._rows[-1]
        if row.text.strip() and row.logged != row.text.rstrip():
            lines.append(row.text.rstrip())
        self._rows, self._row, self._column = [_Row()], 0, 0
        return lines

    def _plain(self, text: str, lines: list[str]) -> None:
        first, *rest = text.split("\n")
        self._put(first)
        for part in rest:
            self._newline(lines)
            self._put(part)
        self._cut(lines)

    def _terminal(self, text: str, lines: list[str]) -> None:
        unfinished = _UNFINISHED.search(text)
        if unfinished and len(unfinished[0]) <= _MAX_ESCAPE:
            text, self._carry = text[: unfinished.start()], unfinished[0]
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup
            if kind == "text":
                self._put(match[0])
                self._cut(lines)
            elif match["csi"]:
                self._escape(match["args"], match["final"])
            elif kind == "control":
                self._control(match[0], lines)

    def _put(self, text: str) -> None:
        row = self._rows[self._row]
        if self._column >= len(row.text):
            row.text = row.text.ljust(self._column) + text
        else:
            row.text = row.text[: self._column] + text + row.text[self._column + len(text) :]
        self._column += len(text)

    def _cut(self, lines: list[str]) -> None:
        # A line without end must not fill the memory; it is cut at a space, so that no word (and
        # no secret) is torn.
        row = self._rows[self._row]
        while len(row.text) > _MAX_WIDTH:
            at = row.text.rfind(" ", _MAX_WIDTH // 2, _MAX_WIDTH) + 1 or _MAX_WIDTH
            lines.append(row.text[:at].rstrip())
            row.text = row.text[at:]
            self._column = len(row.text)

    def _control(self, control: str, lines: list[str]) -> None:
        if control == "\n":
            self._newline(lines)
        elif control == "\r":
            self._column = 0
            self._rows[self._row].redrawn = True
        elif control == "\b":
            self._column = max(0, self._column - 1)
        elif control == "\t":
            self._put("\t" if self._column >= len(self._rows[self._row].text) else "")

    def _newline(self, lines: list[str]) -> None:
        self._column = 0
        if self._row < len(self._rows) - 1:
            self._row += 1
            self._rows[self._row].redrawn = True
            return
        lines += self._redrawn()
        row = self._rows[-1]
        text = row.text.rstrip()
        if row.logged != text and (text or not row.redrawn):
            lines.append(text)
        row.logged = text
        self._rows.append(_Row())
        del self._rows[:-_MAX_ROWS]
        self._row = len(self._rows) - 1
        self._snapshot_at = None

    def _redrawn(self) -> list[str]:
        """Return the rows above the last that were drawn again since they were given."""
        lines = []
        for row in self._rows[:-1]:
            text = row.text.rstrip()
            if row.redrawn and text != row.logged:
                row.logged = text
                if text:
                    lines.append(text)
        return lines

    def _snapshot(self, now: float) -> list[str]:
        last = self._rows[-1]
        if self._row == len(self._rows) - 1 and not last.redrawn:
            return []
        if self._snapshot_at is None:
            self._snapshot_at = now
        if now - self._snapshot_at < self._snapshot_s:
            return []
        self._snapshot_at = now
        lines = self._redrawn()
        text = last.text.rstrip()
        if text and last.redrawn and text != last.logged:
            last.logged = text
            lines.append(text)
        return lines

    def _escape(self, args: str, final: str) -> None:
        number = int(args) if args.isdecimal() and len(args) < 6 else None
        count = number or 1
        row = self._rows[self._row]
        if final in "AF":
            self._row = max(0, self._row - count)
            self._rows[self._row].redrawn = True
        elif final in "BE":
            self._row = min(len(self._rows) - 1, self._row + count)
        elif final == "C":
            self._column = min(_MAX_WIDTH, self._column + count)
        elif final == "D":
            self._column = max(0, self._column - count)
        elif final == "G":
            self._column = min(_MAX_WIDTH, count - 1)
        elif final == "K":
            row.text = "" if number == 2 else row.text[: self._column] if not number else row.text
        elif final == "J" and not number:
            for below in self._rows[self._row + 1 :]:
                below.text = ""
        if final in "EFG" and final != "G":
            self._column = 0

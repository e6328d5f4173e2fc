"""The start banner and the end summary: which facts, and how they look in a terminal."""

from __future__ import annotations

import logging
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from keisei_lightning.record import Ending, SessionRecord, Status, Violation

__all__ = ["duration", "show_end", "show_start", "start_lines", "summary_lines"]

_log = logging.getLogger(__name__)

Lines = list[tuple[str, str]]
_MAX_METRICS = 6
_MAX_WIDTH = 110
_ESCAPE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")
_OURS = ("evaluation/performance/", "evaluation/sla/")
_COLOURS = {
    Status.COMPLETED: "green",
    Status.RUNNING: "cyan",
    Status.INTERRUPTED: "yellow",
    Status.TERMINATED: "yellow",
    Status.PRUNED: "yellow",
}


def show_start(
    record: SessionRecord,
    *,
    resumed: bool = False,
    tracker_note: str | None = None,
    banner: bool | None = None,
    stream: TextIO | None = None,
    note: Callable[[str], None] | None = None,
) -> None:
    """Draw the start banner, and write it as plain text through ``note``; never raises.

    Args:
        record: The facts.
        resumed: Whether an earlier attempt is continued.
        tracker_note: More about the trackers, such as why W&B is offline.
        banner: ``session.console.banner``; ``None`` draws on a terminal only.
        stream: Where to draw; standard output by default.
        note: Takes the plain lines, such as ``TrainingLog.note``.
    """
    lines = start_lines(record, resumed=resumed, tracker_note=tracker_note)
    _show("session", "cyan", lines, banner, stream, note)


def show_end(
    record: SessionRecord,
    *,
    best: Mapping[str, float] | None = None,
    files: Iterable[str] = (),
    banner: bool | None = None,
    stream: TextIO | None = None,
    note: Callable[[str], None] | None = None,
) -> None:
    """Draw the end summary, and write it as plain text through ``note``; never raises.

    Args:
        record: The facts of the ended session.
        best: The best value of each monitored metric.
        files: Files worth naming besides the checkpoints.
        banner: ``session.console.banner``; ``None`` draws on a terminal only.
        stream: Where to draw; standard output by default.
        note: Takes the plain lines, such as ``TrainingLog.note``.
    """
    lines = summary_lines(record, best=best, files=files)
    _show("session ended", _COLOURS.get(record.status, "red"), lines, banner, stream, note)


def start_lines(
    record: SessionRecord, *, resumed: bool = False, tracker_note: str | None = None
) -> Lines:
    """Return the label and the text of each line of the start banner; absent facts have none."""
    trackers = [" ".join(filter(None, (t.kind, t.url, t.mode))) for t in record.trackers]
    state = f"resumed, attempt {record.attempt}" if resumed else "fresh"
    devices = f" x {record.world_size}" if (record.world_size or 1) > 1 else ""
    return _clean(
        [
            ("name", record.name),
            ("id", f"{record.id} ({state})"),
            ("directory", record.directory),
            ("seed", record.seed),
            ("device", f"{record.device}{devices}" if record.device else None),
            ("tracker", ", ".join(trackers) or None),
            ("", tracker_note),
            ("overrides", " ".join(record.overrides) or None),
            ("config", record.config_hash),
        ]
    )


def summary_lines(
    record: SessionRecord,
    *,
    best: Mapping[str, float] | None = None,
    files: Iterable[str] = (),
) -> Lines:
    """Return the label and the text of each line of the end summary; absent facts have none."""
    checkpoint = record.checkpoint
    warnings = [f"{text} ({count}x)" for text, count in record.warnings.items()]
    pending = [tracker.sync_command for tracker in record.trackers if tracker.sync == "pending"]
    return _clean(
        [
            ("session", f"{record.name} ({record.id})"),
            ("status", _status(record)),
            ("cause", _cause(record.ending)),
            ("duration", duration(record.duration_s)),
            ("progress", _progress(record)),
            ("best", _metrics(best)),
            ("last", _metrics(record.metrics)),
            ("sla", _sla(record)),
            ("cost", f"{record.cost:.2f}" if record.cost is not None else None),
            ("directory", record.directory),
            ("checkpoint", (checkpoint.best or checkpoint.last) if checkpoint else None),
            *(("file", file) for file in files),
            *(("warning", warning) for warning in warnings),
            *(("to sync", command) for command in pending),
        ]
    )


def duration(seconds: float | None) -> str | None:
    """Return seconds as HH:MM:SS; the hours may have more digits."""
    if seconds is None or seconds != seconds or seconds in (float("inf"), float("-inf")):
        return None
    whole = max(0, round(seconds))
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _status(record: SessionRecord) -> str:
    ending = record.ending
    words = [record.status.value]
    if ending:
        words.append(f"({ending.reason}{f', {ending.signal}' if ending.signal else ''})")
    return " ".join(words)


def _cause(ending: Ending | None) -> str | None:
    if ending is None or ending.exception is None:
        return None
    rank = f"rank {ending.rank}: " if ending.rank else ""
    message = next(iter(ending.exception.message.strip().splitlines()), "")
    return f"{rank}{ending.exception.type}: {message}"[:500]


def _progress(record: SessionRecord) -> str | None:
    progress = record.progress
    if progress is None:
        return None
    facts = (("epoch", progress.epoch), ("step", progress.step))
    return ", ".join(f"{word} {number}" for word, number in facts if number is not None) or None


def _metrics(metrics: Mapping[str, float] | None) -> str | None:
    if not metrics:
        return None
    # The user's own come first; what an evaluation cost is in the files.
    own_first = sorted(metrics.items(), key=lambda item: item[0].startswith(_OURS))
    shown = [f"{name} {value:.4g}" for name, value in own_first[:_MAX_METRICS]]
    more = len(metrics) - len(shown)
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")


def _sla(record: SessionRecord) -> str | None:
    if record.sla is None:
        return None
    words = [_violation(violation) for violation in record.sla.violations]
    return "; ".join(["passed" if record.sla.passed else "violated", *words])


def _violation(violation: Violation) -> str:
    value = "" if violation.value is None else f" {violation.value:.4g}"
    limit = "" if violation.limit is None else f" ({violation.kind} {violation.limit:.4g})"
    missing = f" {violation.kind}" if violation.kind in ("missing", "nan") else ""
    return f"{violation.metric}{value}{limit}{missing}"


def _clean(lines: Iterable[tuple[str, Any]]) -> Lines:
    return [(label, _printable(str(text))) for label, text in lines if text is not None]


def _printable(text: str) -> str:
    # No control and no direction characters: a name must not repaint the terminal.
    kept = (" " if char in "\n\r\t" else char for char in _ESCAPE.sub("", text))
    return "".join(char for char in kept if unicodedata.category(char) not in ("Cc", "Cf", "Cs"))


def _show(
    title: str,
    colour: str,
    lines: Lines,
    banner: bool | None,
    stream: TextIO | None,
    note: Callable[[str], None] | None,
) -> None:
    try:
        if note is not None:
            for label, text in [(title, "-" * 40), *lines]:
                note(f"{label:<10} {text}")
        stream = sys.stdout if stream is None else stream
        if stream is not None and (stream.isatty() if banner is None else banner):
            _draw(title, colour, lines, stream)
    except OSError as error:  # nobody reads: a warning would go to the same broken stream
        _log.debug("the %s could not be shown: %s", title, error)
    except Exception as error:
        _log.warning("the %s could not be shown: %s", title, error)


def _draw(title: str, colour: str, lines: Lines, stream: TextIO) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    class Broken(Console):
        """A console that leaves a reader who went away to us: Rich's own ends the process."""

        def on_broken_pipe(self) -> None:
            raise OSError("nobody reads the output any more")

    console = Broken(file=stream, highlight=False, markup=False, emoji=False)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    encoding = getattr(stream, "encoding", None) or "utf-8"
    for label, text in lines:
        shown = text.encode(encoding, "backslashreplace").decode(encoding)
        style = f"bold {colour}" if label in ("status", "name") else ""
        grid.add_row(Text(label, style="dim"), Text(shown, style=style))
    width = min(console.width, _MAX_WIDTH)
    panel = Panel(grid, title=Text(title), title_align="left", border_style=colour, expand=False)
    console.print(panel, width=width)

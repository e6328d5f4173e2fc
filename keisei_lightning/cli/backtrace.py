"""What a traceback says: the exceptions in their chain, and the last line that is a user's own."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["TRACE_STARTS", "Frame", "causes", "last_user_frame"]

_FRAME = re.compile(
    r'^[ \t]*File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:, in (?P<function>[^\n]+))?\n'
    r"(?:[ \t]*(?P<code>[^\n]*))?",
    re.MULTILINE,
)
_BLOCKS = re.compile(
    r"\n\n(?:The above exception was the direct cause of the following exception"
    r"|During handling of the above exception, another exception occurred):\n\n"
)
_LIBRARY = re.compile(
    r"^<(?!stdin|string|ipython)|[/\\](?:site|dist)-packages[/\\]|[/\\]lib[/\\]python3[^/\\]*[/\\]"
    r"|[/\\]keisei_lightning[/\\]"
)
TRACE_STARTS = ("Traceback (most recent call last)", "Error executing job with overrides")


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback."""

    file: str
    line: int
    function: str | None
    code: str


def causes(trace: str) -> list[str]:
    """Return ``Type: message`` of every exception in a traceback, the first cause first."""
    found = []
    for block in _BLOCKS.split(_ungrouped(trace)):
        last_frame = max((m.end("line") for m in _FRAME.finditer(block)), default=0)
        lines = (line for line in block[last_frame:].split("\n")[bool(last_frame) :] if line)
        words = (x for x in lines if x[0] not in " \t^+" and not x.startswith(TRACE_STARTS))
        found += list(words)[:1]
    return found


def last_user_frame(trace: str) -> Frame | None:
    """Return the innermost frame of the raised exception that is in nobody's library.

    Without any such frame, the innermost of all.
    """
    frames = [
        Frame(m["file"], int(m["line"]), m["function"], (m["code"] or "").strip())
        for m in _FRAME.finditer(_BLOCKS.split(_ungrouped(trace))[-1])
    ]
    own = [frame for frame in frames if not _LIBRARY.search(frame.file)]
    found = own or frames
    return found[-1] if found else None


def _ungrouped(trace: str) -> str:
    """Return the traceback without the bars that an exception group draws."""
    return re.sub(r"(?m)^ *[|] ?", "", trace)

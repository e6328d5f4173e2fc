"""A text file that grows: its last lines, and what is added to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["decoded", "follow", "tail"]

POLL_S = 0.3
BLOCK = 1 << 16


def tail(path: Path, count: int) -> list[str]:
    """Return the last lines of a text file without reading all of it.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        data = b""
        while position > 0 and data.count(b"\n") <= count:
            size = min(BLOCK, position)
            position -= size
            file.seek(position)
            data = file.read(size) + data
    return decoded(data)[-count:] if count else []


def follow(path: Path, start: int, ended: Callable[[], bool]) -> Iterator[str]:
    """Yield the last lines and then every new one until the run is over and all was read.

    A file that is not there yet is waited for; one that got shorter or was replaced is read anew.
    """
    position, inode, rest, first = 0, None, b"", True
    while True:
        over = ended()
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())
                if first:
                    position = _start_of_last(path, start)
                    first = False
                elif facts.st_ino != inode or facts.st_size < position:
                    position, rest = 0, b""
                inode = facts.st_ino
                file.seek(position)
                data = rest + file.read()
                position = file.tell()
        except FileNotFoundError:
            data = rest
        whole, newline, rest = data.rpartition(b"\n")
        yield from decoded(whole + newline)
        if over:
            yield from decoded(rest)
            return
        time.sleep(POLL_S)


def _start_of_last(path: Path, count: int) -> int:
    """Return the offset at which the last ``count`` whole lines begin."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        position, seen = size if count else 0, 0
        while position > 0:
            block = min(BLOCK, position)
            position -= block
            file.seek(position)
            data = file.read(block)
            for index in range(len(data) - 1, -1, -1):
                if data[index] == 0x0A and position + index != size - 1:
                    seen += 1
                    if seen == count:
                        return position + index + 1
    return 0 if count else size


def decoded(data: bytes) -> list[str]:
    """Return bytes as lines; of a line that a progress bar wrote over, what was seen last."""
    lines = data.decode("utf-8", "replace").split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines]

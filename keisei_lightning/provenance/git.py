"""What git says about the code: asked bounded, without a prompt, a pager or a write."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO

from keisei_lightning.record import Git

__all__ = ["git_diff", "git_facts"]

# A hook or another git that started us may have pointed these at its own repository.
_FOREIGN = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|PREFIX|NAMESPACE|COMMON_DIR|OBJECT_DIRECTORY"
    r"|ALTERNATE_OBJECT_DIRECTORIES|EXTERNAL_DIFF|DIFF_OPTS|TRACE\w*)"
)
_QUIET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
    "LC_ALL": "C",
}
_COMMAND = (
    *("git", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    # Without the last, "git diff" writes the index whatever GIT_OPTIONAL_LOCKS says.
    *("-c", "core.quotePath=false", "-c", "diff.autoRefreshIndex=false"),
)
_DIFF = (
    *("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short"),
    *("--src-prefix=a/", "--dst-prefix=b/"),
)
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
_SMALL = 1 << 20
_UNTRACKED = 500


def git_facts(cwd: str | os.PathLike[str], timeout_s: float = 5.0) -> Git | None:
    """Return commit, branch and dirtiness of the repository that holds a directory.

    Absent facts are ``None``: the commit before the first one, the branch of a detached head.
    Untracked files make no tree dirty. ``None`` in all: no git, no repository, or git hung.
    """
    deadline = time.monotonic() + timeout_s
    if _line(cwd, deadline, "rev-parse", "--git-dir") is None:
        return None
    changes = _git(cwd, deadline, 1, "status", "--porcelain", "--untracked-files=no")
    return Git(
        commit=_line(cwd, deadline, "rev-parse", "--verify", "-q", "HEAD"),
        branch=_line(cwd, deadline, "symbolic-ref", "-q", "--short", "HEAD"),
        dirty=None if changes is None else bool(changes[0]),
    )


def git_diff(
    cwd: str | os.PathLike[str],
    redact: Callable[[str], str],
    limit_bytes: int = 2 << 20,
    timeout_s: float = 20.0,
) -> bytes | None:
    """Return how the tracked files of the whole repository differ from the commit, redacted.

    ``git apply`` takes it as it is. Untracked files are named above it, without their contents;
    of binary files it is only said that they differ. What exceeds the limit is cut off at the end
    of a line, which the last line then says. Empty when nothing differs.

    Returns:
        The diff; ``None`` without git, outside a repository, or when git hung.
    """
    deadline = time.monotonic() + timeout_s
    top = _line(cwd, deadline, "rev-parse", "--show-toplevel")
    if not top:
        return None
    commit = _line(top, deadline, "rev-parse", "--verify", "-q", "HEAD")
    found = _git(top, deadline, limit_bytes, *_DIFF, commit or _EMPTY_TREE)
    if found is None:
        return None
    data, complete = found
    if not complete:
        data = data[: data.rfind(b"\n") + 1]
    untracked = "".join(f"# untracked: {name}\n" for name in _untracked(top, deadline))
    shown = "".join(redact(part) for part in (untracked, *_pieces(_text(data))))
    if not complete:
        shown += f"# cut off: more than {limit_bytes} bytes differ\n"
    return shown.encode("utf-8", "surrogateescape")


def _untracked(top: str, deadline: float) -> list[str]:
    found = _git(top, deadline, _SMALL, "ls-files", "--others", "--exclude-standard", "-z")
    names = [_text(name) for name in found[0].split(b"\0")[:-1]] if found else []
    # The nearest first: a forgotten script says more than the files of earlier runs.
    names.sort(key=lambda name: (name.count("/"), name))
    more = len(names) - _UNTRACKED
    shown = [re.sub(r"[\x00-\x1f\x7f]", "?", name) for name in names[:_UNTRACKED]]
    return [*shown, f"... and {more} more"] if more > 0 else shown


def _pieces(text: str) -> Iterator[str]:
    """Split a diff into hunks, so that redacting never holds the interpreter for long."""
    starts = [match.start() for match in re.finditer(r"^(?:diff --git |@@ )", text, re.MULTILINE)]
    for start, end in pairwise([0, *starts, len(text)]):
        piece = text[start:end]
        # A heading alone: the file was touched, and is as it was.
        if piece.count("\n") > 1 or not piece.startswith("diff --git "):
            yield piece


def _text(data: bytes) -> str:
    # Files in other encodings come through byte by byte.
    return data.decode("utf-8", "surrogateescape")


def _line(cwd: str | os.PathLike[str], deadline: float, *arguments: str) -> str | None:
    found = _git(cwd, deadline, _SMALL, *arguments)
    return os.fsdecode(found[0].removesuffix(b"\n")) if found else None


def _git(
    cwd: str | os.PathLike[str], deadline: float, limit: int, *arguments: str
) -> tuple[bytes, bool] | None:
    """Return what git prints, up to a limit, and whether that is all; ``None`` if it failed."""
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}
    try:
        process = subprocess.Popen(
            [*_COMMAND, *arguments],
            cwd=Path(cwd),
            env={**kept, **_QUIET},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A group of its own: Ctrl-C is not for it, and what it started ends with it.
            start_new_session=True,
        )
    except (OSError, ValueError):
        return None
    finished = False
    try:
        assert process.stdout is not None
        data = _read(process.stdout, limit, deadline)
        if len(data) > limit:
            return data[:limit], False
        finished = process.wait(max(deadline - time.monotonic(), 0.01)) is not None
        return (data, True) if process.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        return None
    finally:
        _end(process, finished)


def _read(pipe: IO[bytes], limit: int, deadline: float) -> bytes:
    """Read up to one byte more than the limit.

    Raises:
        TimeoutError: The deadline has passed.
    """
    poll, data = select.poll(), bytearray()
    poll.register(pipe, select.POLLIN)
    while len(data) <= limit:
        if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
            raise TimeoutError("git did not answer in time")
        block = os.read(pipe.fileno(), min(1 << 16, limit + 1 - len(data)))
        if not block:
            break
        data += block
    return bytes(data)


def _end(process: subprocess.Popen[bytes], finished: bool) -> None:
    if not finished:
        # Before it is waited for: until then its group is surely its own.
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
    if process.stdout is not None:
        process.stdout.close()

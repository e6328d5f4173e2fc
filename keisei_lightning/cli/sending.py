"""Running a recorded ``wandb sync``, and nothing else that may stand in a record."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from keisei_lightning.cli import wording
from keisei_lightning.cli.trouble import UsageError
from keisei_lightning.record import SessionRecord, Tracker

__all__ = ["Result", "commands", "send"]

Result = Literal["done", "failed", "timeout", "refused", "pending"]

_SETTING = re.compile(r"WANDB_[A-Z_]+=.*", re.DOTALL)


def commands(text: str) -> list[tuple[dict[str, str], list[str]]]:
    """Return the settings and arguments of each ``wandb sync`` in a recorded command.

    Records travel with their directories, so what stands in them is not run as it is: only
    ``wandb sync`` calls, one after another, with ``WANDB_`` settings, and never by a shell.

    Raises:
        ValueError: It is something else.
    """
    words = shlex.split(text)
    found = []
    while words:
        end = words.index("&&") if "&&" in words else len(words)
        one, words = words[:end], words[end + 1 :]
        settings = {}
        while one and _SETTING.fullmatch(one[0]):
            name, _, value = one.pop(0).partition("=")
            settings[name] = value
        if len(one) > 2 and one[1] == "-m" and Path(one[0]).name.startswith("python"):
            one = one[2:]
        if len(one) < 3 or Path(one[0]).name != "wandb" or one[1] != "sync":
            raise ValueError("the recorded command is no `wandb sync`")
        found.append((settings, one[1:]))
    if not found:
        raise ValueError("the recorded command is empty")
    return found


def send(record: SessionRecord, tracker: Tracker, timeout: float) -> tuple[Result, str]:
    """Send a tracker's pending data; return what became of it and the last line that was said.

    Args:
        record: The session, with its run directory where it is now.
        tracker: The tracker that has a ``sync_command``.
        timeout: Seconds that each command may take; then it is ended and the data kept.

    Raises:
        UsageError: There is no ``wandb`` command.
    """
    try:
        calls = commands(tracker.sync_command or "")
    except ValueError as error:
        return "refused", f"{error}; run it yourself if you trust it"
    said = ""
    for settings, words in calls:
        arguments = [_where_it_is(word, record) for word in words]
        result, said = _call([*_wandb(), *arguments], settings, record.directory, timeout)
        if result == "done" and not all(_is_sent(Path(one)) for one in arguments[1:]):
            result = "failed"  # `wandb sync` exits 0 after an error, too
        if result != "done":
            return result, said
    return "done", said


def _where_it_is(argument: str, record: SessionRecord) -> str:
    """Return a path in the command as it is now, should the run directory have been moved."""
    if not argument.startswith("-") and record.directory and not Path(argument).exists():
        moved = Path(record.directory, "wandb", Path(argument).name)
        if moved.exists():
            return str(moved)
    return argument


def _is_sent(path: Path) -> bool:
    """Return whether W&B has marked the runs in a directory as sent; not asked of an option."""
    files = list(path.glob("*.wandb")) if path.is_dir() else [path]
    sent = [file.with_suffix(".wandb.synced").exists() for file in files]
    return str(path).startswith("-") or (bool(sent) and all(sent))


def _wandb() -> list[str]:
    """Return how to start W&B's command: the one beside this interpreter, else the PATH's."""
    beside = Path(sys.executable).with_name("wandb")
    found = str(beside) if beside.is_file() else shutil.which("wandb")
    if found is None:
        raise UsageError("there is no `wandb` command here", "pip install wandb")
    return [found]


def _call(
    command: Sequence[str], settings: dict[str, str], directory: str | None, timeout: float
) -> tuple[Result, str]:
    """Run one command in a process group of its own, which is ended when its time is up."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **settings},
        cwd=directory if directory and Path(directory).is_dir() else None,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return "timeout", f"stopped after {wording.duration(timeout)}; the data is kept"
    finally:
        _end(process)
    lines = [wording.one_line(line) for line in output.decode("utf-8", "replace").splitlines()]
    said = next((line for line in reversed(lines) if line), "")
    return ("done" if process.returncode == 0 else "failed"), said


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a process group, also after Ctrl-C."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()

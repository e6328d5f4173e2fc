"""Runs the tiny training as a real process and reads what it left."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

APP = Path(__file__).parent / "app"


@dataclass(frozen=True)
class Left:
    """What a process left behind."""

    code: int
    out: str
    seconds: float
    record: dict[str, Any]
    directory: Path | None

    @property
    def ending(self) -> dict[str, Any]:
        """The ending in the record; empty when there is none."""
        return self.record.get("ending") or {}


def environment(home: Path, **more: str) -> dict[str, str]:
    """A clean environment: nothing of the machine's trackers, ranks or sessions."""
    drop = ("WANDB_", "KEISEI_", "PL_", "SLURM_", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(drop)}
    env |= {
        "HOME": str(home / "home"),  # not the project itself: no registry is made in a home
        "SCENARIO": str(home),
        "PYTHONWARNINGS": "default",
        "OMP_NUM_THREADS": "1",
        "HYDRA_FULL_ERROR": "1",
    }
    return env | more


def run(
    door: str,
    cwd: Path,
    what: str = "success",
    place: str = "",
    *more: str,
    timeout: float = 120,
    env: dict[str, str] | None = None,
) -> Left:
    """Run one scenario to its end.

    Args:
        door: ``hydra``, ``block`` or ``bare``.
        cwd: Where it runs; everything it leaves is below.
        what: What happens.
        place: Where it happens.
        more: Further arguments of the door.
        timeout: Seconds after which it counts as hung.
        env: More environment variables.
    """
    install(cwd)
    started = time.monotonic()
    finished = subprocess.run(
        command(door, cwd, what, place, *more),
        cwd=cwd,
        env=environment(cwd, **(env or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=timeout,
        check=False,
    )
    code = finished.returncode
    directories = runs(cwd)
    directory = directories[0] if directories else None
    return Left(
        code=code if code >= 0 else 128 - code,  # as a shell says it
        out=finished.stdout,
        seconds=time.monotonic() - started,
        record=read(directory) if directory else {},
        directory=directory,
    )


def install(cwd: Path) -> Path:
    """Copy the application to where it runs, so that what it leaves beside itself is there."""
    (cwd / "home").mkdir(exist_ok=True)
    return Path(shutil.copytree(APP, cwd / "app", dirs_exist_ok=True))


@dataclass
class Running:
    """A process that lingers in its training until something is done to it."""

    process: subprocess.Popen[str]
    cwd: Path
    log: Path

    def until(self, name: str, seconds: float = 90) -> None:
        """Wait for a file that the training leaves.

        Raises:
            TimeoutError: It does not come; the message holds the output so far.
        """
        deadline = time.monotonic() + seconds
        while not (self.cwd / name).exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise TimeoutError(f"no {name}: {self.log.read_text()}")
            time.sleep(0.05)

    def left(self, timeout: float = 60) -> Left:
        """Wait for the end; a process group that outlives it is killed and fails the test."""
        started = time.monotonic()
        try:
            code = self.process.wait(timeout)
        finally:
            self.sweep()
        directories = runs(self.cwd)
        return Left(
            code=code if code >= 0 else 128 - code,
            out=self.log.read_text(),
            seconds=time.monotonic() - started,
            record=read(directories[0]) if directories else {},
            directory=directories[0] if directories else None,
        )

    def sweep(self) -> None:
        """Kill what is left of the process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def start(
    door: str, cwd: Path, what: str, place: str, *more: str, env: dict[str, str] | None = None
) -> Running:
    """Start a scenario in a process group of its own."""
    install(cwd)
    log = cwd / "output.txt"
    with log.open("w") as out:
        process = subprocess.Popen(
            command(door, cwd, what, place, *more),
            cwd=cwd,
            env=environment(cwd, **(env or {})),
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    return Running(process, cwd, log)


def command(door: str, cwd: Path, what: str, place: str, *more: str) -> list[str]:
    """The command line of a scenario."""
    if door == "hydra":
        script, arguments = "train.py", [f"what={what}", f"place={place}", "+session=default"]
    elif door == "block":
        script, arguments = "block.py", [what, place, str(cwd / "block_run")]
    else:
        script, arguments = "bare.py", [what, place]
    return [sys.executable, str(cwd / "app" / script), *arguments, *more]


def runs(below: Path) -> list[Path]:
    """All run directories below a folder, links aside."""
    return [
        path.parent
        for path in sorted(below.rglob("session.json"))
        if "by-status" not in path.parts and "latest" not in path.parts
    ]


def read(directory: Path) -> dict[str, Any]:
    """The record of a run directory, as plain JSON."""
    data: dict[str, Any] = json.loads((directory / "session.json").read_text(encoding="utf-8"))
    return data


def leftovers(cwd: Path) -> list[str]:
    """Command lines of processes that still run on behalf of a scenario."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SCENARIO") == str(cwd) and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
    return [line for line in found if not line.startswith("sleep")]


def offline_run(record: dict[str, Any]) -> Path:
    """The one directory of W&B's that the record says is to be synced.

    Where the budget was too short for W&B to finish, that is a complete copy beside its own.
    """
    [tracker] = record["trackers"]
    return Path(shlex.split(tracker["sync_command"])[-1])


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

"""Run directories with real records in them, and the command in this process or as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from keisei_lightning.cli import main
from keisei_lightning.machine import identity
from keisei_lightning.record import (
    Ending,
    ExceptionFacts,
    Heartbeat,
    Progress,
    SessionRecord,
    Status,
    to_json,
)
from keisei_lightning.registry import Registry

KEISEI = Path(sys.executable).with_name("keisei")


@dataclass(frozen=True)
class Result:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


Invoke = Callable[..., Result]


def moment(seconds_ago: float) -> str:
    """Return a time before now as the record writes it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()


class Runs:
    """Writes run directories under one root, each a minute older than the one before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0

    def add(
        self,
        id: str,
        status: Status = Status.COMPLETED,
        *,
        files: dict[str, str] | None = None,
        **facts: Any,
    ) -> SessionRecord:
        """Write one run with its files and return its record."""
        self.count += 1
        directory = self.root / facts.pop("folder", id)
        age = 60.0 * self.count
        given: dict[str, Any] = {
            "name": id,
            "created_at": moment(age),
            "started_at": moment(age),
            "directory": str(directory),
            "heartbeat": Heartbeat(moment(1), 30.0),
            "progress": Progress("fit", 2, 300, 1000, 30.0, 12.5, 56.0, moment(2)),
            **identity(),
        }
        if status.is_final:
            given |= {"ended_at": moment(1), "duration_s": age - 1}
            given["ending"] = Ending(status, "max_epochs", "fit", 2, 300, exit_code=0)
        record = SessionRecord(id=id, status=status, **{**given, **facts})
        self.write(record, files or {})
        return record

    def write(self, record: SessionRecord, files: dict[str, str]) -> None:
        """Write a record and other files of its run."""
        directory = Path(str(record.directory))
        texts = {"session.json": json.dumps(to_json(record)), **files}
        for name, text in texts.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def dead(self, id: str, **facts: Any) -> SessionRecord:
        """Write a run of this host whose process is gone."""
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        return self.add(id, Status.RUNNING, **{"pid": gone.pid, **facts})

    def failed(self, id: str, **facts: Any) -> SessionRecord:
        """Write a run that ended with an exception."""
        fault = ExceptionFacts("ValueError", "loss is nan")
        ending = Ending(Status.FAILED, "exception", "fit", 2, 300, 0, fault, exit_code=1)
        return self.add(id, Status.FAILED, **{"ending": ending, **facts})


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Return a writer of run directories under ``tmp_path/outputs``."""
    root = tmp_path / "outputs"
    root.mkdir()
    return Runs(root)


@pytest.fixture
def invoke(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Invoke:
    """Return a function that runs the command in this process, in an empty project."""
    os.chdir(tmp_path)

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def keisei(tmp_path: Path) -> Invoke:
    """Return a function that runs the installed command as a process of its own."""

    def call(*arguments: object, **options: Any) -> Result:
        done = subprocess.run(
            [str(KEISEI), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            **{"cwd": tmp_path, **options},
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(params=["directories", "registry"])
def where(request: pytest.FixtureRequest, runs: Runs, tmp_path: Path) -> Callable[[], list[str]]:
    """Return the options that name the runs written so far: their root, or a real registry."""

    def options() -> list[str]:
        if request.param == "directories":
            return ["--dir", str(runs.root)]
        path = tmp_path / "sessions.db"
        with Registry(path) as registry:
            registry.reindex(runs.root)
        return ["--registry", str(path)]

    return options

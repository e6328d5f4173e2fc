"""A real run, killed: what the commands say of it, from its directory and from the registry."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Invoke

SCRIPT = """
import sys, time
from keisei_lightning import open_session

with open_session(directory=sys.argv[1], name="victim", seed=1) as session:
    session.log_evaluation({"score": 0.5}, step=7)
    print("ready", flush=True)
    time.sleep(120)
"""


@pytest.mark.parametrize("arguments", [[], ["--dir", "runs"]], ids=["registry", "directories"])
def test_a_killed_run_is_dead_at_once_and_lost_after_cleanup(
    arguments: list[str], tmp_path: Path, keisei: Invoke
) -> None:
    """kill -9: ``ls`` shows it dead, ``why`` says it went without a word, ``cleanup`` says 1."""
    (tmp_path / "pyproject.toml").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "runs" / "victim")],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert any(line == "ready\n" for line in process.stdout), process.communicate()
    (alive,) = keisei("ls", "--json", *arguments).json
    assert (alive["status"], alive["liveness"], alive["pid"]) == ("running", "alive", process.pid)
    assert "0 sessions" in keisei("cleanup", "--yes", *arguments).out
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (dead,) = keisei("ls", "--json", *arguments).json
    assert (dead["status"], dead["liveness"]) == ("running", "dead")
    said = keisei("why", "victim", *arguments)
    assert said.code == 0
    assert said.out.startswith("dead ")
    assert "gone without a word" in said.out
    assert "1 session marked lost" in keisei("cleanup", "--yes", *arguments).out
    record = json.loads((tmp_path / "runs" / "victim" / "session.json").read_bytes())
    assert (record["status"], record["ending"]["reason"]) == ("lost", "lost")
    assert keisei("show", "victim", "--json", *arguments).json["status"] == "lost"
    assert keisei("logs", "victim", "--stdout", *arguments).out == "ready\n"

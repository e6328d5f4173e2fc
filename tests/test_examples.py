"""The examples are real: they learn, they keep a session, and they run as people will run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from wandb_file import read_wandb_file, run_directories

EXAMPLES = Path(__file__).parents[1] / "examples"
DIGITS = EXAMPLES / "digits" / "train.py"
PLAIN = EXAMPLES / "plain" / "train.py"

# Python prints a warning as "file.py:12: text"; this one is Lightning's own, nobody can avoid it.
WARNING = re.compile(r"\.py:\d+: (?!`isinstance\(treespec, LeafSpec\)).*")


def run(script: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run an example in a folder as a person would, and expect it to succeed."""
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=cwd,
        env=os.environ | {"WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def records(folder: Path) -> list[dict[str, Any]]:
    """Give the records of all runs below a folder; the links to them aside."""
    found = {path.resolve() for path in folder.rglob("session.json")}
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(found)]


def test_digits_learns_and_keeps_its_session(tmp_path: Path) -> None:
    """The whole path: a config, a training on real data, a record that says how it ended."""
    folder = tmp_path / "with a space and größe"
    folder.mkdir()
    done = run(DIGITS, cwd=folder)
    (record,) = records(folder)
    assert record["status"] == "completed"
    assert record["ending"]["reason"] == "max_epochs"
    assert record["metrics"]["test/acc"] > 0.95
    assert Path(record["checkpoint"]["best"]).exists()
    assert record["warnings"] == {}
    assert WARNING.findall(done.stderr) == []


def test_every_metric_reaches_wandb_and_the_files(tmp_path: Path) -> None:
    """What DESIGN names is in W&B's offline file, in metrics.jsonl and in evaluations.jsonl."""
    run(DIGITS, "session/tracking=wandb", "trainer.max_epochs=2", cwd=tmp_path)
    (record,) = records(tmp_path)
    directory = Path(record["directory"])
    (offline,) = run_directories(directory)
    sent = {name for line in read_wandb_file(offline).history for name in line}
    lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    written = {name for line in lines for name in json.loads(line)}
    own = {"train/loss", "val/loss", "val/acc", "test/acc"}
    figures = ("latency_ms", "memory_overhead_mb", "cpu_utilization_percent")
    ours = {f"evaluation/performance/{name}" for name in (*figures, "training_impact_percent")}
    ours |= {"evaluation/sla/passed", "evaluation/sla/violation_count"}
    assert own | ours <= written
    assert own | ours <= sent
    assert read_wandb_file(offline).exit_code == 0
    evaluations = (directory / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()
    stages = [json.loads(line) for line in evaluations]
    assert [line["stage"] for line in stages] == ["validate", "validate", "test"]
    assert all(line["sla"]["passed"] for line in stages if line["stage"] == "validate")
    assert all("latency_ms" in line["performance"] for line in stages)


def test_plain_learns_and_keeps_its_session(tmp_path: Path) -> None:
    """The same without Hydra, in one file that works wherever it is copied to."""
    script = shutil.copy(PLAIN, tmp_path)
    done = run(Path(script), "--seed", "7", "--directory", "runs/seven", cwd=tmp_path)
    (record,) = records(tmp_path)
    assert record["directory"] == str(tmp_path / "runs" / "seven")
    assert (record["status"], record["ending"]["reason"]) == ("completed", "max_epochs")
    assert record["seed"] == 7
    assert record["metrics"]["test/acc"] > 0.95
    assert record["warnings"] == {}
    assert WARNING.findall(done.stderr) == []


def test_a_sweep_gives_each_job_its_session(tmp_path: Path) -> None:
    """Two jobs, two run directories, two ids, one seed."""
    run(DIGITS, "-m", "model.lr=0.1,0.01", "session.seed=3", "trainer.max_epochs=1", cwd=tmp_path)
    first, second = records(tmp_path)
    assert first["id"] != second["id"]
    assert first["directory"] != second["directory"]
    assert [first["seed"], second["seed"]] == [3, 3]
    assert {first["status"], second["status"]} == {"completed"}
    assert "model.lr=0.1" in first["overrides"]


def test_a_run_of_a_few_steps_ends_well(tmp_path: Path) -> None:
    """A run that stops before its first validation is still tested and completed."""
    run(DIGITS, "+trainer.max_steps=3", cwd=tmp_path)
    (record,) = records(tmp_path)
    assert (record["status"], record["ending"]["reason"]) == ("completed", "max_steps")
    assert "test/acc" in record["metrics"]


def test_digits_runs_without_a_session(tmp_path: Path) -> None:
    """``session=none`` turns us off without touching the code."""
    run(DIGITS, "session=none", "trainer.max_epochs=1", cwd=tmp_path)
    assert records(tmp_path) == []


@pytest.mark.long
def test_two_ranks_are_one_session(tmp_path: Path) -> None:
    """The example trains on two processes as it is, with one record."""
    ddp = ["trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp"]
    run(DIGITS, *ddp, "trainer.max_epochs=2", cwd=tmp_path)
    (record,) = records(tmp_path)
    assert (record["status"], record["world_size"]) == ("completed", 2)
    assert record["warnings"] == {}

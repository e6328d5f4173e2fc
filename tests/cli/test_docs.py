"""docs/cli.md: every example is run in a terminal of 80 columns, and says what it says there."""

from __future__ import annotations

import json
import math
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keisei_lightning.record import Status, Tracker

from .conftest import Invoke, Runs
from .test_process import lines_of, terminal

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"

TRACE = """Traceback (most recent call last):
  File "/home/me/digits/data.py", line 9, in load
    return table[key]
KeyError: 'x'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/home/me/digits/model.py", line 42, in training_step
    raise ValueError("loss is nan") from error
ValueError: loss is nan
"""


@dataclass
class Example:
    """A command in the document, what it prints there, and the exit code it is said to have."""

    command: str
    code: int = 0
    output: list[str] = field(default_factory=list)


def examples() -> list[Example]:
    """Return the commands of all ``console`` blocks; ``# exit 1`` after one tells its exit code."""
    found: list[Example] = []
    for block in re.findall(r"```console\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                command, _, code = line[2:].partition("  # exit ")
                found.append(Example(command, int(code or 0)))
            else:
                found[-1].output.append(line)
    return found


def masked(line: str) -> str:
    """Return a line without what differs from day to day: digits, and how wide a column is."""
    amounts = r"\d+(?:\.\d+)?(?:e-?\d+)?(?:[smhd]\d*)*\b|\d+"
    return " ".join(re.sub(amounts, "#", line).split())


def agrees(documented: list[str], actual: list[str]) -> bool:
    """Return whether the lines are the documented ones; a line ``...`` is anything, or nothing."""
    parts = re.split(r"\n?\.\.\.\n?", "\n".join(masked(line) for line in documented))
    pattern = ".*".join(map(re.escape, parts))
    return re.fullmatch(pattern, "\n".join(map(masked, actual)), re.DOTALL) is not None


def journal(speed: float) -> str:
    """Return a journal in which the loss falls and the accuracy rises."""
    rows = []
    for step in range(0, 300, 5):
        loss = math.exp(-step * speed)
        row: dict[str, float] = {"step": step, "epoch": step // 100, "train/loss": loss}
        if step % 100 == 95:
            row |= {"val/loss": loss * 1.2, "val/acc": 1 - loss / 2}
        rows.append(row)
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def project(runs: Runs, invoke: Invoke, tmp_path: Path) -> Path:
    """Return the project that the document speaks of."""
    pending = Tracker("wandb", "calm-heron-55aa", None, "offline", "pending", "wandb sync /x/run")
    numbers = {"train/loss": 0.105, "val/acc": 0.946}
    runs.add("amber-finch-7k3q", Status.RUNNING, name="digits-lr0.1", metrics=numbers)
    runs.dead("blue-otter-1x2y", name="digits-lr0.03", metrics={"train/loss": 0.31})
    runs.failed(
        "calm-heron-55aa",
        name="digits-lr3",
        world_size=1,
        device="cpu",
        overrides=("model.lr=3",),
        seed=42,
        metrics={"train/loss": 9.75},
        trackers=(pending,),
        files={
            "error.txt": TRACE,
            "logs/training.log": "epoch 0 done\nloss looks odd\n",
            "logs/stdout.log": "hello\n",
        },
    )
    for id, lr, speed in (("dusty-lynx-88zz", 0.1, 0.02), ("eager-mole-99bb", 0.01, 0.01)):
        runs.add(
            id,
            name=f"digits-lr{lr}",
            seed=42,
            duration_s=31.5,
            device="cpu",
            metrics={"train/loss": math.exp(-295 * speed), "val/acc": 0.9},
            files={
                "metrics.jsonl": journal(speed),
                "effective_config.json": json.dumps({"model": {"lr": lr, "hidden": 128}}),
                "provenance/packages.txt": "torch==2.8.0\n",
            },
        )
    assert invoke("reindex", runs.root).code == 0
    return tmp_path


def test_every_example_says_what_it_says_in_the_document(project: Path) -> None:
    """Commands, exit codes and output, one after another in one project."""
    wrong = []
    for example in examples():
        words = shlex.split(example.command)
        assert words[0] == "keisei"
        written = terminal(*words[1:], columns=80, cwd=project, code=example.code)
        if example.output:
            shown = re.split(r"\x1b\[\d+A", written)[-1]  # what a live table ended with
            if not agrees(example.output, lines_of(shown)):
                wrong.append("\n".join(["", f"$ {example.command}", *lines_of(shown)]))
    assert not wrong, "".join(wrong)


def test_every_command_is_documented(invoke: Invoke) -> None:
    """Each command has a section, and an example that is run."""
    said = invoke("--help").out.split("Commands:")[1]
    commands = [line.split()[0] for line in said.splitlines() if line.strip()]
    text = DOCUMENT.read_text("utf-8")
    run = {example.command.split()[1] for example in examples()}
    assert [name for name in commands if f"## `keisei {name}`" not in text] == []
    assert [name for name in commands if name not in run] == []


def test_the_documented_keys_are_the_keys(project: Path, invoke: Invoke) -> None:
    """The JSON of each command has exactly the keys that the document lists for it."""
    text = DOCUMENT.read_text("utf-8")
    table = dict(re.findall(r"^\| `keisei ([^`]+) --json` \| ([^|]+) \|", text, re.MULTILINE))
    assert len(table) >= 11
    for command, cell in table.items():
        found = invoke(*shlex.split(command), "--json").json
        first = found[0] if isinstance(found, list) else found
        assert isinstance(found, list) == cell.startswith("array of"), command
        assert set(first) == set(re.findall(r"`([^`]+)`", cell)), command

"""metrics.jsonl: every number, on disk at once, whatever happens to the disk."""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import shutil
import signal
import stat
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keisei_lightning.tracking import Entry, Journal, read_entries


def lines(path: Path) -> list[dict[str, Any]]:
    """Read the file as JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_entry_is_on_disk_when_log_returns(directory: Path) -> None:
    """A line has step, epoch and time first, then the metrics; nothing has to be flushed."""
    journal = Journal(directory / "metrics.jsonl")
    journal.log({"val/loss": 0.5, "n": 3}, step=7, epoch=1)
    (line,) = lines(journal.path)
    assert list(line)[:3] == ["step", "epoch", "time"]
    assert (line["step"], line["epoch"], line["val/loss"], line["n"]) == (7, 1, 0.5, 3)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert journal.last == {"val/loss": 0.5, "n": 3.0}


def test_scalars_of_every_kind_become_numbers_and_the_rest_is_left_out(directory: Path) -> None:
    """Tensors and arrays of one element are numbers; text, images and tables are not journalled."""
    journal = Journal(directory / "metrics.jsonl")
    seen: list[Entry] = []
    journal.attach(seen.append)
    numbers = {
        "tensor": torch.tensor(2.0, requires_grad=True),
        "one": torch.tensor([3]),
        "numpy": np.float32(4),
        "array": np.array([[5.0]]),
        "bool": True,
        "huge": 10**400,
        "fraction": Fraction(1, 2),
    }
    journal.log(numbers | {"text": "7", "many": torch.zeros(2), "none": None, "list": [1]})
    assert seen[0].metrics == {
        "tensor": 2.0,
        "one": 3.0,
        "numpy": 4.0,
        "array": 5.0,
        "bool": 1.0,
        "huge": math.inf,
        "fraction": 0.5,
    }
    assert set(seen[0].media) == {"text", "many", "none", "list"}
    assert not set(lines(journal.path)[0]) & {"text", "many", "none", "list"}


def test_numbers_that_json_does_not_know_are_text_and_read_back(directory: Path) -> None:
    """NaN and the infinities are the strings that float() reads."""
    journal = Journal(directory / "metrics.jsonl")
    journal.log({"a": math.nan, "b": math.inf, "c": -math.inf})
    assert lines(journal.path)[0] | {"time": 0} == {
        "step": None,
        "epoch": None,
        "time": 0,
        "a": "NaN",
        "b": "Infinity",
        "c": "-Infinity",
    }
    (entry,) = read_entries(journal.path)
    assert math.isnan(entry.metrics["a"])
    assert (entry.metrics["b"], entry.metrics["c"]) == (math.inf, -math.inf)


def test_names_of_ours_are_moved_aside(directory: Path) -> None:
    """A metric called step, epoch or time does not overwrite the line's own."""
    journal = Journal(directory / "metrics.jsonl")
    journal.log({"step": 1, "epoch": 2, "time": 3}, step=9)
    line = lines(journal.path)[0]
    assert (line["metric/step"], line["metric/epoch"], line["metric/time"]) == (1, 2, 3)
    assert (line["step"], line["epoch"]) == (9, None)


def test_names_are_redacted(directory: Path) -> None:
    """A secret in a metric's name is not written."""
    journal = Journal(directory / "metrics.jsonl", lambda text: text.replace("hunter2", "***"))
    journal.log({"loss/hunter2": 1.0})
    assert "hunter2" not in journal.path.read_text()


names = st.text(min_size=1, max_size=20) | st.text(string.ascii_letters + "/_", min_size=1)


@settings(max_examples=60, deadline=None)
@given(
    entries=st.lists(
        st.dictionaries(names, st.floats() | st.integers() | st.booleans(), min_size=1), max_size=5
    )
)
def test_what_was_logged_reads_back(
    entries: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any names and numbers come back as they were, line by line."""
    journal = Journal(tmp_path_factory.mktemp("j") / "metrics.jsonl")
    for entry in entries:
        journal.log(entry, step=1)
    back = list(read_entries(journal.path))
    assert len(back) == len(entries)
    for entry, found in zip(entries, back, strict=True):
        wanted = {
            (f"metric/{k}" if k in ("step", "epoch", "time") else k): float(v)
            for k, v in entry.items()
        }
        assert set(found.metrics) == set(wanted)
        assert all(
            found.metrics[k] == v or (math.isnan(v) and math.isnan(found.metrics[k]))
            for k, v in wanted.items()
        )
    journal.close()


def test_the_next_attempt_appends_and_a_torn_line_is_skipped(directory: Path) -> None:
    """A line that a kill has cut in two spoils neither the next one nor the reading."""
    path = directory / "metrics.jsonl"
    Journal(path).log({"a": 1.0}, step=1)
    with path.open("ab") as file:
        file.write(b'{"step": 2, "epo')
    Journal(path).log({"a": 3.0}, step=3)
    assert [entry.step for entry in read_entries(path)] == [1, 3]


def test_reading_stops_where_it_is_told_to(directory: Path) -> None:
    """Only the lines up to a size of the file are read."""
    journal = Journal(directory / "metrics.jsonl")
    journal.log({"a": 1.0})
    until = journal.path.stat().st_size
    journal.log({"a": 2.0})
    assert [entry.metrics["a"] for entry in read_entries(journal.path, until)] == [1.0]
    assert list(read_entries(directory / "nothing.jsonl")) == []


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size; a write past it fails or is cut short."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_costs_one_warning_and_no_line(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines wait, also half a line, and are complete and in order once there is space."""
    journal = Journal(directory / "metrics.jsonl")
    with caplog.at_level(logging.WARNING), disk_full_at(500):
        for step in range(50):
            journal.log({"train/loss": float(step)}, step=step)
        assert journal.path.stat().st_size == 500
    assert len(caplog.records) == 1
    assert "metrics.jsonl" in caplog.records[0].getMessage()
    journal.log({"train/loss": 50.0}, step=50)
    assert [line["step"] for line in lines(journal.path)] == list(range(51))
    assert journal.failures > 1
    assert journal.close()


def test_a_deleted_directory_comes_back_with_every_line(directory: Path) -> None:
    """The lines written before the deletion are brought into the new file."""
    journal = Journal(directory / "metrics.jsonl")
    for step in range(3):
        journal.log({"a": 1.0}, step=step)
    shutil.rmtree(directory)
    for step in range(3, 6):
        journal.log({"a": 1.0}, step=step)
    assert [line["step"] for line in lines(journal.path)] == list(range(6))


def test_a_directory_that_cannot_be_made_again_keeps_lines_waiting(directory: Path) -> None:
    """While a file stands where the directory was, nothing raises; afterwards all is there."""
    journal = Journal(directory / "metrics.jsonl")
    journal.log({"a": 1.0}, step=0)
    shutil.rmtree(directory)
    directory.write_text("in the way")
    journal.log({"a": 1.0}, step=1)
    assert not journal.flush()
    directory.unlink()
    assert journal.flush()
    assert [line["step"] for line in lines(journal.path)] == [0, 1]


def test_the_backlog_is_bounded(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More lines than the bound: the oldest go and are counted."""
    monkeypatch.setattr("keisei_lightning.tracking.journal.BACKLOG_LINES", 10)
    journal = Journal(directory / "file" / "metrics.jsonl")
    (directory / "file").write_text("in the way")
    for step in range(25):
        journal.log({"a": 1.0}, step=step)
    (directory / "file").unlink()
    assert journal.flush()
    assert journal.dropped == 15
    assert [line["step"] for line in lines(journal.path)] == list(range(15, 25))


def test_many_threads_never_mix_their_lines(directory: Path) -> None:
    """Eight threads, 200 entries each: 1600 whole lines, and each feed sees them in file order."""
    journal = Journal(directory / "metrics.jsonl")
    seen: list[float] = []
    journal.attach(lambda entry: seen.append(entry.metrics["a"]))

    def log(thread: int) -> None:
        for i in range(200):
            journal.log({"a": thread * 1000 + i, "padding": 1 / 3}, step=i)

    threads = [threading.Thread(target=log, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line["a"] for line in lines(journal.path)] == seen
    assert len(seen) == 1600


def test_nothing_is_created_before_the_first_entry(directory: Path) -> None:
    """A journal that was never used leaves no file."""
    journal = Journal(directory / "metrics.jsonl")
    assert journal.close()
    assert os.listdir(directory) == []

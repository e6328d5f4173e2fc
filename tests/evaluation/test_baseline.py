"""The baseline is the median of earlier completed runs of the same config."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from keisei_lightning.evaluation.baseline import History, medians, sibling_records
from keisei_lightning.record import SessionRecord, Status, to_json


def record(id: str, loss: float, **facts: Any) -> SessionRecord:
    """Return a completed record of config ``c``."""
    facts = {"status": Status.COMPLETED, "config_hash": "c", "ended_at": f"2026-01-0{id}"} | facts
    return SessionRecord(id=id, name=id, metrics={"val/loss": loss}, **facts)


def put(directory: Path, content: SessionRecord | str) -> None:
    """Write a run directory."""
    directory.mkdir(parents=True)
    text = content if isinstance(content, str) else json.dumps(to_json(content))
    (directory / "session.json").write_text(text, encoding="utf-8")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """An output folder whose path has a space, a quote and an umlaut."""
    return tmp_path / "my 'runs' ü"


def test_only_completed_runs_of_the_same_config_count() -> None:
    """Failed, running, other configs, no config at all and ourselves are no history."""
    records = [
        record("1", 1.0),
        record("2", 3.0),
        record("3", 100.0, status=Status.FAILED),
        record("4", 100.0, status=Status.RUNNING),
        record("5", 100.0, config_hash="d"),
        record("6", 100.0, config_hash=None),
        record("7", 100.0),
    ]
    assert History(lambda: records, "c", "7")() == {"val/loss": 2.0}
    assert History(lambda: records, None, "7")() == {}


def test_the_newest_runs_count() -> None:
    """Of many, the last N by their end."""
    records = [record("1", 100.0), record("3", 5.0), record("2", 3.0)]
    assert History(lambda: records, "c", "9", runs=2)() == {"val/loss": 4.0}
    assert History(lambda: records, "c", "9", runs=0)() == {}


def test_the_median_is_per_metric_and_over_numbers() -> None:
    """NaN and infinity are no values; a metric that few have is the median of those."""
    records = [
        SessionRecord("1", "1", metrics={"a": 1.0, "b": float("nan")}),
        SessionRecord("2", "2", metrics={"a": 3.0, "b": float("inf")}),
        SessionRecord("3", "3", metrics={"a": 50.0, "c": 7.0}),
    ]
    assert medians(records) == {"a": 3.0, "c": 7.0}


def test_sibling_directories_are_read(runs: Path) -> None:
    """Real folders with a readable record count; links, rubbish and ourselves do not."""
    for id in "123":
        put(runs / f"run {id}", record(id, float(id)))
    put(runs / "damaged", '{"id": "x", ')
    put(runs / "other", '{"no": "session"}')
    (runs / "empty").mkdir()
    (runs / "latest").symlink_to(runs / "run 1")
    found = sibling_records(runs / "run 3")
    assert sorted(one.id for one in found) == ["1", "2"]


def test_the_jobs_of_neighbouring_sweeps_are_read(runs: Path) -> None:
    """In a multirun the sweeps beside ours count too; without one, nothing above is searched."""
    for sweep in ("a", "b"):
        put(runs / sweep / "0", record(f"{sweep}0", 1.0))
        put(runs / sweep / "1", record(f"{sweep}1", 1.0))
    assert [one.id for one in sibling_records(runs / "a" / "0")] == ["a1"]
    for sweep in ("a", "b"):
        (runs / sweep / "multirun.yaml").touch()
    assert sorted(one.id for one in sibling_records(runs / "a" / "0")) == ["a1", "b0", "b1"]


def test_of_thousands_only_the_newest_are_read(runs: Path) -> None:
    """A long-lived output folder does not make the first evaluation slow."""
    for number in range(230):
        put(runs / str(number), record(str(number), 1.0))
        os.utime(runs / str(number) / "session.json", (number, number))
    found = [one.id for one in sibling_records(runs / "ours")]
    assert found == [str(number) for number in range(229, 29, -1)]


def test_no_output_folder_is_no_history(tmp_path: Path) -> None:
    """A directory that is gone gives nothing."""
    assert list(sibling_records(tmp_path / "gone" / "ours")) == []

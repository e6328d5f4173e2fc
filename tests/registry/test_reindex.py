"""Reindex: the registry built again from the run directories."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from keisei_lightning import Registry, SessionError, SessionRecord, Status
from keisei_lightning.record import Ending
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.run_files import write_run
from keisei_lightning.testing import make_record


def run(folder: Path, **facts: Any) -> SessionRecord:
    """A run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    record = make_record(**{"directory": str(folder), "status": Status.COMPLETED, **facts})
    write_run(folder, record)
    return record


def test_everything_is_found_again(registry: Registry, tmp_path: Path) -> None:
    """Runs in any depth come in as they are; links are not followed; the counts are told."""
    records = [run(tmp_path / "outputs" / f"run {n} ü" / "x") for n in range(3)]
    nested = run(tmp_path / "multirun" / "0", status=Status.RUNNING)
    (tmp_path / "by-status").mkdir()
    (tmp_path / "by-status" / "COMPLETED").symlink_to(tmp_path / "outputs")
    (tmp_path / "latest").symlink_to(tmp_path / "multirun" / "0")
    seen: list[int] = []
    done = registry.reindex(tmp_path, progress=seen.append)
    assert (done.found, done.written, done.damaged, done.duplicates) == (4, 4, (), ())
    assert {record.id: record for record in registry.list()} == {
        record.id: record for record in [*records, nested]
    }
    assert seen == [1, 2, 3, 4]
    assert registry.reindex(tmp_path).written == 4
    assert registry.count() == 4


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b'{"id": "x"}', b"\xff\xfe", b"[" * 100_000, b'{"id": 1}']
)
def test_a_damaged_record_is_failed_with_the_reason(
    registry: Registry, tmp_path: Path, content: bytes
) -> None:
    """It comes in once, under the run's name, and says what is wrong; the others come in too."""
    good = run(tmp_path / "good")
    (tmp_path / "bad run").mkdir()
    (tmp_path / "bad run" / "session.json").write_bytes(content)
    for _ in range(2):
        done = registry.reindex(tmp_path)
        assert done.damaged == (tmp_path / "bad run",)
    assert registry.count() == 2
    bad = registry.find("bad run")
    assert bad.status is Status.FAILED
    assert bad.ending is not None
    assert bad.ending.exception is not None
    assert "session.json" in bad.ending.exception.message
    assert registry.get(good.id) == good


def test_a_damaged_record_keeps_its_id_where_that_is_known(
    registry: Registry, tmp_path: Path
) -> None:
    """The row of that directory says whose it was."""
    record = registry.create(run(tmp_path / "one", status=Status.RUNNING))
    (tmp_path / "one" / "session.json").write_text("{")
    registry.reindex(tmp_path)
    assert registry.ids() == (record.id,)
    assert registry.get(record.id).status is Status.FAILED


def test_the_run_knows_better_than_its_row(registry: Registry, tmp_path: Path) -> None:
    """Written off in the registry, completed in truth: the truth counts."""
    record = run(tmp_path / "one", status=Status.RUNNING)
    registry.create(record)
    registry.update(record.id, status="lost")
    done = record.end(Ending(Status.COMPLETED, "finished"), at=iso(1_700_000_100))
    write_run(tmp_path / "one", done)
    registry.reindex(tmp_path)
    assert registry.get(record.id) == done


def test_an_ended_row_is_not_opened_again(registry: Registry, tmp_path: Path) -> None:
    """A record left saying running does not undo an ending; a later attempt does."""
    record = run(tmp_path / "one", status=Status.RUNNING)
    registry.create(record)
    registry.update(record.id, status="lost")
    registry.reindex(tmp_path)
    assert registry.get(record.id).status is Status.LOST
    write_run(tmp_path / "one", dataclasses.replace(record, attempt=2))
    registry.reindex(tmp_path)
    assert registry.get(record.id).status is Status.RUNNING


def test_a_run_that_was_moved_is_found_where_it_is(registry: Registry, tmp_path: Path) -> None:
    """The registry leads to the directory as it is now."""
    record = run(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    registry.reindex(tmp_path)
    assert registry.get(record.id).directory == str(tmp_path / "new")


@pytest.mark.parametrize("copy", ["a copy", "z copy"])
def test_a_copy_does_not_take_the_place_of_the_run(
    registry: Registry, tmp_path: Path, copy: str
) -> None:
    """Of two directories with one id the one that its record names is the run."""
    record = run(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / copy)
    done = registry.reindex(tmp_path)
    assert done.duplicates == (tmp_path / copy,)
    assert registry.list() == [record]


def test_pins_come_back(registry: Registry, tmp_path: Path) -> None:
    """A pin is in the run directory and outlives the database."""
    record = registry.create(run(tmp_path / "one"))
    registry.pin(record.id)
    registry.remove(record.id)
    registry.reindex(tmp_path)
    assert registry.list(pinned=True) == [record]


def test_keys_of_a_newer_schema_are_no_damage(registry: Registry, tmp_path: Path) -> None:
    """A run of a newer version is readable."""
    record = run(tmp_path / "one")
    path = tmp_path / "one" / "session.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2, "mood": "good"}))
    assert registry.reindex(tmp_path).damaged == ()
    assert registry.get(record.id).name == record.name


@pytest.mark.parametrize(
    "content", [b"not a database" * 1000, b"SQLite format 3\0" + b"\x07" * 9000]
)
def test_a_damaged_database_is_set_aside(tmp_path: Path, content: bytes) -> None:
    """Every use says what to do; reindex keeps the file and builds a new one."""
    record = run(tmp_path / "one")
    path = tmp_path / ".keisei" / "sessions.db"
    path.parent.mkdir()
    path.write_bytes(content)
    with Registry(path) as registry:
        with pytest.raises(SessionError, match="reindex"):
            registry.list()
        registry.reindex(tmp_path)
        assert registry.list() == [record]
    assert [file.read_bytes() for file in path.parent.glob("*.damaged-*")] == [content]


def test_a_page_that_is_damaged_is_noticed(tmp_path: Path) -> None:
    """Rot in the middle of the file, too, ends in a new file with everything in it."""
    records = [run(tmp_path / "runs" / str(n), argv=("x" * 3000,)) for n in range(20)]
    path = tmp_path / ".keisei" / "sessions.db"
    with Registry(path) as registry:
        registry.reindex(tmp_path)
    with path.open("r+b") as file:
        size = path.stat().st_size
        for place in range(4096 * 3, size - 4096, 4096):
            file.seek(place)
            file.write(b"\xff" * 512)
    with Registry(path) as registry:
        registry.reindex(tmp_path)
        assert {record.id for record in registry.list()} == {record.id for record in records}
    assert list(path.parent.glob("*.damaged-*"))

"""Clean-up: the dead are written off everywhere, the living never, whatever the rows say."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from keisei_lightning import Registry, SessionRecord, Status
from keisei_lightning.machine import identity, process_started_at
from keisei_lightning.record import Ending, Heartbeat, Progress
from keisei_lightning.registry.cleaner import Cleaner
from keisei_lightning.registry.liveness import seconds
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.run_files import read_run, write_run
from keisei_lightning.testing import make_record, wait_for

NO_SUCH_PID = 2**22 + 1


def run(folder: Path, **facts: Any) -> SessionRecord:
    """A run directory with a record that says running."""
    folder.mkdir(parents=True, exist_ok=True)
    defaults: dict[str, Any] = {
        **identity(),
        "status": Status.RUNNING,
        "directory": str(folder),
        "started_at": iso(time.time() - 100),
        "heartbeat": Heartbeat(iso(time.time() - 5), 30.0),
        "progress": Progress("train", 3, 42),
    }
    record = make_record(**{**defaults, **facts})
    write_run(folder, record)
    return record


def test_a_killed_process_is_lost_everywhere(registry: Registry, tmp_path: Path) -> None:
    """Row and session.json both tell when it was last heard of, and where it was."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    folder = tmp_path / 'a run\'s "directory" ü'
    record = run(folder, pid=child.pid, pid_started_at=process_started_at(child.pid))
    registry.create(record)
    assert registry.cleanup() == 0
    child.kill()
    child.wait()
    assert [e.liveness for e in registry.entries()] == ["dead"]
    assert registry.cleanup() == 1
    assert registry.cleanup() == 0
    lost = registry.get(record.id)
    assert lost.status is Status.LOST
    assert record.heartbeat is not None
    assert seconds(lost.ended_at) == seconds(record.heartbeat.at)
    assert lost.ending is not None
    assert (lost.ending.reason, lost.ending.epoch, lost.ending.step) == ("lost", 3, 42)
    assert lost.duration_s == pytest.approx(95, abs=1)
    assert read_run(folder) == lost
    assert os.stat(folder / "session.json").st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", ["", '{"step": 99, "ep', "\n\n", "[1]\n", '{"step": "x"}\n'])
def test_the_last_metrics_tell_more_than_the_last_beat(
    registry: Registry, tmp_path: Path, cut: str
) -> None:
    """It went on after its last beat: the journal knows how far; a line cut short does not."""
    logged = time.time() - 2
    record = run(tmp_path / "run", pid=NO_SUCH_PID)
    lines = [json.dumps({"step": step, "epoch": 7, "time": logged}) for step in (50, 60)]
    whole = "\n".join(lines) + "\n"
    (tmp_path / "run" / "metrics.jsonl").write_text(whole + cut)
    registry.create(record)
    assert registry.cleanup() == 1
    lost = registry.get(record.id)
    assert lost.ending is not None
    if cut in ("", '{"step": 99, "ep', "\n\n"):
        assert (lost.ending.epoch, lost.ending.step) == (7, 60)
        assert seconds(lost.ended_at) == pytest.approx(logged, abs=0.001)
    else:
        assert (lost.ending.epoch, lost.ending.step) in ((7, 60), (3, 42))


def test_the_living_stay_as_they_are(registry: Registry, tmp_path: Path) -> None:
    """Alive here, alive elsewhere, stale elsewhere for less than the limit: nothing happens."""
    mine = run(tmp_path / "mine", heartbeat=Heartbeat(iso(time.time() - 90000), 30.0))
    far = run(tmp_path / "far", host="far")
    stale = run(tmp_path / "stale", host="far", heartbeat=Heartbeat(iso(time.time() - 3000), 30.0))
    for record in (mine, far, stale):
        registry.create(record)
    assert registry.cleanup() == 0
    assert registry.count(status="running") == 3


def test_another_hosts_session_is_lost_after_the_full_time(
    registry: Registry, tmp_path: Path
) -> None:
    """An hour without a beat, and its own record says nothing younger: it is written off."""
    old = Heartbeat(iso(time.time() - 3700), 30.0)
    record = run(tmp_path / "far", host="far", heartbeat=old, started_at=iso(time.time() - 4000))
    registry.create(record)
    assert registry.cleanup() == 1
    assert registry.get(record.id).status is Status.LOST


def test_the_runs_own_record_is_asked_first(registry: Registry, tmp_path: Path) -> None:
    """The row is old because the database was away: the run ended well, or still beats."""
    old = Heartbeat(iso(time.time() - 9000), 30.0)
    ended = run(tmp_path / "ended", pid=NO_SUCH_PID, heartbeat=old)
    beating = run(tmp_path / "beating", host="far", heartbeat=old)
    for record in (ended, beating):
        registry.create(record)
    done = ended.end(Ending(Status.COMPLETED, "max_epochs"), at=iso(time.time()))
    write_run(tmp_path / "ended", done)
    write_run(
        tmp_path / "beating",
        dataclasses.replace(beating, heartbeat=Heartbeat(iso(time.time()), 30.0)),
    )
    assert registry.cleanup() == 0
    assert registry.get(ended.id) == done
    assert registry.get(beating.id).status is Status.RUNNING
    assert [entry.liveness for entry in registry.entries(liveness="alive")] == ["alive"]


def test_a_directory_of_another_session_is_left_alone(registry: Registry, tmp_path: Path) -> None:
    """Whoever took over the directory keeps his record."""
    record = run(tmp_path / "run", pid=NO_SUCH_PID)
    registry.create(record)
    other = run(tmp_path / "run")
    assert registry.cleanup() == 1
    assert registry.get(record.id).status is Status.LOST
    assert read_run(tmp_path / "run") == other


@pytest.mark.parametrize("content", [None, "{", "[]", '{"id": 3}', "\udcff"])
def test_a_damaged_or_missing_record_does_not_stop_it(
    registry: Registry, tmp_path: Path, content: str | None
) -> None:
    """The row is written off; a damaged file is left for people to look at."""
    record = run(tmp_path / "run", pid=NO_SUCH_PID)
    registry.create(record)
    path = tmp_path / "run" / "session.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert registry.cleanup() == 1
    assert path.exists() is (content is not None)


def test_a_link_is_not_written_through(registry: Registry, tmp_path: Path) -> None:
    """A session.json that is a link to somewhere else is not ours to replace."""
    record = run(tmp_path / "run", pid=NO_SUCH_PID)
    registry.create(record)
    (tmp_path / "run" / "session.json").rename(tmp_path / "elsewhere.json")
    before = (tmp_path / "elsewhere.json").read_bytes()
    (tmp_path / "run" / "session.json").symlink_to(tmp_path / "elsewhere.json")
    assert registry.cleanup() == 1
    assert (tmp_path / "elsewhere.json").read_bytes() == before


def test_links_are_moved_by_who_knows_them(registry_url: str, tmp_path: Path) -> None:
    """The owner of by-status is called with directory and record; its failure costs nothing."""
    seen: list[tuple[Path, SessionRecord]] = []

    def relink(folder: Path, record: SessionRecord) -> None:
        seen.append((folder, record))
        raise OSError("no links here")

    with Registry(registry_url, relink=relink) as registry:
        record = run(tmp_path / "run", pid=NO_SUCH_PID)
        registry.create(record)
        assert registry.cleanup() == 1
        assert seen == [(tmp_path / "run", registry.get(record.id))]


def test_a_damaged_row_does_not_stop_it(registry: Registry, tmp_path: Path) -> None:
    """One row that cannot be read is passed over and shown as damaged; the others are cleaned."""
    broken, dead = run(tmp_path / "a", pid=NO_SUCH_PID), run(tmp_path / "b", pid=NO_SUCH_PID)
    registry.create(broken)
    registry.create(dead)
    with registry._database.write() as connection:
        connection.exec_driver_sql(f"UPDATE sessions SET record = '{{' WHERE id = '{broken.id}'")
    assert registry.cleanup() == 1
    shown = {record.id: record for record in registry.list()}
    assert shown[dead.id].status is Status.LOST
    assert shown[broken.id].ending is not None
    assert "damaged" in shown[broken.id].ending.exception.message  # type: ignore[union-attr]


def test_many_cleaners_at_once_count_each_once(registry_url: str, tmp_path: Path) -> None:
    """Six cleaners together write off five sessions, not thirty."""
    with Registry(registry_url) as registry:
        for number in range(5):
            registry.create(run(tmp_path / str(number), pid=NO_SUCH_PID))
        counts: list[int] = []

        def clean() -> None:
            with Registry(registry_url) as own:
                counts.append(own.cleanup())

        threads = [threading.Thread(target=clean) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(counts) == 5
        assert registry.count(status="lost") == 5


def test_background_cleaning(registry: Registry, tmp_path: Path) -> None:
    """It cleans at once and again, until the registry is closed; health sees that it is alive."""
    registry.start_cleaning(0.05)
    registry.create(run(tmp_path / "alive"))
    registry.create(run(tmp_path / "dead", pid=NO_SUCH_PID))
    wait_for(lambda: registry.count(status="lost") == 1, what="the dead one is lost")
    assert registry.health().cleanup_alive is True
    assert registry.close(20) is True


def test_a_cleaner_survives_its_errors(caplog: pytest.LogCaptureFixture) -> None:
    """A failing clean-up is warned about once and tried again."""
    calls = []

    def clean() -> int:
        calls.append(1)
        raise OSError("nothing works")

    cleaner = Cleaner(clean, 0.01)
    cleaner.start()
    wait_for(lambda: len(calls) >= 3, what="three tries")
    assert cleaner.alive
    assert cleaner.stop(10)
    assert cleaner.errors >= 3
    assert len([r for r in caplog.records if "nothing works" in r.getMessage()]) == 1


def test_the_run_file_is_json_for_everyone(tmp_path: Path) -> None:
    """What clean-up writes is what any reader of session.json expects."""
    record = run(tmp_path / "run")
    data = json.loads((tmp_path / "run" / "session.json").read_text())
    assert (data["id"], data["schema"], data["status"]) == (record.id, 1, "running")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["session.json"]

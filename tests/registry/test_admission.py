"""Admission: never more than the limit, a dead slot is free at once, nobody is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from keisei_lightning import Registry, SessionCapacityError, SessionRecord, Status
from keisei_lightning.machine import identity
from keisei_lightning.record import Ending
from keisei_lightning.registry import Waiting
from keisei_lightning.registry.moments import iso
from keisei_lightning.testing import make_record

RACERS = Path(__file__).with_name("racers.py")


def candidate(**facts: object) -> SessionRecord:
    """A session of this process that wants to run."""
    return make_record(**{**identity(), "created_at": iso(time.time()), **facts})


def finish(registry: Registry, id: str) -> None:
    """End a running session."""
    record = registry.get(id)
    assert registry.put(record.end(Ending(Status.COMPLETED, "finished"), at=iso(time.time())))


@pytest.fixture
def two_slots(registry_url: str) -> Iterator[Registry]:
    """A registry with room for two."""
    with Registry(registry_url, {"max_concurrent": 2}) as registry:
        yield registry


def test_one_too_many_is_refused_and_told_why(two_slots: Registry) -> None:
    """The refusal names the limit, what runs and what to do; a slot given back is free."""
    a, b, c = candidate(), candidate(), candidate()
    assert two_slots.admit(a).admitted
    assert two_slots.admit(b).admitted
    with pytest.raises(SessionCapacityError) as caught:
        two_slots.admit(c)
    words = str(caught.value)
    assert "2 of at most 2" in words
    assert a.id in words
    assert b.id in words
    assert "session.registry.max_concurrent" in words
    assert two_slots.count(status="pending") == 0
    finish(two_slots, a.id)
    assert two_slots.admit(c).admitted
    assert two_slots.get(c.id).status is Status.RUNNING


def test_a_limit_of_zero_lets_nobody_in(registry_url: str) -> None:
    """Zero slots are no slots."""
    with (
        Registry(registry_url, {"max_concurrent": 0}) as registry,
        pytest.raises(SessionCapacityError, match="0 of at most 0"),
    ):
        registry.admit(candidate())


def test_who_has_a_slot_may_ask_again(two_slots: Registry) -> None:
    """A session does not stand in its own way."""
    a, b = candidate(), candidate()
    two_slots.admit(a)
    two_slots.admit(b)
    assert two_slots.admit(b).admitted


@pytest.mark.parametrize(
    "gone",
    [{"pid": 2**22 + 1}, {"pid_started_at": 1.0}, {"boot_id": "an earlier boot"}],
    ids=["pid gone", "pid reused", "rebooted"],
)
def test_a_dead_slot_is_free_at_once(two_slots: Registry, gone: dict[str, object]) -> None:
    """A process that is gone holds nothing, whatever its record says."""
    old = "2020-01-01T00:00:00+00:00" if "boot_id" in gone else iso(time.time())
    two_slots.create(candidate(status=Status.RUNNING, created_at=old, started_at=old, **gone))
    two_slots.create(candidate(status=Status.RUNNING, created_at=old, started_at=old, **gone))
    assert two_slots.admit(candidate()).admitted


def test_the_limit_is_per_host_or_for_all(two_slots: Registry) -> None:
    """Sessions of other hosts count only with ``scope: all``."""
    two_slots.admit(candidate())
    two_slots.create(candidate(status=Status.RUNNING, host="far"))
    two_slots.reconfigure({"max_concurrent": 2, "scope": "all"})
    with pytest.raises(SessionCapacityError, match="in this registry"):
        two_slots.admit(candidate())
    two_slots.reconfigure({"max_concurrent": 2, "scope": "host"})
    assert two_slots.admit(candidate()).admitted


def test_waiting_ends_with_a_free_slot(two_slots: Registry) -> None:
    """A waiting session is seen as pending, reports who is in the way, and then runs."""
    two_slots.reconfigure({"max_concurrent": 2, "on_capacity": "wait"})
    a, b, c = candidate(), candidate(), candidate()
    two_slots.admit(a)
    two_slots.admit(b)
    reports: list[Waiting] = []

    def report(waiting: Waiting) -> None:
        if not reports:
            assert two_slots.get(c.id).status is Status.PENDING
            finish(two_slots, a.id)
        reports.append(waiting)

    assert two_slots.admit(c, progress=report).admitted
    assert reports[0].running == (a.id, b.id)
    assert reports[0].limit == 2
    assert two_slots.get(c.id).status is Status.RUNNING


def test_waiting_in_vain_ends_and_leaves_no_trace(two_slots: Registry) -> None:
    """After ``wait_timeout_s`` the refusal says how long was waited; the place is given up."""
    two_slots.reconfigure({"max_concurrent": 1, "on_capacity": "wait", "wait_timeout_s": 0.3})
    two_slots.admit(candidate())
    late = candidate()
    with pytest.raises(SessionCapacityError, match="after waiting"):
        two_slots.admit(late)
    assert late.id not in two_slots.ids()


def test_who_came_first_is_first(two_slots: Registry) -> None:
    """A free slot goes to who has waited longer, not to who asks at the right moment."""
    two_slots.reconfigure({"max_concurrent": 1, "on_capacity": "wait"})
    a, first, second = candidate(), candidate(), candidate()
    two_slots.admit(a)
    assert not two_slots.gate.ask(first).admitted
    assert not two_slots.gate.ask(second).admitted
    finish(two_slots, a.id)
    assert two_slots.gate.ask(second).ahead == 1
    assert two_slots.gate.ask(first).admitted


def test_a_pending_record_that_never_asks_stands_in_nobodys_way(registry_url: str) -> None:
    """Only those who wait now are ahead, not every pending row."""
    long_ago = iso(time.time() - 3600)
    with Registry(registry_url, {"max_concurrent": 1, "on_capacity": "wait"}) as registry:
        registry.create(candidate(created_at=long_ago))
        assert registry.admit(candidate()).admitted


def test_evict_finished_makes_room_from_the_oldest_ended(two_slots: Registry) -> None:
    """At capacity the oldest finished records go; pinned and running ones stay."""
    two_slots.reconfigure({"max_concurrent": 3, "on_capacity": "evict_finished"})
    ids = []
    for _ in range(3):
        record = candidate()
        two_slots.admit(record)
        finish(two_slots, record.id)
        ids.append(record.id)
    two_slots.pin(ids[0])
    a, b, c, d = (candidate() for _ in range(4))
    assert two_slots.admit(a).evicted == (ids[1],)
    assert two_slots.admit(b).evicted == (ids[2],)
    assert two_slots.admit(c).evicted == ()
    with pytest.raises(SessionCapacityError):
        two_slots.admit(d)
    assert set(two_slots.ids()) == {ids[0], a.id, b.id, c.id}


def test_threads_of_one_process_do_not_exceed_the_limit(two_slots: Registry) -> None:
    """Twelve threads asking through one instance get two slots."""
    outcomes: list[str] = []

    def ask() -> None:
        try:
            two_slots.admit(candidate())
            outcomes.append("in")
        except SessionCapacityError:
            outcomes.append("out")

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(outcomes) == {"in": 2, "out": 10}


def run_race(
    url: str, folder: Path, processes: int, slots: int, policy: str, killed: int = 0
) -> tuple[list[int], list[dict[str, object]]]:
    """Return the exit codes and the outcomes of a race."""
    arguments = [url, str(folder), str(processes), str(slots), policy, str(killed)]
    done = subprocess.run(
        [sys.executable, str(RACERS), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=500,
        env=dict(os.environ),
    )
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return json.loads(done.stdout), found


@pytest.mark.parametrize(
    ("processes", "slots"), [(12, 3), pytest.param(64, 8, marks=pytest.mark.long)]
)
def test_racing_processes_wait_their_turn(
    registry_url: str, tmp_path: Path, processes: int, slots: int
) -> None:
    """Never more run at once than there are slots, and in the end all have run."""
    codes, found = run_race(registry_url, tmp_path, processes, slots, "wait")
    assert codes == [0] * processes
    assert [outcome["outcome"] for outcome in found] == ["ran"] * processes
    assert max(int(str(outcome["most"])) for outcome in found) <= slots
    with Registry(registry_url) as registry:
        assert registry.count(status="completed") == registry.count() == processes


@pytest.mark.parametrize(
    ("processes", "slots"), [(12, 3), pytest.param(64, 8, marks=pytest.mark.long)]
)
def test_racing_processes_are_refused_beyond_the_limit(
    registry_url: str, tmp_path: Path, processes: int, slots: int
) -> None:
    """Started together, exactly as many run as there are slots; the others know why not."""
    _, found = run_race(registry_url, tmp_path, processes, slots, "refuse")
    counted = Counter(outcome["outcome"] for outcome in found)
    assert counted["ran"] >= slots
    assert counted["ran"] + counted["refused"] == processes
    assert max(int(str(outcome["most"])) for outcome in found) <= slots


def test_slots_of_killed_racers_go_to_the_waiting(registry_url: str, tmp_path: Path) -> None:
    """Those that are killed in their slot hold nobody up; clean-up then counts them."""
    codes, found = run_race(registry_url, tmp_path, 12, 3, "wait", killed=4)
    assert sorted(codes) == [-9] * 4 + [0] * 8
    assert Counter(outcome["outcome"] for outcome in found) == {"ran": 8, "killed": 4}
    assert max(int(str(outcome["most"])) for outcome in found) <= 3
    with Registry(registry_url) as registry:
        assert registry.cleanup() == 4
        assert registry.count(status="lost") == 4

"""Liveness: what may be believed of a record that says it runs, as pure rules."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.machine import (
    UNREADABLE,
    Machine,
    identity,
    process_started_at,
    this_machine,
)
from keisei_lightning.record import (
    Ending,
    Heartbeat,
    Liveness,
    Progress,
    SessionRecord,
    Status,
)
from keisei_lightning.registry.liveness import beat_age, is_lost, liveness, seconds
from keisei_lightning.registry.moments import iso
from keisei_lightning.testing import make_record, wait_for

NOW = 1_800_000_000.0
PID, STARTED = 4711, 1_799_000_000.0
Make = Callable[..., Machine]


def session(*, beat_ago: float | None = 5.0, promise: float = 30.0, **facts: Any) -> SessionRecord:
    """A session on the host ``here`` that beat a moment ago."""
    beat = None if beat_ago is None else Heartbeat(iso(NOW - beat_ago), promise)
    defaults: dict[str, Any] = {
        "status": Status.RUNNING,
        "host": "here",
        "pid": PID,
        "pid_started_at": STARTED,
        "boot_id": "boot-1",
        "pid_namespace": 1,
        "created_at": iso(STARTED),
        "started_at": iso(STARTED),
        "heartbeat": beat,
        "progress": Progress(moved_at=iso(NOW - 10)),
    }
    return make_record(**{**defaults, **facts})


def state(record: SessionRecord, machine: Machine, **given: Any) -> Liveness | None:
    """Judge now."""
    return liveness(record, now=NOW, machine=machine, **given)


def test_a_beating_process_is_alive(machine: Make) -> None:
    """The process is there and moves."""
    assert state(session(), machine({PID: STARTED})) is Liveness.ALIVE


def test_a_process_that_is_gone_is_dead_at_once(machine: Make) -> None:
    """A fresh beat does not make a killed process alive."""
    assert state(session(beat_ago=0.1), machine({})) is Liveness.DEAD


def test_a_reused_pid_is_dead(machine: Make) -> None:
    """Another process with the same number does not make it alive again."""
    assert state(session(beat_ago=0.1), machine({PID: STARTED + 500})) is Liveness.DEAD


def test_start_times_may_differ_by_rounding(machine: Make) -> None:
    """Two readings of one start time differ by a clock tick."""
    assert state(session(), machine({PID: STARTED + 0.9})) is Liveness.ALIVE


def test_a_suspended_laptop_did_not_kill_it(machine: Make) -> None:
    """After a night's sleep the beat is old, the process is there: not dead, not lost."""
    record = session(beat_ago=8 * 3600.0, progress=Progress(moved_at=iso(NOW - 8 * 3600)))
    awake = machine({PID: STARTED})
    assert state(record, awake) is Liveness.STALLED
    assert not is_lost(record, now=NOW, machine=awake, inactive_after_s=3600.0)


def test_a_missed_beat_of_a_living_process_is_no_harm(machine: Make) -> None:
    """A long checkpoint delays the beat; the process is seen to be there."""
    assert (
        state(
            session(beat_ago=300.0, progress=None, started_at=iso(NOW - 400)),
            machine({PID: STARTED}),
        )
        is Liveness.ALIVE
    )


@pytest.mark.parametrize(("still_s", "expected"), [(1800, "alive"), (1801, "stalled")])
def test_no_progress_for_longer_than_expected_is_stalled(
    machine: Make, still_s: float, expected: str
) -> None:
    """It beats, but nothing moved for more than half an hour."""
    record = session(progress=Progress(moved_at=iso(NOW - still_s)))
    assert state(record, machine({PID: STARTED})) == expected


@pytest.mark.parametrize(("age", "expected"), [(30.0, "alive"), (30.5, "stale"), (-200.0, "alive")])
def test_another_host_is_judged_by_its_beat(machine: Make, age: float, expected: str) -> None:
    """Over there nobody looks at processes: the promise of the beat decides."""
    assert state(session(beat_ago=age, host="there"), machine({})) == expected


def test_a_clock_that_is_hours_ahead_is_not_believed(machine: Make) -> None:
    """A beat from the far future says nothing; it is no reason to write the session off either."""
    record = session(beat_ago=-7200.0, host="there")
    assert state(record, machine()) is Liveness.STALE
    assert not is_lost(record, now=NOW, machine=machine(), inactive_after_s=3600.0)


def test_the_arrival_of_a_beat_counts_more_than_its_clock(machine: Make) -> None:
    """With the clocks an hour apart, what the database saw arrive decides."""
    slow = session(beat_ago=7200.0, host="there")
    assert state(slow, machine(), seen_at=NOW - 5) is Liveness.ALIVE
    fast = session(beat_ago=-7200.0, host="there")
    assert state(fast, machine(), seen_at=NOW - 4000) is Liveness.STALE
    assert is_lost(fast, now=NOW, machine=machine(), inactive_after_s=3600.0, seen_at=NOW - 4000)


def test_a_reboot_ended_it(machine: Make) -> None:
    """Same host, another boot since the last beat: dead, even if the pid is in use again."""
    rebooted = machine({PID: STARTED}, boot_id="boot-2", booted_at=NOW - 2)
    assert state(session(beat_ago=60.0), rebooted) is Liveness.DEAD


def test_a_namesake_of_this_host_is_another_host(machine: Make) -> None:
    """Another boot, but a beat later than ours began: there are two machines of that name."""
    namesake = machine({}, boot_id="boot-2", booted_at=NOW - 9999)
    assert state(session(beat_ago=5.0), namesake) is Liveness.ALIVE
    assert state(session(beat_ago=60.0), namesake) is Liveness.STALE


def test_another_container_is_another_host(machine: Make) -> None:
    """Pids of another namespace mean other processes, though host and boot are the same."""
    outside = machine({}, pid_namespace=2)
    assert state(session(), outside) is Liveness.ALIVE
    assert state(session(beat_ago=60.0), outside) is Liveness.STALE


def test_a_process_that_hides_is_judged_by_its_beat(machine: Make) -> None:
    """Another user's process may refuse to tell its start."""
    hidden = machine({PID: UNREADABLE})
    assert state(session(), hidden) is Liveness.ALIVE
    assert state(session(beat_ago=60.0), hidden) is Liveness.STALE


def test_without_a_beat_the_start_counts(machine: Make) -> None:
    """A session that never beat has two minutes to begin."""
    young = session(beat_ago=None, host="there", started_at=iso(NOW - 100))
    old = session(beat_ago=None, host="there", started_at=iso(NOW - 200))
    nothing = session(beat_ago=None, host=None, started_at=None, created_at=None)
    assert state(young, machine()) is Liveness.ALIVE
    assert state(old, machine()) is Liveness.STALE
    assert state(nothing, machine()) is Liveness.STALE


@pytest.mark.parametrize(("age", "lost"), [(3599.0, False), (3600.0, True)])
def test_the_long_stale_are_lost_the_stale_are_not(machine: Make, age: float, lost: bool) -> None:
    """Another host's session is written off after the full time without a beat, not before."""
    record = session(beat_ago=age, host="there")
    assert is_lost(record, now=NOW, machine=machine(), inactive_after_s=3600.0) is lost


def test_an_ended_session_has_no_liveness(machine: Make) -> None:
    """There is nothing to believe or doubt, and nothing to lose."""
    record = session().end(Ending(Status.FAILED, "exception"), at=iso(NOW))
    assert state(record, machine()) is None
    assert not is_lost(record, now=NOW, machine=machine(), inactive_after_s=0.0)


ages = st.floats(-1e6, 1e6)


@given(
    beat=st.none() | ages,
    moved=st.none() | ages,
    host=st.sampled_from(["here", "there"]),
    process=st.none() | st.just(STARTED) | st.just(UNREADABLE) | st.just(STARTED + 1000),
    boot=st.sampled_from(["boot-1", "boot-2", None]),
    namespace=st.sampled_from([1, 2, None]),
    inactive=st.floats(0, 1e6),
)
def test_the_living_are_never_lost(
    beat: float | None,
    moved: float | None,
    host: str,
    process: float | None,
    boot: str | None,
    namespace: int | None,
    inactive: float,
) -> None:
    """Whatever the clocks say: only the dead and the stale can be lost."""
    record = session(
        beat_ago=beat,
        host=host,
        progress=Progress(moved_at=None if moved is None else iso(NOW - moved)),
    )
    here = Machine("here", boot, NOW - 100, namespace, lambda pid: process)
    judged = state(record, here)
    lost = is_lost(record, now=NOW, machine=here, inactive_after_s=inactive)
    assert judged in set(Liveness)
    if judged in (Liveness.ALIVE, Liveness.STALLED):
        assert not lost
    if judged is Liveness.DEAD:
        assert lost
        assert host == "here"
    if lost and host == "there":
        age = beat_age(record, NOW)
        assert age is not None
        assert age >= inactive


@given(st.text())
def test_a_time_that_is_none_is_none(text: str) -> None:
    """Nonsense in a time field is not known, never an error."""
    assert seconds(text) is None or isinstance(seconds(text), float)


def test_times_without_a_zone_are_utc() -> None:
    """All times of a record are UTC."""
    assert seconds("2026-01-31T12:00:00") == seconds("2026-01-31T12:00:00+00:00")


def test_a_real_process_through_its_life() -> None:
    """Running, killed but not yet reaped, reaped: alive, dead, dead."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    record = session(
        **{**identity(), "pid": child.pid, "pid_started_at": process_started_at(child.pid)}
    )
    assert state(record, this_machine()) is Liveness.ALIVE
    child.kill()
    wait_for(lambda: process_started_at(child.pid) is None, 10, what="a zombie")
    assert state(record, this_machine()) is Liveness.DEAD
    child.wait()
    assert state(record, this_machine()) is Liveness.DEAD


def test_this_process_knows_itself() -> None:
    """What we write of ourselves is what every reader on this machine finds."""
    record = session(**identity())
    assert record.pid == os.getpid()
    assert state(record, this_machine()) is Liveness.ALIVE

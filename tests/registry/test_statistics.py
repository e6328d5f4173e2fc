"""Statistics, health and their Prometheus text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning import Registry, SessionRecord, Status
from keisei_lightning.machine import identity
from keisei_lightning.record import Progress
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.statistics import Statistics, health, prometheus
from keisei_lightning.testing import FakeClock, make_record


@pytest.fixture
def clock() -> FakeClock:
    """A clock that the registry tells the time by."""
    return FakeClock()


@pytest.fixture
def clocked(registry_url: str, clock: FakeClock) -> Iterator[Registry]:
    """A registry with a clock of ours; a PostgreSQL's own clock is compared with it first."""
    with Registry(registry_url, {"max_concurrent": 4}, clock=clock) as registry:
        registry.count()
        clock.now += clock.now - registry.now  # now() is ours again
        yield registry


def session(now: float, hours: float, **facts: Any) -> SessionRecord:
    """A session that was created so many hours ago."""
    return make_record(created_at=iso(now - 3600 * hours), **facts)


def test_an_empty_registry(registry: Registry) -> None:
    """Nothing divides by nothing."""
    found = registry.statistics()
    assert (found.total, found.active, found.oldest_age_s, found.mean_duration_s) == (
        0,
        0,
        None,
        None,
    )
    assert registry.health().healthy
    assert registry.health().cleanup_alive is None


def test_totals_ages_and_durations(clocked: Registry) -> None:
    """Counted by status and by age, with the extremes and the means."""
    now = clocked.now
    clocked.create(session(now, 0.5, status=Status.RUNNING, **identity()))
    clocked.create(session(now, 2, status=Status.COMPLETED, duration_s=10.0))
    clocked.create(session(now, 7, status=Status.COMPLETED, duration_s=30.0))
    clocked.create(session(now, 30, status=Status.FAILED))
    found = clocked.statistics()
    assert (found.total, found.active, found.max_concurrent) == (4, 1, 4)
    assert found.utilisation_percent == 25.0
    assert {k: v for k, v in found.by_status.items() if v} == {
        "running": 1,
        "completed": 2,
        "failed": 1,
    }
    assert found.oldest_age_s == pytest.approx(30 * 3600, abs=60)
    assert found.newest_age_s == pytest.approx(1800, abs=60)
    assert found.mean_age_s == pytest.approx(39.5 / 4 * 3600, abs=60)
    assert found.age_buckets == {"<1h": 1, "1-6h": 1, "6-24h": 1, ">24h": 1}
    assert (found.shortest_duration_s, found.mean_duration_s, found.longest_duration_s) == (
        10.0,
        20.0,
        30.0,
    )


def test_the_dead_hold_no_slot(clocked: Registry) -> None:
    """Utilisation counts who lives; health names the dead and the stuck."""
    now = clocked.now
    still = Progress(moved_at=iso(now - 1801))
    dead = session(now, 1, status=Status.RUNNING, **{**identity(), "pid_started_at": 1.0})
    stuck = session(now, 1, status=Status.RUNNING, progress=still, **identity())
    clocked.create(dead)
    clocked.create(stuck)
    assert clocked.statistics().active == 1
    judged = clocked.health()
    assert (judged.dead, judged.stuck, judged.status) == ((dead.id,), (stuck.id,), "warning")
    assert clocked.health(stuck_after_s=3600).stuck == ()


def test_cleanups_that_have_stopped_are_noticed(clocked: Registry, clock: FakeClock) -> None:
    """While sessions run, a clean-up that is long overdue is a warning."""
    clocked.create(session(clocked.now, 0, status=Status.RUNNING, **identity()))
    assert clocked.health().cleanup_alive is False
    clocked.cleanup()
    assert clocked.health().cleanup_alive is True
    clock.advance(1000)
    found = clocked.health()
    assert (found.cleanup_alive, found.status) == (False, "warning")
    assert found.cleanup_age_s == pytest.approx(1000, abs=60)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (0, "healthy"),
        (69.9, "healthy"),
        (70, "warning"),
        (89.9, "warning"),
        (90, "critical"),
        (150, "critical"),
    ],
)
def test_health_by_utilisation(percent: float, expected: str) -> None:
    """Healthy below 70 %, warning below 90 %, critical from there."""
    assert health(Statistics(utilisation_percent=percent)).status == expected


LINE = re.compile(r'[a-z_]+(\{[a-z]+="[^"\\\n]*"\})? -?[0-9.e+-]+')


@given(
    st.builds(
        Statistics,
        total=st.integers(0, 10**9),
        active=st.integers(0, 10**9),
        utilisation_percent=st.floats(0, 1e9),
        by_status=st.dictionaries(st.sampled_from([s.value for s in Status]), st.integers(0, 99)),
        oldest_age_s=st.none() | st.floats(0, 1e12),
        mean_duration_s=st.none() | st.floats(0, 1e12),
    )
)
def test_the_prometheus_text_is_well_formed(statistics: Statistics) -> None:
    """Every line is a comment or a sample, every metric is declared once before its samples."""
    text = prometheus(statistics, health(statistics))
    assert text.endswith("\n")
    declared: list[str] = []
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            declared.append(line.split()[2])
        elif not line.startswith("# HELP "):
            assert LINE.fullmatch(line), line
            assert re.split(r"[{ ]", line)[0] == declared[-1]
    assert len(declared) == len(set(declared))


def test_the_registry_gives_the_prometheus_text(registry: Registry) -> None:
    """The figures of the registry are in it."""
    registry.create(make_record(status=Status.FAILED))
    assert 'keisei_sessions{status="failed"} 1' in registry.prometheus().splitlines()

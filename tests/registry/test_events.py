"""Events: what happened between two records, and observers that cannot disturb."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import pytest
from omegaconf import OmegaConf

from keisei_lightning import Registry, SessionConfigError, SessionRecord, Status
from keisei_lightning.machine import identity
from keisei_lightning.record import Ending, Progress, SlaVerdict, Violation
from keisei_lightning.registry import Event, EventType, Observer
from keisei_lightning.registry.events import Dispatcher, between, build_observers
from keisei_lightning.registry.moments import iso
from keisei_lightning.testing import make_record, wait_for


class Notebook:
    """An observer that writes down what it is told."""

    told: list[Event]

    def __init__(self, mood: str = "good") -> None:
        self.mood = mood
        self.told = []

    def on_event(self, event: Event) -> None:
        self.told.append(event)

    @property
    def kinds(self) -> list[str]:
        return [event.type.value for event in self.told]


def running(**facts: Any) -> SessionRecord:
    """A running session."""
    return make_record(status=Status.RUNNING, **{**identity(), **facts})


def test_what_happened_between_two_records() -> None:
    """Each kind of change is an event of its own; no change is none."""
    first = running()
    moved = dataclasses.replace(first, progress=Progress("train", 0, 1))
    judged = dataclasses.replace(moved, metrics={"evaluation/win_rate": float("nan")})
    broken = dataclasses.replace(judged, sla=SlaVerdict(False, (Violation("loss", 2.0, 1.0),)))
    passed = dataclasses.replace(broken, sla=SlaVerdict(True))
    ended = passed.end(Ending(Status.FAILED, "exception"), at=iso(0))
    lost = passed.end(Ending(Status.LOST, "lost"), at=iso(0))
    again = dataclasses.replace(first, attempt=2)
    assert between(None, first) == (EventType.OPENED,)
    assert between(first, first) == ()
    assert between(first, moved) == (EventType.PROGRESSED,)
    assert between(moved, judged) == (EventType.EVALUATED,)
    assert between(judged, judged) == ()
    assert between(judged, broken) == (EventType.VIOLATED,)
    assert between(broken, broken) == ()
    assert between(broken, passed) == ()
    assert between(passed, ended) == (EventType.CLOSED,)
    assert between(passed, lost) == (EventType.LOST,)
    assert between(ended, ended) == ()
    assert between(ended, again)[0] is EventType.OPENED


def test_a_registry_tells_what_goes_through_it(registry_url: str) -> None:
    """Created, moved on, written off, removed: told with the record as it then is."""
    notes = Notebook()
    with Registry(registry_url, observers=[notes]) as registry:
        record = registry.create(running(pid_started_at=1.0))
        registry.update(record.id, progress=Progress("train", 0, 1))
        registry.update(record.id, progress=Progress("train", 0, 1))
        registry.cleanup()
        registry.remove(record.id)
        other = registry.create(running())
        registry.put(other.end(Ending(Status.COMPLETED, "finished"), at=iso(0)))
        admitted = make_record(**identity())
        registry.admit(admitted)
        assert registry.close(20)
    assert notes.kinds == [
        *("opened", "progressed", "lost", "removed"),
        *("opened", "closed"),
        "opened",
    ]
    assert notes.told[2].record.status is Status.LOST
    assert all(abs(event.at - time.time()) < 600 for event in notes.told)


def test_an_event_is_a_fact() -> None:
    """Nobody changes what another observer is told."""
    event = Event(EventType.OPENED, running(), 0.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.at = 1.0  # type: ignore[misc]


def test_a_failing_observer_goes_on_being_told(caplog: pytest.LogCaptureFixture) -> None:
    """It is warned about once, counted, and harms neither itself nor others."""
    notes = Notebook()

    class Failing:
        calls = 0

        def on_event(self, event: Event) -> None:
            self.calls += 1
            raise ValueError("no")

    failing = Failing()
    dispatcher = Dispatcher([failing, notes])
    for _ in range(5):
        dispatcher.publish(Event(EventType.OPENED, running(), 0.0))
    assert dispatcher.close(20)
    assert (failing.calls, dispatcher.failed, len(notes.told)) == (5, 5, 5)
    assert sum("Failing" in record.getMessage() for record in caplog.records) == 1


def test_a_slow_observer_misses_what_its_queue_cannot_hold() -> None:
    """Publishing never waits; what does not fit is counted; the quick one gets all."""
    notes, gate = Notebook(), threading.Event()

    class Slow:
        told = 0

        def on_event(self, event: Event) -> None:
            gate.wait(60)
            self.told += 1

    slow = Slow()
    dispatcher = Dispatcher([slow, notes], size=10)
    for number in range(100):
        dispatcher.publish(Event(EventType.PROGRESSED, running(), 0.0))
        wait_for(lambda number=number: len(notes.told) > number)
    assert 88 <= dispatcher.missed <= 90
    assert dispatcher.close(0.05) is False
    gate.set()
    wait_for(lambda: slow.told + dispatcher.missed == 100)
    assert dispatcher.close(20) is True
    dispatcher.publish(Event(EventType.OPENED, running(), 0.0))  # too late: nobody is told
    assert len(notes.told) == 100


def test_observers_by_config() -> None:
    """Nodes with a ``_target_`` are made, objects are taken as they are."""
    given = Notebook()
    target = f"{__name__}.Notebook"
    node = OmegaConf.create([{"_target_": target, "mood": "bad"}])
    made = build_observers([given, {"_target_": target}, *node])
    assert made[0] is given
    assert [observer.mood for observer in made] == ["good", "good", "bad"]  # type: ignore[attr-defined]
    assert all(isinstance(observer, Observer) for observer in made)


@pytest.mark.parametrize("node", [{"_target_": "no.such.thing"}, {"a": 1}, "x", None])
def test_an_observer_that_is_none(node: object) -> None:
    """The message says which one in the list is wrong."""
    with pytest.raises(SessionConfigError, match=r"observers\[1\]"):
        build_observers([Notebook(), node])


def test_no_observers_no_threads() -> None:
    """Who has no observers pays nothing for them."""
    before = threading.active_count()
    dispatcher = Dispatcher()
    dispatcher.tell(None, running(), at=0.0)
    assert not dispatcher
    assert threading.active_count() == before
    assert dispatcher.close(0.0)

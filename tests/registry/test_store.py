"""The registry's sessions one by one, on both databases."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from keisei_lightning import (
    Registry,
    SessionConfigError,
    SessionError,
    SessionLockError,
    SessionNotFoundError,
    SessionStateError,
    Status,
)
from keisei_lightning.config import RegistryConfig
from keisei_lightning.machine import identity
from keisei_lightning.record import (
    Ending,
    Heartbeat,
    Progress,
    SessionRecord,
    SlaVerdict,
    Tracker,
    Violation,
)
from keisei_lightning.registry import Filters
from keisei_lightning.testing import make_record, temporary_registry

LATER = "2026-05-05T10:00:00+00:00"


def running(**facts: object) -> SessionRecord:
    """A session of this process."""
    return make_record(status=Status.RUNNING, **identity(), **facts)


def ended(record: SessionRecord, status: Status = Status.COMPLETED) -> SessionRecord:
    """The session after its end."""
    return record.end(Ending(status, "finished"), at=LATER, duration_s=1.5)


def test_what_goes_in_comes_out(registry: Registry) -> None:
    """Every field of a record survives, NaN, unicode, NUL and lone surrogates included."""
    record = make_record(
        name="größe \udc80\0 'x' \"y\" %_",
        directory="/tmp/\udcff",
        group="g",
        tags=("a b", "ü"),
        argv=("a", "--b='c'"),
        metrics={"val/loss": 0.25, "inf": float("inf")},
        heartbeat=Heartbeat(LATER, 30.0),
        progress=Progress("train", 1, 2, 3, 66.6, 1.0, 4.0, LATER),
        trackers=(Tracker("wandb", "x", None, "offline", "pending", "wandb sync x"),),
        sla=SlaVerdict(False, (Violation("m", 1.0, 0.5),)),
        artifacts={"model": "/m"},
        ending=None,
    )
    registry.create(record)
    assert registry.get(record.id) == record


def test_create_makes_an_id_and_a_time(registry: Registry) -> None:
    """A session needs nothing; an id, a name and its creation are made."""
    made = registry.create(tags=("x",))
    assert registry.get(made.id) == made
    assert made.name == made.id
    assert made.created_at
    assert made.status is Status.PENDING


def test_create_refuses_a_second_one(registry: Registry) -> None:
    """An id is given out once."""
    record = registry.create(name="one")
    with pytest.raises(SessionStateError, match=record.id):
        registry.create(record)
    assert registry.count() == 1


def test_get_and_remove_what_is_missing(registry: Registry) -> None:
    """Getting a missing session says which; removing one says that there was none."""
    with pytest.raises(SessionNotFoundError, match="nobody"):
        registry.get("nobody")
    assert registry.remove("nobody") is False
    record = registry.create()
    assert registry.remove(record.id) is True
    assert registry.ids() == ()


@pytest.mark.parametrize("wanted", ["amber-fox-1", "amber-f", "run the first", "run the f"])
def test_find_by_id_name_or_start(registry: Registry, wanted: str) -> None:
    """An id, a name, or enough of either leads to the session."""
    record = registry.create(make_record(id="amber-fox-1", name="run the first"))
    registry.create(make_record(id="amber-owl-2", name="run another"))
    assert registry.find(wanted) == record


@pytest.mark.parametrize("wanted", ["amber", "run", "", "%", "AMBER-FOX-1", "nobody"])
def test_find_is_not_guessing(registry: Registry, wanted: str) -> None:
    """Nothing, or an ambiguous start, is an error that lists who is meant."""
    registry.create(make_record(id="amber-fox-1", name="run 1"))
    registry.create(make_record(id="amber-owl-2", name="run 2"))
    with pytest.raises(SessionNotFoundError) as caught:
        registry.find(wanted)
    if wanted in ("amber", "run"):
        assert "amber-fox-1" in str(caught.value)
        assert "amber-owl-2" in str(caught.value)


def test_an_exact_name_wins_over_longer_ones(registry: Registry) -> None:
    """A name that is the start of another is found all the same."""
    short = registry.create(make_record(name="base"))
    registry.create(make_record(name="base-2"))
    assert registry.find("base") == short


def test_update_changes_fields_at_once(registry: Registry) -> None:
    """Several fields change together; the others stay."""
    record = registry.create(make_record(tags=("keep",)))
    new = registry.update(record.id, seed=7, status="running", metrics={"loss": 1.0})
    assert (new.seed, new.status, new.metrics, new.tags) == (
        7,
        Status.RUNNING,
        {"loss": 1.0},
        ("keep",),
    )
    assert registry.get(record.id) == new


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sed": 1}, "sed"),
        ({"seed": "x"}, "seed"),
        ({"status": "gone"}, "gone"),
        ({"id": "other"}, "id"),
        ({"metrics": {"a": "b"}}, "could not convert"),
    ],
)
def test_update_refuses_what_is_no_field(
    registry: Registry, changes: dict[str, object], words: str
) -> None:
    """A wrong field or type is named, and nothing at all changes."""
    record = registry.create()
    with pytest.raises(SessionError, match=words):
        registry.update(record.id, name="new", **changes)
    assert registry.get(record.id) == record


def test_update_of_a_missing_session(registry: Registry) -> None:
    """There is nothing to update."""
    with pytest.raises(SessionNotFoundError):
        registry.update("nobody", seed=1)


def test_the_first_final_status_wins(registry: Registry) -> None:
    """An ended session does not end again, nor run again, whoever asks."""
    record = registry.create(running())
    assert registry.update(record.id, status="completed").ended_at is not None
    for status in ("failed", "running", "lost"):
        with pytest.raises(SessionStateError, match="completed"):
            registry.update(record.id, status=status)
    assert registry.put(ended(record, Status.FAILED)) is False
    assert registry.put(record) is False
    assert registry.get(record.id).status is Status.COMPLETED


def test_a_later_attempt_starts_again(registry: Registry) -> None:
    """The same session may be opened again as its next attempt."""
    record = registry.create(running())
    assert registry.put(ended(record))
    again = dataclasses.replace(record, attempt=2)
    assert registry.put(again)
    assert registry.get(record.id) == again
    assert registry.put(ended(record, Status.FAILED)) is False


def test_facts_of_an_ended_session_may_still_grow(registry: Registry) -> None:
    """A tracker that was synced after the end is written down; the status stays."""
    record = registry.create(ended(running()))
    synced = registry.update(record.id, trackers=(Tracker("wandb", sync="done"),))
    assert registry.put(dataclasses.replace(synced, cost=2.0))
    assert registry.get(record.id).cost == 2.0


def test_update_many_isolates_errors(registry: Registry) -> None:
    """One that cannot be updated does not stop the others, and is told."""
    one, two = registry.create(), registry.create()
    done = registry.update_many({one.id: {"seed": 1}, "nobody": {"seed": 2}, two.id: {"sed": 3}})
    assert done.updated == 1
    assert set(done.errors) == {"nobody", two.id}
    assert isinstance(done.errors["nobody"], SessionNotFoundError)
    assert registry.get(one.id).seed == 1


def test_records_come_out_as_copies(registry: Registry) -> None:
    """Changing what came out changes nothing inside."""
    record = registry.create(metrics={"a": 1.0})
    out = registry.get(record.id)
    out.metrics["a"] = 2.0  # type: ignore[index]
    assert registry.get(record.id).metrics == {"a": 1.0}


def test_artifacts_by_key_and_as_a_whole(registry: Registry) -> None:
    """An artifact is added or replaced by its key; all can be replaced."""
    id = registry.create().id
    registry.set_artifact(id, "a", "1")
    registry.set_artifact(id, "b", "2")
    assert registry.set_artifact(id, "a", "3").artifacts == {"a": "3", "b": "2"}
    assert registry.replace_artifacts(id, {"c": "4"}).artifacts == {"c": "4"}


def test_concurrent_updates_lose_nothing(registry: Registry) -> None:
    """Eight threads adding artifacts to one session all get theirs in."""
    id = registry.create().id

    def add(number: int) -> None:
        for step in range(5):
            registry.set_artifact(id, f"{number}-{step}", "x")

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.get(id).artifacts) == 40


def test_filters_and_pages(registry: Registry) -> None:
    """Each filter finds its own, together they narrow, pages do not overlap."""
    a = registry.create(make_record(name="alpha", group="g", tags=("x", "y"), config_hash="h"))
    b = registry.create(make_record(name="beta", group="g", tags=("xy",), status=Status.RUNNING))
    c = registry.create(make_record(name="100%", host="far", directory="/d"))
    newest_first = [c, b, a]
    assert registry.list() == newest_first
    assert registry.list(descending=False, sort="name") == [c, a, b]
    assert registry.list(group="g") == [b, a]
    assert registry.list(tag="x") == [a]
    assert registry.list(name="alpha") == [a]
    assert registry.list(name="*A*") == [b, a]
    assert registry.list(name="100%") == [c]
    assert registry.list(name="%*") == []
    assert registry.list(host="far", directory="/d") == [c]
    assert registry.list(config_hash="h") == [a]
    assert registry.list(status="running") == [b]
    assert registry.list(status=[Status.RUNNING, "pending"], group="g") == [b, a]
    assert registry.list(since=b.created_at) == [c, b]
    assert registry.list(limit=2) == [c, b]
    assert registry.list(limit=2, offset=2) == [a]
    assert registry.count() == 3
    assert registry.count(group="g") == 2
    assert [entry.record for entry in registry.entries(Filters(tag="xy"))] == [b]
    assert registry.ids() == (a.id, b.id, c.id)


@pytest.mark.parametrize("descending", [True, False])
def test_what_has_no_value_comes_last(registry: Registry, descending: bool) -> None:
    """Sorting by a time that some do not have puts those last, either way round."""
    without = registry.create(running())
    short = registry.create(dataclasses.replace(ended(running()), duration_s=1.0))
    long = registry.create(dataclasses.replace(ended(running()), duration_s=2.0))
    found = registry.list(sort="duration", descending=descending)
    assert found == [*([long, short] if descending else [short, long]), without]


@pytest.mark.parametrize("wrong", [{"status": "gone"}, {"sort": "colour"}, {"since": "yesterday"}])
def test_filters_that_cannot_be(registry: Registry, wrong: dict[str, str]) -> None:
    """A wrong status, order or time is an error that says what there is."""
    with pytest.raises(SessionConfigError, match=next(iter(wrong.values()))):
        registry.list(**wrong)  # type: ignore[arg-type]


def test_pins(registry: Registry, tmp_path: Path) -> None:
    """A pin is found, survives the session's own writing, and can be taken off."""
    record = registry.create(running(directory=str(tmp_path)))
    (tmp_path / "session.json").write_text("{}")
    registry.pin(record.id)
    registry.put(record)
    assert registry.list(pinned=True) == [record]
    assert (tmp_path / ".pinned").exists()
    registry.pin(record.id, False)
    assert registry.list(pinned=True) == []
    assert not (tmp_path / ".pinned").exists()
    with pytest.raises(SessionNotFoundError):
        registry.pin("nobody")


def test_lock_keeps_others_out(registry: Registry, registry_url: str) -> None:
    """While one holds a session another waits in vain and is told who; afterwards it may."""
    record = registry.create()
    with Registry(registry_url) as other, registry.lock(record.id) as held:
        assert held == record
        with registry.lock(record.id):  # again, in the same thread
            pass
        with pytest.raises(SessionLockError, match=str(identity()["pid"])):
            with_lock(other, record.id)
    with_lock(registry, record.id)
    with pytest.raises(SessionNotFoundError), registry.lock("nobody"):
        pass


def with_lock(registry: Registry, id: str) -> None:
    """Take the lock and let it go."""
    with registry.lock(id, timeout=0.2):
        pass


def test_a_lock_is_let_go_when_the_block_fails(registry: Registry) -> None:
    """An exception inside does not keep the lock."""
    record = registry.create()
    with pytest.raises(ZeroDivisionError), registry.lock(record.id):
        raise ZeroDivisionError
    with_lock(registry, record.id)


def test_instances_are_independent(tmp_path: Path) -> None:
    """Two registries in one process know nothing of each other."""
    with Registry(tmp_path / "a.db") as one, Registry(tmp_path / "b.db") as two:
        one.create()
        assert (one.count(), two.count()) == (1, 0)
    with temporary_registry({"max_concurrent": 3}) as third:
        assert third.config.max_concurrent == 3
        assert third.count() == 0


def test_what_was_written_is_there_after_a_restart(registry_url: str) -> None:
    """Closing and opening again finds everything."""
    with Registry(registry_url) as registry:
        record = registry.create(running())
        assert registry.close() is True
    with Registry(registry_url) as registry:
        assert registry.list() == [record]


def test_a_closed_registry_opens_again_at_its_next_use(registry: Registry) -> None:
    """Closing gives connections back; it does not break the object."""
    record = registry.create()
    assert registry.close()
    assert registry.get(record.id) == record


@pytest.mark.parametrize(
    "node",
    [
        RegistryConfig(max_concurrent=5),
        {"max_concurrent": 5},
        {"registry": {"max_concurrent": 5}, "seed": 1},
    ],
)
def test_from_config(tmp_path: Path, node: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataclass, a mapping and a whole session node all describe a registry."""
    monkeypatch.chdir(tmp_path)
    with Registry.from_config(node) as registry:
        assert registry.config.max_concurrent == 5
        assert registry.path == tmp_path / ".keisei" / "sessions.db"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_cuncurrent": 5}, "max_cuncurrent"),
        ({"scope": "house"}, "host, all"),
        ({"max_concurrent": -1}, "max_concurrent"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"url": "mysql://x"}, "mysql"),
        ({"url": "sqlite://"}, "names no SQLite file"),
        ({"observers": [object()]}, r"observers\[0\]"),
    ],
)
def test_wrong_settings_name_their_key(wrong: dict[str, object], words: str) -> None:
    """A wrong setting says which key and what to write."""
    with pytest.raises(SessionConfigError, match=words):
        Registry(None, wrong)


def test_reconfigure_cleans_up_when_limits_shrink(registry: Registry) -> None:
    """Lower limits look for the dead at once; higher ones do not."""
    dead = make_record(status=Status.RUNNING, **{**identity(), "pid_started_at": 1.0})
    registry.create(dead)
    assert registry.reconfigure({"max_concurrent": 200}) == 0
    assert registry.reconfigure({"max_concurrent": 10}) == 1
    assert registry.config.max_concurrent == 10
    assert registry.get(dead.id).status is Status.LOST

"""Retention: the rules alone, then the deletion with each of its guards."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning import Registry, SessionConfigError, SessionRecord, Status
from keisei_lightning.machine import identity
from keisei_lightning.registry import Pruned, Retention
from keisei_lightning.registry.moments import iso
from keisei_lightning.registry.retention import CLASSIC, doomed
from keisei_lightning.registry.run_files import write_run
from keisei_lightning.testing import make_record

NOW = 1_800_000_000.0
FINAL = [status for status in Status if status.is_final]


def ended(hours_ago: float, status: Status = Status.COMPLETED, **facts: Any) -> SessionRecord:
    """A session that ended so many hours ago."""
    return make_record(status=status, ended_at=iso(NOW - 3600 * hours_ago), **facts)


def ids(records: list[SessionRecord], rules: Retention, **given: Any) -> list[str]:
    """The ids that may go."""
    return [gone.record.id for gone in doomed(records, rules, now=NOW, **given)]


def test_by_status_and_age() -> None:
    """The classic rules: failed after an hour, completed after six, any other after a day."""
    records = {
        "failed young": ended(0.9, Status.FAILED),
        "failed old": ended(1.1, Status.FAILED),
        "completed young": ended(5.9),
        "completed old": ended(6.1),
        "lost young": ended(23.9, Status.LOST),
        "lost old": ended(24.1, Status.LOST),
    }
    expected = {records[name].id for name in records if name.endswith("old")}
    assert set(ids(list(records.values()), CLASSIC)) == expected


def test_the_reason_is_told() -> None:
    """Each one says why it may go."""
    gone = doomed([ended(50)], Retention(older_than_s=3600.0), now=NOW)
    assert [one.reason for one in gone] == ["completed 2 d ago"]


def test_keep_last_and_best() -> None:
    """The newest stay whatever their age, and so do the best by a metric; NaN is never best."""
    a = ended(5, metrics={"loss": 0.1})
    b = ended(4, metrics={"loss": 0.5})
    c = ended(3, metrics={"loss": float("nan")})
    d = ended(2)
    records = [d, b, a, c]
    assert ids(records, Retention()) == [a.id, b.id, c.id, d.id]
    assert ids(records, Retention(keep_last=2)) == [a.id, b.id]
    assert ids(records, Retention(keep_best=1, metric="loss")) == [b.id, c.id, d.id]
    assert ids(records, Retention(keep_best=1, metric="loss", mode="max")) == [a.id, c.id, d.id]
    assert ids(records, Retention(keep_last=1, keep_best=9, metric="loss")) == [c.id]


def test_one_without_a_time_stays_where_age_matters() -> None:
    """In doubt a session counts as just ended."""
    timeless = make_record(status=Status.FAILED, created_at=None)
    assert ids([timeless], Retention(older_than_s=0.0)) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"statuses": frozenset({Status.RUNNING})}, "running"),
        ({"statuses": frozenset({"gone"})}, "gone"),
        ({"keep_best": 1}, "metric"),
        ({"keep_last": -1}, "negative"),
        ({"mode": "best"}, "best"),
    ],
)
def test_rules_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    """A wrong rule is refused before anything is looked at."""
    with pytest.raises(SessionConfigError, match=words):
        Retention(**wrong)


sessions = st.lists(
    st.builds(
        lambda status, hours, loss: ended(hours, status, metrics={"loss": loss}),
        st.sampled_from(list(Status)),
        st.floats(-10, 1000),
        st.floats(),
    ),
    max_size=12,
)


@given(
    records=sessions,
    statuses=st.frozensets(st.sampled_from(FINAL)),
    age=st.none() | st.floats(0, 1e6),
    last=st.integers(0, 5),
    best=st.integers(0, 5),
    data=st.data(),
)
def test_what_never_goes(
    records: list[SessionRecord],
    statuses: frozenset[Status],
    age: float | None,
    last: int,
    best: int,
    data: st.DataObject,
) -> None:
    """Running, pinned, young and newest sessions never go; more keeping never removes more."""
    pinned = data.draw(st.sets(st.sampled_from([r.id for r in records]))) if records else set()
    rules = Retention(statuses, age, keep_last=last, keep_best=best, metric="loss")
    gone = set(ids(records, rules, pinned=pinned))
    by_id = {record.id: record for record in records}
    assert all(by_id[id].status in statuses for id in gone)
    assert not gone & pinned
    candidates = [r for r in records if r.status in statuses]
    assert len(gone) <= max(0, len(candidates) - last)
    keeping_more = dataclasses.replace(rules, keep_last=last + 1, keep_best=best + 1)
    assert set(ids(records, keeping_more, pinned=pinned)) <= gone


# -- with files ------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project directory with an odd name."""
    path = tmp_path / 'my project\'s "runs" ü'
    path.mkdir()
    return path


@pytest.fixture
def books(project: Path) -> Iterator[Registry]:
    """The project's own registry."""
    with Registry(project / ".keisei" / "sessions.db") as registry:
        yield registry


def run(registry: Registry, folder: Path, **facts: Any) -> SessionRecord:
    """A run directory of an ended session with something in it."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"x" * 1000)
    record = ended(10, **{"directory": str(folder), **facts})
    write_run(folder, record)
    return registry.create(record)


def prune(registry: Registry, *, dry_run: bool = False, **given: Any) -> Pruned:
    """Prune everything that ended, files too."""
    return registry.prune(Retention(), files=True, dry_run=dry_run, **given)


def test_a_dry_run_is_the_default(books: Registry, project: Path) -> None:
    """It says what would go and how much that frees, and changes nothing."""
    record = run(books, project / "outputs" / "one")
    said = books.prune(Retention(), files=True)
    assert said.dry_run
    assert [gone.record.id for gone in said.removed] == [record.id]
    assert said.freed_bytes > 1000
    assert (project / "outputs" / "one" / "session.json").exists()
    assert books.count() == 1


def test_records_and_files_go_together(books: Registry, project: Path) -> None:
    """What was announced is done; everything around it stays."""
    run(books, project / "outputs" / "one")
    (project / "outputs" / "notes.txt").touch()
    done = prune(books)
    assert len(done.removed) == 1
    assert not done.kept
    assert sorted(path.name for path in (project / "outputs").iterdir()) == ["notes.txt"]
    assert books.count() == 0


def test_records_only(books: Registry, project: Path) -> None:
    """Without ``files`` the run directories stay, and reindex brings the records back."""
    run(books, project / "one")
    assert len(books.prune(Retention(), dry_run=False).removed) == 1
    assert books.count() == 0
    assert (project / "one" / "checkpoints" / "last.ckpt").exists()
    assert books.reindex(project).written == 1
    assert books.count() == 1


def test_a_directory_that_is_gone_already(books: Registry, project: Path) -> None:
    """The record goes; there is nothing else to do."""
    run(books, project / "one", directory=str(project / "never"))
    assert len(prune(books).removed) == 1


def kept(registry: Registry, words: str, **given: Any) -> None:
    """The only session is protected, for this reason; its record stays too."""
    for dry_run in (True, False):
        done = prune(registry, dry_run=dry_run, **given)
        assert not done.removed
        assert [words in one.reason for one in done.kept] == [True], done.kept
    assert registry.count() == 1


def test_nothing_outside_the_roots(books: Registry, project: Path, tmp_path: Path) -> None:
    """A directory outside the project, or reached by .., stays."""
    run(books, tmp_path / "other" / "run", directory=f"{project}/../other/run")
    kept(books, "outside")
    assert len(prune(books, roots=[tmp_path / "other"]).removed) == 1


def test_the_root_itself_stays(books: Registry, project: Path) -> None:
    """A session that ran in the project directory does not take the project with it."""
    run(books, project, directory=str(project))
    kept(books, "outside")


def test_links_to_a_deleted_run_go_with_it(books: Registry, project: Path) -> None:
    """`by-status` and `latest` point to no run that is gone; other links stay."""
    outputs = project / "outputs"
    run(books, outputs / "one")
    links = outputs / "by-status" / "COMPLETED"
    links.mkdir(parents=True)
    (links / "one").symlink_to(outputs / "one")
    (links / "other").symlink_to(outputs / "elsewhere")
    (outputs / "latest").symlink_to(outputs / "one")
    prune(books)
    assert [path.name for path in links.iterdir()] == ["other"]
    assert not (outputs / "latest").is_symlink()


def test_the_file_system_is_no_root(books: Registry, project: Path) -> None:
    """``--root /`` does not open everything."""
    run(books, project / "one")
    kept(books, "outside", roots=["/"])


def test_other_databases_have_no_root_of_their_own(registry: Registry, tmp_path: Path) -> None:
    """Where the database is not in the project nothing is deleted unless roots are named."""
    if registry.path is None:
        run(registry, tmp_path / "one")
        kept(registry, "outside every root")
        assert len(prune(registry, roots=[tmp_path]).removed) == 1


@pytest.mark.parametrize("which", ["run", "parent"])
def test_nothing_through_a_link(books: Registry, project: Path, tmp_path: Path, which: str) -> None:
    """Neither a linked run directory nor one below a linked folder is deleted."""
    real = tmp_path / "elsewhere" / "run"
    if which == "run":
        (project / "link").symlink_to(real)
        run(books, real, directory=str(project / "link"))
    else:
        (project / "link").symlink_to(real.parent)
        run(books, real, directory=str(project / "link" / "run"))
    kept(books, "link")
    assert (real / "checkpoints" / "last.ckpt").exists()


def test_a_project_that_is_itself_behind_a_link(
    books: Registry, project: Path, tmp_path: Path
) -> None:
    """A root may be named by a link; what counts is the way from the root on."""
    (tmp_path / "shortcut").symlink_to(project)
    run(books, project / "one")
    run(books, project / "two", directory=str(tmp_path / "shortcut" / "two"))
    assert len(prune(books, roots=[tmp_path / "shortcut"]).removed) == 2
    assert not (project / "one").exists()
    assert not (project / "two").exists()


def test_links_inside_are_removed_not_followed(
    books: Registry, project: Path, tmp_path: Path
) -> None:
    """What a run directory links to stays."""
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "train.bin").touch()
    run(books, project / "one")
    (project / "one" / "data").symlink_to(tmp_path / "dataset")
    assert len(prune(books).removed) == 1
    assert (tmp_path / "dataset" / "train.bin").exists()


def test_only_directories_that_hold_our_claim(books: Registry, project: Path) -> None:
    """No session.json, another session's, a damaged one: not ours to delete."""
    record = run(books, project / "one")
    claim = project / "one" / "session.json"
    write_run(project / "one", make_record(status=Status.FAILED))
    kept(books, "belongs to")
    claim.write_text("{")
    kept(books, "damaged")
    claim.unlink()
    kept(books, "not ours")
    write_run(project / "one", record)
    assert len(prune(books).removed) == 1


def test_never_a_live_one(books: Registry, project: Path) -> None:
    """The row says ended, the run itself says running: a next attempt has begun."""
    record = run(books, project / "one")
    running = dataclasses.replace(record, status=Status.RUNNING, attempt=2, **identity())
    write_run(project / "one", running)
    kept(books, "running")
    books.put(running)
    assert prune(books).removed == prune(books).kept == ()


def test_never_a_pinned_one(books: Registry, project: Path) -> None:
    """Pinned in the registry, by a tag, or by the mark in its directory."""
    record = run(books, project / "one")
    books.pin(record.id)
    assert prune(books).removed == ()
    books.pin(record.id, False)
    (project / "one" / ".pinned").touch()
    kept(books, "pinned")
    tagged = run(books, project / "two", tags=("pinned",))
    assert tagged.id not in [gone.record.id for gone in prune(books).removed]


def test_never_with_another_run_inside(books: Registry, project: Path) -> None:
    """A sweep's directory that holds its jobs' stays as long as they do."""
    outer = run(books, project / "sweep")
    inner = run(books, project / "sweep" / "0")
    done = prune(books)
    assert {gone.record.id for gone in done.removed} == {inner.id}
    assert [one.record.id for one in done.kept] == [outer.id]
    assert [gone.record.id for gone in prune(books).removed] == [outer.id]


def test_never_the_current_directory(
    books: Registry, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has the ground removed from under his feet."""
    run(books, project / "one")
    monkeypatch.chdir(project / "one" / "checkpoints")
    kept(books, "current directory")


def test_a_directory_that_cannot_be_deleted(
    books: Registry, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record stays when the files do, and the reason is told."""
    if os.geteuid() == 0:
        pytest.skip("nothing is forbidden to root")
    run(books, project / "runs" / "one")
    (project / "runs").chmod(0o500)
    kept(books, "Permission denied")
    (project / "runs").chmod(0o700)

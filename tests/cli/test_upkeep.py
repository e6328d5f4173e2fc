"""``cleanup``, ``prune`` and ``reindex``: nothing changes until ``--yes``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from keisei_lightning.cli.pruning import ages, best
from keisei_lightning.cli.trouble import UsageError
from keisei_lightning.record import Heartbeat, Status, from_json
from keisei_lightning.registry import Registry

from .conftest import Invoke, Runs, moment

Where = Callable[[], list[str]]


def status_of(runs: Runs, id: str) -> Status:
    """Return what a run's own record says."""
    return from_json(json.loads((runs.root / id / "session.json").read_bytes())).status


def contents(root: Path) -> dict[str, str]:
    """Return a digest of every file under a directory."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture
def project(runs: Runs, invoke: Invoke) -> Callable[[], None]:
    """Return a function that puts the runs so far into the project's own registry."""

    def make() -> None:
        assert invoke("reindex", runs.root).code == 0

    return make


def test_cleanup_shows_first_and_then_does(runs: Runs, where: Where, invoke: Invoke) -> None:
    """The dead and the long stale are shown; only --yes marks them, in their own record too."""
    runs.add("alive", Status.RUNNING)
    runs.dead("dead")
    old = Heartbeat(moment(9999), 30.0)
    runs.add("stale", Status.RUNNING, host="elsewhere", heartbeat=old, started_at=moment(99999))
    runs.add("young-stale", Status.RUNNING, host="elsewhere", heartbeat=Heartbeat(moment(60), 30.0))
    options = where()
    before = contents(runs.root)
    shown = invoke("cleanup", "--json", *options).json
    assert (shown["dry_run"], shown["count"]) == (True, 2)
    assert sorted(shown["sessions"]) == ["dead", "stale"]
    text = invoke("cleanup", *options)
    assert "2 sessions would be marked lost" in text.out
    assert "--yes" in text.err
    assert contents(runs.root) == before
    done = invoke("cleanup", "--yes", *options)
    assert "2 sessions marked lost" in done.out
    assert status_of(runs, "dead") is Status.LOST
    assert status_of(runs, "stale") is Status.LOST
    assert status_of(runs, "young-stale") is Status.RUNNING
    assert status_of(runs, "alive") is Status.RUNNING
    assert invoke("cleanup", "--json", *options).json["count"] == 0


def test_cleanup_of_nothing_is_done(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Nothing to clean up is exit code 0: a timer may call it."""
    runs.add("a")
    result = invoke("cleanup", "--yes", *where())
    assert (result.code, result.out) == (0, "0 sessions marked lost\n")


def test_prune_wants_a_rule(project: Callable[[], None], runs: Runs, invoke: Invoke) -> None:
    """Without a rule everything would go: that is wrong usage."""
    runs.add("a")
    project()
    assert invoke("prune", "--yes").code == 2
    assert invoke("ls").code == 0


def test_prune_shows_first_and_then_does(
    project: Callable[[], None], runs: Runs, invoke: Invoke
) -> None:
    """Records and files stay until --yes; running, pinned, the newest and the best always."""
    runs.add("running", Status.RUNNING, metrics={"acc": 0.99})
    runs.add("newest", ended_at=moment(10))
    runs.add("best", metrics={"acc": 0.9}, ended_at=moment(7200))
    runs.add("good", metrics={"acc": 0.8}, ended_at=moment(7200))
    runs.add("pinned", tags=("pinned",), ended_at=moment(7200))
    runs.failed("bad", ended_at=moment(7200))
    project()
    before = contents(runs.root)
    rules = ["--older-than", "1h", "--keep-best", "acc:max", "--files"]
    shown = invoke("prune", *rules, "--json").json
    assert shown["dry_run"] is True
    assert sorted(one["id"] for one in shown["removed"]) == ["bad", "good"]
    assert shown["freed_bytes"] > 0
    text = invoke("prune", *rules)
    assert "2 sessions would go" in text.out
    assert "--yes" in text.err
    assert contents(runs.root) == before
    done = invoke("prune", *rules, "--yes")
    assert "2 sessions removed" in done.out
    left = ["best", "newest", "pinned", "running"]
    assert sorted(path.name for path in runs.root.iterdir() if path.is_dir()) == left
    assert sorted(one["id"] for one in invoke("ls", "--json").json) == left


def test_prune_keeps_files_unless_told(
    project: Callable[[], None], runs: Runs, invoke: Invoke
) -> None:
    """Without --files only the records go, and reindex brings them back."""
    runs.failed("a")
    runs.add("b")
    project()
    assert invoke("prune", "--status", "failed", "--yes").code == 0
    assert [one["id"] for one in invoke("ls", "--json").json] == ["b"]
    assert status_of(runs, "a") is Status.FAILED
    project()
    assert len(invoke("ls", "--json").json) == 2


def test_prune_never_leaves_the_project(
    project: Callable[[], None], runs: Runs, tmp_path: Path, invoke: Invoke
) -> None:
    """A run directory elsewhere is shown as staying, with the reason."""
    runs.add("here")
    project()
    elsewhere = Runs(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    elsewhere.failed("there")
    assert invoke("reindex", elsewhere.root).code == 0
    result = invoke("prune", "--status", "failed", "--files", "--yes", "--json")
    assert result.json["removed"] == []
    assert "outside" in result.json["kept"][0]["reason"]
    assert "stays" in invoke("prune", "--status", "failed", "--files", "--yes").out
    assert (elsewhere.root / "there" / "session.json").is_file()


def test_prune_without_a_registry(runs: Runs, invoke: Invoke) -> None:
    """With --dir the directories are pruned themselves; records alone make no sense there."""
    runs.failed("a")
    runs.add("b")
    assert invoke("prune", "--status", "failed", "--dir", runs.root).code == 2
    done = invoke("prune", "--status", "failed", "--files", "--yes", "--dir", runs.root)
    assert done.code == 0
    assert [path.name for path in runs.root.iterdir()] == ["b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("val/acc:max", ("val/acc", "max", 1)),
        ("val/loss:min:3", ("val/loss", "min", 3)),
        ("a:b:max:12", ("a:b", "max", 12)),
        ("7:max", ("7", "max", 1)),
    ],
)
def test_the_best_are_said_with_their_direction(text: str, expected: object) -> None:
    """The metric's own colons are the metric's."""
    assert best(text) == expected


@pytest.mark.parametrize("text", ["val/acc", "", "max", ":max", "x:most", "x:max:0", "x:max:y"])
def test_best_without_a_direction_is_wrong_usage(text: str) -> None:
    """Which end is good is never guessed: the wrong guess deletes the best runs."""
    with pytest.raises(UsageError, match="which values are good"):
        best(text)


def test_ages_may_be_for_one_status() -> None:
    """``failed:1h`` is for failed sessions only."""
    assert ages(["2d", "failed:1h"]) == (172800.0, {Status.FAILED: 3600.0})
    for wrong in ("2", "old", "nosuch:1h", "failed:"):
        with pytest.raises(UsageError):
            ages([wrong])


def test_reindex_makes_the_registry(runs: Runs, tmp_path: Path, invoke: Invoke) -> None:
    """Every run under the directory goes in; damaged ones are named and shown as failed."""
    runs.add("a")
    runs.add("b", folder="deep/down/b")
    runs.add("broken")
    (runs.root / "broken" / "session.json").write_text("{")
    result = invoke("reindex", "outputs", "--json")
    assert result.code == 0
    assert (result.json["found"], result.json["written"]) == (3, 3)
    assert [Path(path).name for path in result.json["damaged"]] == ["broken"]
    assert (tmp_path / ".keisei" / "sessions.db").is_file()
    assert sorted(one["name"] for one in invoke("ls", "--json").json) == ["a", "b", "broken"]


def test_reindex_repairs_a_damaged_registry(runs: Runs, tmp_path: Path, invoke: Invoke) -> None:
    """A file that is no database is set aside, and the registry is whole again."""
    runs.add("a")
    path = tmp_path / ".keisei" / "sessions.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database, it is a text of some length" * 100)
    broken = invoke("ls")
    assert broken.code == 1
    assert "Traceback" not in broken.err
    assert invoke("reindex", runs.root).code == 0
    assert invoke("ls").code == 0


def test_reindex_of_nothing(tmp_path: Path, invoke: Invoke) -> None:
    """No run under the directory is nothing found; no directory is wrong usage."""
    (tmp_path / "empty").mkdir()
    assert invoke("reindex", "empty").code == 1
    assert invoke("reindex", "missing").code == 2


def test_a_registry_that_has_gone_away_is_an_error_of_one_line(
    tmp_path: Path, invoke: Invoke
) -> None:
    """A server that does not answer, a URL that is none: said, not raised, and quickly."""
    nothing = invoke("ls", "--registry", "postgresql+psycopg://u:secret@127.0.0.1:1/db")
    assert nothing.code == 1
    assert "secret" not in nothing.err
    assert "Traceback" not in nothing.err
    assert invoke("ls", "--registry", "no-such-dialect://x").code in (1, 2)
    assert invoke("ls", "--registry", tmp_path / "none.db").code == 1
    assert not (tmp_path / "none.db").exists()


def test_registries_read_are_registries_made_by_runs(runs: Runs, invoke: Invoke) -> None:
    """A pin that only the registry knows is in the JSON."""
    record = runs.add("a")
    with Registry() as registry:
        registry.put(record)
        registry.pin("a")
    assert invoke("show", "a", "--json").json["pinned"] is True

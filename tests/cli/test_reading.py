"""``ls``, ``show``, ``why``, ``metrics``, ``compare``, ``stats``, ``health``, ``watch``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from keisei_lightning.record import (
    Git,
    Heartbeat,
    SessionRecord,
    SlaVerdict,
    Status,
    Violation,
    to_json,
)
from keisei_lightning.registry import Registry

from .conftest import Invoke, Runs, moment

Where = Callable[[], list[str]]


def journal(steps: int) -> str:
    """Return a journal of a falling loss."""
    rows = ({"step": i, "epoch": i // 10, "train/loss": 1 / (i + 1)} for i in range(steps))
    return "".join(json.dumps(row) + "\n" for row in rows)


def ids(out: str) -> list[str]:
    """Return the first word of each row of a table."""
    return [line.split()[0] for line in out.splitlines()[1:]]


def test_ls_lists_all_newest_first_with_liveness(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Status, liveness and progress of each session, from a registry as from directories."""
    runs.add("alive-one", Status.RUNNING)
    runs.dead("dead-one")
    runs.add("done-one")
    result = invoke("ls", *where())
    assert (result.code, result.err) == (0, "")
    rows = [line.split() for line in result.out.splitlines()]
    assert rows[0][:7] == ["ID", "NAME", "STATUS", "LIVE", "%", "ETA", "AGE"]
    assert [(row[0], row[2], row[3], row[4]) for row in rows[1:]] == [
        ("alive-one", "running", "alive", "30%"),
        ("dead-one", "running", "dead", "30%"),
        ("done-one", "completed", "-", "30%"),
    ]


def test_ls_json_is_the_record_with_liveness(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Each object has the keys of ``session.json`` unchanged, and what a reader knows besides."""
    record = runs.dead("dead-one", tags=("a", "pinned"), metrics={"loss": float("nan")})
    (found,) = invoke("ls", "--json", *where()).json
    assert found.pop("liveness") == "dead"
    assert found.pop("pinned") is True
    assert found == to_json(record)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--status", "failed", "--status", "running"], ["b", "d"]),
        (["--liveness", "dead"], ["d"]),
        (["--liveness", "dead", "--liveness", "alive"], ["d"]),
        (["--group", "sweep"], ["a", "c"]),
        (["--tag", "x"], ["a", "b"]),
        (["--tag", "x", "--tag", "y"], ["b"]),
        (["--name", "IGIT"], ["c"]),
        (["--name", "dig*"], ["c"]),
        (["--since", "150s"], ["a", "b"]),
        (["--sort", "loss"], ["c", "a", "b", "d"]),
        (["--sort", "loss", "--reverse"], ["a", "c", "b", "d"]),
        (["--sort", "name", "--limit", "2"], ["a", "b"]),
        (["--reverse"], ["d", "c", "b", "a"]),
        (["--limit", "3"], ["a", "b", "c"]),
        (["--limit", "0"], ["a", "b", "c", "d"]),
    ],
)
def test_ls_filters_and_sorts(
    options: list[str], expected: list[str], runs: Runs, where: Where, invoke: Invoke
) -> None:
    """Each filter narrows, each key sorts; both sources agree."""
    runs.add("a", group="sweep", tags=("x",), metrics={"loss": 2.0})
    runs.failed("b", tags=("x", "y"))
    runs.add("c", name="digits", group="sweep", metrics={"loss": 1.0})
    runs.dead("d")
    assert ids(invoke("ls", *options, *where()).out) == expected


def test_ls_shows_metrics_that_are_asked_for(runs: Runs, where: Where, invoke: Invoke) -> None:
    """--metric adds a column."""
    runs.add("a", metrics={"val/acc": 0.97654321})
    out = invoke("ls", "--metric", "val/acc", *where()).out
    assert "val/acc" in out
    assert "0.97654" in out


def test_ls_says_when_there_is_nothing(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Nothing found is exit code 1, an empty list in JSON, and a word on standard error."""
    options = where()
    assert invoke("ls", *options).code == 1
    runs.add("a")
    result = invoke("ls", "--status", "failed", "--json", *where())
    assert (result.code, result.json) == (1, [])
    assert "no session matches" in result.err


def test_show_tells_all_that_people_ask(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Ending, exception, SLA, git, seed and metrics of one session, found by part of its id."""
    runs.failed(
        "amber-finch-7k3q",
        name="digits",
        seed=7,
        git=Git("0123456789abcdef", "main", True),
        sla=SlaVerdict(False, (Violation("val/acc", 0.5, 0.9, "min"),)),
        metrics={"val/acc": 0.5},
        overrides=("model.lr=0.1",),
    )
    result = invoke("show", "amber", *where())
    assert result.code == 0
    for words in (
        "digits  failed",
        "amber-finch-7k3q",
        "failed (exception), in fit, epoch 2, step 300, exit code 1",
        "ValueError: loss is nan",
        "val/acc = 0.5 (min 0.9)",
        "0123456789ab main, with uncommitted changes",
        "model.lr=0.1",
    ):
        assert words in result.out


def test_show_tells_how_a_living_run_is_doing(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Progress, what is left, and what the last beat said of the machine."""
    beat = Heartbeat(moment(4), 30.0, cpu_percent=85.4, rss_mb=1210.6)
    runs.add("a", Status.RUNNING, heartbeat=beat)
    out = invoke("show", "a", *where()).out
    assert "a  running (alive)" in out
    assert "30%, fit, epoch 2, step 300 of 1000, 12.5 steps/s, 56s left" in out
    assert re.search(r"last beat +\d+s ago, CPU 85%, 1211 MB\n", out)


def test_show_reads_the_run_directory_not_the_index(
    runs: Runs, tmp_path: Path, invoke: Invoke
) -> None:
    """What the registry has not heard of yet is shown too: ``session.json`` is the truth."""
    record = runs.add("a", Status.RUNNING, seed=1)
    path = tmp_path / "sessions.db"
    with Registry(path) as registry:
        registry.put(record)
    runs.write(record.update(seed=2), {})
    assert invoke("show", "a", "--json", "--registry", path).json["seed"] == 2
    (Path(str(record.directory)) / "session.json").unlink()
    assert invoke("show", "a", "--json", "--registry", path).json["seed"] == 1


def test_a_run_directory_is_a_name_too(runs: Runs, invoke: Invoke) -> None:
    """The path of a run works wherever an id does, without any registry."""
    record = runs.add("a", files={"metrics.jsonl": journal(3)})
    folder = str(record.directory)
    assert invoke("show", folder, "--json").json["id"] == "a"
    assert invoke("show", f"{folder}/session.json", "--json").json["id"] == "a"
    assert "train/loss" in invoke("metrics", folder).out


@pytest.mark.parametrize("reference", ["x" * 5000, "a\0b", "", "../..", "[a]*", "-"])
def test_no_reference_makes_it_fail(
    reference: str, runs: Runs, where: Where, invoke: Invoke
) -> None:
    """What no session is called is nothing found, be it ever so odd."""
    runs.add("b")
    result = invoke("show", *where(), "--", reference)
    assert (result.code, result.out) == (1, "")


def test_without_a_name_the_newest_is_meant(runs: Runs, where: Where, invoke: Invoke) -> None:
    """``keisei show`` is about the latest session."""
    runs.add("new")
    runs.add("old")
    assert invoke("show", "--json", *where()).json["id"] == "new"


@pytest.mark.parametrize("command", ["show", "why", "logs", "metrics"])
def test_an_ambiguous_name_is_wrong_usage_and_an_unknown_one_nothing_found(
    command: str, runs: Runs, where: Where, invoke: Invoke
) -> None:
    """Exit code 2 with the candidates, or 1; never a traceback."""
    runs.add("amber-1", name="first")
    runs.add("amber-2", name="second")
    ambiguous = invoke(command, "amber", *where())
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert "amber-1 (first), amber-2 (second)" in ambiguous.err
    unknown = invoke(command, "zebra", *where())
    assert (unknown.code, unknown.out) == (1, "")
    assert "'zebra'" in unknown.err


TRACE = """Traceback (most recent call last):
  File "/home/me/data.py", line 9, in load
    return table[key]
KeyError: 'x'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/v/lib/python3.11/site-packages/lightning/trainer.py", line 5, in fit
    call()
  File "/home/me/model.py", line 42, in training_step
    raise ValueError("loss is nan") from error
  File "/v/lib/python3.11/site-packages/torch/nn.py", line 5, in check
    fail()
ValueError: loss is nan
"""


def test_why_is_five_lines(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Rank, exception with its cause, last user frame, last log lines, last metrics."""
    log = "epoch 1\nepoch 2\nloss looks odd\nTraceback (most recent call last):\n  File ...\n"
    runs.failed(
        "a",
        world_size=2,
        metrics={"train/loss": 0.5},
        files={"error.txt": TRACE, "logs/training.log": log},
    )
    result = invoke("why", "a", *where())
    lines = result.out.splitlines()
    assert (result.code, len(lines)) == (0, 5)
    assert lines[0].startswith("failed     a: rank 0 of 2, exception, in fit, epoch 2, step 300")
    assert lines[1:] == [
        "exception  ValueError: loss is nan <- KeyError: 'x'",
        'frame      /home/me/model.py:42 in training_step: raise ValueError("loss is nan") '
        "from error",
        "log        epoch 1 | epoch 2 | loss looks odd",
        "metrics    train/loss=0.5",
    ]


def test_why_looks_at_the_rank_that_failed(runs: Runs, where: Where, invoke: Invoke) -> None:
    """The traceback and the log of rank 1 are used when rank 1 is to blame."""
    words = {"rank": 1, "traceback": TRACE.replace("model.py", "rank1.py")}
    record = runs.failed("a", world_size=2)
    assert record.ending is not None
    ending = to_json(record.ending) | {"rank": 1}
    data = to_json(record) | {"ending": ending}
    files = {
        "session.json": json.dumps(data),
        "ranks/rank1.json": json.dumps(words),
        "logs/rank1.log": "hello from rank 1\n",
        "error.txt": TRACE,
    }
    runs.write(record, files)
    found = invoke("why", "a", "--json", *where()).json
    assert found["rank"] == 1
    assert found["frame"]["file"] == "/home/me/rank1.py"
    assert found["log"] == ["hello from rank 1"]
    assert found["causes"] == ["KeyError: 'x'"]


def test_why_of_a_killed_run_names_its_last_step(runs: Runs, where: Where, invoke: Invoke) -> None:
    """A process that is gone without a word: the last step, and what may have been."""
    logged = '{"step": 310, "epoch": 3, "loss": 0.125}\n{"step": 311, "lo'
    runs.dead("a", metrics={"loss": 0.25, "acc": 0.5}, files={"metrics.jsonl": logged})
    result = invoke("why", "a", *where())
    lines = result.out.splitlines()
    assert lines[0].startswith("dead       a: rank 0, in fit, epoch 3, step 310")
    assert "gone without a word" in lines[1]
    assert lines[4] == "metrics    loss=0.125 acc=0.5"


def test_why_without_a_name_finds_the_newest_failure(
    runs: Runs, where: Where, invoke: Invoke
) -> None:
    """Sessions that ended well or still run are passed over."""
    runs.add("running", Status.RUNNING)
    runs.add("fine")
    runs.failed("bad")
    runs.failed("worse")
    assert invoke("why", "--json", *where()).json["id"] == "bad"


def test_why_has_nothing_to_say_of_a_success(runs: Runs, where: Where, invoke: Invoke) -> None:
    """A completed session: exit code 1, nothing found."""
    runs.add("fine")
    result = invoke("why", "fine", *where())
    assert result.code == 1
    assert "there is no failure to explain" in result.err
    assert invoke("why", *where()).code == 1


def test_metrics_are_summed_up_listed_and_drawn(runs: Runs, where: Where, invoke: Invoke) -> None:
    """A line a metric; with --history a line a step; with --plot a chart; the same in JSON."""
    runs.add("a", files={"metrics.jsonl": journal(30)})
    options = where()
    row = invoke("metrics", "a", *options).out.splitlines()[1].split()
    assert row[:8] == ["train/loss", "0.033333", "29", "0.033333", "29", "1", "0", "30"]
    history = invoke("metrics", "a", "train/*", "--history", "--limit", 2, *options).out
    assert [line.split() for line in history.splitlines()] == [
        ["STEP", "EPOCH", "train/loss"],
        ["28", "2", "0.034483"],
        ["29", "2", "0.033333"],
    ]
    plot = invoke("metrics", "a", "--plot", "--height", 5, *options).out.splitlines()
    assert plot[0].startswith("train/loss")
    assert len(plot) == 1 + 5 + 2
    found = invoke("metrics", "a", "--history", "--json", *options).json
    assert found["metrics"]["train/loss"]["last"] == 1 / 30
    assert found["history"]["train/loss"][10] == {"step": 10, "epoch": 1, "value": 1 / 11}


def test_metrics_fall_back_on_the_record(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Without a journal the last values of the record are shown, and said to be that."""
    runs.add("a", metrics={"val/acc": 0.5})
    result = invoke("metrics", "a", *where())
    assert result.code == 0
    assert "last values in its record" in result.err
    assert "0.5" in result.out


def test_a_metric_that_is_not_there_is_nothing_found(
    runs: Runs, where: Where, invoke: Invoke
) -> None:
    """Those that are there are shown; the exit code tells that one was not."""
    runs.add("a", files={"metrics.jsonl": journal(3)})
    result = invoke("metrics", "a", "val/acc", "train/loss", *where())
    assert result.code == 1
    assert "no metric 'val/acc'" in result.err
    assert "train/loss" in result.out
    assert invoke("metrics", "a", "val/acc", *where()).out == ""


def config(lr: float, record_directory: str) -> str:
    """Return an effective config."""
    model = {"lr": lr, "layers": [{"size": 8}, {"size": 4}]}
    return json.dumps({"model": model, "trainer": {"root": record_directory}, "sizes": [1, 2]})


def test_compare_shows_only_what_differs(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Config, git, packages, seed and metrics; a run's own directory is no difference."""
    for id, lr, torch in (("a", 0.1, "2.1"), ("b", 0.01, "2.2")):
        runs.add(
            id,
            seed=1 if id == "a" else 2,
            git=Git("c0ffee", "main", id == "a"),
            metrics={"acc": 0.9, "loss": lr},
            files={
                "effective_config.json": config(lr, str(runs.root / id)),
                "provenance/packages.txt": f"numpy==1.26.0\ntorch=={torch}\nmine @ file:///x\n",
            },
            duration_s=1.0,
        )
    options = where()
    found = invoke("compare", "a", "b", "--json", *options).json
    assert [session["id"] for session in found.pop("sessions")] == ["a", "b"]
    assert found == {
        "run": {"seed": {"a": 1, "b": 2}},
        "config": {"model.lr": {"a": 0.1, "b": 0.01}},
        "git": {"dirty": {"a": True, "b": False}},
        "packages": {"torch": {"a": "2.1", "b": "2.2"}},
        "environment": {},
        "metrics": {"loss": {"a": 0.1, "b": 0.01}},
    }
    shown = invoke("compare", "a", "b", *options).out
    assert "model.lr  0.1  0.01" in shown
    assert "sizes" not in shown
    everything = invoke("compare", "a", "b", "--all", "--only", "config", "--json", *options).json
    assert everything["config"]["model.layers.1.size"] == {"a": 4, "b": 4}


def test_compare_shows_what_one_does_not_have(runs: Runs, where: Where, invoke: Invoke) -> None:
    """A key that a session lacks is a difference, and absent is not null."""
    runs.add("a", files={"effective_config.json": '{"x": null, "y": {}}'})
    runs.add("b", files={"effective_config.json": "{}"})
    options = where()
    found = invoke("compare", "a", "b", "--only", "config", "--json", *options).json
    assert found["config"] == {"x": {"a": None}, "y": {"a": {}}}
    assert "(absent)" in invoke("compare", "a", "b", *options).out


def test_compare_needs_two(runs: Runs, where: Where, invoke: Invoke) -> None:
    """One session, or the same twice, is wrong usage."""
    runs.add("a")
    options = where()
    assert invoke("compare", "a", "a", *options).code == 2
    assert invoke("compare", *options).code == 2
    assert invoke("compare", "a", "b", *options).code == 1


def test_stats_count(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Totals by status, for people, programs and Prometheus."""
    runs.add("a", Status.RUNNING)
    runs.add("b")
    runs.failed("c")
    options = where()
    found = invoke("stats", "--json", *options).json
    assert (found["total"], found["active"], found["by_status"]["failed"]) == (3, 1, 1)
    assert "1 of 100 slots" in invoke("stats", *options).out
    exposition = invoke("stats", "--prometheus", *options).out
    assert 'keisei_sessions{status="completed"} 1' in exposition.splitlines()
    assert invoke("stats", "--prometheus", "--json", *options).code == 2


def test_health_is_an_exit_code(
    runs: Runs, where: Where, invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Healthy is 0; with every slot taken it is critical and 1."""
    runs.add("a")
    result = invoke("health", *where())
    assert (result.code, result.out.splitlines()[0]) == (0, "healthy")
    runs.add("b", Status.RUNNING)
    monkeypatch.setenv("SESSION_MAX_CONCURRENT", "1")
    result = invoke("health", "--json", *where())
    assert (result.code, result.json["status"]) == (1, "critical")
    monkeypatch.setenv("SESSION_MAX_CONCURRENT", "many")
    assert invoke("health", *where()).code == 2


def test_watch_looks_once_where_there_is_no_terminal(
    runs: Runs, where: Where, invoke: Invoke
) -> None:
    """What runs with a bar, then what ended last."""
    runs.add("a", Status.RUNNING)
    runs.add("b")
    options = where()
    lines = invoke("watch", *options).out.splitlines()
    assert lines[0].startswith("1 alive ")
    assert lines[2].split()[:5] == ["a", "a", "alive", "━" * 6 + "─" * 14, "30%"]
    assert lines[3].split()[:3] == ["b", "b", "completed"]
    looks = invoke("watch", "--json", "--count", 2, "--interval", 0.1, *options).out.splitlines()
    assert [[s["id"] for s in json.loads(look)["sessions"]] for look in looks] == [["a", "b"]] * 2


def test_records_of_every_kind_can_be_shown(runs: Runs, where: Where, invoke: Invoke) -> None:
    """A record with next to nothing in it, and a damaged one, break no command."""
    bare = SessionRecord(id="bare", name="bare", directory=str(runs.root / "bare"))
    runs.write(bare, {})
    runs.add("broken")
    (runs.root / "broken" / "session.json").write_text('{"id": "broken", "name"')
    options = where()
    assert sorted(r["status"] for r in invoke("ls", "--json", *options).json) == [
        "failed",
        "pending",
    ]
    for command in ("ls", "watch", "stats"):
        assert invoke(command, *options).code == 0
    for command in ("show", "why"):
        assert "Traceback" not in invoke(command, "bare", *options).err
    assert "DamagedRecord" in invoke("show", "broken", *options).out


def test_a_times_zone_is_kept_in_json(runs: Runs, where: Where, invoke: Invoke) -> None:
    """Ages are for people; JSON has the record's own ISO times."""
    created = moment(100)
    runs.add("a", created_at=created)
    assert invoke("ls", "--json", *where()).json[0]["created_at"] == created
    assert "1m" in invoke("ls", *where()).out

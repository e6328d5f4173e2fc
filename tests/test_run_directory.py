"""One run directory belongs to one session, and its record is whole at every moment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keisei_lightning.atomic_file import _create_in_place, create_exclusive
from keisei_lightning.errors import SessionError, SessionNotFoundError
from keisei_lightning.record import Ending, Heartbeat, Progress, SessionRecord, Status, to_json
from keisei_lightning.run_directory import (
    RunDirectory,
    claim,
    default_fallback,
    link_status,
    owner_is_alive,
    process_facts,
    read_record,
    write_atomic,
    write_record,
)
from keisei_lightning.run_directory.claiming import _next_attempt

NOW = "2026-11-20T05:00:00+00:00"


def record(id: str = "amber-finch-7k3q", **facts: object) -> SessionRecord:
    """Return the record of a session of this process."""
    facts = {"status": Status.RUNNING, **process_facts(), **facts}
    return SessionRecord(id=id, name=facts.pop("name", f"run-{id}"), **facts)


def ended(**facts: object) -> SessionRecord:
    """Return the record of a session that has completed."""
    return record(**facts).end(Ending(Status.COMPLETED, "max_epochs"), at=NOW)


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Let the system's temporary folder be one of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


# Paths


def test_every_file_of_the_contract_has_its_path():
    """The paths are those that the documentation promises."""
    paths = RunDirectory(Path("/r"))
    assert {
        str(path.relative_to("/r"))
        for path in (
            *(paths.record, paths.effective_config_yaml, paths.effective_config_json),
            *(paths.effective_config_pickle, paths.effective_config_diff, paths.metrics),
            *(paths.evaluations, paths.error, paths.checkpoints, paths.logs, paths.provenance),
            *(paths.training_log, paths.evaluation_log, paths.stdout_log, paths.stderr_log),
            *(paths.rank_log(1), paths.ranks, paths.rank_words(1), paths.wandb),
        )
    } == {
        *("session.json", "effective_config.yaml", "effective_config.json"),
        *("effective_config.pkl", "effective_config.diff", "metrics.jsonl", "evaluations.jsonl"),
        *("error.txt", "checkpoints", "logs", "provenance", "logs/training.log"),
        *("logs/evaluation.log", "logs/stdout.log", "logs/stderr.log", "logs/rank1.log"),
        *("ranks", "ranks/rank1.json", "wandb"),
    }


def test_the_folders_are_made_as_often_as_one_likes(weird_tmp_path):
    """Making the folders twice is fine, and a file in the way is named with its cause."""
    paths = RunDirectory(weird_tmp_path / "a" / "b").make().make()
    assert sorted(path.name for path in paths.path.iterdir()) == [
        "checkpoints",
        "logs",
        "provenance",
    ]
    (weird_tmp_path / "file").touch()
    with pytest.raises(SessionError, match="file") as caught:
        RunDirectory(weird_tmp_path / "file").make()
    assert isinstance(caught.value.__cause__, OSError)


# The record on disk


@settings(max_examples=50, deadline=None)
@given(
    name=st.text(st.characters(exclude_categories=())),
    argv=st.lists(st.text(st.characters(exclude_categories=())), max_size=3),
    metrics=st.dictionaries(st.text(st.characters(codec="utf-8")), st.floats(allow_nan=False)),
)
def test_a_record_comes_back_as_it_was_written(name, argv, metrics):
    """Any text, lone surrogates too, and any number survive the way through the file."""
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder))
        written = record(name=name, argv=tuple(argv), metrics=metrics, heartbeat=Heartbeat(NOW, 10))
        write_record(directory, written)
        assert read_record(directory.record) == written
        assert read_record(directory.path) == written


def test_only_the_owner_may_read_a_record(tmp_path):
    """The record and its successors have mode 0600, whatever the umask."""
    before = os.umask(0)
    try:
        directory = claim(tmp_path / "run", record()).directory
        write_record(directory, record())
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.record.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b'{"name": "x"}',
        b'{"id": 5, "name": "x"}',
        b'{"id": "x", "name": "x", "status": "dancing"}',
        b'{"id": "x", "name": "x", "duration_s": 1' + b"0" * 400 + b"}",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        json.dumps(to_json(record())).encode()[:-40],
    ],
    ids=range(11),
)
def test_a_damaged_record_is_read_as_failed_with_the_reason(tmp_path, content):
    """Whatever the file holds, reading it gives a record and no error."""
    (tmp_path / "session.json").write_bytes(content)
    read = read_record(tmp_path / "session.json")
    assert read.status is Status.FAILED
    assert read.id == tmp_path.name
    assert str(tmp_path / "session.json") in read.ending.exception.message


def test_a_record_that_is_a_folder_is_damaged(tmp_path):
    """Something else of that name is told from nothing at all."""
    (tmp_path / "session.json").mkdir()
    assert read_record(tmp_path).status is Status.FAILED


@pytest.mark.parametrize("place", ["nothing", "file/session.json"])
def test_no_record_is_an_error_that_names_the_place(tmp_path, place):
    """Where there is no record, the error says where it was looked for."""
    (tmp_path / "file").touch()
    with pytest.raises(SessionNotFoundError, match=place):
        read_record(tmp_path / place)


def test_a_failed_write_leaves_the_old_record_and_nothing_else(tmp_path):
    """When the disk takes no more, the old content stays and no temporary file."""
    file = tmp_path / "session.json"
    write_atomic(file, b"old")
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "from keisei_lightning.atomic_file import write_atomic\n"
        "try: write_atomic(sys.argv[1], b'x' * 5000)\n"
        "except OSError as error: print(error.errno)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "27"  # EFBIG
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("create", [create_exclusive, lambda *a: _create_in_place(*a, 0o600)])
def test_a_file_is_created_once(weird_tmp_path, create):
    """The second to create a file is told so and changes nothing, with links or without."""
    file = weird_tmp_path / "f"
    assert create(file, b"one") is True
    assert create(file, b"two") is False
    assert file.read_bytes() == b"one"
    assert list(weird_tmp_path.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


# Claims


def test_a_free_directory_is_claimed(weird_tmp_path):
    """The wanted directory is made, the record is there, and nobody has to be told anything."""
    taken = claim(weird_tmp_path / "a" / "run", record())
    assert taken.directory.path == weird_tmp_path / "a" / "run"
    assert read_record(taken.directory.record) == taken.record
    assert taken.record.directory == str(taken.directory.path)
    assert (taken.previous, taken.note) == (None, None)


def test_what_hydra_left_in_a_directory_is_no_claim(tmp_path):
    """A directory with files but no record is free."""
    (tmp_path / ".hydra").mkdir()
    assert claim(tmp_path, record()).directory.path == tmp_path


def test_a_relative_directory_keeps_its_place(tmp_path):
    """The path of a claim does not depend on where the process goes later."""
    os.chdir(tmp_path)
    assert claim(Path("run"), record()).directory.path == tmp_path / "run"


def test_the_directory_of_a_living_session_is_left_alone(weird_tmp_path):
    """A second session gets a sibling, is told so, and the first record is untouched."""
    first = claim(weird_tmp_path / "run", record("one"))
    before = first.directory.record.read_bytes()
    second = claim(weird_tmp_path / "run", record("two"))
    third = claim(weird_tmp_path / "run", record("two"))
    assert second.directory.path == weird_tmp_path / "run-two"
    assert third.directory.path == weird_tmp_path / "run-two-2"
    assert second.record.attempt == 1
    assert "session one" in second.note
    assert str(second.directory.path) in second.note
    assert first.directory.record.read_bytes() == before


def test_an_ended_session_is_continued(tmp_path):
    """The next attempt keeps id, name and age; the old record stays beside it."""
    first = claim(tmp_path / "run", record("one", created_at=NOW))
    over = first.record.end(Ending(Status.FAILED, "exception"), at=NOW)
    write_record(first.directory, over)
    second = claim(tmp_path / "run", record("two", created_at="2027-01-01T00:00:00+00:00"))
    assert second.previous == over
    assert (second.record.id, second.record.name, second.record.attempt) == ("one", "run-one", 2)
    assert second.record.created_at == NOW
    assert second.record.status is Status.RUNNING
    assert read_record(tmp_path / "run") == second.record
    assert read_record(tmp_path / "run" / "session.attempt-1.json") == over
    write_record(second.directory, second.record.end(Ending(Status.FAILED, "exit"), at=NOW))
    third = claim(tmp_path / "run", record("three"))
    assert (third.record.id, third.record.attempt) == ("one", 3)
    assert read_record(tmp_path / "run" / "session.attempt-2.json").ending.reason == "exit"


def test_an_ended_session_is_left_alone_on_request(tmp_path):
    """Without resuming, an ended session's directory is as good as taken."""
    write_record(claim(tmp_path / "run", record("one")).directory, ended(id="one"))
    taken = claim(tmp_path / "run", record("two"), resume=False)
    assert taken.directory.path == tmp_path / "run-two"
    assert "completed" in taken.note


def test_another_job_of_a_sweep_is_no_next_attempt(tmp_path):
    """Jobs whose directories collide keep apart; the same job of a repeated sweep goes on."""
    first = claim(tmp_path / "run", record("one", job_num=0))
    write_record(first.directory, first.record.end(Ending(Status.FAILED, "exit"), at=NOW))
    assert claim(tmp_path / "run", record("two", job_num=1)).directory.path.name == "run-two"
    assert claim(tmp_path / "run", record("three", job_num=0)).record.attempt == 2


@pytest.mark.parametrize("content", [b"", b"garbage", b'{"id": 3}'])
def test_a_damaged_record_is_set_aside(tmp_path, content):
    """Damage costs nobody a run: the file is kept under another name, and the note says so."""
    for number in (1, 2):
        (tmp_path / "session.json").write_bytes(content)
        taken = claim(tmp_path, record(f"id{number}"))
        assert taken.directory.path == tmp_path
        assert (tmp_path / f"session.damaged-{number}.json").read_bytes() == content
        assert f"session.damaged-{number}.json" in taken.note


def test_no_attempt_is_overwritten_after_a_damage(tmp_path):
    """When the count began anew, the record of the earlier first attempt stays too."""
    for reason in ("exit", "signal"):
        first = claim(tmp_path, record())
        write_record(first.directory, first.record.end(Ending(Status.FAILED, reason), at=NOW))
        claim(tmp_path, record())
        (tmp_path / "session.json").write_text("damaged")
    kept = sorted(tmp_path.glob("session.attempt-*.json"))
    assert [file.name for file in kept] == ["session.attempt-1-2.json", "session.attempt-1.json"]
    assert [read_record(file).ending.reason for file in kept] == ["signal", "exit"]


def test_of_two_that_resume_without_a_lock_one_wins(tmp_path):
    """Where the file system knows no locks, the kept record decides."""
    directory, old = RunDirectory(tmp_path), ended()
    write_record(directory, old)
    won = _next_attempt(directory, record("two"), old, False)
    lost = _next_attempt(directory, record("three"), old, False)
    assert won.record.attempt == 2
    assert lost == old


def test_one_that_died_while_resuming_blocks_nobody(tmp_path):
    """The kept record of a resumer that got no further does not stop the next one."""
    directory, old = RunDirectory(tmp_path), ended()
    write_record(directory, old)
    (tmp_path / "session.attempt-1.json").write_bytes(directory.record.read_bytes())
    (tmp_path / ".session.json.0123.tmp").write_bytes(b"half a rec")
    taken = claim(tmp_path, record("two"))
    assert (taken.directory.path, taken.record.attempt) == (tmp_path, 2)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "session.attempt-1.json",
        "session.json",
    ]


# Places that cannot be used


@pytest.mark.parametrize("place", ["file/run", "file", "x" * 300, "nul\0", "/proc/nowhere/run"])
def test_an_unusable_place_sends_the_run_to_the_fallback(tmp_path, place):
    """A directory that cannot be made costs a clear note, not the run."""
    (tmp_path / "file").touch()
    taken = claim(tmp_path / place, record("one"), fallback=tmp_path / "other place")
    assert taken.directory.path == tmp_path / "other place" / "run-one"
    assert "cannot be used (" in taken.note
    assert str(taken.directory.path) in taken.note
    assert read_record(taken.directory.path).directory == str(taken.directory.path)


def test_two_runs_share_a_fallback_folder(tmp_path):
    """The fallback is a folder of runs; a name that lacks the id gets it."""
    (tmp_path / "file").touch()
    places = [
        claim(tmp_path / "file", record(id, name="same"), fallback=tmp_path / "f").directory.path
        for id in ("one", "two", "two")
    ]
    assert [place.name for place in places] == ["same-one", "same-two", "same-two-two"]


@pytest.mark.parametrize("fallback", [None, "file/below"])
def test_without_a_usable_fallback_the_temporary_folder_serves(tmp_path, temporary, fallback):
    """The last resort is this user's folder in the temporary one."""
    (tmp_path / "file").touch()
    taken = claim(tmp_path / "file", record("one"), fallback=fallback and tmp_path / fallback)
    assert taken.directory.path.parent == default_fallback()
    assert taken.directory.path.parent.parent == temporary
    assert stat.S_IMODE(default_fallback().stat().st_mode) == 0o700
    assert fallback is None or fallback in taken.note


def test_a_folder_that_is_not_ours_is_no_fallback(tmp_path, temporary):
    """A link that somebody laid under our name in the temporary folder is not followed."""
    name = default_fallback().name
    (temporary / name).rmdir()
    (tmp_path / "trap").mkdir()
    (temporary / name).symlink_to(tmp_path / "trap")
    assert default_fallback() != temporary / name
    assert list((tmp_path / "trap").iterdir()) == []


def test_no_usable_place_at_all_is_an_error_with_its_cause(tmp_path, monkeypatch):
    """When nothing can be written, the error names every place that was tried."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(SessionError, match=r"file/run.*file/other.*temporary") as caught:
        claim(tmp_path / "file" / "run", record(), fallback=tmp_path / "file" / "other")
    assert isinstance(caught.value.__cause__, OSError)


MOUNTED = """
mount -t tmpfs -o size=%s tmpfs "$1" && cd / || exit 77
mkdir "$1/runs" && %s || exit 77
exec "$2" -c '
import sys
from pathlib import Path
from keisei_lightning.record import SessionRecord
from keisei_lightning.run_directory import claim
print(claim(Path(sys.argv[1], "runs", "run"), SessionRecord("one", "one"),
            fallback=Path(sys.argv[2])).note)
' "$1" "$3"
"""


@pytest.mark.parametrize(
    ("size", "then", "why"),
    [
        ("1m", 'mount -o remount,ro "$1"', "Read-only file system"),
        ("64k", '{ cat /dev/zero > "$1/big"; true; }', "No space left on device"),
    ],
    ids=["read-only", "full"],
)
def test_a_disk_that_takes_nothing_sends_the_run_to_the_fallback(
    weird_tmp_path, tmp_path_factory, size, then, why
):
    """On a real read-only and a real full file system the note says which of the two it is."""
    unshare = shutil.which("unshare")
    if not unshare:
        pytest.skip("no unshare to mount a file system of our own with")
    fallback = tmp_path_factory.mktemp("fallback")
    script = [unshare, "-rm", "sh", "-c", MOUNTED % (size, then), "sh"]
    arguments = [str(weird_tmp_path), sys.executable, str(fallback)]
    done = subprocess.run([*script, *arguments], capture_output=True, text=True, timeout=60)
    if done.returncode in (1, 77) and "Traceback" not in done.stderr:
        pytest.skip(f"no file system of our own may be mounted here: {done.stderr}")
    assert why in done.stdout, done.stderr
    assert read_record(fallback / "one").id == "one"


# Real processes

RACE = """
import json, os, sys
from pathlib import Path
from keisei_lightning.naming import make_id
from keisei_lightning.record import SessionRecord, Status
from keisei_lightning.run_directory import claim, process_facts
go, hold = os.pipe(), os.pipe()
for _ in range(int(sys.argv[2])):
    if os.fork() == 0:
        os.close(go[1]); os.close(hold[1])
        os.read(go[0], 1)
        id = make_id()
        record = SessionRecord(id, id, status=Status.RUNNING, **process_facts())
        taken = claim(Path(sys.argv[1]), record)
        facts = {"id": taken.record.id, "dir": str(taken.directory.path), "pid": taken.record.pid,
                 "attempt": taken.record.attempt, "note": taken.note}
        os.write(1, (json.dumps(facts) + "\\n").encode())
        os.read(hold[0], 1)  # alive until the parent has seen all
        os._exit(0)
os.close(go[0]); os.close(hold[0])
os.close(go[1])  # all at once
sys.stdin.read()
"""


def race(directory: Path, number: int) -> list[dict[str, object]]:
    """Let real processes claim one directory at the same moment and return what each got."""
    command = [sys.executable, "-c", RACE, str(directory), str(number)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        lines = [parent.stdout.readline() for _ in range(number)]
        parent.stdin.close()
    return [json.loads(line) for line in lines]


def test_twenty_processes_at_once_get_twenty_directories(weird_tmp_path):
    """Of 20 that want one directory one gets it; all have their own id, directory and record."""
    got = race(weird_tmp_path / "run", 20)
    assert len({item["id"] for item in got}) == 20
    assert len({item["dir"] for item in got}) == 20
    assert [item["note"] for item in got if item["dir"] == str(weird_tmp_path / "run")] == [None]
    assert all(read_record(Path(item["dir"])).pid == item["pid"] for item in got)
    assert len(list(weird_tmp_path.iterdir())) == 20


def test_of_twenty_that_resume_a_dead_session_one_does(tmp_path):
    """A session killed without a word is continued by exactly one, and kept as lost."""
    [dead] = race(tmp_path / "run", 1)
    got = race(tmp_path / "run", 20)
    again = [item for item in got if item["attempt"] == 2]
    assert [(item["id"], item["dir"]) for item in again] == [(dead["id"], dead["dir"])]
    assert len({item["dir"] for item in got}) == 20
    assert read_record(tmp_path / "run" / "session.attempt-1.json").status is Status.LOST


def test_a_killed_owner_is_dead_and_is_resumed(tmp_path):
    """After SIGKILL the pid with its start time is gone, even while it is a zombie."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from keisei_lightning.record import *\n"
        "from keisei_lightning.run_directory import claim, process_facts\n"
        "claim(Path(sys.argv[1]), SessionRecord('one', 'one', status=Status.RUNNING,"
        " progress=Progress('train', 3, 120), **process_facts()))\n"
        "print('ready', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    living = read_record(tmp_path / "run")
    assert owner_is_alive(living)
    assert claim(tmp_path / "run", record("two")).directory.path.name == "run-two"
    owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while owner_is_alive(living) and time.monotonic() < deadline:
        time.sleep(0.01)
    taken = claim(tmp_path / "run", record("three"))  # nobody has waited for it: a zombie
    owner.communicate()
    assert (taken.directory.path, taken.record.id) == (tmp_path / "run", "one")
    lost = read_record(tmp_path / "run" / "session.attempt-1.json")
    assert (lost.status, lost.ending.step, lost.ending.reason) == (Status.LOST, 120, "lost")


# Whose it is


def test_the_facts_are_those_of_the_process_that_asks(tmp_path):
    """After a fork the child's facts are its own."""
    ours = process_facts()
    code = (
        "import json, os\nfrom keisei_lightning.run_directory import process_facts\n"
        "process_facts()\nif os.fork() == 0: print(json.dumps([os.getpid(), process_facts()]))\n"
        "else: os.wait()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    pid, theirs = json.loads(done.stdout)
    assert ours["pid"] == os.getpid()
    assert theirs["pid"] == pid
    assert {**theirs, "pid": 0, "pid_started_at": 0} == {**ours, "pid": 0, "pid_started_at": 0}
    assert ours["pid_started_at"] <= theirs["pid_started_at"] <= time.time() + 2


def ago(seconds: float) -> str:
    """Return the time that many seconds ago."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize(
    ("facts", "alive"),
    [
        ({}, True),
        ({"pid_started_at": 1.0}, False),  # the pid is another's now
        ({"pid": 2**22 + 1}, False),
        ({"pid": 10**30}, False),
        ({"boot_id": "another boot"}, False),
        ({"host": "elsewhere"}, False),
        ({"host": "elsewhere", "heartbeat": (5, 10)}, True),
        ({"host": "elsewhere", "heartbeat": (500, 10)}, False),
        ({"host": "elsewhere", "heartbeat": (500, 900)}, True),
        ({"host": "elsewhere", "heartbeat": Heartbeat("yesterday", 10)}, False),
        ({"host": "elsewhere", "started_at": 5}, True),
        ({"pid_namespace": 1, "heartbeat": (5, 10)}, True),
        ({"pid_namespace": 1, "heartbeat": (500, 10)}, False),
        ({"pid": None}, False),
    ],
    ids=range(14),
)
def test_who_counts_as_alive(facts, alive):
    """Here the process decides, elsewhere the beat it promised."""
    facts = dict(facts)  # ages in seconds, made times now: the tests were collected long ago
    if isinstance(facts.get("heartbeat"), tuple):
        age, promise = facts["heartbeat"]
        facts["heartbeat"] = Heartbeat(ago(age), promise)
    if isinstance(facts.get("started_at"), int):
        facts["started_at"] = ago(facts["started_at"])
    assert owner_is_alive(replace(record(), **facts)) is alive


# Links


def test_a_run_is_shown_under_its_status(weird_tmp_path):
    """The link moves when the status changes; the directory never does."""
    taken = claim(weird_tmp_path / "run", record())
    views = weird_tmp_path / "by-status"
    assert link_status(taken.directory, taken.record)
    assert link_status(taken.directory, taken.record)
    assert (views / "RUNNING" / "run").resolve() == taken.directory.path
    assert (weird_tmp_path / "latest").resolve() == taken.directory.path
    over = taken.record.end(Ending(Status.COMPLETED, "max_epochs"), at=NOW)
    assert link_status(taken.directory, over)
    assert [str(path.relative_to(views)) for path in sorted(views.glob("*/*"))] == ["COMPLETED/run"]
    assert (views / "COMPLETED" / "run" / "session.json").samefile(taken.directory.record)


def test_latest_is_the_one_that_started_last(tmp_path):
    """The end of an earlier run does not make it the latest."""
    one, two = (claim(tmp_path / name, record(name)) for name in ("one", "two"))
    for taken in (one, two):
        link_status(taken.directory, taken.record)
    link_status(one.directory, one.record.end(Ending(Status.FAILED, "exit"), at=NOW))
    assert (tmp_path / "latest").resolve() == two.directory.path


def test_links_that_cannot_be_made_harm_nobody(tmp_path):
    """A person's own file of that name stays, and the answer is that there is no link."""
    taken = claim(tmp_path / "run", record(progress=Progress("train")))
    (tmp_path / "latest").write_text("mine")
    assert link_status(taken.directory, taken.record) is False
    assert (tmp_path / "latest").read_text() == "mine"
    shutil.rmtree(tmp_path / "by-status")
    (tmp_path / "by-status").write_text("mine")
    assert link_status(taken.directory, taken.record) is False
    assert (tmp_path / "by-status").read_text() == "mine"

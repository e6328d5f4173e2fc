"""``keisei logs``: printing, tailing and following."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keisei_lightning.cli.text_file import follow, tail
from keisei_lightning.record import Status

from .conftest import KEISEI, Invoke, Runs

Where = Callable[[], list[str]]


def test_the_log_asked_for_is_printed(runs: Runs, where: Where, invoke: Invoke) -> None:
    """training.log by default; stdout, stderr, evaluation and each rank on request."""
    names = ("training", "stdout", "stderr", "evaluation", "rank1")
    runs.add("a", files={f"logs/{name}.log": f"this is {name}\n" for name in names})
    options = where()
    wanted = [[], ["--stdout"], ["--stderr"], ["--evaluation"], ["--rank", "1"], ["--rank", "0"]]
    found = [invoke("logs", "a", *one, *options).out.split()[-1] for one in wanted]
    assert found == ["training", "stdout", "stderr", "evaluation", "rank1", "training"]


def test_without_a_training_log_the_next_best_is_shown(
    runs: Runs, where: Where, invoke: Invoke
) -> None:
    """An empty training.log is passed over when nobody asked for it by name."""
    runs.add("a", files={"logs/training.log": "", "logs/stdout.log": "printed\n"})
    assert invoke("logs", "a", *where()).out == "printed\n"


def test_one_log_at_a_time_and_only_one_that_is_there(
    runs: Runs, where: Where, invoke: Invoke
) -> None:
    """Two at once is wrong usage; one that does not exist is nothing found, with those that do."""
    runs.add("a", files={"logs/stdout.log": "x\n"})
    options = where()
    assert invoke("logs", "a", "--stdout", "--rank", "1", *options).code == 2
    result = invoke("logs", "a", "--rank", "3", *options)
    assert result.code == 1
    assert "rank3.log" in result.err
    assert "there are: stdout" in result.err


def test_what_a_run_printed_cannot_drive_the_terminal(
    runs: Runs, where: Where, invoke: Invoke
) -> None:
    """Escape sequences and markup of a log come out as plain text."""
    text = "\x1b]0;owned\x07\x1b[2J[bold red]not markup[/] :smile:\nprogress 1%\rprogress 2%\n"
    runs.add("a", files={"logs/stdout.log": text})
    out = invoke("logs", "a", "--stdout", *where()).out
    assert out == "[bold red]not markup[/] :smile:\nprogress 2%\n"


def test_the_last_lines_as_json(runs: Runs, where: Where, invoke: Invoke) -> None:
    """-n cuts from the end; JSON names the stream and the file."""
    runs.add("a", files={"logs/stdout.log": "1\n2\n3\nno newline"})
    found = invoke("logs", "a", "--stdout", "-n", 2, "--json", *where()).json
    assert (found["id"], found["stream"], found["lines"]) == ("a", "stdout", ["3", "no newline"])
    assert Path(found["path"]).name == "stdout.log"


def test_a_run_directory_that_is_gone_is_named(runs: Runs, tmp_path: Path, invoke: Invoke) -> None:
    """A record without its files: nothing found, and where they should be."""
    record = runs.add("a", files={"logs/stdout.log": "x\n"})
    path = tmp_path / "sessions.db"
    invoke("reindex", runs.root, "--registry", path)
    os.rename(str(record.directory), tmp_path / "elsewhere")
    result = invoke("logs", "a", "--registry", path)
    assert result.code == 1
    assert str(record.directory) in result.err


@given(st.lists(st.text(alphabet="aé\x1b ", max_size=8), max_size=20), st.integers(0, 25))
def test_tail_is_the_end_of_all_lines(lines: list[str], count: int) -> None:
    """Reading from the end gives the same lines as reading everything."""
    with NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        assert tail(Path(file.name), count) == (lines[-count:] if count else [])


def test_tail_crosses_blocks(tmp_path: Path) -> None:
    """Lines longer than a block come whole."""
    path = tmp_path / "log"
    path.write_text("a" * 200_000 + "\n" + "b" * 100_000 + "\nc\n")
    assert [len(line) for line in tail(path, 2)] == [100_000, 1]


class Writer:
    """Changes a log each time the follower has read it, and ends the run at last."""

    def __init__(self, path: Path, steps: list[Callable[[Path], object]]) -> None:
        self.path = path
        self.steps = steps

    def ended(self) -> bool:
        """Do the next step; whether there was none."""
        if not self.steps:
            return True
        self.steps.pop(0)(self.path)
        return False


def append(text: str) -> Callable[[Path], object]:
    """Return what adds text to a file."""

    def write(path: Path) -> None:
        with path.open("a") as file:
            file.write(text)

    return write


def replace(text: str) -> Callable[[Path], object]:
    """Return what puts another file in the place of one."""

    def write(path: Path) -> None:
        other = path.with_suffix(".new")
        other.write_text(text)
        os.replace(other, path)

    return write


@pytest.mark.parametrize(
    ("start", "steps", "expected"),
    [
        (2, [append("1\n2\n3\n"), append("4\n")], ["2", "3", "4"]),
        (0, [append("1\n2\n"), append("3\n")], ["3"]),
        (9, [append("par"), append("tial\nlast")], ["partial", "last"]),
        (9, [lambda path: None, append("late\n")], ["late"]),
        (9, [append("old old\n"), lambda path: path.write_text("new\n")], ["old old", "new"]),
        (9, [append("one\n"), replace("two\n")], ["one", "two"]),
        (9, [append("1\n"), lambda path: path.unlink()], ["1"]),
        (9, [lambda path: None], []),
    ],
    ids=["appended", "from the end", "partial", "late", "truncated", "replaced", "removed", "none"],
)
def test_following_misses_nothing(
    start: int,
    steps: list[Callable[[Path], object]],
    expected: list[str],
    tmp_path: Path,
) -> None:
    """Lines appear once and whole, whatever happens to the file, and it ends with the run."""
    path = tmp_path / "log"
    writer = Writer(path, list(steps))
    assert list(follow(path, start, writer.ended)) == expected


@pytest.fixture
def follower(runs: Runs) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts ``keisei logs -f`` as a process."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [str(KEISEI), "logs", "-f", "--dir", str(runs.root), *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_following_ends_when_the_run_does(
    runs: Runs, follower: Callable[..., subprocess.Popen[str]]
) -> None:
    """``logs -f`` prints what is added, at once, and comes back when the record is final."""
    record = runs.add("a", Status.RUNNING, files={"logs/training.log": "first\n"})
    process = follower("a")
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    path = runs.root / "a" / "logs" / "training.log"
    append("second\n")(path)
    assert process.stdout.readline() == "second\n"
    append("third")(path)
    runs.write(record.update(status=Status.COMPLETED), {})
    assert process.stdout.read() == "third\n"
    assert process.wait(20) == 0


def test_following_ends_when_the_process_is_gone(
    runs: Runs, follower: Callable[..., subprocess.Popen[str]]
) -> None:
    """A run that is killed ends the following too, though its record says ``running``."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(0.1)
    begun = psutil.Process(sleeper.pid).create_time()
    files = {"logs/training.log": "first\n"}
    runs.add("a", Status.RUNNING, pid=sleeper.pid, pid_started_at=begun, files=files)
    process = follower("a", "--json")
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"line": "first"}
    sleeper.kill()
    sleeper.wait()
    assert process.wait(20) == 0

"""The command as a process: pipes, terminals, encodings, completion, and errors of one line."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from keisei_lightning.record import Status

from .conftest import KEISEI, Invoke, Runs


def terminal(
    *arguments: object,
    columns: int,
    cwd: Path,
    code: int = 0,
    until: str | None = None,
    **env: str,
) -> str:
    """Run the command in a real pseudo-terminal of that width and return all that it wrote."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [str(KEISEI), *map(str, arguments)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=cwd,
        env={**environment, "TERM": "xterm-256color", **env},
        start_new_session=True,
    )
    os.close(terminal)
    written = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([controller], [], [], 1)[0]:
            continue
        try:
            data = os.read(controller, 65536)
        except OSError:  # the other end is closed
            break
        written += data
        if until and until in written.decode("utf-8", "replace"):
            process.send_signal(signal.SIGINT)
            until = None
    os.close(controller)
    assert process.wait(60) == code, written
    return written.decode()


def lines_of(written: str) -> list[str]:
    """Return the lines on a terminal without their colours."""
    rows = re.sub(r"\x1b\[\d*A", "\n", written)  # up a line: what follows is written over
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", rows).replace("\r", "").splitlines()


@pytest.fixture
def project(runs: Runs, invoke: Invoke, tmp_path: Path) -> Path:
    """Return a project with sessions of every kind in its registry."""
    long = "digits-with-a-name-that-goes-on-and-on-and-on"
    runs.add("amber-finch-7k3q", Status.RUNNING, name=long, group="sweep", tags=("a", "b"))
    runs.dead("blue-otter-1x2y", name=long)
    runs.failed("calm-heron-55aa", metrics={"val/loss": 0.123456789})
    rows = ({"step": i, "val/loss": 1 / (i + 1)} for i in range(50))
    journal = "".join(json.dumps(row) + "\n" for row in rows)
    files = {"metrics.jsonl": journal, "effective_config.json": '{"lr": 0.1}'}
    runs.add("dusty-lynx-88zz", files=files, name="日本語の名前-" * 3)
    runs.add("eager-mole-99bb", files={"effective_config.json": '{"lr": 0.01}'})
    assert invoke("reindex", runs.root).code == 0
    return tmp_path


@pytest.mark.parametrize(
    "columns",
    [pytest.param(30, marks=pytest.mark.long), 80, pytest.param(200, marks=pytest.mark.long)],
)
@pytest.mark.parametrize(
    "command",
    [
        ["ls", "-m", "val/loss"],
        ["watch", "--count", "1"],
        ["show", "amber"],
        ["why", "calm"],
        ["metrics", "dusty"],
        ["metrics", "dusty", "--plot"],
        ["metrics", "dusty", "--history"],
        ["compare", "amber", "dusty", "eager"],
        ["stats"],
        ["cleanup"],
        ["prune", "--keep-last", "1"],
    ],
    ids=" ".join,
)
def test_nothing_is_wider_than_the_terminal(
    command: list[str], columns: int, project: Path
) -> None:
    """At 30, 80 and 200 columns every line fits; no row is wrapped."""
    from rich.cells import cell_len

    said = terminal(*command, columns=columns, cwd=project)
    # Complaints on standard error are prose and may wrap by themselves.
    lines = [line for line in lines_of(said) if not line.startswith(("keisei: ", "        "))]
    assert lines
    assert all(cell_len(line) <= columns for line in lines)


def test_a_wide_terminal_shows_more(project: Path) -> None:
    """Columns go in a sensible order: id and status always, the directory first."""
    titles = {
        columns: lines_of(terminal("ls", columns=columns, cwd=project))[0].split()
        for columns in (30, 80, 200)
    }
    assert titles[30][0] == "ID"
    assert "STATUS" in titles[30]
    assert {"ID", "NAME", "STATUS", "LIVE", "%"} <= set(titles[80])
    assert "DIRECTORY" not in titles[80]
    assert {"GROUP", "TAGS", "HOST", "DIRECTORY"} <= set(titles[200])


def test_colours_are_for_terminals_that_want_them(project: Path) -> None:
    """A terminal gets colours; with NO_COLOR, or TERM=dumb, not one escape sequence."""
    assert "\x1b[31mfailed" in terminal("ls", columns=80, cwd=project)
    assert "\x1b" not in terminal("ls", columns=80, cwd=project, NO_COLOR="1")
    assert "\x1b" not in terminal("ls", columns=80, cwd=project, TERM="dumb")


def test_watching_goes_on_until_ctrl_c(project: Path) -> None:
    """Ctrl-C ends it well, with exit code 0 and the table left to read."""
    said = terminal("watch", "--interval", "0.2", columns=100, cwd=project, until="blue-otter-1x2y")
    assert "Traceback" not in said
    assert "Aborted" not in said
    assert "1 alive, 1 dead" in said


def test_a_pipe_gets_plain_whole_lines(project: Path, keisei: Invoke) -> None:
    """Not a terminal: no colours, no cut, every column, one line a session."""
    result = keisei("ls")
    assert "\x1b" not in result.out
    assert "…" not in result.out
    rows = [line.split() for line in result.out.splitlines()]
    assert len(rows) == 6
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("buffered", ["0", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_leaves_is_no_error(buffered: str, runs: Runs, tmp_path: Path) -> None:
    """``keisei logs | head -1`` is quiet, however much was still to come."""
    runs.add("a", files={"logs/stdout.log": "line\n" * 200_000})
    command = f"{KEISEI} logs a --stdout --dir {runs.root} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONUNBUFFERED": "" if buffered == "0" else "1"},
    )
    assert (done.stdout, done.stderr) == ("line\n", "")
    assert done.returncode == 141


def test_closed_and_full_outputs(runs: Runs, keisei: Invoke) -> None:
    """Closed standard streams are survived; a full disk is said in one line."""
    runs.add("a")
    ls = f"{KEISEI} ls --dir {runs.root}"
    assert subprocess.run(["bash", "-c", f"{ls} >&- 2>&-"], timeout=60).returncode == 0
    full = subprocess.run(
        ["bash", "-c", f"{ls} > /dev/full"], capture_output=True, text=True, timeout=60
    )
    assert full.returncode == 1
    assert full.stderr.startswith("keisei: ")
    assert "Traceback" not in full.stderr


def test_names_of_any_kind_in_a_shell_without_unicode(
    runs: Runs, weird_tmp_path: Path, keisei: Invoke
) -> None:
    """Odd directories, names with markup and control characters, and an ASCII-only output."""
    odd = Runs(weird_tmp_path)
    odd.add("a", Status.RUNNING, name="[red]x[/] \x1b[31m{日本}\n", tags=("t\x07",))
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for command in ("show", "watch"):
        result = keisei(command, "--dir", weird_tmp_path, env=env)
        assert "Traceback" not in result.err
        assert "\x1b" not in result.out
        assert "\x07" not in result.out
    assert "[red]x[/] {??}" in keisei("ls", "--dir", weird_tmp_path, env=env).out
    exact = keisei("show", "--json", "--dir", weird_tmp_path, env=env).json
    assert exact["name"] == "[red]x[/] \x1b[31m{日本}\n"
    assert Path(exact["directory"]) == weird_tmp_path / "a"


def test_without_a_registry_the_hint_names_the_runs(
    runs: Runs, tmp_path: Path, keisei: Invoke
) -> None:
    """No database: exit code 1, and what to type instead; nothing is created by looking."""
    bare = keisei("ls")
    assert bare.code == 1
    assert "--dir DIR" in bare.err
    runs.add("a")
    result = keisei("ls")
    assert (result.code, result.out) == (1, "")
    assert "--dir outputs" in result.err
    assert "keisei reindex outputs" in result.err
    assert not (tmp_path / ".keisei").exists()
    assert keisei("ls", "--dir", "outputs").code == 0


def test_the_registry_is_found_upwards(project: Path, keisei: Invoke) -> None:
    """Like ``.git``, from anywhere in the project."""
    below = project / "src" / "deep"
    below.mkdir(parents=True)
    assert len(keisei("ls", "--json", cwd=below).json) == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["ls", "--bogus"],
        ["ls", "--status", "sleeping"],
        ["ls", "--since", "yesterday"],
        ["ls", "--dir", "/nowhere/at/all"],
        ["ls", "--limit", "-1"],
        ["ls", "--dir", ".", "--registry", "x.db"],
        ["compare", "a"],
        ["logs", "--rank", "-1"],
        ["prune"],
        ["no-such-command"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], project: Path, invoke: Invoke) -> None:
    """What has no meaning is said on standard error, without a traceback."""
    result = invoke(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err
    assert "Traceback" not in result.err


def test_debug_shows_the_traceback(runs: Runs, tmp_path: Path, keisei: Invoke) -> None:
    """An unexpected error is one line, or on request all of it."""
    target = tmp_path / "directory.db"
    target.write_bytes(b"SQLite format 3\0" + b"\0" * 4000)
    quiet = keisei("ls", "--registry", target)
    assert quiet.code == 1
    assert "Traceback" not in quiet.err
    assert len(quiet.err.splitlines()) <= 2


def test_every_command_explains_itself(keisei: Invoke, invoke: Invoke) -> None:
    """--help of the whole and of each command."""
    said = keisei("--help").out
    commands = [line.split()[0] for line in said.split("Commands:")[1].splitlines() if line.strip()]
    assert sorted(commands) == [
        *("cleanup", "compare", "health", "logs", "ls", "metrics", "prune", "reindex", "show"),
        *("stats", "sync", "watch", "why"),
    ]
    for command in commands:
        result = invoke(command, "--help")
        assert result.code == 0
        assert f"keisei {command}" in result.out
        assert "--json" in result.out


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_shell_completes_commands_and_ids(project: Path, keisei: Invoke) -> None:
    """What the completion script asks: commands, options, statuses, and the ids of sessions."""

    def complete(words: str) -> list[str]:
        env = {
            **os.environ,
            "_KEISEI_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        return keisei(env=env).out.split()

    assert complete("keisei cl") == ["cleanup"]
    assert complete("keisei show am") == ["amber-finch-7k3q"]
    assert "--plot" in complete("keisei metrics --pl")
    assert complete("keisei ls --status pru") == ["pruned"]
    assert complete("keisei show --dir /nowhere x") == []


def test_importing_the_command_line_costs_nothing() -> None:
    """Neither Typer nor Rich is loaded until a command runs, and torch never is."""
    code = (
        "import sys, keisei_lightning.cli as c\n"
        "assert not {'typer', 'rich'} & set(sys.modules)\n"
        "c.main(['ls', '--dir', '.'])\n"
        "heavy = {'torch', 'lightning', 'wandb', 'hydra', 'sqlalchemy', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done

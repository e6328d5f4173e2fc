"""Faults of the machine: training goes on, the record catches up, one warning each."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process import command, environment, install, lines, read, run, runs, start

pytestmark = pytest.mark.long


def in_namespace(cwd: Path, script: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command where file systems can be mounted without anybody else seeing it."""
    allowed = subprocess.run(
        ["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL
    ).returncode
    if allowed != 0:
        pytest.skip("file systems cannot be mounted here")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script + ' exec "$@"', "sh", *arguments],
        cwd=cwd,
        env=environment(cwd),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )


def test_deleted_directory_comes_back_at_the_next_beat(tmp_path: Path) -> None:
    """A run directory deleted under a running job is written again; training goes on."""
    running = start("hydra", tmp_path, "linger", "", "session.heartbeat.interval_s=0.3")
    running.until("lingering-0")
    [directory] = runs(tmp_path)
    shutil.rmtree(directory)
    running.until(str(directory.relative_to(tmp_path) / "session.json"))
    os.kill(running.process.pid, signal.SIGTERM)
    left = running.left()
    assert (left.code, left.record["status"]) == (143, "terminated"), left.out
    assert left.directory is not None
    assert lines(left.directory / "metrics.jsonl")


def test_full_disk_costs_nothing_but_a_warning(tmp_path: Path) -> None:
    """With a disk that is full for a while the fit ends, and record and metrics are whole after."""
    install(tmp_path)
    (tmp_path / "outputs").mkdir()
    keep = tmp_path / "kept"
    script = "mount -t tmpfs -o size=3m tmpfs outputs &&"
    arguments = command("hydra", tmp_path, "full_disk", "step", "session.heartbeat.interval_s=0.3")
    keeping = [
        "sh",
        "-c",
        f'"$@"; code=$?; cp -r outputs "{keep}"; exit $code',
        "sh",
        *arguments,
    ]
    done = in_namespace(tmp_path, script, keeping)
    assert done.returncode == 0, done.stdout
    [directory] = [path for path in runs(keep) if "by-status" not in str(path)]
    record = read(directory)
    assert (record["status"], record["ending"]["reason"]) == ("completed", "max_epochs")
    stages = [line["stage"] for line in lines(directory / "evaluations.jsonl")]
    assert stages == ["validate", "validate", "test"]
    steps = [line["step"] for line in lines(directory / "metrics.jsonl") if "train/loss" in line]
    assert steps == sorted(set(steps))
    assert len(steps) >= 8
    assert record["warnings"], done.stdout
    assert done.stdout.count("record could not be written") <= 1


def test_read_only_output_root_falls_back(tmp_path: Path) -> None:
    """An output root that cannot be written gives one clear warning and another directory."""
    install(tmp_path)
    (tmp_path / "outputs").mkdir()
    script = "mount -t tmpfs -o ro tmpfs outputs &&"
    arguments = command("hydra", tmp_path, "success", "", "session.fallback_dir=elsewhere")
    done = in_namespace(tmp_path, script, arguments)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("cannot be written") == 1, done.stdout
    [directory] = runs(tmp_path)
    assert directory.parent == tmp_path / "elsewhere"
    assert read(directory)["status"] == "completed"


def test_many_open_files_cost_nothing(tmp_path: Path) -> None:
    """With no file descriptor left training goes on, and the record catches up."""
    left = run("hydra", tmp_path, "many_files", "step", "session.heartbeat.interval_s=0.3")
    assert (left.code, left.record["status"]) == (0, "completed"), left.out
    assert left.directory is not None
    steps = [x["step"] for x in lines(left.directory / "metrics.jsonl") if "train/loss" in x]
    assert len(steps) >= 8


def test_no_git_is_no_fault(tmp_path: Path) -> None:
    """Without a git binary the run is as usual, and says nothing of it."""
    left = run("hydra", tmp_path, "success", "", env={"PATH": str(tmp_path)})
    assert (left.code, left.record["status"], left.record["git"]) == (0, "completed", None)
    assert left.record["warnings"] == {}, left.out


@pytest.mark.parametrize("banner", ["true", "null"])
def test_closed_stdout_is_no_fault(banner: str, tmp_path: Path) -> None:
    """A reader that went away takes nothing from the run or its record."""
    install(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command("hydra", tmp_path, "success", "", f"session.console.banner={banner}"),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(writer)
    [directory] = runs(tmp_path)
    record = read(directory)
    assert record["status"] == "completed", done.stderr
    assert "keisei_lightning" not in done.stderr or "Traceback" not in done.stderr
    assert done.returncode in (0, 120)  # 120: the interpreter could not flush what was printed


def test_record_parses_at_any_moment_of_death(tmp_path: Path) -> None:
    """After SIGKILL at 200 random moments every record is whole."""
    script = Path(__file__).parent / "app" / "restless.py"
    random_moments = random.Random(0)
    server = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(tmp_path),
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    with server:
        assert server.stdout.readline() == "ready\n"
        for number in range(200):
            server.stdin.write(f"{number}\n")
            server.stdin.flush()
            child = int(server.stdout.readline())
            time.sleep(random_moments.uniform(0.0, 0.25))
            os.kill(child, signal.SIGKILL)
            server.stdout.readline()
        server.stdin.close()
    seen = 0
    for path in tmp_path.glob("run-*/session.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["status"] in ("pending", "running")
        seen += 1
    assert seen > 100


_CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, ts);
    if (id == CLOCK_REALTIME && access("clock-back", F_OK) == 0) ts->tv_sec -= 3600;
    return result;
}
"""


def test_clock_that_goes_back_costs_nothing(tmp_path: Path) -> None:
    """With the time of day set back an hour in mid-run the record stays sensible."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the clock with")
    library = tmp_path / "clock.so"
    source = tmp_path / "clock.c"
    source.write_text(_CLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    running = start(
        *("hydra", tmp_path, "linger", "", "session.heartbeat.interval_s=0.3"),
        env={"LD_PRELOAD": str(library)},
    )
    running.until("lingering-0")
    [directory] = runs(tmp_path)
    begun = read(directory)["started_at"]
    (tmp_path / "clock-back").touch()
    deadline = time.monotonic() + 30
    while read(directory)["heartbeat"]["at"] >= begun:
        assert time.monotonic() < deadline, "the clock did not go back"
        time.sleep(0.1)
    os.kill(running.process.pid, signal.SIGTERM)
    left = running.left()
    assert (left.code, left.record["status"]) == (143, "terminated"), left.out
    assert 0 <= left.record["duration_s"] < 600
    assert left.record["warnings"] == {}
    steps = [line["step"] for line in lines(directory / "metrics.jsonl") if "train/loss" in line]
    assert steps == sorted(steps)

"""Two ranks: one session, one directory, one truth, and no hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from process import Left, Running, environment, install, lines, offline_run, read, run, runs, start
from wandb_file import read_wandb_file

DDP = ("+trainer.devices=2", "+trainer.strategy=ddp")

pytestmark = pytest.mark.long


def check_one_session(left: Left, cwd: Path) -> None:
    """All ranks share one directory and one record."""
    assert len(runs(cwd)) == 1, left.out
    assert left.record["world_size"] == 2


def children(pid: int) -> list[psutil.Process]:
    """The other ranks, as processes."""
    return [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if child.environ().get("LOCAL_RANK") == "1"
    ]


def test_two_ranks_are_one_session(tmp_path: Path) -> None:
    """A run on two ranks has one directory, one record, and rank 1's own log."""
    left = run("hydra", tmp_path, "success", "", *DDP)
    assert left.code == 0, left.out
    check_one_session(left, tmp_path)
    assert (left.record["status"], left.ending["reason"]) == ("completed", "max_epochs")
    assert left.directory is not None
    assert (left.directory / "logs" / "rank1.log").exists()
    assert not list((tmp_path / "outputs").glob("*/lightning_logs"))


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("place", ["step", "validation", "test"])
def test_exception_names_the_rank_that_raised(rank: str, place: str, tmp_path: Path) -> None:
    """An exception on one rank only is recorded with that rank, without a hang."""
    tracked = (*DDP, "session/tracking=wandb")
    left = run("hydra", tmp_path, "exception", place, *tracked, env={"HAPPEN_RANK": rank})
    assert left.code == 1, left.out
    check_one_session(left, tmp_path)
    assert (left.record["status"], left.ending["reason"]) == ("failed", "exception")
    assert left.ending["exception"] == {"type": "ValueError", "message": "boom at the place"}
    assert left.ending["rank"] == int(rank)
    assert left.directory is not None
    assert "boom at the place" in (left.directory / "error.txt").read_text()
    kept = read_wandb_file(offline_run(left.record))  # one W&B run for both ranks, its data kept
    assert kept.id == left.record["id"]
    assert kept.exit_code == 1
    logged = lines(left.directory / "metrics.jsonl")
    losses = [line["train/loss"] for line in logged if "train/loss" in line]
    assert losses
    assert kept.values("train/loss") == losses


def test_killed_rank_is_named(tmp_path: Path) -> None:
    """SIGKILL of rank 1 ends the run as failed, with the rank and the signal."""
    running = start("hydra", tmp_path, "linger", "", *DDP)
    running.until("lingering-1")
    [child] = children(running.process.pid)
    child.kill()
    left = running.left()
    check_one_session(left, tmp_path)
    assert left.record["status"] == "failed", left.out
    assert left.ending["rank"] == 1
    assert left.ending["signal"] == "SIGKILL"


@pytest.mark.parametrize("to", ["leader", "group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_all_ranks(to: str, number: int, tmp_path: Path) -> None:
    """A signal to the leader, or to the whole group, ends all ranks with the right status."""
    running = start("hydra", tmp_path, "linger", "", *DDP)
    running.until("lingering-1")
    running.until("lingering-0")
    ranks = [psutil.Process(running.process.pid), *children(running.process.pid)]
    if to == "leader":
        os.kill(running.process.pid, number)
    else:
        os.killpg(running.process.pid, number)
    left = running.left(timeout=45)
    check_one_session(left, tmp_path)
    if number == signal.SIGTERM:
        assert (left.code, left.record["status"]) == (143, "terminated"), left.out
        assert left.ending["signal"] == "SIGTERM"
    else:
        assert (left.code, left.record["status"]) == (1, "interrupted"), left.out
    assert not [process for process in ranks if process.is_running()]


def test_hung_collective_is_ended_by_the_deadline(tmp_path: Path) -> None:
    """With rank 1 frozen and rank 0 waiting for it, SIGTERM still ends both in time."""
    running = start("hydra", tmp_path, "linger", "", *DDP, "session.close.signal_budget_s=4")
    running.until("lingering-1")
    running.until("lingering-0")
    [child] = children(running.process.pid)
    child.suspend()
    os.kill(running.process.pid, signal.SIGTERM)
    running.process.wait(40)
    _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
    left = running.left()
    check_one_session(left, tmp_path)
    assert (left.code, left.record["status"]) == (143, "terminated"), left.out
    assert left.ending["signal"] == "SIGTERM"


@pytest.mark.parametrize("how", ["script", "module"])
def test_sweep_on_two_ranks_is_one_run_a_job(how: str, tmp_path: Path) -> None:
    """`-m` with DDP starts each job's ranks as that job: no shadow sweep, also after a failure."""
    script = install(tmp_path) / "train.py"
    program = [str(script)] if how == "script" else ["-m", "train"]
    left = run_outside(
        tmp_path,
        [
            *(sys.executable, *program, "-m", "what=exception", "place=nowhere,step,nowhere"),
            *("+session=default", "lr=0.1", "note='a,b=\\'c\\''", *DDP),
        ],
        PYTHONPATH=str(script.parent),
    )
    assert left.code == 1, left.out
    directories = runs(tmp_path)
    assert len(directories) == 3, left.out
    assert len({directory.parent for directory in directories}) == 1
    records = [read(directory) for directory in sorted(directories)]
    assert [record["status"] for record in records] == ["completed", "failed", "completed"]
    assert len({record["id"] for record in records}) == 3
    assert [record["job_num"] for record in records] == [0, 1, 2]
    assert {record["world_size"] for record in records} == {2}
    assert not (tmp_path / "outputs").exists()
    for directory in directories:
        assert (directory / "logs" / "rank1.log").exists()


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
@pytest.mark.parametrize("what", ["success", "exception"])
def test_spawned_ranks_keep_one_record(strategy: str, what: str, tmp_path: Path) -> None:
    """With ranks as children of the script's own process the parent keeps the record."""
    devices = ("+trainer.devices=2", f"+trainer.strategy={strategy}")
    left = run("hydra", tmp_path, what, "step", *devices)
    assert len(runs(tmp_path)) == 1, left.out
    # On a loaded machine gloo's own threads now and then abort a spawned child at its end; the
    # record has to be just as true then.
    aborted = "terminate called without an active exception" in left.out
    failed = aborted or what == "exception"
    status, code = ("failed", 1) if failed else ("completed", 0)
    assert (left.record["status"], left.code) == (status, code), left.out
    assert left.directory is not None
    steps = [line["step"] for line in lines(left.directory / "metrics.jsonl")]
    assert steps
    if what == "exception" and not aborted:
        assert "boom at the place" in (left.directory / "error.txt").read_text()
    assert "keisei_lightning.lifecycle" not in left.out


def test_ranks_from_torchrun_are_one_session(tmp_path: Path) -> None:
    """Ranks that are started from outside share rank 0's identity, and leave nothing behind."""
    script = install(tmp_path) / "train.py"
    left = run_outside(
        tmp_path,
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node", "2", str(script)),
            *("what=success", "place=''", "+session=default", "session.seed=null", *DDP),
        ],
    )
    check_one_session(left, tmp_path)
    assert left.record["status"] == "completed", left.out
    assert len([path for path in (tmp_path / "outputs").iterdir() if path.name[0] == "2"]) == 1


def test_ranks_from_slurm_are_one_session(tmp_path: Path) -> None:
    """The same where Slurm starts one process a rank."""
    script = install(tmp_path) / "train.py"
    common = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
        "SLURM_STEP_ID": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29777",
    }
    arguments = [sys.executable, str(script), "what=success", "place=''", "+session=default", *DDP]
    ranks = [
        start_outside(
            tmp_path,
            arguments,
            {**common, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            f"output-{rank}.txt",
        )
        for rank in range(2)
    ]
    lefts = [rank.left(timeout=120) for rank in ranks]
    assert [left.code for left in lefts] == [0, 0], lefts[0].out + lefts[1].out
    check_one_session(lefts[0], tmp_path)
    assert lefts[0].record["status"] == "completed"


def start_outside(cwd: Path, arguments: list[str], env: dict[str, str], log: str) -> Running:
    """Start one command in a process group of its own."""
    with (cwd / log).open("w") as out:
        process = subprocess.Popen(
            arguments,
            cwd=cwd,
            env=environment(cwd, **env),
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
    return Running(process, cwd, cwd / log)


def run_outside(cwd: Path, arguments: list[str], **env: str) -> Left:
    """Run one command to its end."""
    return start_outside(cwd, arguments, env, "output.txt").left(timeout=240)

"""W&B that cannot hurt: one table of faults, each met by a real fit in a process of its own.

Whatever happens to the server or to wandb-core: the same steps and the same result as without W&B,
bounded delays, nothing left behind, and data that the command in the record then really sends.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from wandb_file import read_wandb_file
from wandb_server import WandbServer, closed_port

from keisei_lightning.tracking import read_entries

STEPS = 60
PAUSE_S = 0.05
INIT_TIMEOUT_S = 3.0
BUDGET_S = 10.0
EXIT_S = 15.0  # a bound, not a measurement: other tests may run beside this one
PROGRAM = Path(__file__).with_name("small_fit.py")


@dataclass
class Fit:
    """A fit running in its own process; ``report`` is what it said at its end."""

    process: subprocess.Popen[str]
    directory: Path
    report: dict[str, Any] = field(default_factory=dict)
    exit_s: float = 0.0
    log: str = ""

    def core(self) -> psutil.Process:
        """Return its wandb-core."""
        return next(p for p in cores_of(self.process.pid))

    def steps(self) -> int:
        """Return how many steps are in the journal."""
        return len(list(read_entries(self.directory / "metrics.jsonl")))

    def losses(self) -> list[float]:
        """Return the journal's losses."""
        entries = read_entries(self.directory / "metrics.jsonl")
        return [e.metrics["train/loss"] for e in entries if "train/loss" in e.metrics]

    def end(self) -> None:
        """Wait for the end and read the report."""
        output, self.log = self.process.communicate(timeout=120)
        left = time.time()
        assert self.process.returncode == 0, self.log
        self.report = json.loads(output.splitlines()[-1])
        self.exit_s = left - self.report["end"]


def cores_of(pid: int) -> list[psutil.Process]:
    """The wandb-core processes started by a process, also when that is gone."""
    found = []
    for process in psutil.process_iter(["name", "cmdline", "status"]):
        line = process.info["cmdline"] or []
        if "wandb-core" in (process.info["name"] or "") and str(pid) in line:
            found.append(process)
    return [p for p in found if p.info["status"] != psutil.STATUS_ZOMBIE]


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.05)


def start(directory: Path, environment: dict[str, str], **ask: Any) -> Fit:
    """Start a fit; W&B's address and key are in ``environment``."""
    directory.mkdir(parents=True, exist_ok=True)
    home = directory.parent / "home"
    home.mkdir(exist_ok=True)
    request = {
        "steps": STEPS,
        "pause_s": PAUSE_S,
        "budget_s": BUDGET_S,
        "config": {"init_timeout": INIT_TIMEOUT_S},
    }
    variables = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "NETRC"))}
    variables |= {"HOME": str(home), "SMALL_FIT": json.dumps(request | ask)} | environment
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(directory)],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=directory.parent,
    )
    return Fit(process, directory)


def send(fit: Fit, command: str, server: WandbServer) -> str:
    """Run the command of the record in a shell, against a server that answers."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        command,
        shell=True,
        cwd=fit.directory.parent,
        env=os.environ | server.environment | {"PATH": path, "HOME": str(fit.directory.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of the same fit without W&B."""
    fit = start(tmp_path_factory.mktemp("without") / "run", {}, tracked=False)
    fit.end()
    return fit.report


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Rows of measured delays, printed at the end."""
    rows: list[str] = []
    yield rows
    head = f"{'fault':<28}{'start s':>9}{'fit s':>8}{'close s':>9}{'exit s':>8}  sync, file, sent"
    title = f"init_timeout {INIT_TIMEOUT_S} s, close budget {BUDGET_S} s"
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("", title, head, *rows, sep="\n")


def at_start(behaviour: str) -> Callable[[Path], tuple[Fit, WandbServer]]:
    """A server that is bad from the beginning."""

    def run(directory: Path) -> tuple[Fit, WandbServer]:
        server = WandbServer("answer" if behaviour in ("refuse", "late") else behaviour)  # type: ignore[arg-type]
        server.__enter__()
        environment = dict(server.environment)
        if behaviour == "refuse":
            environment["WANDB_BASE_URL"] = closed_port()
        if behaviour == "late":
            server.delay_s = 20.0
        fit = start(directory, environment)
        fit.end()
        return fit, server

    return run


def in_training(fault: Callable[[Fit, WandbServer], None]) -> Callable[..., Any]:
    """A server that answers, and a fault when training is on its way."""

    def run(directory: Path) -> tuple[Fit, WandbServer]:
        server = WandbServer()
        server.__enter__()
        fit = start(directory, server.environment)
        until(lambda: server.runs and fit.steps() > 10)
        fault(fit, server)
        fit.end()
        return fit, server

    return run


def behave(behaviour: Any) -> Callable[[Fit, WandbServer], None]:
    """Change how the server answers."""

    def fault(fit: Fit, server: WandbServer) -> None:
        server.behaviour = behaviour

    return fault


def kill_core(number: signal.Signals) -> Callable[[Fit, WandbServer], None]:
    """Send wandb-core a signal."""

    def fault(fit: Fit, server: WandbServer) -> None:
        fit.core().send_signal(number)

    return fault


long = pytest.mark.long

FAULTS = [
    pytest.param(at_start("refuse"), id="a refuses"),
    pytest.param(at_start("hang"), id="b accepts, never answers", marks=long),
    pytest.param(at_start("error"), id="c answers 500", marks=long),
    pytest.param(at_start("unauthorized"), id="d answers 401", marks=long),
    pytest.param(in_training(behave("unauthorized")), id="d 401 in training", marks=long),
    pytest.param(in_training(behave("hang")), id="e works, then hangs", marks=long),
    pytest.param(in_training(behave("error")), id="e works, then 500", marks=long),
    pytest.param(in_training(lambda fit, server: server.kill()), id="f killed", marks=long),
    pytest.param(at_start("late"), id="g answers after 20 s", marks=long),
    pytest.param(in_training(kill_core(signal.SIGKILL)), id="core SIGKILLed"),
    pytest.param(in_training(kill_core(signal.SIGTERM)), id="core SIGTERMed", marks=long),
    pytest.param(in_training(kill_core(signal.SIGSTOP)), id="core SIGSTOPped", marks=long),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_wandb_costs_nothing(
    fault: Callable[[Path], tuple[Fit, WandbServer]],
    without: dict[str, Any],
    table: list[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Same steps, same result, bounded, complete on disk, and sent by the command in the record."""
    fit, server = fault(tmp_path / "run 'é'")
    report = fit.report
    (tracker,) = report["trackers"]
    table.append(
        f"{request.node.callspec.id:<28}{report['start_s']:>9.2f}{report['fit_s']:>8.2f}"
        f"{report['close_s']:>9.2f}{fit.exit_s:>8.2f}  {tracker['sync']} "
    )
    assert report["steps"] == without["steps"] == STEPS
    assert report["result"] == without["result"]
    assert report["start_s"] <= INIT_TIMEOUT_S + 2
    assert report["fit_s"] <= without["fit_s"] + INIT_TIMEOUT_S + 10
    assert report["close_s"] <= BUDGET_S + 4
    assert fit.exit_s <= EXIT_S
    until(lambda: not cores_of(fit.process.pid), 10)
    assert "Traceback" not in fit.log, fit.log

    assert tracker["sync"] == "pending"
    losses = fit.losses()
    assert len(losses) == STEPS
    file = read_wandb_file(Path(shlex.split(tracker["sync_command"])[-1]))
    assert file.values("train/loss") == losses
    assert file.exit_code == 3
    table[-1] += f"{len(losses)}/{STEPS} "

    server.kill()
    with WandbServer() as answering:
        answering.runs = server.runs
        said = send(fit, tracker["sync_command"], answering)
    run = answering.run()
    assert run.id == "amber-1", said
    assert run.values("train/loss") == losses
    assert run.config["model"] == {"lr": 0.1}
    assert run.summary["train/loss"] == losses[-1]
    assert (run.name, run.group, run.tags) == ("a run", "a sweep", ["fault"])
    assert run.exit_code == 3
    table[-1] += "sent"


@pytest.mark.parametrize("budget_s", [pytest.param(3.0, marks=long), pytest.param(1.0, marks=long)])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(behave("hang"), id="server hangs"),
        pytest.param(kill_core(signal.SIGSTOP), id="core SIGSTOPped"),
        pytest.param(kill_core(signal.SIGKILL), id="core SIGKILLed"),
    ],
)
def test_a_short_budget_is_kept(
    fault: Callable[[Fit, WandbServer], None], budget_s: float, table: list[str], tmp_path: Path
) -> None:
    """As when another rank has died: in time, nothing left behind, all of it in the journal."""
    with WandbServer() as server:
        fit = start(tmp_path / "run", server.environment, budget_s=budget_s)
        until(lambda: server.runs and fit.steps() > 10)
        fault(fit, server)
        fit.end()
    (tracker,) = fit.report["trackers"]
    found = 0
    if tracker["sync_command"]:  # absent when W&B was stopped before it wrote anything
        file = read_wandb_file(Path(shlex.split(tracker["sync_command"])[-1]))
        found = len(file.values("train/loss"))
    name = f"budget {budget_s} s, {fault.__qualname__.split('.')[0]}"
    table.append(
        f"{name:<28}{fit.report['start_s']:>9.2f}{fit.report['fit_s']:>8.2f}"
        f"{fit.report['close_s']:>9.2f}{fit.exit_s:>8.2f}  {tracker['sync']} {found}/{STEPS}"
    )
    assert fit.report["close_s"] <= budget_s + 4
    assert fit.exit_s <= EXIT_S
    assert tracker["sync"] == "pending"
    assert len(fit.losses()) == STEPS
    until(lambda: not cores_of(fit.process.pid), 10)


NEVER_CLOSED = """
import sys
from pathlib import Path
from keisei_lightning.config import TrackerKind, TrackingConfig
from keisei_lightning.tracking import Tracking
import wandb
tracking = Tracking.open(TrackingConfig(kinds=[TrackerKind.wandb], init_timeout=5),
    directory=Path(sys.argv[1]), session_id="i", name="n")
tracking.start()
tracking.log({"a": 1.0})
other = wandb.init(project="p", id="his", dir=sys.argv[1], reinit="create_new")
other.log({"b": 1.0})
print("UP", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    "behaviour", ["answer", pytest.param("hang", marks=long), pytest.param("error", marks=long)]
)
def test_the_exit_of_the_interpreter_is_not_held(behaviour: Any, tmp_path: Path) -> None:
    """Nobody closes anything, and a run of the user's is open as well: it still ends, bounded."""
    with WandbServer() as server:
        process = subprocess.Popen(
            [sys.executable, "-c", NEVER_CLOSED, str(tmp_path)],
            env=os.environ | {"HOME": str(tmp_path)} | server.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "UP\n"
        server.behaviour = behaviour
        begin = time.monotonic()
        process.communicate("\n", timeout=60)
        assert time.monotonic() - begin < 10
        until(lambda: not cores_of(process.pid), 10)


@long
def test_what_was_sent_in_part_is_not_sent_twice(tmp_path: Path) -> None:
    """The server has a part of the history when it hangs; the command brings the rest, once."""
    with WandbServer() as server:
        fit = start(tmp_path / "run", server.environment, steps=500)
        until(lambda: server.runs and server.run().history, 90)
        server.behaviour = "hang"
        fit.end()
        server.kill()
        assert 0 < len(server.run().values("train/loss")) < 500
        with WandbServer() as answering:
            answering.runs = server.runs
            send(fit, fit.report["trackers"][0]["sync_command"], answering)
            assert answering.run().values("train/loss") == fit.losses()


OFFLINE = {"WANDB_MODE": "offline"}


@long
@pytest.mark.parametrize("second", ["answers", "hangs", "offline"])
@pytest.mark.parametrize("first", ["answers", "hangs", "offline", "killed", "killed at once"])
def test_two_attempts_are_one_run_with_the_history_of_both(
    first: str, second: str, tmp_path: Path
) -> None:
    """Whatever came of the first: what the record of the second says, sent, makes it whole."""
    directory = tmp_path / "run"
    with WandbServer() as server:
        one = start(directory, server.environment | (OFFLINE if "killed" in first else {}))
        if "killed" in first:
            begun = one.directory.glob if first == "killed at once" else None
            until(lambda: any(begun("wandb/*run-*/*.wandb")) if begun else one.steps() > 40)
            one.process.kill()
            one.process.communicate()
            until(lambda: not cores_of(one.process.pid), 10)
        else:
            until(lambda: server.runs and one.steps() > 10)
            server.behaviour = "hang" if first == "hangs" else "answer"
            one.end()
        server.kill()
    with WandbServer() as server2:
        server2.runs = server.runs
        environment = server2.environment | (OFFLINE if second == "offline" else {})
        two = start(directory, environment, attempt=2)
        until(lambda: (server2.operations or second == "offline") and two.steps() > STEPS)
        server2.behaviour = "hang" if second == "hangs" else "answer"
        two.end()
        server2.kill()
    (tracker,) = two.report["trackers"]
    assert tracker["sync"] == ("done" if second == "answers" else "pending")
    with WandbServer() as answering:
        answering.runs = server2.runs
        if tracker["sync_command"]:
            send(two, tracker["sync_command"], answering)
        run = answering.run()
    losses = two.losses()
    assert len(losses) >= STEPS
    assert run.exit_code == 3
    if "killed" in first and second == "offline":  # W&B's file lacks the second before the kill
        assert run.values("train/loss")[-STEPS:] == losses[-STEPS:]
        assert len(run.values("train/loss")) >= len(losses) - 2 / PAUSE_S
    else:
        assert run.values("train/loss") == losses

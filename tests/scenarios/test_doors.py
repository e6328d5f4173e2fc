"""The four doors: what a person gets with one or two lines, or by mistake."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from process import command, environment, install, lines, read, run, runs

CANARY = "canary-9f8e7d6c5b4a3210"


def written(cwd: Path) -> list[Path]:
    """Every file below, but the application and what Hydra itself writes of its overrides."""
    return [
        path
        for path in cwd.rglob("*")
        if path.is_file() and ".hydra" not in path.parts and "app" not in path.parts
    ]


def test_group_on_the_command_line_gives_every_file(tmp_path: Path) -> None:
    """`+session=default` on a project that has only the callback gives the whole run directory."""
    left = run("hydra", tmp_path, "success", "", "session.seed=0", "+new.key=1")
    assert left.code == 0, left.out
    assert left.directory is not None
    for name in (
        *("session.json", "effective_config.yaml", "effective_config.json", "metrics.jsonl"),
        *("evaluations.jsonl", "checkpoints", "logs/training.log", "logs/stderr.log"),
        *("provenance/packages.txt", "provenance/environment.json"),
    ):
        assert (left.directory / name).exists(), name
    assert not (left.directory / "error.txt").exists()
    record = left.record
    assert record["seed"] == 0
    assert record["id"] in str(left.directory)
    assert record["overrides"][2] == "+session=default"
    assert record["name"].endswith(record["id"])
    assert (record["device"], record["world_size"], record["attempt"]) == ("cpu", 1, 1)
    assert record["progress"]["step"] == 8
    assert Path(record["checkpoint"]["last"]).is_file()
    assert stat.S_IMODE((left.directory / "session.json").stat().st_mode) == 0o600
    config = json.loads((left.directory / "effective_config.json").read_text())
    assert config["new"] == {"key": 1}
    assert config["session"]["seed"] == 0
    links = tmp_path / "outputs" / "by-status" / "COMPLETED"
    assert [link.resolve() for link in links.iterdir()] == [left.directory.resolve()]
    assert (tmp_path / "outputs" / "latest").resolve() == left.directory.resolve()


def test_nothing_is_left_outside_the_run_directory(tmp_path: Path) -> None:
    """After fit, test and predict there is no file but in the run directory and the registry."""
    left = run("hydra", tmp_path, "success", "", "session/tracking=wandb")
    assert left.code == 0, left.out
    strangers = {
        path.relative_to(tmp_path).parts[0]
        for path in written(tmp_path)
        if "__pycache__" not in path.parts
    }
    assert strangers <= {"outputs", ".keisei", "home"}, strangers
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "lightning_logs").exists()


def test_stages_are_evaluated_once_each(tmp_path: Path) -> None:
    """Each validation and test is one line; the sanity check is none."""
    left = run("hydra", tmp_path)
    assert left.directory is not None
    evaluations = lines(left.directory / "evaluations.jsonl")
    assert [line["stage"] for line in evaluations] == ["validate", "validate", "test"]
    assert "val/loss" in evaluations[0]["metrics"]
    logged = lines(left.directory / "metrics.jsonl")
    assert sum("test/loss" in line for line in logged) == 1


def test_block_opens_and_closes(tmp_path: Path) -> None:
    """`open_session` is the whole life cycle without Hydra."""
    left = run("block", tmp_path)
    assert (left.code, left.record["status"]) == (0, "completed"), left.out
    assert (left.record["seed"], left.ending["closed_by"]) == (7, "with")
    assert left.directory == tmp_path / "block_run"


def test_bare_callback_opens_and_closes(tmp_path: Path) -> None:
    """The callback alone opens a session beside the script, and the interpreter's exit ends it."""
    left = run("bare", tmp_path)
    assert (left.code, left.record["status"]) == (0, "completed"), left.out
    assert left.ending["reason"] == "max_epochs"
    assert left.ending["closed_by"] == "atexit"
    assert left.directory is not None
    assert left.directory.parent == tmp_path / "app" / "bare_out"


def test_same_directory_is_the_next_attempt(tmp_path: Path) -> None:
    """Running again in an ended session's directory continues it, with a diff of the config."""
    first = run("hydra", tmp_path, "exception", "step", "hydra.run.dir=here")
    second = run("hydra", tmp_path, "success", "", "hydra.run.dir=here", "lr=0.2")
    assert (first.record["attempt"], second.record["attempt"]) == (1, 2)
    assert first.record["id"] == second.record["id"]
    assert second.record["status"] == "completed"
    difference = (tmp_path / "here" / "effective_config.diff").read_text()
    assert "+lr: 0.2" in difference
    assert json.loads((tmp_path / "here" / "session.attempt-1.json").read_text())["ending"]


def test_none_turns_the_plugin_off(tmp_path: Path) -> None:
    """With `session=none` the callbacks do nothing, and the program is as without us."""
    install(tmp_path)
    arguments = command("hydra", tmp_path, "success", "")
    arguments[arguments.index("+session=default")] = "+session=none"
    done = subprocess.run(
        arguments, cwd=tmp_path, env=environment(tmp_path), timeout=120, check=False
    )
    assert done.returncode == 0
    assert runs(tmp_path) == []


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("session.sed=1", "sed"),
        ("session.seed=abc", "session.seed"),
        ("session.close.budget_s=soon", "budget_s"),
        ("session/tracking=abacus", "abacus"),
        ("+session.sla.limits.x={after_epoch:1}", "neither min nor max"),
    ],
)
def test_wrong_setting_stops_before_anything_starts(
    override: str, says: str, tmp_path: Path
) -> None:
    """A wrong key, type or choice is an error at once, and leaves no run directory."""
    left = run("hydra", tmp_path, "success", "", override)
    assert left.code == 1
    assert says in left.out
    assert left.directory is None


def test_group_written_as_a_value_is_a_clear_error(tmp_path: Path) -> None:
    """`session: default` outside of the defaults list composes a string: we say what to write."""
    install(tmp_path)
    config = tmp_path / "app" / "conf" / "train.yaml"
    config.write_text(config.read_text() + "session: default\n")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "app" / "train.py")],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "defaults: [session: default]" in done.stdout


def test_canary_is_in_no_file_of_ours(tmp_path: Path) -> None:
    """A secret in the environment, the config and an override is in nothing that we write."""
    config = install(tmp_path) / "conf" / "train.yaml"
    config.write_text(config.read_text() + "db:\n  password: ${oc.env:APP_TOKEN}\n  key: x\n")
    left = run(
        *("hydra", tmp_path, "exception", "step"),
        *(f"note='url=https://me:{CANARY}@host'", f"++api_key={CANARY}", "session/tracking=wandb"),
        env={"APP_TOKEN": CANARY, "MY_API_KEY": CANARY},
    )
    assert left.record["status"] == "failed"
    found = [path for path in written(tmp_path) if CANARY.encode() in path.read_bytes()]
    assert [path for path in found if path.name != "train.log"] == []  # Hydra's own job log


def test_sweep_gives_each_job_its_own(tmp_path: Path) -> None:
    """Two jobs of a sweep: two directories, ids and W&B runs; the same seed; nothing leaks."""
    left = run(
        *("hydra", tmp_path, "success", "", "session.seed=3", "lr=0.1,0.01"),
        *("session/tracking=wandb", "-m"),
        timeout=200,
    )
    assert left.code == 0, left.out
    records = [read(directory) for directory in sorted(runs(tmp_path))]
    assert len(records) == 2
    assert [record["job_num"] for record in records] == [0, 1]
    assert {record["seed"] for record in records} == {3}
    assert len({record["id"] for record in records}) == 2
    assert len({record["group"] for record in records}) == 1
    assert "lr-0.1" in records[0]["directory"]
    tracked = [record["trackers"][0] for record in records]
    assert len({tracker["id"] for tracker in tracked}) == 2
    for record, tracker in zip(records, tracked, strict=True):
        assert (tracker["mode"], tracker["sync"]) == ("offline", "pending")
        assert record["directory"] in tracker["sync_command"]
        assert list(Path(record["directory"]).glob("wandb/offline-run-*/*.wandb"))
    first = [lines(Path(record["directory"]) / "metrics.jsonl")[0] for record in records]
    assert first[0]["train/loss"] == first[1]["train/loss"]


@pytest.mark.long
def test_twenty_started_together_are_twenty_runs(tmp_path: Path) -> None:
    """Twenty processes started at once give twenty run directories and twenty ids."""
    install(tmp_path)
    (tmp_path / "app" / "quick.py").write_text(
        "import hydra\n\n\n"
        '@hydra.main(version_base="1.3", config_path="conf", config_name="train")\n'
        "def main(cfg):\n    pass\n\n\nmain()\n"
    )
    arguments = [sys.executable, str(tmp_path / "app" / "quick.py"), "+session=default"]
    started = [
        subprocess.Popen(arguments, cwd=tmp_path, env=environment(tmp_path)) for _ in range(20)
    ]
    assert [process.wait(240) for process in started] == [0] * 20
    records = [read(directory) for directory in runs(tmp_path)]
    assert len(records) == 20
    assert len({record["id"] for record in records}) == 20
    assert {record["status"] for record in records} == {"completed"}


@pytest.mark.long
def test_sweep_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """Signal handlers, environment, streams and logging are the same in every job of a sweep."""
    install(tmp_path)
    (tmp_path / "app" / "seen.py").write_text(_SEEN)
    done = subprocess.run(
        [
            *(sys.executable, str(tmp_path / "app" / "seen.py"), "+session=default"),
            *("session/tracking=wandb", "place=a,b,c", "-m"),
        ],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert len(seen) == 3
    assert seen[1] == seen[2]
    assert seen[0] == seen[1]


_SEEN = '''
"""Writes down what each job of a sweep finds in its process before its session opens."""
import json, logging, os, random, signal, sys
from pathlib import Path
import hydra
from hydra.experimental.callback import Callback
from parts import life
import torch

FOUND = []
PASSING = ("WANDB_SERVICE", "KMP_", "TORCH", "HYDRA")


def look():
    return {
        "signals": {s.name: str(signal.getsignal(s)) for s in signal.valid_signals()
                    if isinstance(s, signal.Signals)},
        "wakeup": signal.set_wakeup_fd(-1),
        "env": {k: v for k, v in sorted(os.environ.items()) if not k.startswith(PASSING)},
        "streams": [id(sys.stdout), id(sys.stderr)],
        "handlers": [type(h).__name__ for h in logging.getLogger("keisei_lightning").handlers],
        "lightning": [type(h).__name__ for h in logging.getLogger("lightning.pytorch").handlers],
        "argv": sys.argv,
        "exit": str(sys.exit),
        "excepthook": sys.excepthook.__name__,
        "random": random.getstate()[1][:5],
        "torch": torch.get_rng_state()[:40].tolist(),
        "cwd": os.getcwd(),
    }


class Looking(Callback):
    """Runs around our callback."""

    def on_job_start(self, config, **kwargs):
        FOUND.append(look())


@hydra.main(version_base="1.3", config_path="conf", config_name="looking")
def main(cfg):
    return life(cfg.what, cfg.place)


try:
    main()
finally:
    Path("seen.json").write_text(json.dumps(FOUND))
'''


@pytest.fixture(autouse=True)
def _looking(tmp_path: Path) -> None:
    """A config whose own callback looks before ours opens the session."""
    folder = tmp_path / "app" / "conf"
    folder.mkdir(parents=True)
    (folder / "looking.yaml").write_text(
        "defaults: [train, _self_]\nhydra: {callbacks: {a_looking: {_target_: __main__.Looking}}}\n"
    )

"""Which rank this is, and what the ranks share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from keisei_lightning import ranks
from keisei_lightning.hydra_job.command_line import single_run
from keisei_lightning.record import ExceptionFacts, LastWords, Place


@pytest.mark.parametrize(
    ("env", "rank"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "1"}, 1),
        ({"RANK": "5", "LOCAL_RANK": "1"}, 5),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}, 3),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "1"}, 0),
        ({"SLURM_PROCID": "3"}, 0),
        ({"OMPI_COMM_WORLD_RANK": "2"}, 2),
        ({"LOCAL_RANK": "", "RANK": "x"}, 0),
        ({"LOCAL_RANK": "1", "NODE_RANK": "1", "WORLD_SIZE": "4"}, 3),
    ],
)
def test_rank_is_read_from_the_launcher(env: dict[str, str], rank: int) -> None:
    """Each launcher's own variables tell the global rank."""
    assert ranks.rank_of(env) == rank


def test_identity_travels_in_the_environment() -> None:
    """What rank 0 publishes is what a child reads; a part of it is nothing."""
    env: dict[str, str] = {}
    identity = ranks.Identity("a", "name", "/runs/a b", 0, 2, 77)
    ranks.publish(identity, env)
    assert ranks.published(env) == identity
    env.pop("KEISEI_SESSION_DIRECTORY")
    assert ranks.published(env) is None
    unseeded = ranks.Identity("a", "name", "/runs/a", None, 1, 77)
    env.clear()
    ranks.publish(unseeded, env)
    assert ranks.published(env) == unseeded


def test_ranks_from_outside_draw_the_same_seed() -> None:
    """All ranks of one launch agree; another launch or job draws another."""
    env = {"MASTER_ADDR": "a", "MASTER_PORT": "1", "WORLD_SIZE": "4", "RANK": "0"}
    same = env | {"RANK": "3", "LOCAL_RANK": "1"}
    assert ranks.from_outside(env)
    assert ranks.launch_seed(env, None) == ranks.launch_seed(same, None)
    assert ranks.launch_seed(env, None) != ranks.launch_seed(env, 1)
    assert ranks.launch_seed(env, None) != ranks.launch_seed(env | {"MASTER_PORT": "2"}, None)


def test_last_words_are_left_and_read(tmp_path: Path) -> None:
    """Words of every rank come back in order; a damaged file is passed over."""
    second = LastWords(2, ExceptionFacts("E", "late"), Place("train", 0, 4))
    first = LastWords(1, ExceptionFacts("E", "boom"))
    ranks.write_words(tmp_path / "rank2.json", second, "trace of 2")
    ranks.write_words(tmp_path / "rank1.json", first, "trace of 1")
    (tmp_path / "rank3.json").write_text("{")
    assert ranks.read_words(tmp_path) == (first, second)
    assert "trace of 1" in ranks.stories(tmp_path)
    assert ranks.killed_children({1: None, 2: 0, 3: -9}) == (LastWords(3, signal="SIGKILL"),)


def test_job_of_a_sweep_is_told_as_a_single_run() -> None:
    """The sweep's own options go, the config's name and the job's overrides stay."""
    overrides = SimpleNamespace(
        task=["lr=0.1", "note='a,b'"],
        hydra=["hydra.sweep.dir=x", "hydra/launcher=joblib", "hydra.verbose=true", "hydra.mode=M"],
    )
    config = SimpleNamespace(hydra=SimpleNamespace(overrides=overrides))
    argv = ["-m", "--config-name", "other", "lr=0.1,0.2", "note='a,b'"]
    assert single_run(argv, config) == [
        *("--config-name", "other", "lr=0.1", "note='a,b'"),
        *("hydra.verbose=true", "hydra.mode=RUN"),
    ]

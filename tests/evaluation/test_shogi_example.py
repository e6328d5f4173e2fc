"""The shogi example plays by the rules, learns from its teacher, and logs how its games went."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import shogi
import torch
from wandb_file import read_wandb_file, run_directories

EXAMPLE = Path(__file__).parents[2] / "examples" / "shogi"
MIRRORED = "lnsgkgsnl/1r5b1/ppppppppp/9/9/9/PPPPPPPPP/1B5R1/LNSGKGSNL w - 1"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The modules of the example, imported as its script imports them."""
    monkeypatch.syspath_prepend(EXAMPLE)
    import arena
    import players
    import positions

    return SimpleNamespace(arena=arena, players=players, positions=positions)


def wander(seed: int, plies: int) -> Any:
    """Yield the boards of a random game."""
    rng, board = random.Random(seed), shogi.Board()
    for _ in range(plies):
        moves = list(board.legal_moves)
        if not moves:
            return
        yield board, moves
        board.push(rng.choice(moves))


def test_every_legal_move_has_an_output_of_its_own(example: Any) -> None:
    """For both sides, promotions and drops included, no two moves share a logit."""
    kinds = set()
    for board, moves in wander(seed=3, plies=150):
        found = {example.positions.move_index(move, board.turn) for move in moves}
        assert len(found) == len(moves)
        assert all(0 <= index < example.positions.MOVES for index in found)
        kinds |= {index // 81 for index in found}
    assert len(kinds) > 20


def test_both_sides_see_the_board_alike(example: Any) -> None:
    """The starting position is the same for who moves first and, turned round, for the other."""
    first, second = shogi.Board(), shogi.Board(MIRRORED)
    assert torch.equal(example.positions.planes(first), example.positions.planes(second))
    assert example.positions.planes(first).sum() == 40
    indices = [
        {example.positions.move_index(move, board.turn) for move in board.legal_moves}
        for board in (first, second)
    ]
    assert indices[0] == indices[1]


def test_material_is_counted_on_the_board_and_in_hand(example: Any) -> None:
    """What one side is ahead, the other is behind; a held rook counts as one on the board."""
    for board, _ in wander(seed=1, plies=80):
        ahead = example.positions.material(board, shogi.BLACK)
        assert ahead == -example.positions.material(board, shogi.WHITE)
    assert example.positions.material(shogi.Board(), shogi.BLACK) == 0
    held = shogi.Board("4k4/9/9/9/9/9/9/9/4K4 b R 1")
    assert example.positions.material(held, shogi.BLACK) == 10


def test_the_teacher_takes_what_is_free(example: Any) -> None:
    """An unprotected rook is taken, a protected pawn is not paid for with a rook."""
    free = shogi.Board("4k4/9/9/4r4/4P4/9/9/9/4K4 b - 1")
    (best,) = example.players.greedy_moves(free, list(free.pseudo_legal_moves))
    assert best.usi() == "5e5d"
    guarded = shogi.Board("4k4/9/4g4/4p4/9/4R4/9/9/4K4 b - 1")
    assert example.players.greedy_moves(guarded, list(guarded.pseudo_legal_moves)) == []


def test_games_end_by_the_rules(example: Any) -> None:
    """Games between random players are legal, bounded, and told with their length."""
    rng = random.Random(0)
    player = example.players.random_player(rng)
    for number in range(4):
        game = example.arena.play(player, player, me_first=number % 2 == 0, max_plies=30)
        assert game.outcome in ("win", "loss", "draw")
        assert game.moves == 30
        assert game.reward == {"win": 1, "loss": -1, "draw": 0}[game.outcome]


def test_the_teacher_beats_a_random_player(example: Any) -> None:
    """What the network imitates is worth imitating."""
    rng = random.Random(5)
    opponent = example.players.random_player(rng)

    def teacher(board: Any) -> Any:
        best = example.players.greedy_moves(board, list(board.pseudo_legal_moves))
        return rng.choice(best) if best else opponent(board)

    games = [
        example.arena.play(teacher, opponent, me_first=number % 2 == 0, max_plies=120)
        for number in range(6)
    ]
    assert sum(game.outcome == "win" for game in games) >= 5


def test_a_small_run_tells_everything_about_its_games(tmp_path: Path) -> None:
    """The whole example, made small: every name of ours in W&B's file and in both journals."""
    small = ["data.positions=600", "trainer.max_epochs=2", "arena.games=4", "arena.test_games=4"]
    done = subprocess.run(
        [sys.executable, EXAMPLE / "train.py", "session/tracking=wandb", *small],
        cwd=tmp_path,
        env=os.environ | {"WANDB_MODE": "offline"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = [path for path in (tmp_path / "outputs").iterdir() if path.name.startswith("2")]
    record = json.loads((run / "session.json").read_text(encoding="utf-8"))
    assert (record["status"], record["ending"]["reason"]) == ("completed", "max_epochs")
    assert isinstance(record["sla"]["passed"], bool)

    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == ["validate", "validate", "validate", "test"]
    for line in lines:
        found = line["metrics"]
        outcomes = [found[f"evaluation/outcomes/{word}"] for word in ("win", "loss", "draw")]
        assert sum(outcomes) == found["evaluation/total_games"] == 4
        assert found["evaluation/min_length"] <= found["evaluation/max_length"] <= 160
        assert line["performance"]["latency_ms"] > line["performance"]["ms_per_ply"] > 0

    names = {
        *(f"evaluation/{rate}" for rate in ("win_rate", "loss_rate", "draw_rate")),
        *("evaluation/total_games", "evaluation/average_length", "evaluation/average_rewards"),
        *("evaluation/sla/passed", "evaluation/sla/violation_count"),
        *(
            f"evaluation/performance/{figure}"
            for figure in (
                *("latency_ms", "memory_overhead_mb", "cpu_utilization_percent"),
                *("training_impact_percent", "ms_per_ply"),
            )
        ),
    }
    journal = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert names <= {name for line in journal for name in json.loads(line)}
    (wandb_run,) = run_directories(run)
    tracked = read_wandb_file(wandb_run)
    assert names <= {name for line in tracked.history for name in line}
    assert len(tracked.values("evaluation/win_rate")) == 4
    assert tracked.config["evaluation/strategy"] == "random opponent"
    assert tracked.config["evaluation/parameters/games"] == 4


@pytest.mark.long
def test_the_example_learns_to_win(tmp_path: Path) -> None:
    """As it is shipped: from an even match to winning nearly every game."""
    done = subprocess.run(
        [sys.executable, EXAMPLE / "train.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (journal,) = (tmp_path / "outputs").glob("2*/evaluations.jsonl")
    rates = [
        json.loads(line)["metrics"]["evaluation/win_rate"]
        for line in journal.read_text(encoding="utf-8").splitlines()
    ]
    assert rates[0] < 0.7
    assert rates[-1] > 0.85

"""An evaluation result is checked and computed once, when it is made."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from keisei_lightning.errors import SessionConfigError
from keisei_lightning.evaluation.cost import cost
from keisei_lightning.evaluation.result import EvaluationLike, EvaluationResult, Game, as_result

games = st.lists(
    st.builds(
        Game,
        outcome=st.sampled_from(["win", "loss", "draw"]),
        moves=st.none() | st.integers(1, 500),
        reward=st.none() | st.floats(-10, 10),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(games)
def test_the_summary_is_that_of_the_games(played: list[Game]) -> None:
    """Rates add up, counts are counts, and lengths are over the games that have one."""
    found = EvaluationResult.from_games(played).metrics()
    assert found["total_games"] == len(played)
    assert found["win_rate"] + found["loss_rate"] + found["draw_rate"] == pytest.approx(1)
    for name, rate in (("win", "win_rate"), ("loss", "loss_rate"), ("draw", "draw_rate")):
        assert found.get(f"outcomes/{name}", 0) == pytest.approx(found[rate] * len(played))
    lengths = [game.moves for game in played if game.moves is not None]
    assert ("average_length" in found) == bool(lengths)
    if lengths:
        assert found["min_length"] == min(lengths)
        assert found["max_length"] == max(lengths)
        assert found["min_length"] <= found["average_length"] <= found["max_length"]


def test_a_game_without_moves_is_no_game_of_length_zero() -> None:
    """No moves, none recorded and an empty list are no length; a list of moves is counted."""
    moves = [40, None, [], 0, ["7g7f"] * 60]
    result = EvaluationResult.from_games([{"outcome": "win", "moves": one} for one in moves])
    found = result.metrics()
    assert (found["min_length"], found["average_length"], found["max_length"]) == (40, 50, 60)
    assert [game.moves for game in result.games] == [40, None, None, None, 60]


def test_no_games_give_no_rates() -> None:
    """Nothing is divided by zero, and no rate is made up."""
    assert EvaluationResult.from_games([]).metrics() == {}


def test_what_people_say_goes_before_what_the_games_say() -> None:
    """A given total is kept, further named numbers join, the rest comes from the games."""
    played = [Game("win", 10, 1.0), Game("loss", 20, -1.0), Game("resigned")]
    result = EvaluationResult(summary={"total_games": 100, "elo": 1500}, games=played)
    found = result.metrics()
    assert (found["total_games"], found["elo"], found["average_rewards"]) == (100, 1500, 0)
    assert found["outcomes/resigned"] == 1
    assert found["win_rate"] == pytest.approx(1 / 3)


def test_a_result_is_frozen_and_travels() -> None:
    """It cannot be changed, and it goes through pickle."""
    result = EvaluationResult.from_games([Game("win", 3)], step=7, stage="test", elo=1200)
    with pytest.raises(FrozenInstanceError):
        result.step = 8  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(result)) == result
    assert (result.step, result.stage, result.metrics()["elo"]) == (7, "test", 1200)


@pytest.mark.parametrize("one", [torch.tensor(0.5), np.float32(0.5), 0.5, torch.tensor([0.5])])
def test_numbers_of_torch_and_numpy_are_numbers(one: Any) -> None:
    """What people compute with can be logged as it is."""
    assert as_result({"acc": one}).metrics() == {"acc": 0.5}


@dataclass
class Mine:
    """A result as somebody else's code has it."""

    summary: dict[str, float] = field(default_factory=lambda: {"win_rate": 0.25})
    games: list[dict[str, Any]] = field(default_factory=lambda: [{"outcome": "draw", "moves": 9}])
    violations: tuple[str, ...] = ("too slow",)


def test_an_object_of_ones_own_is_a_result() -> None:
    """``summary`` is enough; games and violations are taken where they exist."""
    mine = Mine()
    assert isinstance(mine, EvaluationLike)
    result = as_result(mine)
    assert result.metrics()["win_rate"] == 0.25
    assert result.metrics()["average_length"] == 9
    assert result.violations == ("too slow",)


@pytest.mark.parametrize(
    ("make", "field_name"),
    [
        (lambda: as_result([1, 2]), "'summary'"),
        (lambda: as_result(None), "'summary'"),
        (lambda: as_result({"acc": "90 %"}), "summary['acc'] is '90 %'"),
        (lambda: as_result({"acc": None}), "summary['acc']"),
        (lambda: as_result({"acc": {"top1": 1.0}}), "summary['acc']"),
        (lambda: as_result({"acc": torch.zeros(3)}), "summary['acc']"),
        (lambda: as_result({"win_rate": 55.0}), "summary['win_rate'] is 55.0"),
        (lambda: EvaluationResult(summary=3.0), "summary is 3.0"),  # type: ignore[arg-type]
        (lambda: EvaluationResult(performance={"ms": "x"}), "performance['ms']"),  # type: ignore[dict-item]
        (lambda: EvaluationResult(games="wld"), "games is 'wld'"),  # type: ignore[arg-type]
        (lambda: EvaluationResult.from_games([{"moves": 3}]), "games[0].outcome is None"),
        (lambda: EvaluationResult.from_games([{"outcome": 1}]), "games[0].outcome is 1"),
        (
            lambda: EvaluationResult.from_games([Game("win"), {"outcome": "win", "moves": -1}]),
            "games[1].moves is -1",
        ),
        (
            lambda: EvaluationResult.from_games([{"outcome": "win", "moves": 1.5}]),
            "games[0].moves is 1.5",
        ),
        (
            lambda: EvaluationResult.from_games([{"outcome": "win", "reward": "much"}]),
            "games[0].reward is 'much'",
        ),
    ],
)
def test_a_wrong_shape_is_an_error_that_names_the_field(make: Any, field_name: str) -> None:
    """Nothing of the wrong shape is silently nothing."""
    with pytest.raises(SessionConfigError) as caught:
        make()
    assert field_name in str(caught.value)


def test_what_a_run_cost() -> None:
    """Seconds, devices and the price of a device hour; no price, no cost."""
    assert cost(1800, 4, 2.5) == pytest.approx(5.0)
    assert cost(1800, 4, None) is None
    assert cost(3600, 0, 1.0) == pytest.approx(1.0)
    assert cost(-5, 1, 1.0) == 0.0

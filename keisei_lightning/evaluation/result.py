"""What an evaluation found: rates, lengths and rewards over games, or any named numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from keisei_lightning.errors import SessionConfigError

__all__ = ["EvaluationLike", "EvaluationResult", "Game", "as_number", "as_result"]

_RATES = {"win_rate": "win", "loss_rate": "loss", "draw_rate": "draw"}
_NOTHING: Mapping[str, float] = MappingProxyType({})


@runtime_checkable
class EvaluationLike(Protocol):
    """An object of your own that ``log_evaluation`` accepts.

    ``summary`` is all that is required; ``performance``, ``games``, ``violations``, ``step`` and
    ``stage`` are read where they exist and mean what they mean in :class:`EvaluationResult`.
    """

    @property
    def summary(self) -> Mapping[str, float]:
        """The named numbers of the evaluation."""
        ...


@dataclass(frozen=True, slots=True)
class Game:
    """One game; ``outcome`` is ``win``, ``loss`` or ``draw`` as the evaluated side sees it.

    Any other word (``resigned``) is counted too. ``moves`` is the number of plies, or the moves
    themselves, which are counted; ``None`` or none at all means that the length is unknown.
    """

    outcome: str
    moves: int | None = None
    reward: float | None = None

    @classmethod
    def of(cls, value: Any, where: str = "game") -> Game:
        """Return `value` (a game, a mapping or an object with these names) as a checked game.

        Raises:
            SessionConfigError: A field is missing or has the wrong shape; the message names it.
        """
        outcome = _get(value, "outcome")
        if not isinstance(outcome, str) or not outcome:
            raise _wrong(f"{where}.outcome", outcome, "a word such as win, loss or draw")
        reward = _get(value, "reward")
        return cls(
            outcome=str(outcome),
            moves=_length(_get(value, "moves"), f"{where}.moves"),
            reward=None if reward is None else as_number(reward, f"{where}.reward"),
        )


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation found; every number is checked when the object is made.

    Args:
        summary: Named numbers: ``win_rate``, ``loss_rate``, ``draw_rate`` (0 to 1),
            ``total_games``, ``average_length`` (plies), ``average_rewards``, or any other name.
            What `games` can tell and the summary does not say is computed from them.
        performance: What the evaluation cost, by name (``latency_ms``).
        games: The games that were played (:class:`Game`, mappings, or objects with these names).
        step: Training step that was evaluated.
        stage: ``validate``, ``test`` or a word of your own.
        violations: What your own checks found wrong, in words; shown and recorded as they are.

    Raises:
        SessionConfigError: Something has the wrong shape; the message names the field.
    """

    summary: Mapping[str, float] = field(default_factory=dict)
    performance: Mapping[str, float] = field(default_factory=dict)
    games: Sequence[Game] = ()
    step: int | None = None
    stage: str | None = None
    violations: Sequence[str] = ()

    def __post_init__(self) -> None:
        games = tuple(
            Game.of(game, f"games[{index}]") for index, game in enumerate(_items(self.games))
        )
        given = _numbers(self.summary, "summary")
        for rate in _RATES:
            if not 0 <= given.get(rate, 0.0) <= 1 and not math.isnan(given[rate]):
                raise _wrong(f"summary[{rate!r}]", given[rate], "a share between 0 and 1")
        object.__setattr__(self, "games", games)
        object.__setattr__(self, "summary", _summary(games) | given)
        object.__setattr__(self, "performance", _numbers(self.performance, "performance"))
        object.__setattr__(self, "violations", _words(self.violations))

    @classmethod
    def from_games(
        cls,
        games: Iterable[Any],
        *,
        performance: Mapping[str, float] = _NOTHING,
        step: int | None = None,
        stage: str | None = None,
        **named: float,
    ) -> EvaluationResult:
        """Return the result of `games`; `named` numbers (``elo=1500``) join the summary."""
        return cls(summary=named, performance=performance, games=[*games], step=step, stage=stage)

    def metrics(self) -> dict[str, float]:
        """Return every number of the summary under the name that follows ``evaluation/``."""
        return dict(self.summary)


def as_result(value: Any) -> EvaluationResult:
    """Return a result, a mapping of numbers or an :class:`EvaluationLike` as a result.

    Raises:
        SessionConfigError: It is none of them, or a field in it has the wrong shape.
    """
    if isinstance(value, EvaluationResult):
        return value
    if isinstance(value, Mapping):
        return EvaluationResult(summary=value)
    if not isinstance(value, EvaluationLike):
        raise SessionConfigError(
            f"log_evaluation got {type(value).__name__}, which has no 'summary'; "
            "give a mapping of numbers, an EvaluationResult or an object with a summary"
        )
    rest = ("performance", "games", "step", "stage", "violations")
    found = {name: getattr(value, name) for name in rest if getattr(value, name, None) is not None}
    return replace(EvaluationResult(summary=value.summary), **found)


def as_number(value: Any, where: str) -> float:
    """Return a Python, NumPy or one-element tensor number as a float.

    Raises:
        SessionConfigError: It is no number; the message names `where`.
    """
    if isinstance(value, str | bytes) or value is None:
        raise _wrong(where, value, "a number")
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _wrong(where, value, "a number") from error


def _summary(games: Sequence[Game]) -> dict[str, float]:
    if not games:
        return {}
    outcomes = Counter(game.outcome for game in games)
    lengths = [game.moves for game in games if game.moves is not None]
    rewards = [game.reward for game in games if game.reward is not None]
    found = {rate: outcomes[outcome] / len(games) for rate, outcome in _RATES.items()}
    found["total_games"] = float(len(games))
    if lengths:
        found["average_length"] = sum(lengths) / len(lengths)
        found["min_length"] = float(min(lengths))
        found["max_length"] = float(max(lengths))
    if rewards:
        found["average_rewards"] = sum(rewards) / len(rewards)
    words = sorted({*_RATES.values(), *outcomes})
    return found | {f"outcomes/{word}": float(outcomes[word]) for word in words}


def _length(moves: Any, where: str) -> int | None:
    if moves is None:
        return None
    if isinstance(moves, str | bytes | bool):
        raise _wrong(where, moves, "a number of plies, the moves, or null")
    count = len(moves) if hasattr(moves, "__len__") else as_number(moves, where)
    if count != count or count < 0 or count != int(count):
        raise _wrong(where, moves, "a number of plies, the moves, or null")
    return int(count) or None


def _numbers(values: Any, where: str) -> dict[str, float]:
    if not isinstance(values, Mapping):
        raise _wrong(where, values, "a mapping of names to numbers")
    return {str(name): as_number(item, f"{where}[{name!r}]") for name, item in values.items()}


def _words(violations: Any) -> tuple[str, ...]:
    if isinstance(violations, str):
        return (violations,)
    return tuple(str(words) for words in _items(violations, "violations"))


def _items(values: Any, where: str = "games") -> Iterable[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise _wrong(where, values, "a list")
    return values


def _get(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _wrong(where: str, value: Any, wanted: str) -> SessionConfigError:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return SessionConfigError(f"evaluation result: {where} is {shown}; it must be {wanted}")

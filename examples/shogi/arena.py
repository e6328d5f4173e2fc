"""Games of the network against a random opponent, in every validation and test."""

from __future__ import annotations

import random
import time

import shogi
from lightning.pytorch import Callback, LightningModule, Trainer
from players import Player, network_player, random_player
from positions import material

from keisei_lightning import EvaluationResult, current_session
from keisei_lightning.evaluation.result import Game

__all__ = ["Arena", "play"]

CLEARLY_AHEAD = 10  # pawns, about a rook


class Arena(Callback):
    """Plays after each validation and test, and logs how the games went.

    Args:
        games: Games of a validation; the network has the first move in every other one.
        test_games: Games of a test.
        max_plies: Moves of both sides after which a game is broken off and adjudicated.
        seed: Decides what is drawn in the games, the opponent's moves too.

    """

    def __init__(
        self, games: int = 20, test_games: int = 24, max_plies: int = 160, seed: int = 0
    ) -> None:
        self.games = games
        self.test_games = test_games
        self.max_plies = max_plies
        self.seed = seed

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Play the games of a validation; none in the sanity check."""
        if not trainer.sanity_checking:
            self._match(pl_module, self.games, self.seed)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Play the games of a test, against moves not seen in any validation."""
        self._match(pl_module, self.test_games, self.seed + 1)

    def _match(self, policy: LightningModule, games: int, seed: int) -> None:
        rng = random.Random(seed)
        opponent = random_player(rng)
        me = network_player(lambda positions: policy(positions.to(policy.device)), rng)
        began = time.perf_counter()
        played = [
            play(me, opponent, me_first=number % 2 == 0, max_plies=self.max_plies)
            for number in range(games)
        ]
        plies = sum(game.moves or 0 for game in played)
        ms_per_ply = (time.perf_counter() - began) * 1000 / max(plies, 1)
        result = EvaluationResult.from_games(played, performance={"ms_per_ply": ms_per_ply})
        current_session().log_evaluation(result)


def play(me: Player, opponent: Player, *, me_first: bool, max_plies: int) -> Game:
    """Play one game and tell how it went for `me`.

    Who is to move and has no legal move has lost; a position that occurs for the fourth time is a
    draw. After `max_plies` the game is broken off: who is ahead by 10 pawns or more has won, else
    it is a draw. The reward is 1, 0 or -1.
    """
    board = shogi.Board()
    mine = shogi.BLACK if me_first else shogi.WHITE
    plies = 0
    while plies < max_plies:
        if board.is_fourfold_repetition():
            return _game("draw", plies)
        move = (me if board.turn == mine else opponent)(board)
        if move is None:
            return _game("loss" if board.turn == mine else "win", plies)
        board.push(move)
        plies += 1
    ahead = material(board, mine)
    if abs(ahead) < CLEARLY_AHEAD:
        return _game("draw", plies)
    return _game("win" if ahead > 0 else "loss", plies)


def _game(outcome: str, plies: int) -> Game:
    return Game(outcome, plies, {"win": 1.0, "draw": 0.0, "loss": -1.0}[outcome])

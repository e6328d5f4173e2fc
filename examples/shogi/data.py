"""Positions in which the teacher sees something to win, made by playing."""

from __future__ import annotations

import random
import warnings

import shogi
import torch
from lightning.pytorch import LightningDataModule
from players import greedy_moves, random_player
from positions import MOVES, move_index, planes
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset, random_split

__all__ = ["TeacherPositions"]

# A few megabytes in memory: worker processes would only cost time here.
warnings.filterwarnings("ignore", message=".*does not have many workers")

Loader = DataLoader[tuple[Tensor, ...]]


class TeacherPositions(LightningDataModule):
    """Gives positions, their possible moves and the teacher's move.

    Args:
        positions: How many are made; 15 % are held out to validate, 15 % to test.
        batch_size: Positions in a batch.
        seed: Decides the games; not the seed of the run, so that runs stay comparable.
        max_plies: Games in which the positions occur are broken off after so many moves.

    """

    def __init__(
        self, positions: int = 3000, batch_size: int = 64, seed: int = 0, max_plies: int = 120
    ) -> None:
        super().__init__()
        self.positions = positions
        self.batch_size = batch_size
        self.seed = seed
        self.max_plies = max_plies

    def setup(self, stage: str) -> None:
        """Play and split; once, whatever stages follow."""
        if hasattr(self, "train_set"):
            return
        rng = random.Random(self.seed)
        samples: list[tuple[Tensor, Tensor, Tensor]] = []
        while len(samples) < self.positions:
            samples += self._game(rng)
        columns = zip(*samples[: self.positions], strict=True)
        held_out = self.positions * 15 // 100
        self.train_set, self.val_set, self.test_set = random_split(
            TensorDataset(*(torch.stack(column) for column in columns)),
            lengths=[self.positions - 2 * held_out, held_out, held_out],
            generator=torch.Generator().manual_seed(self.seed),
        )

    def train_dataloader(self) -> Loader:
        """Give the shuffled training positions."""
        return DataLoader(self.train_set, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> Loader:
        """Give the validation positions."""
        return DataLoader(self.val_set, batch_size=self.batch_size)

    def test_dataloader(self) -> Loader:
        """Give the test positions."""
        return DataLoader(self.test_set, batch_size=self.batch_size)

    def _game(self, rng: random.Random) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Play one game, half of the moves at random so that the positions differ."""
        board, samples = shogi.Board(), []
        wander = random_player(rng)
        for _ in range(self.max_plies):
            moves = list(board.pseudo_legal_moves)
            best = greedy_moves(board, moves)
            if len(best) == 1:  # several equally good ones would teach a coin toss
                samples.append(_sample(board, moves, best[0]))
            move = rng.choice(best) if best and rng.random() < 0.5 else wander(board)
            if move is None:
                break
            board.push(move)
        return samples


def _sample(
    board: shogi.Board, moves: list[shogi.Move], best: shogi.Move
) -> tuple[Tensor, Tensor, Tensor]:
    allowed = torch.zeros(MOVES, dtype=torch.bool)
    allowed[[move_index(move, board.turn) for move in moves]] = True
    return planes(board), allowed, torch.tensor(move_index(best, board.turn))

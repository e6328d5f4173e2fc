"""Who plays: at random, by greed (the teacher), or by the network."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import shogi
import torch
from positions import VALUES, legal, move_index, planes
from torch import Tensor

__all__ = ["Player", "gain", "greedy_moves", "network_player", "random_player"]

Player = Callable[[shogi.Board], shogi.Move | None]
"""Gives a legal move, or ``None`` when there is none."""


def random_player(rng: random.Random) -> Player:
    """Give a player that takes any legal move."""

    def choose(board: shogi.Board) -> shogi.Move | None:
        moves = list(board.pseudo_legal_moves)
        rng.shuffle(moves)
        return next(legal(board, moves), None)

    return choose


def network_player(network: Callable[[Tensor], Tensor], rng: random.Random) -> Player:
    """Give a player that draws its move with the probabilities of `network`'s logits.

    Drawing, and not taking the highest, keeps a side that is far ahead from repeating itself.
    """

    def choose(board: shogi.Board) -> shogi.Move | None:
        with torch.inference_mode():
            logits = network(planes(board).unsqueeze(0))[0].tolist()
        # Highest logit plus Gumbel noise first: the softmax draw, of all moves in one order.
        moves = sorted(
            board.pseudo_legal_moves,
            key=lambda move: math.log(rng.expovariate(1)) - logits[move_index(move, board.turn)],
        )
        return next(legal(board, moves), None)

    return choose


def gain(board: shogi.Board, move: shogi.Move) -> int:
    """Give what the teacher sees in a move, in pawns, looking no further than the next reply.

    What is captured, and what a promotion adds, less the moving piece if its new square is
    attacked.
    """
    captured: int = board.piece_type_at(move.to_square)
    if not captured and not move.promotion:
        return 0
    mover: int = move.drop_piece_type or board.piece_type_at(move.from_square)
    moved: int = shogi.PIECE_PROMOTED[mover] if move.promotion else mover
    won = VALUES[captured] + VALUES[moved] - VALUES[mover]
    if board.is_attacked_by(board.turn ^ 1, move.to_square):
        won -= VALUES[moved]
    return won


def greedy_moves(board: shogi.Board, moves: list[shogi.Move]) -> list[shogi.Move]:
    """Give those of the pseudo-legal `moves` with the highest gain, if there is one above 0."""
    gains = [gain(board, move) for move in moves]
    best = max(gains, default=0)
    if best <= 0:
        return []
    return list(legal(board, (move for move, won in zip(moves, gains, strict=True) if won == best)))

"""Who plays: at random, by greed (the teacher), or by the network."""

from __future__ import annotations

import random
from collections.abc import Callable

import shogi
import torch
from positions import VALUES, legal, move_index, planes
from torch import Tensor

__all__ = ["Player", "gain", "greedy_moves", "network_player", "random_player"]

Player = Callable[[shogi.Board], shogi.Move]
"""Gives a legal move; asked only when there is one."""


def random_player(rng: random.Random) -> Player:
    """Give a player that takes any legal move."""

    def choose(board: shogi.Board) -> shogi.Move:
        moves = list(board.pseudo_legal_moves)
        rng.shuffle(moves)
        return next(legal(board, iter(moves)))

    return choose


def network_player(network: Callable[[Tensor], Tensor]) -> Player:
    """Give a player that takes the legal move to which `network` gives the highest logit."""

    def choose(board: shogi.Board) -> shogi.Move:
        with torch.inference_mode():
            logits = network(planes(board).unsqueeze(0))[0].tolist()
        moves = sorted(
            board.pseudo_legal_moves,
            key=lambda move: logits[move_index(move, board.turn)],
            reverse=True,
        )
        return next(legal(board, iter(moves)))

    return choose


def gain(board: shogi.Board, move: shogi.Move) -> int:
    """Give what the teacher sees in a move, in pawns, looking no further than the next reply.

    What is captured, and what a promotion adds, less the moving piece if its new square is
    attacked.
    """
    captured = board.piece_at(move.to_square)
    won = 0 if captured is None else VALUES[captured.piece_type]
    mover = move.drop_piece_type or board.piece_type_at(move.from_square)
    moved = shogi.PIECE_PROMOTED[mover] if move.promotion else mover
    won += VALUES[moved] - VALUES[mover]
    if board.is_attacked_by(board.turn ^ 1, move.to_square):
        won -= VALUES[moved]
    return won


def greedy_moves(board: shogi.Board) -> tuple[list[shogi.Move], list[shogi.Move]]:
    """Give the legal moves with the highest gain, if there is one above 0, and all legal moves."""
    moves = list(board.legal_moves)
    gains = [gain(board, move) for move in moves]
    best = max(gains, default=0)
    return [move for move, won in zip(moves, gains, strict=True) if won == best > 0], moves

"""Shogi positions and moves as numbers, always seen from the side that is to move."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import shogi
import torch
from torch import Tensor

__all__ = ["MOVES", "PLANES", "VALUES", "legal", "material", "move_index", "planes"]

SQUARES = 81
HAND = 7  # kinds of pieces that can be held and dropped
PLANES = 2 * 14 + 2 * HAND
KINDS = 2 * 10 + HAND  # eight directions and two knight jumps, promoting or not; seven drops
MOVES = KINDS * SQUARES

# What a piece is worth, in pawns; a promoted one stands after its plain kind. The king has none.
VALUES = (0, 1, 3, 3, 5, 6, 8, 10, 0, 6, 6, 6, 6, 12, 14)


def planes(board: shogi.Board) -> Tensor:
    """Give a position as (42, 9, 9): my pieces, yours, my hand, yours (tenths, on each square)."""
    found = torch.zeros(PLANES, SQUARES)
    for square in range(SQUARES):
        piece = board.piece_at(square)
        if piece is not None:
            side = 0 if piece.color == board.turn else 14
            found[side + piece.piece_type - 1, _seen(square, board.turn)] = 1.0
    for side, color in enumerate((board.turn, board.turn ^ 1)):
        for kind, count in board.pieces_in_hand[color].items():
            found[28 + HAND * side + kind - 1] = count / 10
    return found.view(PLANES, 9, 9)


def move_index(move: shogi.Move, turn: int) -> int:
    """Give a move of the side `turn` as its place among the 27 x 81 outputs of the network."""
    target = _seen(move.to_square, turn)
    if move.from_square is None:
        kind = 20 + int(move.drop_piece_type) - 1
        return kind * SQUARES + target
    source = _seen(move.from_square, turn)
    kind = _direction(target // 9 - source // 9, target % 9 - source % 9)
    return (kind + 10 * bool(move.promotion)) * SQUARES + target


def legal(board: shogi.Board, moves: Iterable[shogi.Move]) -> Iterator[shogi.Move]:
    """Give those of the pseudo-legal `moves` that leave the own king safe."""
    return (move for move in moves if not board.is_suicide_or_check_by_dropping_pawn(move))


def material(board: shogi.Board, color: int) -> int:
    """Give how many pawns the pieces of `color`, on the board and in hand, are ahead."""
    ahead = 0
    for square in range(SQUARES):
        piece = board.piece_at(square)
        if piece is not None:
            ahead += VALUES[piece.piece_type] * (1 if piece.color == color else -1)
    for owner in (shogi.BLACK, shogi.WHITE):
        held = sum(VALUES[kind] * count for kind, count in board.pieces_in_hand[owner].items())
        ahead += held if owner == color else -held
    return ahead


def _seen(square: int, turn: int) -> int:
    return square if turn == shogi.BLACK else SQUARES - 1 - square


def _direction(down: int, right: int) -> int:
    if abs(down) == 2 and abs(right) == 1:  # a knight; forward is up
        return 8 if right < 0 else 9
    ways = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
    return ways.index(((down > 0) - (down < 0), (right > 0) - (right < 0)))

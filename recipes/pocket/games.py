"""Tic-tac-toe: the rules, the perfect player, and transcripts of games. Fields are numbered 1 to 9, row by row."""

from __future__ import annotations

from functools import cache
from random import Random

from recipes.pocket.seeds import Document, generator

Board = tuple[str, ...]

EMPTY: Board = (" ",) * 9
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))


def turn(board: Board) -> str:
    """Whose move it is; X begins."""
    return "X" if board.count("X") == board.count("O") else "O"


def legal_moves(board: Board) -> list[int]:
    """The free fields; none once the game is over."""
    return [] if winner(board) else [i + 1 for i, mark in enumerate(board) if mark == " "]


def play(board: Board, move: int) -> Board:
    """The board after the side to move takes a field."""
    if move not in legal_moves(board):
        raise ValueError(f"{move} is no legal move")
    return (*board[: move - 1], turn(board), *board[move:])


def winner(board: Board) -> str | None:
    """ "X" or "O" once three are in a row."""
    for a, b, c in LINES:
        if board[a] != " " and board[a] == board[b] == board[c]:
            return board[a]
    return None


def result(board: Board) -> str | None:
    """How the transcript ends, or None while the game goes on."""
    if side := winner(board):
        return f"{side} wins."
    return None if " " in board else "Draw."


@cache
def value(board: Board) -> int:
    """What the side to move can force: 1 a win, 0 a draw, -1 only a loss."""
    if winner(board):
        return -1
    return max((-value(play(board, move)) for move in legal_moves(board)), default=0)


@cache
def best_moves(board: Board) -> tuple[int, ...]:
    """All moves that keep the value of the position."""
    return tuple(move for move in legal_moves(board) if -value(play(board, move)) == value(board))


def choose(r: Random, board: Board, skill: float) -> int:
    """A perfect move with this probability, else any legal one; who plays perfectly wins at once where that is possible."""
    if r.random() >= skill:
        return r.choice(legal_moves(board))
    best = best_moves(board)
    return r.choice([move for move in best if winner(play(board, move))] or best)


def transcript(moves: list[int]) -> str:
    """The game as text; a finished one says how it ended."""
    board = EMPTY
    for move in moves:
        board = play(board, move)
    return " ".join(["Game:", *map(str, moves)]) + (f". {end}" if (end := result(board)) else "")


def game(r: Random, skills: tuple[float, float]) -> list[int]:
    """The moves of one game between two players of these skills."""
    board = EMPTY
    moves: list[int] = []
    while not result(board):
        moves.append(choose(r, board, skills[len(moves) % 2]))
        board = play(board, moves[-1])
    return moves


def game_document(seed: int) -> Document:
    """One game; players range from careless to perfect."""
    r = generator("games", seed)
    return Document(transcript(game(r, (r.choice((0.3, 0.7, 1.0)), r.choice((0.3, 0.7, 1.0))))), "games", whole=True)

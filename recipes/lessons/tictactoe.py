"""Tic-tac-toe to learn from: a game's state, a teacher with a blind spot, the perfect player, exact scores, Elo. Pure.

Squares are 1 to 9, row by row; X begins. The rules and their minimax are those of recipes/pocket/games.py. A player who
takes no free square has lost: `illegal` moves end a game.
"""

import math
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import accumulate
from random import Random

from recipes.pocket import games
from recipes.pocket.games import EMPTY, Board

__all__ = ["EMPTY", "Board", "Game", "blind", "elo", "expected", "perfect", "teach", "teacher", "worth", "written"]
KIND = "tic-tac-toe"
CORNERS, CENTRE = (1, 3, 7, 9), 5
Moves = Mapping[int, float]  # square -> probability
Player = Callable[[Board], Moves]  # how a player that looks at the board chooses


@dataclass(frozen=True)
class Game:
    """A game as its moves; what is no legal move (0: no square at all) ends it. All else follows from them."""

    moves: tuple[int, ...] = ()

    @cached_property
    def illegal(self) -> bool:
        """Whether the last move was none."""
        return bool(self.moves) and self.moves[-1] not in Game(self.moves[:-1]).legal

    @cached_property
    def board(self) -> Board:
        """The marks after the last legal move."""
        return _board(self.moves[:-1] if self.illegal else self.moves)

    @property
    def turn(self) -> str:
        """Whose move it is: "X" or "O"."""
        return "XO"[len(self.moves) % 2]

    @property
    def legal(self) -> list[int]:
        """The squares that may be taken; none once the game is over."""
        return [] if self.illegal else games.legal_moves(self.board)

    @property
    def result(self) -> str | None:
        """ "X" or "O", who has won; "draw"; None while the game goes on."""
        if self.illegal:
            return self.turn  # it would be the other's move
        return games.winner(self.board) or (None if " " in self.board else "draw")

    def play(self, move: int) -> "Game":
        """The game after a move, legal or not. ValueError where it is over."""
        if self.result:
            raise ValueError(f"{self.moves}: the game is over")
        return Game((*self.moves, move))

    def undo(self, side: str) -> "Game":
        """The game before the last move of "X" or "O"; the same game where this side has not moved."""
        mine = [i for i in range(len(self.moves)) if "XO"[i % 2] == side]
        return Game(self.moves[: mine[-1]]) if mine else self

    def score(self, side: str) -> float:
        """What a finished game is worth to "X" or "O": 1 won, 0 drawn, -1 lost."""
        return 0.0 if self.result == "draw" else 1.0 if self.result == side else -1.0

    def told(self, side: str) -> str:
        """How it ended for "X" or "O": won, drawn, lost, or illegal where this side broke the rules."""
        if self.illegal and self.result != side:
            return "illegal"
        return {1.0: "won", 0.0: "drawn", -1.0: "lost"}[self.score(side)]


# The eight ways to turn and mirror the board: where square n goes is SYMMETRIES[k][n - 1]. Of the first nothing moves.
_QUARTER = tuple(3 * (i % 3) + 3 - i // 3 for i in range(9))
_MIRROR = tuple(3 * (i // 3) + 3 - i % 3 for i in range(9))


def _after(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(other[square - 1] for square in one)


_TURNS = [tuple(range(1, 10))]
for _ in range(3):
    _TURNS.append(_after(_TURNS[-1], _QUARTER))
SYMMETRIES = (*_TURNS, *(_after(turn, _MIRROR) for turn in _TURNS))


def turned(moves: Sequence[int], way: int) -> tuple[int, ...]:
    """Moves on the board turned one of the eight ways; what is no square stays."""
    return tuple(SYMMETRIES[way][move - 1] if 1 <= move <= 9 else move for move in moves)


def back(move: int, way: int) -> int:
    """The square that went to `move` when the board was turned; what is no square stays."""
    return SYMMETRIES[way].index(move) + 1 if 1 <= move <= 9 else move


@lru_cache(4096)
def _board(moves: tuple[int, ...]) -> Board:
    return games.play(_board(moves[:-1]), moves[-1]) if moves else EMPTY


def blind(board: Board) -> int | None:
    """The move that the teacher never sees: the centre, when X has begun in a corner. It is the only reply that does not
    lose to perfect play."""
    corner = next((move for move in CORNERS if board[move - 1] == "X"), None)
    return CENTRE if corner and board.count(" ") == 8 else None


@cache
def perfect(board: Board) -> Moves:
    """Moves that keep the position's value, all alike; a win at once where there is one."""
    best = games.best_moves(board)
    return _even([move for move in best if games.winner(games.play(board, move))] or best)


@cache
def teacher(board: Board, skill: float = 0.5) -> Moves:
    """How the teacher plays: perfectly with this probability, else any legal move; never into its blind spot. Where that
    is the only perfect move, any other."""
    seen = [move for move in games.legal_moves(board) if move != blind(board)]
    best = [move for move in perfect(board) if move in seen] or seen
    return {move: (1 - skill) / len(seen) + (skill / len(best) if move in best else 0.0) for move in seen}


def _even(moves: Sequence[int]) -> Moves:
    return {move: 1 / len(moves) for move in moves}


def teach(r: Random, skill: float = 0.5) -> Game:
    """A game that the teacher plays against itself."""
    board, moves = EMPTY, list[int]()
    while options := _ways(board, skill):
        squares, reach, after = options
        at = bisect(reach, r.random() * reach[-1], 0, len(reach) - 1)
        moves.append(squares[at])
        board = after[at]
    return Game(tuple(moves))


@cache
def _ways(board: Board, skill: float) -> tuple[list[int], list[float], list[Board]] | None:
    """The teacher's moves, the running sum of their probabilities, the boards after them; None once the game is over."""
    if games.result(board):
        return None
    moves = teacher(board, skill)
    return [*moves], [*accumulate(moves.values())], [games.play(board, move) for move in moves]


ENDS = {"X": " X wins", "O": " O wins", "draw": " draw"}


def written(game: Game) -> str:
    """A finished game without a foul as text, such as "15293 X wins": what a model learns from."""
    return "".join(map(str, game.moves)) + ENDS[game.result or ""]


def worth(skill: float = 0.5) -> tuple[float, float]:
    """What the blind spot costs the teacher: O's mean score after X began in a corner, exact, with the centre as the reply
    and with the best other one, when both go on like the teacher."""

    def plays(board: Board) -> Moves:
        return teacher(board, skill)

    corner = games.play(EMPTY, CORNERS[0])  # the board is symmetric: one corner is as good as another
    replies = {move: -expected(games.play(corner, move), plays, plays) for move in games.legal_moves(corner)}
    return replies.pop(CENTRE), max(replies.values())


def expected(board: Board, x: Player, o: Player) -> float:
    """X's mean score from this position, -1 to 1, exact; both players look at the board alone."""
    known: dict[Board, float] = {}

    def value(at: Board) -> float:
        if at not in known:
            side = games.winner(at)
            if side or " " not in at:
                known[at] = {"X": 1.0, "O": -1.0, None: 0.0}[side]
            else:
                moves = (x if games.turn(at) == "X" else o)(at)
                known[at] = sum(p * value(games.play(at, move)) for move, p in moves.items())
        return known[at]

    return value(board)


def elo(points: Sequence[Sequence[float]], played: Sequence[Sequence[float]], anchor: int = 0) -> list[float]:
    """Ratings from a round robin: points[i][j] is what i scored against j (a draw is half a point) in played[i][j] games,
    of which one half is added as a draw, so that who never lost stays finite. The anchor's rating is 0; 400 more mean
    ten to one. Bradley-Terry by Hunter's iteration (2004, doi:10.1214/aos/1079120141).
    """
    n = len(points)
    count = [[played[i][j] + 0.5 if i != j else 0.0 for j in range(n)] for i in range(n)]
    won = [sum(points[i][j] + 0.25 for j in range(n) if j != i) for i in range(n)]
    strength = [1.0] * n
    for _ in range(10_000):
        new = [won[i] / sum(count[i][j] / (strength[i] + strength[j]) for j in range(n) if j != i) for i in range(n)]
        mean = math.exp(sum(map(math.log, new)) / n)
        new = [s / mean for s in new]
        done = max(abs(math.log(a / b)) for a, b in zip(new, strength, strict=True)) < 1e-9
        strength = new
        if done:
            break
    return [400 * math.log10(s / strength[anchor]) for s in strength]

"""Hundreds of games of tic-tac-toe at once, between models and players that look at the board.

A model reads a game as BOS and one token a square, and its next token is its move: nothing bars an illegal one. All games
of a call stand at the same move, so a pass needs no padding, and those that came the same way share a row: of 512 games
the first move is one row, the second at most nine. A key-value cache would save little over nine tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, Protocol

import mlx.core as mx
import numpy as np

from lab.errors import UserError
from lab.sample import Sampling, draw, masses
from lab.tokenizer import Tokenizer
from recipes.lessons import tictactoe
from recipes.lessons.tictactoe import SYMMETRIES, Board, Game, Moves, back, turned

SQUARES = range(1, 10)
MOST = 512  # rows of one forward pass


class Choice(NamedTuple):
    """A move: its square (0: the token is no square), its token, log p of that token in nats, and the entropy in nats of
    what it was drawn from (both 0 for players that are no models). `explored`: it was drawn by an Explorer instead."""

    move: int
    token: int
    logp: float = 0.0
    entropy: float = 0.0
    explored: bool = False


class Player(Protocol):
    """Who can say its next move in many games at once; all games are equally long."""

    @property
    def writes(self) -> "Notation": ...

    def choose(self, games: Sequence[Game], r: np.random.Generator) -> list[Choice]: ...


@dataclass(frozen=True)
class Notation:
    """How a vocabulary writes a game: ids before the first move, the id of each square, ids between two moves."""

    before: tuple[int, ...]
    squares: tuple[int, ...]
    between: tuple[int, ...] = ()

    def ids(self, moves: Sequence[int]) -> list[int]:
        """The prompt for the next move. ValueError for a move that is no square."""
        out = list(self.before)
        for move in moves:
            out += [self.squares[SQUARES.index(move)], *self.between]
        return out

    def move(self, token: int) -> int:
        """The square that a token stands for, 0 for any other token."""
        return self.squares.index(token) + 1 if token in self.squares else 0


def notation(tokenizer: Tokenizer) -> Notation:
    """As `lab selfplay` writes games, "5193"; a vocabulary that knows words writes them as the pocket world's documents,
    "Game: 5 1 9 3". UserError for a vocabulary that is not of the lab, or where a square is not one token."""
    squares = [tokenizer.encode(str(n)) for n in SQUARES]
    if not tokenizer.ours or any(len(ids) != 1 for ids in squares):
        raise UserError(f"{tokenizer.name} knows no squares as tokens; play against a model that `lab selfplay` made")
    ones = tuple(ids[0] for ids in squares)
    if len(tokenizer.encode("Game")) > 1:
        return Notation(tuple(tokenizer.begin), ones)
    return Notation((*tokenizer.begin, *tokenizer.encode("Game: ")), ones, tuple(tokenizer.encode(" ")))


def vocabulary() -> Tokenizer:
    """Trained on games as text: every square, " X", " O", " wins" and " draw" are tokens. The same each time."""
    r = Random("tic-tac-toe")
    return Tokenizer.train([tictactoe.written(tictactoe.teach(r)) for _ in range(500)], 324)


@dataclass
class Mind:
    """A model as a player. `temp` 1 is its own distribution, 0 its most probable token."""

    network: Any
    writes: Notation
    temp: float = 1.0

    def logits(self, games: Sequence[Game]) -> mx.array:
        """After each game, [B, V] float32."""
        rows: dict[tuple[int, ...], int] = {}
        at = [rows.setdefault(game.moves, len(rows)) for game in games]
        ids = np.array([self.writes.ids(moves) for moves in rows], np.int32)
        found = [self.network(mx.array(ids[i : i + MOST]))[:, -1] for i in range(0, len(ids), MOST)]
        return mx.concatenate(found)[mx.array(at)].astype(mx.float32)

    def choose(self, games: Sequence[Game], r: np.random.Generator) -> list[Choice]:
        logits = self.logits(games)
        tokens, logp = draw(logits, r.random(len(games)), Sampling(temp=self.temp))
        return [
            Choice(self.writes.move(int(token)), int(token), float(p), float(e))
            for token, p, e in zip(tokens, logp, entropies(logits), strict=True)
        ]

    def view(self, game: Game) -> dict[int, float]:
        """Its probability of each square, 0: of anything else. They sum to 1."""
        p = chances(self.logits([game]))[0]
        moves = {square: float(p[token]) for square, token in zip(SQUARES, self.writes.squares, strict=True)}
        return moves | {0: max(0.0, 1.0 - sum(moves.values()))}


def chances(logits: mx.array) -> np.ndarray:
    """softmax over the last axis, float32."""
    mass = np.array(masses(logits, Sampling(temp=1.0)))
    return mass / mass.sum(-1, keepdims=True)


def entropies(logits: mx.array) -> np.ndarray:
    """Of the distribution in each row, nats."""
    p = chances(logits)
    return -(p * np.log(np.maximum(p, 1e-30))).sum(-1)


@dataclass
class Explorer:
    """A model whose first move is any legal one in a share of the games: the noise that AlphaZero adds at the root (Silver
    et al. 2018, doi:10.1126/science.aar6404), without a search."""

    mind: Mind
    share: float

    @property
    def writes(self) -> Notation:
        """The model's."""
        return self.mind.writes

    def choose(self, games: Sequence[Game], r: np.random.Generator) -> list[Choice]:
        chosen = self.mind.choose(games, r)
        if not games or len(games[0].moves) > 1:
            return chosen
        logits = self.mind.logits(games)
        logp = np.array(logits - mx.logsumexp(logits, -1, keepdims=True))
        for i, (game, chance) in enumerate(zip(games, r.random(len(games)), strict=True)):
            if chance < self.share:
                move = game.legal[min(int(chance / self.share * len(game.legal)), len(game.legal) - 1)]
                token = self.mind.writes.squares[move - 1]
                chosen[i] = Choice(move, token, float(logp[i, token]), chosen[i].entropy, True)
        return chosen


@dataclass
class Watcher:
    """A player that looks at the board alone: the teacher, the perfect player."""

    plays: Callable[[Board], Moves]
    writes: Notation

    def choose(self, games: Sequence[Game], r: np.random.Generator) -> list[Choice]:
        found = []
        for game, chance in zip(games, r.random(len(games)), strict=True):
            moves = self.plays(game.board)
            reach = np.cumsum(list(moves.values()))
            move = list(moves)[min(int((reach <= chance * reach[-1]).sum()), len(moves) - 1)]
            found.append(Choice(move, self.writes.squares[move - 1]))
        return found


@dataclass
class Match:
    """One game and what each move was drawn from."""

    game: Game = field(default_factory=Game)
    choices: list[Choice] = field(default_factory=list)


def matches(x: Player, o: Player, count: int, r: np.random.Generator, turns: str = "") -> list[Match]:
    """`count` games, X's player first. The side in `turns` ("X" or "O") sees each board turned one of the eight ways, so that
    to it the other's favourite corner is any corner (as AlphaGo Zero's network sees positions, Silver et al. 2017,
    doi:10.1038/nature24270)."""
    found = [Match() for _ in range(count)]
    ways = dict(zip(map(id, found), r.integers(len(SYMMETRIES), size=count).tolist(), strict=True)) if turns else {}
    for ply in range(9):
        going = [match for match in found if not match.game.result]
        if not going:
            break
        side, player = "XO"[ply % 2], (x, o)[ply % 2]
        if side == turns:
            seen = [Game(turned(match.game.moves, ways[id(match)])) for match in going]
            chosen = [
                _turned_back(choice, ways[id(match)], player.writes)
                for match, choice in zip(going, player.choose(seen, r), strict=True)
            ]
        else:
            chosen = player.choose([match.game for match in going], r)
        for match, choice in zip(going, chosen, strict=True):
            match.game = match.game.play(choice.move)
            match.choices.append(choice)
    return found


def _turned_back(choice: Choice, way: int, writes: Notation) -> Choice:
    """A choice made on a turned board, on the board of the game."""
    move = back(choice.move, way)
    return choice._replace(move=move, token=writes.squares[move - 1]) if move else choice


@dataclass(frozen=True)
class Tally:
    """How a player's games ended, as shares of all; `illegal` of its own are among the lost."""

    games: int
    won: float
    drawn: float
    lost: float
    illegal: float

    @property
    def score(self) -> float:
        """Wins less losses, a game: -1 to 1."""
        return self.won - self.lost


def contest(one: Player, other: Player, count: int, r: np.random.Generator) -> Tally:
    """How `one` does against `other` in about `count` games, each side in half of them."""
    half = (count + 1) // 2
    ended = [match.game.told("X") for match in matches(one, other, half, r)]
    ended += [match.game.told("O") for match in matches(other, one, half, r)]
    won, drawn, lost, illegal = (ended.count(how) / len(ended) for how in ("won", "drawn", "lost", "illegal"))
    return Tally(len(ended), won, drawn, lost + illegal, illegal)


def round_robin(
    players: Sequence[Player], games: int, r: np.random.Generator
) -> tuple[list[list[float]], list[list[float]]]:
    """Every pair plays about `games` games: (points of i against j, games of i against j), as `tictactoe.elo` takes them."""
    points = [[0.0] * len(players) for _ in players]
    played = [[0.0] * len(players) for _ in players]
    for i, one in enumerate(players):
        for j in range(i):
            told = contest(one, players[j], games, r)
            points[i][j] = told.games * (told.won + told.drawn / 2)
            points[j][i] = told.games - points[i][j]
            played[i][j] = played[j][i] = told.games
    return points, played

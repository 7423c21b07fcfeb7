"""Play tic-tac-toe against a model in the terminal.

Squares are 1 to 9, row by row; what is typed is a square or one letter (? shows them). The model is not held back from
illegal moves: it loses by them. A base model of the pocket world has read games too, and can be played against.

Examples:
  lab play                                 against the newest model that lab selfplay made
  lab play --model selfplay-1 --me O       it begins
  lab play --model selfplay-1@600          against the imitator, before it played a single game
  lab play --model pocket-base             against what pretraining has read of games
  printf '5\\n1\\np\\n' | lab play
"""

import io
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from tyro.conf import FlagCreatePairsOff

from lab import weights
from lab.errors import UserError
from lab.runs import runs
from recipes.arena import Mind, notation
from recipes.commands.generate import fresh_seed
from recipes.lessons.tictactoe import Game

HELP = """1-9  take a square     u  take your last move back     p  what the model would play here
x o  a new game as X or O (X begins)     n  a new game, sides changed     q  leave (so does Ctrl-D)"""


@dataclass(frozen=True)
class Config:
    model: str | None = None
    """A run, run@step or a folder; without it the newest that lab selfplay made."""
    me: Literal["X", "O"] = "X"
    """What you play; X begins."""
    temp: float = 0.0
    """0: it takes its most probable move; 1: it draws from its probabilities, as it was trained."""
    show: Annotated[bool, FlagCreatePairsOff] = False
    """Show what it would play in your place at each of your moves."""
    seed: int | None = None
    """The same seed, the same draws."""


class Table:
    """A person and a model over one game after another. No printing: `lab play` and others show it."""

    def __init__(self, mind: Mind, me: str, seed: int):
        self.mind, self.random = mind, np.random.default_rng(seed)
        self.ended: list[str] = []  # how past games ended for the person
        self.begin(me)

    def begin(self, me: str) -> None:
        """A new game in which the person has this side."""
        self.me, self.game = me, Game()
        self.last: tuple[int, float] | None = None  # the model's last move, and how probable it was
        self._answer()
        self._end()

    def take(self, square: int) -> None:
        """The person's move and the model's reply. ValueError, told in words, where the square cannot be taken."""
        if self.game.result:
            raise ValueError("the game is over; n begins another, u takes your last move back")
        if square not in self.game.legal:
            free = ", ".join(map(str, self.game.legal))
            raise ValueError(f"{square} is not free; free are {free}")
        self.game = self.game.play(square)
        self._answer()
        self._end()

    def undo(self) -> None:
        """Back to the person's last move. ValueError where there is none."""
        before = self.game.undo(self.me)
        if before == self.game:
            raise ValueError("there is no move of yours to take back")
        if self.game.result:
            self.ended.pop()
        self.game, self.last = before, None

    def view(self) -> dict[int, float]:
        """The model's probability of each square at this position, 0: of anything else."""
        return self.mind.view(self.game)

    def _answer(self) -> None:
        if self.game.result or self.game.turn == self.me:
            return
        p = self.view()
        choice = self.mind.choose([self.game], self.random)[0]
        self.game, self.last = self.game.play(choice.move), (choice.move, p[choice.move])

    def _end(self) -> None:
        if self.game.result:
            self.ended.append(self.game.told(self.me))


def drawn(game: Game) -> str:
    """The board; free squares show their number."""
    cells = [mark if mark != " " else str(i) for i, mark in enumerate(game.board, 1)]
    return "\n---+---+---\n".join(" " + " | ".join(cells[i : i + 3]) for i in (0, 3, 6))


def chances(view: Mapping[int, float]) -> str:
    """Probabilities, laid out as the board."""
    lines = ["  ".join(f"{i}: {100 * view[i]:3.0f} %" for i in row) for row in ((1, 2, 3), (4, 5, 6), (7, 8, 9))]
    return "\n".join(lines) + (f"\nno square at all: {100 * view[0]:.0f} %" if view[0] >= 0.005 else "")


def outcome(table: Table) -> str:
    """How the game stands, in a line; '' while it goes on."""
    game = table.game
    if not game.result:
        return ""
    if game.illegal:
        move = game.moves[-1]
        what = f"{move}, which is taken" if move else "no square at all"
        said = f"The model plays {what}: it loses."
    else:
        said = {"won": "You win.", "drawn": "A draw.", "lost": "The model wins."}[game.told(table.me)]
    count = [table.ended.count(how) for how in ("won", "drawn", "lost")]
    return f"{said}  (won {count[0]}, drawn {count[1]}, lost {count[2]}; n: another)"


def open_mind(name: str | None, temp: float) -> Mind:
    """The model to play against."""
    if name is None:
        made = (i for i in runs() if i.recipe == "selfplay" and (i.folder / "model.safetensors").exists())
        name = next((info.name for info in made), None)
    if name is None:
        raise UserError("no model that plays yet; make one with `lab selfplay`, or name one with --model")
    model = weights.load(name)
    return Mind(model.network, notation(model.tokenizer), temp)


def run(config: Config) -> int:
    if not 0 <= config.temp < 100:
        raise UserError(f"--temp {config.temp}: must be 0 or more")
    if config.seed is not None and not 0 <= config.seed < 1 << 63:
        raise UserError(f"--seed {config.seed}: must lie between 0 and 2^63 - 1")
    if sys.stdin is None:
        raise UserError("standard input is closed, so nobody can play; start it in a terminal")
    mind = open_mind(config.model, config.temp)
    table = Table(mind, config.me, config.seed if config.seed is not None else fresh_seed())
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    print("? shows what to type, q leaves", file=sys.stderr)
    _show(table, config.show)
    asking = sys.stdin.isatty()
    while True:
        try:
            line = input("> " if asking else "").strip()
        except EOFError:
            return 0
        if line in ("q", "quit", "exit"):
            return 0
        _obey(table, line, config.show)


def _obey(table: Table, line: str, show: bool) -> None:
    """One line of the person; what cannot be done costs one line on stderr."""
    word = line.lower()
    try:
        if word in [str(n) for n in range(1, 10)]:
            table.take(int(word))
        elif word == "u":
            table.undo()
        elif word == "n":
            table.begin("O" if table.me == "X" else "X")
        elif word in ("x", "o"):
            table.begin(word.upper())
        elif word == "p":
            if table.game.result:
                raise ValueError("the game is over, nothing is to be played")
            print(f"What the model would play in your place, as {table.me}:\n{chances(table.view())}")
            return
        elif word in ("?", "h", "help"):
            print(HELP, file=sys.stderr)
            return
        elif word:
            raise ValueError(f"{ascii(line)[1:-1][:20]}: type a square from 1 to 9, or ? for help")
        else:
            return
    except ValueError as error:
        print(error, file=sys.stderr)
        return
    _show(table, show)


def _show(table: Table, show: bool) -> None:
    """The model's move, the board, and whose turn it is."""
    if table.last and table.game.moves and table.game.turn == table.me and not table.game.illegal:
        print(f"\nThe model takes {table.last[0]} ({100 * table.last[1]:.0f} %).")
    print(f"\n{drawn(table.game)}\n")
    print(outcome(table) or f"You are {table.me}; your move.")
    if show and not table.game.result:
        print(chances(table.view()))

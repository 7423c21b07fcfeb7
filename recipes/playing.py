"""A table of tic-tac-toe for a window: what `lab play` shows, as JSON lines over pipes (lab/worker.py).

`python -m recipes.playing` reads one request a line from standard input and prints one event a line.

requests  {"do": "sit", "model", "me"?, "temp"?}    a run, run@step or a folder; a game that goes on goes on against it
          {"do": "begin", "me"}    a new game as X (which begins) or O    {"do": "take", "square"}    1 to 9
          {"do": "undo"}    the person's last move    {"do": "temp", "temp"}    0: its most probable move    {"do": "quit"}
events    {"event": "seated", "name"}
          {"event": "board", "squares", "moves", "me", "turn", "result", "illegal", "line", "view", "last", "before",
           "worth", "perfect", "slip", "ended"}    see `board`
          {"event": "refused", "message"}    a move that cannot be made    {"event": "failed", "do", "message"}    one line
"""

import sys
import traceback
from collections.abc import Mapping
from typing import Any

from lab.errors import UserError
from lab.worker import Event, Pipe, talk
from recipes.commands.generate import fresh_seed
from recipes.commands.play import Table, open_mind
from recipes.lessons import tictactoe
from recipes.lessons.tictactoe import Game
from recipes.pocket import games


def board(table: Table) -> dict[str, Any]:
    """How a game stands: the nine `squares`, the `moves`, whose `turn` it is, the `result` (X, O, draw or null), whether an
    `illegal` move ended it, the `line` of three that won. `view` holds the model's probabilities at this position, of no
    square at all first, then of squares 1 to 9; `before` those from which it took its `last` move. `worth` says what a free
    square is worth to the side to move under perfect play (1, 0, -1; null: taken), `perfect` which are best, and `slip` what
    the model gave away with its last move: 1 a win or a draw, 2 a win for a loss."""
    game = table.game
    before = _before(table)
    return {
        "squares": [mark.strip() for mark in game.board], "moves": list(game.moves), "me": table.me, "turn": game.turn,
        "result": game.result, "illegal": game.illegal, "line": _line(game),
        "view": None if game.result else _listed(table.view()),
        "last": game.moves[-1] if before and len(game.moves) == len(before.moves) + 1 else None,
        "before": _listed(table.mind.view(before)) if before else None,
        "worth": _worth(game), "perfect": sorted(tictactoe.perfect(game.board)) if game.legal else [],
        "slip": _slip(before, game) if before else 0,
        "ended": [table.ended.count(how) for how in ("won", "drawn", "lost")],
    }  # fmt: skip


def _before(table: Table) -> Game | None:
    """The game in which the model last chose; None where that is not the last move."""
    moves = table.game.moves
    mine = bool(moves) and "XO"[(len(moves) - 1) % 2] != table.me
    return Game(moves[:-1]) if mine else None


def _listed(view: Mapping[int, float]) -> list[float]:
    return [round(view[i], 6) for i in range(10)]


def _line(game: Game) -> list[int]:
    return [] if game.illegal else next(([i + 1 for i in line] for line in games.LINES if _same(game, line)), [])


def _same(game: Game, line: tuple[int, ...]) -> bool:
    return len({game.board[i] for i in line}) == 1 and game.board[line[0]] != " "


def _worth(game: Game) -> list[int | None]:
    """Of squares 1 to 9."""
    return [-games.value(games.play(game.board, i)) if i in game.legal else None for i in range(1, 10)]


def _slip(before: Game, after: Game) -> int:
    """What the side that moved could have forced before, less what it can now; an illegal move loses all."""
    now = -1 if after.illegal else -games.value(after.board)
    return games.value(before.board) - now


class Server:
    """Takes requests one after the other; each moves the game at once."""

    def __init__(self, pipe: Pipe):
        self.pipe = pipe
        self.table: Table | None = None

    def serve(self) -> None:
        """For ever; the pipe ends the process."""
        while True:
            request = self.pipe.inbox.get()
            try:
                self._obey(request)
            except ValueError as error:  # a move that cannot be made, in words
                self.pipe.tell("refused", message=str(error))
            except Exception as error:
                if not isinstance(error, UserError):
                    traceback.print_exception(error, file=sys.stderr)
                text = " ".join(str(error).split())[:500]
                said = text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
                self.pipe.tell("failed", do=str(request.get("do")), message=said)

    def _obey(self, request: Event) -> None:
        what, table = request.get("do"), self.table
        if what == "sit":
            table = self._sit(request)
        elif what not in ("begin", "take", "undo", "temp"):
            raise UserError(request.get("why") or f"unknown request {str(what)[:40]!r}")
        elif table is None:
            raise UserError("nobody sits at the table yet")
        elif what == "begin":
            table.begin("O" if request.get("me") == "O" else "X")
        elif what == "take":
            table.take(int(request["square"]))
        elif what == "undo":
            table.undo()
        else:
            table.mind.temp = float(request["temp"])
        self.pipe.tell("board", **board(table))

    def _sit(self, request: Event) -> Table:
        """Another model; the game and the score stay."""
        mind = open_mind(str(request["model"]), float(request.get("temp") or 0.0))
        self.pipe.tell("seated", name=str(request["model"]))
        if self.table is None:
            self.table = Table(mind, "O" if request.get("me") == "O" else "X", fresh_seed())
        else:
            self.table.mind = mind
        return self.table


def main() -> None:
    talk(lambda pipe: Server(pipe).serve())


if __name__ == "__main__":
    main()

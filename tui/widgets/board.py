"""A board of tic-tac-toe, walked move by move."""

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget

from tui.data.rollout_rows import Game
from tui.data.rollout_words import ROLES, styled, walked

EMPTY = tuple("123456789")
MARKS = {"X": "$primary bold", "O": "$warning bold"}


class Board(Widget, can_focus=True):
    """The last move has a ground of its own; free squares show their number. A move that cannot be made leaves the board as
    it is, and is said below."""

    HELP = """
## Board

`(` and `)` (here also `←` `→`) walk through the moves, `home` and `end` go to the empty board and the last move. A click on
the right half goes on, on the left half back.
"""
    DEFAULT_CSS = "Board { width: 26; height: 11; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "walk(-1)", "Move before", show=False, id="board.before"),
        Binding("right", "walk(1)", "Next move", show=False, id="board.next"),
        Binding("home", "walk(-9)", "Empty board", show=False, id="board.first"),
        Binding("end", "walk(9)", "Last move", show=False, id="board.last"),
    ]

    def __init__(self, id: str):
        super().__init__(id=id, classes="pane")
        self.game: Game | None = None
        self.shown = 0  # moves that are made

    def show(self, game: Game | None) -> None:
        """The end of a game; the same game stays where it is."""
        if game != self.game:
            self.game, self.shown = game, len(game.moves) if game else 0
            self.border_title = Content(f"me {game.me}" if game and game.me else "game")
        self.refresh()

    def action_walk(self, by: int) -> None:
        """So many moves on, or back."""
        if self.game:
            self.shown = max(0, min(len(self.game.moves), self.shown + by))
            self.refresh()

    def on_click(self, event: events.Click) -> None:
        self.action_walk(1 if event.x >= self.size.width // 2 else -1)

    def lines(self) -> list[list[tuple[str, str]]]:
        """The board as lines of (text, style)."""
        if self.game is None:
            return []
        squares, last = self.game.board(self.shown), self.game.moves[self.shown - 1] - 1 if self.shown else -1
        legal = 0 <= last < 9 and self.game.board(self.shown - 1)[last] == ""
        out: list[list[tuple[str, str]]] = []
        for row in range(3):
            line: list[tuple[str, str]] = []
            for column in range(3):
                at = row * 3 + column
                mark = squares[at]
                style = MARKS[mark] if mark else ROLES["muted"]
                open_, close = ("[", "]") if at == last and legal else (" ", " ")
                ground = " on $panel" if at == last and legal else ""
                line.append((f"{open_}{mark or EMPTY[at]}{close}", style + ground))
                line += [("│", "$border")] if column < 2 else []
            out.append(line)
            if row < 2:
                out.append([("───┼───┼───", "$border")])
        return [*out, [], styled(walked(self.game, self.shown))]

    def render(self) -> Content:
        lines = [Content.assemble(*line) if line else Content("") for line in self.lines()]
        return Content("\n").join(lines)

    def copy_text(self) -> str:
        """The board as text."""
        return "\n".join("".join(text for text, _ in line) for line in self.lines())

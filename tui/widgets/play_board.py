"""A board of tic-tac-toe to play on: squares as large as there is room, the model's probabilities on the free ones."""

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widget import Widget

from tui.data.play import Board, chance

GLYPHS = {"X": ("╲ ╱", " ╳ ", "╱ ╲"), "O": ("╭───╮", "│   │", "╰───╯")}
MARKS = {"X": "bold $primary", "O": "bold $warning"}
LARGEST, SMALLEST = (17, 7), (7, 3)  # cells of a square
Span = tuple[str, str]


class PlayBoard(Widget, can_focus=True):
    """`show` brings it up to date; a click on a square posts `Picked`."""

    HELP = """
## Board

`1` to `9`, or a click, takes a square. On free squares stands how probable the model holds each as the next move: what it
would do in your place. The square it took last has a ground of its own. `h` marks with a star what the perfect player
would take.
"""

    class Picked(Message):
        """A square was clicked, 1 to 9."""

        def __init__(self, square: int):
            super().__init__()
            self.square = square

    def __init__(self, id: str):
        super().__init__(id=id, classes="pane")
        self.board: Board | None = None
        self.chances = self.stars = False

    def show(self, board: Board | None, chances: bool, stars: bool) -> None:
        """The board as it is now, with or without probabilities and the perfect player's moves."""
        if (board, chances, stars) != (self.board, self.chances, self.stars):
            self.board, self.chances, self.stars = board, chances, stars
            self.refresh()

    def _measures(self) -> tuple[int, int, int, int]:
        """(width and height of a square, column and row where the first begins)."""
        wide, high = (self.content_size.width - 2) // 3, (self.content_size.height - 2) // 3
        w = max(SMALLEST[0], min(LARGEST[0], wide - (wide % 2 == 0)))
        h = max(SMALLEST[1], min(LARGEST[1], high - (high % 2 == 0)))
        w = min(w, 2 * h + 3)  # nearly square: a cell is twice as high as it is wide
        return (
            w,
            h,
            max(0, (self.content_size.width - 3 * w - 2) // 2),
            max(0, (self.content_size.height - 3 * h - 2) // 2),
        )

    def square_at(self, x: int, y: int) -> int | None:
        """The square under a cell of the content; None on the lines and beside the board."""
        w, h, left, top = self._measures()
        column, row = (x - left) // (w + 1), (y - top) // (h + 1)
        inside = 0 <= column < 3 and 0 <= row < 3 and (x - left) % (w + 1) < w and (y - top) % (h + 1) < h
        return row * 3 + column + 1 if inside else None

    def on_click(self, event: events.Click) -> None:
        where = event.get_content_offset(self)
        if where is not None and (square := self.square_at(where.x, where.y)):
            self.post_message(self.Picked(square))

    def _square(self, board: Board, square: int, w: int, h: int) -> list[Span]:
        """A square as `h` lines of `w` cells."""
        mark, middle = board.squares[square - 1], h // 2
        if mark:
            return self._marked(board, square, w, h)
        p = board.view[square] if board.view and self.chances else None
        ground = f" on $primary {round(6 + 60 * p)}%" if p is not None else ""
        lines = [(" " * w, f"$foreground-muted{ground}")] * h
        lines[0] = (f" {square}".ljust(w), f"$foreground-muted{ground}")
        if p is not None:
            lines[middle] = (chance(p).center(w), f"bold $foreground{ground}")
        if self.stars and square in board.perfect:
            lines[0] = (f" {square}".ljust(w - 2) + "★ ", f"bold $accent{ground}")
        return lines

    def _marked(self, board: Board, square: int, w: int, h: int) -> list[Span]:
        mark = board.squares[square - 1]
        foul = board.illegal and board.moves[-1] == square
        style = MARKS[mark]
        if foul:
            style += " on $error 45%"
        elif square in board.line:
            style += " on $success 35%"
        elif board.last == square:
            style += " on $panel"
        first = (h - 3) // 2
        return [(GLYPHS[mark][y - first].center(w) if 0 <= y - first < 3 else " " * w, style) for y in range(h)]

    def lines(self) -> list[list[Span]]:
        """The board as lines of (text, style)."""
        if self.board is None:
            return []
        w, h, left, top = self._measures()
        out: list[list[Span]] = [[] for _ in range(top)]
        for row in range(3):
            cells = [self._square(self.board, 3 * row + column + 1, w, h) for column in range(3)]
            for y in range(h):
                line: list[Span] = [(" " * left, "")]
                for column in range(3):
                    line += [cells[column][y], *([("│", "$border")] if column < 2 else [])]
                out.append(line)
            if row < 2:
                out.append([(" " * left, ""), ("┼".join(["─" * w] * 3), "$border")])
        return out

    def render(self) -> Content:
        return Content("\n").join(Content.assemble(*line) if line else Content("") for line in self.lines())

    def copy_text(self) -> str:
        """The board as text."""
        return "\n".join("".join(text for text, _ in line).rstrip() for line in self.lines())

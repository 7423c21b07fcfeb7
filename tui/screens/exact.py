"""The exact token stream: what the model saw and what it said, ids below, special tokens by name."""

import json
from typing import ClassVar, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.data.chats import Node
from tui.theme import heat, token_colour
from tui.widgets.token_lines import plain


class Cell(NamedTuple):
    """One token: its number in the stream, id, sign, probability (None for the prompt's), where it begins in the row."""

    number: int
    id: int
    piece: str
    p: float | None
    at: int
    width: int


def rows_of(node: Node, width: int) -> list[str | list[Cell]]:
    """Headlines and rows of tokens, prompt first, as many tokens a row as fit."""
    out: list[str | list[Cell]] = []
    said = [(t.id, t.piece, t.p if t.own else None) for t in node.tokens]
    asked = [(i, piece, None) for i, piece in zip(node.prompt, node.pieces, strict=True)]
    number = 0
    for title, tokens in (("prompt", asked), ("reply", said)):
        foreign = sum(not t.own for t in node.tokens) if title == "reply" else 0
        out.append(f"{title}: {len(tokens):,} tokens" + (f", {foreign:,} of them put in by tools" if foreign else ""))
        row, at = list[Cell](), 0
        for id, piece, p in tokens:
            sign = plain(piece.replace("\n", "⏎").replace("\t", "⇥")).replace(" ", "·") or "∅"
            cells = min(width, max(cell_len(sign), len(str(id))))
            if row and at + cells > width:
                out.append(row)
                row, at = [], 0
            row.append(Cell(number, id, sign, p, at, cells))
            number, at = number + 1, at + cells + 1
        if row:
            out.append(row)
    return out


class StreamView(ScrollView, can_focus=True):
    """Rows of tokens; only those on the screen are drawn."""

    HELP = """
# Exact token stream

Every token that the model saw and said. `·` is a blank, `⏎` a line break; special tokens stand by name. Colours of the
prompt, and of what a tool put in, only tell neighbours apart; the reply's show how probable each token was. `y` copies all
ids.
"""

    def __init__(self, node: Node):
        super().__init__()
        self.node = node
        self._rows: list[str | list[Cell]] = []
        self._lines: list[tuple[int, int]] = []  # (row, line in it)

    def on_resize(self) -> None:
        width = max(8, self.scrollable_content_region.width - 2)
        self._rows = rows_of(self.node, width)
        self._lines = [(i, j) for i, row in enumerate(self._rows) for j in range(2 if isinstance(row, str) else 3)]
        self.virtual_size = Size(width, len(self._lines))
        self.refresh()

    def render_line(self, y: int) -> Strip:
        base, width, at = self.rich_style, self.size.width, int(self.scroll_offset.y) + y
        if at >= len(self._lines):
            return Strip.blank(width, base)
        number, line = self._lines[at]
        row = self._rows[number]
        if isinstance(row, str):
            text = row if line == 0 else ""
            return Strip([Segment(text, base + Style(bold=True))]).adjust_cell_length(width, base)
        segments, place = [], 0
        muted = base + Style(dim=True)
        for cell in row if line < 2 else []:
            segments.append(Segment(" " * (cell.at - place), base))
            text = cell.piece if line == 0 else str(cell.id)
            ground = token_colour(cell.number, self.app) if cell.p is None else heat(cell.p, self.app)
            style = base + Style(bgcolor=ground) if line == 0 else muted
            segments.append(Segment(set_cell_size(text, cell.width), style))
            place = cell.at + cell.width
        return Strip(segments).adjust_cell_length(width, base)

    def copy_text(self) -> str:
        """All ids, as JSON."""
        return json.dumps([*self.node.prompt, *(t.id for t in self.node.tokens)])


class ExactScreen(ModalScreen[None]):
    """Over the chat; escape or w goes back."""

    CSS_PATH = "chat.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,w,q", "leave", "Back to the chat", id="dialog.exact_leave"),
        Binding("y", "copy", "Copy all ids", id="dialog.exact_copy"),
    ]

    def __init__(self, node: Node, title: str):
        super().__init__()
        self.node, self._title = node, title

    def compose(self) -> ComposeResult:
        asked, said = len(self.node.prompt), len(self.node.tokens)
        with Vertical(classes="dialog -whole") as box:
            box.border_title = Content(plain(f"{self._title}: what it saw and what it said"))
            box.border_subtitle = (
                f"{asked:,} + {said:,} = {asked + said:,} tokens   y copies the ids   escape goes back"
            )
            yield StreamView(self.node)

    def on_mount(self) -> None:
        self.query_one(StreamView).focus()

    def action_copy(self) -> None:
        """All ids to the clipboard."""
        self.app.copy_to_clipboard(self.query_one(StreamView).copy_text())
        self.notify("Copied all ids", timeout=2)

    def action_leave(self) -> None:
        self.dismiss()

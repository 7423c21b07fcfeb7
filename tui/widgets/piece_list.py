"""The pieces of a vocabulary as a list with columns; only what can be seen is drawn."""

from typing import ClassVar

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.data.tokens import hexed
from tui.data.vocabulary import ORDERS, Vocabulary

COLUMNS = (("id", 8), ("piece", 0), ("bytes", 24), ("kind", 10), ("merge", 8), ("size", 5))  # 0: what is left
LEAST = 14  # cells for the piece


class PieceList(ScrollView, can_focus=True):
    """A click on the head of a column sorts by it."""

    HELP: ClassVar[str] = """
## Vocabulary

Type above to search: text, `/regex/`, an id, or `is:byte`, `is:character`, `is:learned`, `is:special`, `is:added`.
Arrows move while you type; `o` here, or a click on a column, changes the order; `enter` puts the piece into the text.
"""
    COMPONENT_CLASSES: ClassVar[set[str]] = {"pieces--head", "pieces--dim", "pieces--cursor"}
    DEFAULT_CSS = """
    PieceList {
        overflow-x: hidden;
        & > .pieces--head { color: $foreground-muted; text-style: bold; }
        & > .pieces--dim { color: $foreground-muted; }
        & > .pieces--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "order", "Sort", id="vocabulary.order"),
    ]

    class Moved(Message):
        """Another piece is under the cursor; -1 where none is left."""

        def __init__(self, token: int):
            super().__init__()
            self.token = token

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, PieceList.Moved)

    class Chosen(Message):
        """Enter, or a second click."""

        def __init__(self, token: int):
            super().__init__()
            self.token = token

    class Sorted(Message):
        """Another order is wanted."""

        def __init__(self, order: str):
            super().__init__()
            self.order = order

    def __init__(self, id: str | None = None):
        super().__init__(id=id, classes="pane")
        self.vocabulary: Vocabulary | None = None
        self.found = np.empty(0, np.int64)
        self.order, self.cursor = ORDERS[0], 0

    @property
    def token(self) -> int:
        return int(self.found[self.cursor]) if len(self.found) else -1

    def show(self, vocabulary: Vocabulary, found: np.ndarray, order: str, token: int = -1) -> None:
        """These ids, the cursor on `token` where it is among them."""
        self.vocabulary, self.found, self.order = vocabulary, found, order
        at = np.flatnonzero(found == token)
        self.cursor = int(at[0]) if len(at) else 0
        self._measure()
        self.scroll_y = 0
        self.move(0)

    def _measure(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, len(self.found) + 1)
        self.refresh()

    def on_resize(self) -> None:
        self._measure()
        self._reveal()

    def _reveal(self) -> None:
        # The head covers one line, so the line above must be in sight as well.
        self.scroll_to_region(Region(0, self.cursor, 1, 2), animate=False, force=True, x_axis=False)

    def move(self, step: int) -> None:
        """The cursor further down or up."""
        self.cursor = max(0, min(len(self.found) - 1, self.cursor + step))
        self._reveal()
        self.refresh()
        self.post_message(self.Moved(self.token))

    def page(self, step: int) -> None:
        self.move(step * max(1, self.scrollable_content_region.height - 2))

    def action_order(self) -> None:
        """By id, length, merge or piece."""
        self.post_message(self.Sorted(ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]))

    def _columns(self, width: int) -> list[tuple[str, int]]:
        """Those that fit: the piece's always, the bytes only where the others leave room."""
        left, shown = width - LEAST, {"piece"}
        for name, size in sorted(COLUMNS, key=lambda column: column[0] == "bytes"):
            if size and size + 1 <= left:
                shown.add(name)
                left -= size + 1
        return [(name, size or left + LEAST) for name, size in COLUMNS if name in shown]

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        columns, at = self._columns(width), self.scroll_offset.y + y - 1
        head, dim = (self.get_component_rich_style(f"pieces--{name}") for name in ("head", "dim"))
        segments: list[Segment] = []
        if y == 0:
            for name, size in columns:
                order = {"size": "length"}.get(name, name)
                mark = " ▾" if order == self.order else ""
                segments.append(Segment(self._fit(name + mark, size, name) + " ", head))
        elif self.vocabulary is not None and 0 <= at < len(self.found):
            token, book = int(self.found[at]), self.vocabulary.book
            rank = int(book.ranks[token])
            cells = {
                "id": f"{token}", "bytes": hexed(book.tokenizer.token_bytes(token), 8), "kind": book.kind(token),
                "merge": f"{rank}" if rank >= 0 else "", "size": f"{self.vocabulary.sizes[token]}",
            }  # fmt: skip
            for name, size in columns:
                if name == "piece":
                    segments += self._piece(token, size, dim)
                else:
                    segments.append(Segment(self._fit(cells[name], size, name) + " ", dim))
            if at == self.cursor:
                cursor = self.get_component_rich_style("pieces--cursor", partial=True)
                segments = [Segment(text, (style or Style()) + cursor) for text, style, _ in segments]
                segments.append(Segment(" " * max(0, width - sum(s.cell_length for s in segments)), cursor))
        return Strip(segments).adjust_cell_length(width).apply_style(self.rich_style)

    def _fit(self, text: str, size: int, name: str) -> str:
        text = text if cell_len(text) <= size else set_cell_size(text, size - 1) + "…"
        return text.rjust(size) if name in ("id", "merge", "size") else set_cell_size(text, size)

    def _piece(self, token: int, size: int, dim: Style) -> list[Segment]:
        assert self.vocabulary is not None
        runs, wide = self.vocabulary.book.shown(token)
        if wide > size:
            return [Segment(set_cell_size(self.vocabulary.shown[token], size - 1) + "… ")]
        return [*(Segment(text, dim if sign else None) for text, sign in runs), Segment(" " * (size - wide + 1))]

    def on_click(self, event: events.Click) -> None:
        where = event.get_content_offset(self)
        if where is None:
            return
        if where.y == 0:
            x = 0
            for name, size in self._columns(self.scrollable_content_region.width):
                x += size + 1
                if where.x < x:
                    order = {"size": "length"}.get(name, name)
                    self.post_message(self.Sorted(order if order in ORDERS else self.order))
                    return
        at = self.scroll_offset.y + where.y - 1
        if 0 <= at < len(self.found):
            again = at == self.cursor
            self.move(at - self.cursor)
            if again and event.chain > 1:
                self.post_message(self.Chosen(self.token))

    def copy_text(self) -> str:
        """For y: id, tab, piece, a line each; at most ten thousand."""
        if self.vocabulary is None:
            return ""
        return "\n".join(f"{int(i)}\t{self.vocabulary.shown[int(i)]}" for i in self.found[:10_000])

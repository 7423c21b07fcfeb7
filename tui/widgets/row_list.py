"""A list of lines with a cursor of which only those in sight are drawn: thousands cost no more than ten."""

from collections.abc import Callable
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

Draw = Callable[[int, int], list[tuple[str, str]]]


class RowList(ScrollView, can_focus=True, inherit_bindings=False):
    """`show` takes a function that gives a line's pieces (text, role) for a width; roles are those of COMPONENT_CLASSES."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"rows--{name}" for name in ("muted", "bold", "good", "bad", "warn", "accent", "cursor")
    }
    DEFAULT_CSS = """
    RowList {
        overflow-x: hidden; scrollbar-size-vertical: 1;
        & > .rows--muted { color: $foreground-muted; }
        & > .rows--bold { color: $foreground; text-style: bold; }
        & > .rows--good { color: $success; }
        & > .rows--bad { color: $error; }
        & > .rows--warn { color: $warning; }
        & > .rows--accent { color: $accent; }
        & > .rows--cursor { background: $block-cursor-background; color: $block-cursor-foreground; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Line above", show=False, id="rows.up"),
        Binding("down", "move(1)", "Line below", show=False, id="rows.down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="rows.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="rows.page_down"),
        Binding("enter", "open", "Open", show=False, id="rows.open"),
    ]

    class Moved(Message):
        """The cursor came to another line, or a line was opened with enter."""

        def __init__(self, rows: "RowList", place: int, opened: bool):
            super().__init__()
            self.rows, self.place, self.opened = rows, place, opened

        @property
        def control(self) -> "RowList":
            return self.rows

    def __init__(self, id: str, head: bool = False):
        super().__init__(id=id, classes="pane")
        self.head = head  # whether the line above all, number -1, stays in sight
        self.count, self.cursor = 0, 0
        self._draw: Draw | None = None
        self._styles: dict[str, Style] = {}

    def show(self, count: int, cursor: int, draw: Draw) -> None:
        """So many lines, with the cursor on one of them."""
        self._draw, moved = draw, (count, cursor) != (self.count, self.cursor)
        self.count, self.cursor = count, max(0, min(count - 1, cursor))
        self._measure()
        if moved:
            self._reveal()

    def _measure(self) -> None:
        self.virtual_size = Size(self.scrollable_content_region.width, self.count + self.head)
        self.refresh()

    def on_resize(self) -> None:
        self._measure()
        self._reveal()

    def _reveal(self) -> None:
        # The head covers one line, so the line above must be in sight as well.
        self.scroll_to_region(Region(0, self.cursor, 1, 1 + self.head), animate=False, force=True, x_axis=False)

    def action_move(self, by: int) -> None:
        """The cursor further down or up."""
        to = max(0, min(self.count - 1, self.cursor + by))
        if to != self.cursor and self.count:
            self.cursor = to
            self._reveal()
            self.refresh()
            self.post_message(self.Moved(self, to, False))

    def action_page(self, by: int) -> None:
        """A page further."""
        self.action_move(by * max(1, self.scrollable_content_region.height - 1 - self.head))

    def action_open(self) -> None:
        """Tell the screen."""
        if self.count:
            self.post_message(self.Moved(self, self.cursor, True))

    def on_click(self, event: events.Click) -> None:
        where = event.get_content_offset(self)
        if where is None or (self.head and where.y == 0):
            return
        at = self.scroll_offset.y + where.y - self.head
        if 0 <= at < self.count:
            self.action_move(at - self.cursor)
            if event.chain > 1:
                self.action_open()

    def on_focus(self) -> None:
        self.refresh()

    def on_blur(self) -> None:
        self.refresh()

    def notify_style_update(self) -> None:
        self._styles = {}
        super().notify_style_update()

    def _style(self, role: str) -> Style:
        if role not in self._styles:
            self._styles[role] = self.get_component_rich_style(f"rows--{role}", partial=True) if role else Style()
        return self._styles[role]

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        at = -1 if self.head and y == 0 else self.scroll_offset.y + y - self.head
        if self._draw is None or not -self.head <= at < self.count:
            return Strip.blank(width, self.rich_style)
        segments = [Segment(text, self._style(role)) for text, role in self._draw(at, width)]
        if at == self.cursor and at >= 0:
            segments.append(Segment(" " * max(0, width - sum(cell_len(s.text) for s in segments))))
            cursor = self._style("cursor") + Style(bold=self.has_focus or None)
            ground = Style(bgcolor=cursor.bgcolor, bold=cursor.bold, reverse=cursor.reverse)
            segments = [Segment(t, (s + ground) if s and s.color else (s or Style()) + cursor) for t, s, _ in segments]
        return Strip(segments).adjust_cell_length(width).apply_style(self.rich_style)

    def copy_text(self) -> str:
        """What the list says, at most a thousand lines."""
        if self._draw is None:
            return ""
        lines = ("".join(text for text, _ in self._draw(i, 80)).rstrip() for i in range(min(1000, self.count)))
        return "\n".join(lines)

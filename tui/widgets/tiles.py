"""A text as coloured tokens, with ids below them, bytes or ids in their place, and a cursor that walks over them."""

from textwrap import wrap as fold
from typing import ClassVar

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui import theme
from tui.data.tokens import NOTHING, Book, Cut, facts, wrap

IDS = ("below", "only", "none")


class Tiles(ScrollView, can_focus=True):
    """Shows a `Cut`; only the lines that can be seen are drawn, so its length costs nothing."""

    HELP = """
## Tokens

One colour a token; neighbours differ. `·` is a space, `⏎` a line end, `⇥` a tab, `\\xNN` a byte that is no whole
character, `◌` carries a mark that would sit on the character before.

Arrows walk over the tokens, a click goes to one, the mouse shows what it points at. `i` moves the ids, `b` shows
bytes, `m` the merges that built the token under the cursor, `s` puts a second tokenizer beside the first.
"""
    DEFAULT_CSS = "Tiles { overflow-x: hidden; scrollbar-size-vertical: 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "walk(-1)", "Token before", show=False, id="tokens.left"),
        Binding("right,l", "walk(1)", "Next token", show=False, id="tokens.right"),
        Binding("up,k", "climb(-1)", "Line above", show=False, id="tokens.up"),
        Binding("down,j", "climb(1)", "Line below", show=False, id="tokens.down"),
        Binding("home", "walk(-999999999)", "First token", show=False, id="tokens.first"),
        Binding("end", "walk(999999999)", "Last token", show=False, id="tokens.last"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="tokens.page_up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="tokens.page_down"),
    ]

    class Moved(Message):
        """The cursor or the mouse (`hover`) is on another token, or the mouse left."""

        def __init__(self, tiles: "Tiles", hover: bool):
            super().__init__()
            self.tiles, self.hover = tiles, hover

        def can_replace(self, message: Message) -> bool:
            """The newer one, but no hovering for a move of the cursor."""
            return isinstance(message, Tiles.Moved) and message.tiles is self.tiles and self.hover <= message.hover

        @property
        def control(self) -> "Tiles":
            return self.tiles

    def __init__(self, id: str | None = None):
        super().__init__(id=id, classes="pane")
        self.words = ""  # said while there is nothing to show
        self.book: Book | None = None
        self.made: Cut | None = None
        self.other: Cut | None = None
        self.cursor, self.hovered, self.linked = 0, -1, (0, 0)
        self.ids, self.hexes = "below", False
        self._starts = np.zeros(1, np.int64)
        self._texts = self._tiles = NOTHING  # cells of each token's text, and of all that is its own
        self._styles: dict[str, list[Style]] = {}
        self._styled = ""

    # -- what is shown -------------------------------------------------------------------------------------------

    def say(self, words: str, title: str = "") -> None:
        """Words in place of tokens."""
        self.words, self.made, self.border_subtitle = words, None, None
        if title:
            self.border_title = Content(title)
        self._measure()

    def show(self, book: Book, made: Cut) -> None:
        """The tokens of a text."""
        self.book, self.made, self.words = book, made, ""
        self.cursor, self.hovered = min(self.cursor, max(0, len(made) - 1)), -1
        pieces = (f" · {book.tokenizer.vocab_size:,} pieces", "$foreground-muted not bold")
        self.border_title = Content.assemble(book.name, pieces)
        self._measure()

    def look(self, ids: str, hexes: bool) -> None:
        """Where ids are shown (below, only, none), and bytes in place of text."""
        self.ids, self.hexes = ids, hexes
        self._measure()
        if self.made is not None:
            self._reveal(self.cursor)

    def link(self, tokens: tuple[int, int]) -> None:
        """Mark the tokens [a, b), which hold what the other pane's cursor is on, and have them seen."""
        if tokens != self.linked:
            old, self.linked = self.linked, tokens
            if tokens[1] > tokens[0] and self.made is not None:
                self._reveal(tokens[0])
            for first, end in (old, tokens, (self.cursor, self.cursor + 1)):
                self._touch(first, end)

    @property
    def under(self) -> int:
        """The token that is pointed at: the mouse's, else the cursor's; -1 where there is none."""
        if self.made is None or not len(self.made):
            return -1
        return self.hovered if 0 <= self.hovered < len(self.made) else self.cursor

    def text_of(self, token: int) -> str:
        """What a token (its id) shows as in this view."""
        assert self.book is not None
        if self.ids == "only":
            return str(token)
        if self.hexes:
            return self.book.tokenizer.token_bytes(token).hex(" ") or "–"
        return self.book.piece(token)

    def _measure(self) -> None:
        """Widths of all tokens, then their lines."""
        self._texts = self._tiles = NOTHING
        if self.made is not None and self.book is not None and len(self.made):
            texts = np.array([cell_len(self.text_of(int(i))) for i in self.made.unique], np.int64)
            tiles = texts + self._gap
            if self.ids == "below":
                tiles = np.maximum(tiles, [len(str(i)) + 1 for i in self.made.unique])
            self._texts, self._tiles = texts[self.made.place], tiles[self.made.place]
        self._flow()

    def _flow(self) -> None:
        """Lines for the width there is."""
        room = max(8, self.scrollable_content_region.width)
        self._starts = wrap(self._tiles, NOTHING if self.made is None else self.made.breaks, room)
        self.virtual_size = Size(room, (len(self._starts) - 1) * self._tall)
        self.refresh_facts()
        self.refresh()

    def refresh_facts(self) -> None:
        """The line at the lower edge, as long as it has room."""
        if self.made is not None and self.book is not None:
            self.border_subtitle = Content(facts(self.book, self.made, self.size.width - 6, self.other))

    def compare(self, other: Cut | None) -> None:
        """Say how much longer or shorter this is than the other side's."""
        self.other = other
        self.refresh_facts()

    @property
    def _tall(self) -> int:
        return 2 if self.ids == "below" else 1

    @property
    def _gap(self) -> int:
        """Cells between two tokens: none where the text is shown as it is."""
        return int(self.hexes or self.ids != "none")

    def on_resize(self) -> None:
        self._flow()

    # -- drawing -------------------------------------------------------------------------------------------------

    def _palette(self) -> dict[str, list[Style]]:
        """The styles of this theme, by what they mean, in pairs: for text, and for signs that stand for something."""
        key = f"{self.app.theme} {self.app.no_color}"
        if key == self._styled:
            return self._styles
        dark, bare = self.app.current_theme.dark, self.app.no_color
        ground, accent = theme.background(self.app), Color.parse(self.app.theme_variables["accent"])
        accent = accent if accent.ansi is None else Color.parse("#f5a742" if dark else "#b35a00")
        words = Color.parse(self.app.theme_variables["foreground"])
        words = words if words.ansi is None else Color.parse("#d5d9e2" if dark else "#1e2430")
        trained = Color.parse("#2c8a4b")

        def pair(back: Color, text: Color = words, bold: bool = False, line: bool = False) -> list[Style]:
            if abs(text.brightness - back.brightness) < 0.3:
                text = back.get_contrast_text(1).blend(back, 0.05)
            return [
                Style(color=colour.rich_color, bgcolor=back.rich_color, bold=bold, underline=line)
                for colour in (text, text.blend(back, 0.35))
            ]

        count = len(theme.TOKEN_COLOURS) * (1 + bare)  # an even number of underlines and gaps where colours are off
        every = [pair(Color.parse(theme.token_colour(i, self.app)), line=bare and i % 2 == 1) for i in range(count)]
        self._styles = {"token": [style for two in every for style in two]}
        for name, colour, shares in (("trained", trained, (0.75, 0.5)), ("masked", words, (0.17, 0.08))):
            both = [pair(ground.blend(colour, share), line=bare and name == "trained") for share in shares]
            self._styles[name] = [style for two in both for style in two]
        self._styles["special"] = [Style(color=accent.rich_color, bold=True)] * 2
        self._styles["trained special"] = pair(ground.blend(trained, 0.5), accent, bold=True, line=bare)
        self._styles["cursor"] = pair(accent, ground, bold=True)
        self._styles["linked"] = pair(ground.blend(accent, 0.5), line=True)
        self._styles["id"] = [
            Style(color=words.blend(ground, 0.45).rich_color),
            Style(color=accent.rich_color, bold=True),
        ]
        self._styled = key
        return self._styles

    def _lit(self, at: int) -> bool:
        """Whether a token is pointed at: from here, or as part of what the other pane's cursor is on."""
        if self.linked != (0, 0):
            return self.linked[0] <= at < self.linked[1]
        return at in (self.cursor, self.hovered)

    def _style(self, at: int, styles: dict[str, list[Style]]) -> list[Style]:
        """[for text, for signs] of the token at a place."""
        assert self.made is not None
        assert self.book is not None
        name = "token"
        if at == self.cursor and self.has_focus:
            name = "cursor"
        elif self._lit(at):
            name = "linked"
        elif self.made.weights is not None:
            name = "trained" if self.made.weights[at] > 0 else "masked"
            if self.book.kind(int(self.made.ids[at])) == "special":
                name = "trained special" if name == "trained" else "special"
        k = at % (len(styles[name]) // 2) * 2
        return styles[name][k : k + 2]

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        row, below = divmod(y + self.scroll_offset.y, self._tall)
        if self.made is None or not len(self.made):
            return self._said(y, width)
        if row >= len(self._starts) - 1:
            return Strip.blank(width, self.rich_style)
        styles, segments, room = self._palette(), list[Segment](), max(8, width)
        for at in range(int(self._starts[row]), int(self._starts[row + 1])):
            token, tile = int(self.made.ids[at]), min(int(self._tiles[at]), room)
            if below:
                segments.append(Segment(set_cell_size(str(token), tile), styles["id"][self._lit(at)]))
            else:
                segments += self._tile(token, int(self._texts[at]), tile, self._style(at, styles))
        return Strip(segments).adjust_cell_length(width).apply_style(self.rich_style)

    def _tile(self, token: int, size: int, tile: int, style: list[Style]) -> list[Segment]:
        assert self.book is not None
        room = tile - self._gap
        if size > room:
            return [Segment(set_cell_size(self.text_of(token), room - 1) + "…" + " " * self._gap, style[0])]
        if self.hexes or self.ids == "only":
            drawn = [Segment(self.text_of(token), style[0])]
        else:
            drawn = [Segment(text, style[sign]) for text, sign in self.book.shown(token)[0]]
        return [*drawn, Segment(" " * (tile - size), style[0])]

    def _said(self, y: int, width: int) -> Strip:
        """A line of the words, in the middle; they are short."""
        lines = [line for part in self.words.split("\n") for line in (fold(part, max(8, width - 2)) or [""])]
        left = max(0, (width - max(map(cell_len, lines), default=0)) // 2)
        k = y - max(0, (self.scrollable_content_region.height - len(lines)) // 2)
        text = " " * left + lines[k] if 0 <= k < len(lines) else ""
        return Strip([Segment(text, self._palette()["id"][0])]).adjust_cell_length(width).apply_style(self.rich_style)

    # -- the cursor ----------------------------------------------------------------------------------------------

    def go(self, token: int, tell: bool = True) -> None:
        """Put the cursor on a token and have it seen. The mouse counts again when it moves."""
        if self.made is None or not len(self.made):
            return
        for at in (self.cursor, self.hovered):
            self._touch(at, at + 1)
        self.cursor, self.hovered = max(0, min(len(self.made) - 1, token)), -1
        self._touch(self.cursor, self.cursor + 1)
        self._reveal(self.cursor)
        if tell:
            self.post_message(self.Moved(self, hover=False))

    def _touch(self, first: int, end: int) -> None:
        """Draw the lines of the tokens [first, end) again."""
        if self.made is not None and 0 <= first < end:
            row, last = self._row(first), self._row(end - 1)
            self.refresh_lines(row * self._tall, (last - row + 1) * self._tall)

    def _row(self, token: int) -> int:
        return int(np.searchsorted(self._starts, token, "right")) - 1

    def _reveal(self, token: int) -> None:
        region = Region(0, self._row(token) * self._tall, 1, self._tall)
        self.scroll_to_region(region, animate=False, force=True, x_axis=False)

    def _token(self, row: int, x: int) -> int:
        """The token of a line at a column, the last one right of its end; -1 where there is no such line."""
        if not 0 <= row < len(self._starts) - 1:
            return -1
        start, end = int(self._starts[row]), int(self._starts[row + 1])
        return min(start + int(np.searchsorted(np.cumsum(self._tiles[start:end]), x, "right")), end - 1)

    def action_walk(self, step: int) -> None:
        """Along the tokens."""
        self.go(self.cursor + step)

    def action_climb(self, step: int) -> None:
        """To the token in the same column of another line."""
        if self.made is not None and len(self.made):
            here = self._row(self.cursor)
            row = max(0, min(len(self._starts) - 2, here + step))
            left = int(self._tiles[self._starts[here] : self.cursor].sum())
            self.go(self._token(row, left + int(self._tiles[self.cursor]) // 2) if row != here else self.cursor)

    def action_page(self, step: int) -> None:
        """A page further."""
        self.action_climb(step * max(1, self.scrollable_content_region.height // self._tall))

    def _pointed(self, event: events.MouseEvent) -> int:
        where = event.get_content_offset(self)
        return -1 if where is None else self._token((where.y + self.scroll_offset.y) // self._tall, where.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self._hover(self._pointed(event))

    def on_leave(self) -> None:
        self._hover(-1)

    def _hover(self, token: int) -> None:
        if token != self.hovered:
            old, self.hovered = self.hovered, token
            self._touch(old, old + 1)
            self._touch(token, token + 1)
            self.post_message(self.Moved(self, hover=True))

    def on_click(self, event: events.Click) -> None:
        if (token := self._pointed(event)) >= 0:
            self.go(token)

    def on_focus(self) -> None:
        self.refresh()
        self.post_message(self.Moved(self, hover=False))

    def on_blur(self) -> None:
        self.refresh()

    def copy_text(self) -> str:
        """For y: the ids as a list where only ids are shown, else a line for each token: id, tab, piece."""
        if self.made is None or self.book is None:
            return ""
        if self.ids == "only":
            return str(self.made.ids.tolist())
        return "\n".join(f"{int(i)}\t{self.book.piece(int(i))}" for i in self.made.ids)

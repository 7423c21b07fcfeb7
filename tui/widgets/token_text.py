"""Tokens as text: coloured by probability, with a cursor that walks over them. One widget a message."""

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from tui.data.chats import Token
from tui.theme import heat
from tui.widgets.token_lines import HEAD, LEAD, Layout, Row, Wrap, beyond, find, token_at


class Note(NamedTuple):
    """Words below the text, in a style of COMPONENT_CLASSES ("" for muted), and what a click on them does."""

    text: str
    style: str = ""
    action: str = ""


class TokenText(Widget, can_focus=True):
    """`show` is cheap while a reply grows: only rows that changed are laid out and drawn again."""

    DEFAULT_CSS = """
    TokenText {
        height: auto; width: 1fr; pointer: text;
        & > .token-text--lead { color: $foreground; text-style: bold; }
        & > .token-text--think { color: $foreground-muted; text-style: italic; }
        & > .token-text--call { color: $foreground; background: $primary 25%; }
        & > .token-text--result { color: $foreground-muted; }
        & > .token-text--head { color: $foreground-muted; text-style: bold; }
        & > .token-text--special { color: $primary; }
        & > .token-text--note { color: $foreground-muted; }
        & > .token-text--action { color: $accent; }
        & > .token-text--warning { color: $warning; }
        & > .token-text--cursor { color: $background; background: $accent; text-style: bold; }
    }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"token-text--{name}"
        for name in ("lead", "think", "call", "result", "head", "special", "note", "action", "warning", "cursor")
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "token(-1)", "Token before", show=False, id="tokens.left"),
        Binding("right", "token(1)", "Next token", show=False, id="tokens.right"),
        Binding("up", "line(-1)", "Token above", show=False, id="tokens.up"),
        Binding("down", "line(1)", "Token below", show=False, id="tokens.down"),
        Binding("shift+left", "surprise(-1)", "Surprising token before", show=False, id="tokens.surprise_left"),
        Binding("shift+right", "surprise(1)", "Next surprising token", show=False, id="tokens.surprise_right"),
        Binding("space", "fold", "Fold or unfold thoughts and results", show=False, id="tokens.fold"),
        Binding("escape", "no_cursor", "Put the token cursor away", show=False, id="tokens.off"),
    ]
    SURPRISE = 0.25  # shift+arrows stop at tokens with a lower probability

    coloured = reactive(False)
    place: reactive[int | None] = reactive(None, repaint=False)  # the token under the cursor

    class Looked(Message):
        """The cursor or the mouse is at another token; None: at none."""

        def __init__(self, text: "TokenText", place: int | None):
            super().__init__()
            self.text, self.place = text, place

    class Clicked(Message):
        """An action of the note was clicked."""

        def __init__(self, text: "TokenText", action: str):
            super().__init__()
            self.text, self.action = text, action

    def __init__(self, *, lead: str = "", id: str | None = None, classes: str | None = None):
        super().__init__(id=id, classes=classes)
        self.lead, self.tokens, self.done = lead, list[Token](), True
        self.room = 1  # while a reply comes, its height is a multiple of this
        self.notes: Sequence[Note] = ()
        self.folds: dict[int, bool] = {}  # what a person folded or unfolded, by the first token
        self._layout: Layout | None = None
        self._below: list[list[tuple[int, str]]] = []  # the notes, wrapped: (which, words)
        self._told = 0  # rows that the pane around was told last
        self._styles: dict[Any, Style] = {}
        self._strips: dict[int, Strip] = {}
        self._hover: int | None = None

    # -- what is shown ---------------------------------------------------------------------------------------------

    def show(self, tokens: list[Token], lead: str = "", notes: Sequence[Note] = (), done: bool = True) -> None:
        """These tokens after the words of `lead`, the notes below. The list is kept, not copied: call again when it has
        grown."""
        layout, before = self._layout, self._told
        same = tokens is self.tokens and lead == self.lead and layout is not None and layout.count <= len(tokens)
        turned, noted = done != self.done, notes != self.notes
        self.tokens, self.lead, self.notes, self.done = tokens, lead, notes, done
        if layout is not None:
            self._below = self._wrapped(layout.width)
        if not same or layout is None:
            self._layout = None
            self.place = self._hover = None
            self.refresh(layout=True)
            return
        if layout.count == len(tokens) and not turned:
            changed = len(layout.rows)
        else:
            changed = layout.feed(tokens, done)
        after = max(1, self._height())
        if noted or turned or changed < len(layout.rows):
            for row in range(changed, max(before, after)):
                self._strips.pop(row, None)
            self.refresh(Region(0, changed, self.size.width, max(1, after - changed)), layout=after != before)

    def _laid(self, width: int) -> Layout:
        if self._layout is None or self._layout.width != width:
            self._strips = {}
            self._layout = Layout(width, self.lead, self.coloured, self.folds)
            self._layout.feed(self.tokens, self.done)
            self._below = self._wrapped(width)
        return self._layout

    def _wrapped(self, width: int) -> list[list[tuple[int, str]]]:
        wrap = Wrap(width)
        for i, note in enumerate(self.notes):
            wrap.add(i, note.text)
        return wrap.rows if self.notes else []

    def _height(self) -> int:
        """Rows in all. While a reply comes there is room for some more: each row that a pane scrolls costs it 10 ms."""
        rows = (len(self._layout.rows) if self._layout else 0) + len(self._below)
        return rows if self.done else -(-rows // self.room) * self.room

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._laid(width)
        self._told = max(1, self._height())
        return self._told

    def _again(self) -> None:
        self._layout = None
        self.refresh(layout=True)

    def watch_coloured(self) -> None:
        self._again()

    def notify_style_update(self) -> None:
        self._styles, self._strips = {}, {}
        super().notify_style_update()

    def copy_text(self) -> str:
        """What y copies: the words, without thoughts, calls and results where it says anything beside them."""
        said = "".join(t.text for t in self.tokens if t.kind == "text")
        return self.lead + (said if said.strip() else "".join(t.text for t in self.tokens))

    # -- drawing ---------------------------------------------------------------------------------------------------

    def render_line(self, y: int) -> Strip:
        layout, width = self._laid(self.content_size.width or self.size.width), self.size.width
        selection = self.text_selection
        span = selection.get_span(y) if selection else None
        if span is None and (kept := self._strips.get(y)) is not None and kept.cell_length == width:
            return kept
        base = self.rich_style
        if y < len(layout.rows):
            segments = self._row(layout.rows[y], base)
        elif y - len(layout.rows) < len(self._below):
            row = self._below[y - len(layout.rows)]
            segments = [Segment(text, self._style(self.notes[i].style or "note", base)) for i, text in row]
        else:
            return Strip.blank(width, base)
        if span is not None:
            segments = list(_marked(segments, *span, self.screen.get_component_rich_style("screen--selection")))
        strip = Strip(segments).adjust_cell_length(width, base)
        strip = strip.apply_offsets(0, y) if self.allow_select else strip
        if span is None:
            self._strips[y] = strip  # textual forgets all rows of a widget whose height changes
        return strip

    def _row(self, row: Row, base: Style) -> list[Segment]:
        segments = []
        kind = self._style(row.kind, base)
        if row.before:
            segments.append(Segment(row.before, self._style("head" if row.kind == "result" else "action", kind)))
        run, style = "", None
        for token, text in row.pieces:
            own = self._of_token(token, row.kind, kind)
            if own is style:
                run += text
                continue
            if run:
                segments.append(Segment(run, style))
            run, style = text, own
        if run:
            segments.append(Segment(run, style))
        return segments

    def _of_token(self, token: int, kind: str, base: Style) -> Style:
        """The style of a piece of a row; the same object where it is the same style."""
        if token == HEAD:
            return self._style("head", base)
        if token == LEAD:
            return self._style("lead", base)
        if token == self.place or token == self._hover:
            return self._style("cursor", base)
        told = self.tokens[token]
        if self.coloured and told.p is not None and told.own:
            step = round(told.p * 10)
            key = (kind, step, told.kind == "special")
            if key not in self._styles:
                self._styles[key] = base + Style(
                    bgcolor=heat(step / 10, self.app), italic=told.kind == "special" or None
                )
            return self._styles[key]
        return self._style("special", base) if told.kind == "special" else base

    def _style(self, name: str, base: Style) -> Style:
        if name == "text":
            return base
        key = (name, base)
        if key not in self._styles:
            partial = f"token-text--{name}"
            self._styles[key] = base + self.get_component_rich_style(partial, partial=name not in ("call", "cursor"))
        return self._styles[key]

    # -- selecting with the mouse ----------------------------------------------------------------------------------

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text as it was said: wrapped rows are joined again, signs of ours left out."""
        rows, out, joint = self._layout.rows if self._layout else [], "", ""
        for y, row in enumerate(rows):
            if (span := selection.get_span(y)) is None:
                continue
            said = "".join(text for token, text in row.pieces if token != HEAD)
            start, end = (at if at == -1 else max(0, at - len(row.before)) for at in span)
            out += joint + (said[start:] if end == -1 else said[start:end])
            joint = row.joint
        return out, "\n"

    def selection_updated(self, selection: Selection | None) -> None:
        self.refresh()

    # -- the cursor ------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("line", "no_cursor", "alternative"):
            return self.place is not None
        if action in ("token", "surprise"):
            return bool(self.tokens)
        if action == "fold":
            return self._layout is not None and any(part.kind in ("think", "result") for part in self._layout.parts)
        return True

    def watch_place(self, before: int | None, now: int | None) -> None:
        for token in (before, now):
            self._redraw(token)
        if self.is_attached:
            if (before is None) != (now is None):
                self.refresh_bindings()
            self.post_message(self.Looked(self, now))

    def _redraw(self, token: int | None) -> None:
        if token is not None and self._layout and (where := find(self._layout.rows, token)):
            for row in (where.row, where.row + 1):
                self._strips.pop(row, None)
            self.refresh(Region(0, where.row, self.size.width, 2))  # a long token goes on below

    def go(self, place: int) -> None:
        """The cursor to a token, and that into view; where it is folded away, it unfolds."""
        self.place = max(0, min(place, len(self.tokens) - 1))
        layout = self._layout
        part = layout.part_of(self.place) if layout else 0
        if layout and layout.parts and (layout.folded(part) or layout.shortened(part)):
            self.folds[layout.parts[part].first] = False
            self._again()
            layout = self._laid(layout.width)
        where = find(layout.rows, self.place) if layout else None
        parent = self.parent
        if where and isinstance(parent, Widget) and self.is_attached:
            at = self.virtual_region
            parent.scroll_to_region(Region(at.x, at.y + where.row, 1, 1), animate=False, force=True)

    def action_token(self, by: int) -> None:
        """The token cursor; it begins at the end."""
        if self.tokens:
            self.go(len(self.tokens) - 1 if self.place is None else self.place + by)

    def action_surprise(self, by: int) -> None:
        """To the next token that the model had not expected."""
        at = (len(self.tokens) if by < 0 else -1) if self.place is None else self.place
        places = range(at + by, len(self.tokens) if by > 0 else -1, by)
        found = next((i for i in places if (p := self.tokens[i].p) is not None and p < self.SURPRISE), None)
        if found is not None:
            self.go(found)

    def action_line(self, by: int) -> None:
        """The cursor a row up or down; beyond the ends it goes away."""
        if self._layout and self.place is not None:
            place = beyond(self._layout.rows, self.place, by)
            if place is None:
                self.place = None
            else:
                self.go(place)

    def action_no_cursor(self) -> None:
        self.place = None

    def action_fold(self) -> None:
        """Fold or unfold all thoughts and results of this message."""
        if layout := self._layout:
            parts = [i for i, part in enumerate(layout.parts) if part.kind in ("think", "result")]
            fold = not any(layout.folded(i) for i in parts)
            self.folds.update((layout.parts[i].first, fold) for i in parts)
            self._again()

    # -- the mouse -------------------------------------------------------------------------------------------------

    def _under(self, event: events.MouseEvent) -> tuple[Row | None, int | None]:
        offset = event.get_content_offset(self)
        if offset is None or self._layout is None or not 0 <= offset.y < len(self._layout.rows):
            return None, None
        row = self._layout.rows[offset.y]
        return row, token_at(row, offset.x)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        _, token = self._under(event)
        self._set_hover(token if token is not None and token >= 0 and self.coloured else None)

    def on_leave(self) -> None:
        self._set_hover(None)

    def _set_hover(self, token: int | None) -> None:
        if token != self._hover:
            before, self._hover = self._hover, token
            self._redraw(before)
            self._redraw(token)
            self.post_message(self.Looked(self, token if token is not None else self.place))

    def on_click(self, event: events.Click) -> None:
        row, token = self._under(event)
        offset = event.get_content_offset(self)
        if row and self._layout and token == HEAD and row.kind in ("think", "result"):
            self.folds[self._layout.parts[row.part].first] = not self._layout.folded(row.part)
            self._again()
        elif token is not None and token >= 0:
            self.place = token
        elif offset and self._layout and 0 <= (below := offset.y - len(self._layout.rows)) < len(self._below):
            at = 0
            for number, text in self._below[below]:
                at += cell_len(text)
                if offset.x < at:
                    if action := self.notes[number].action:
                        self.post_message(self.Clicked(self, action))
                    return


def _marked(segments: list[Segment], start: int, end: int, style: Style) -> Any:
    """Segments with the characters from start to end (-1: the last) in another style."""
    at = 0
    for text, own, _ in segments:
        cuts = sorted({0, len(text), *(min(max(0, p - at), len(text)) for p in (start, end if end >= 0 else 1 << 30))})
        for left, right in itertools.pairwise(cuts):
            inside = at + left >= start and (end == -1 or at + left < end)
            yield Segment(text[left:right], (own or Style()) + style if inside else own)
        at += len(text)

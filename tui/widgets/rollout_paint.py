"""Replies as cards, drawn: frames by the sign of the advantage, thoughts, calls, what is not trained on, colours of tokens."""

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

from rich.cells import set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color
from textual.content import Content
from textual.geometry import Region, Size
from textual.scroll_view import ScrollView
from textual.selection import Selection
from textual.strip import Strip

from tui.data.rollout_rows import HEATS, Told, warmth
from tui.data.rollout_words import sign
from tui.theme import background, heat
from tui.widgets.rollout_lines import ALONE, Stack, card
from tui.widgets.token_lines import HEAD

THIN, THICK = "╭─╮│╰╯", "┏━┓┃┗┛"
NAMES = (
    "muted", "bold", "good", "bad", "warn", "accent", "think", "call", "result", "forced", "mark", "cursor", "note",
)  # fmt: skip
GROUNDED = ("call", "result", "forced", "cursor", "note")


@lru_cache(256)
def _tint(share: float, ground: str, dark: bool) -> str:
    colour = "#2c8a4b" if share > 0 else "#c2384e"
    return Color.parse(ground).blend(Color.parse(colour), abs(share) * (0.7 if dark else 0.5)).hex


def tint(value: float, app: App) -> str | None:
    """The background for -1 (red) to 1 (green); none for what rounds to 0."""
    share = round(max(-1.0, min(1.0, value)), 1)
    return _tint(share, background(app).hex, app.current_theme.dark) if share else None


class CardView(ScrollView, can_focus=True, inherit_bindings=False):
    """What is seen of the cards; tui.widgets.rollout_cards has keys and mouse."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"cards--{name}" for name in NAMES}
    DEFAULT_CSS = """
    CardView {
        width: 1fr; height: 1fr; overflow-x: hidden; padding: 0;
        scrollbar-size-vertical: 1; scrollbar-gutter: stable;
        & > .cards--muted, & > .cards--note { color: $foreground-muted; }
        & > .cards--bold { color: $foreground; text-style: bold; }
        & > .cards--good { color: $success; }
        & > .cards--bad { color: $error; }
        & > .cards--warn { color: $warning; }
        & > .cards--accent { color: $accent; }
        & > .cards--think { color: $foreground-muted; text-style: italic dim; }
        & > .cards--call { background: $primary 25%; color: $foreground; }
        & > .cards--result, & > .cards--forced { background: $panel; color: $foreground-muted; }
        & > .cards--mark { color: $primary; }
        & > .cards--cursor { background: $accent; color: $background; text-style: bold; }
        & > .cards--note { background: $panel; text-style: bold; }
    }
    """

    def __init__(self, id: str):
        super().__init__(id=id, classes="pane")
        self.told: list[Told] = []
        self.chosen, self.heat, self.scale, self.total = 0, "", 1.0, 0
        self.place: int | None = None  # the token under the cursor, of the chosen card
        self.empty = ""  # said where there are no replies
        self._hover: tuple[int, int] | None = None
        self._whole = set[tuple[int, int]]()  # (group, k) of those unfolded
        self._stack, self._laid = Stack(), 0
        self._warm: list[list[float | None]] = []
        self._strips: dict[int, Strip] = {}
        self._styles: dict[tuple[str, Style], Style] = {}

    # -- what is shown -------------------------------------------------------------------------------------------

    def show(self, name: str, told: Sequence[Told], chosen: int, scale: float, total: int, empty: str = "") -> None:
        """These replies of `total`, one of them chosen; `scale` is the largest advantage. The token cursor stays where the
        chosen reply is the same one."""
        before = self.one
        self.told, self.scale, self.total, self.empty = list(told), scale, total, empty
        self.chosen = max(0, min(len(told) - 1, chosen))
        self.border_title = Content(name)
        self.border_subtitle = Content(f"{len(told)} of {total}") if len(told) < total else None
        if before is None or self.one is None or before.row.get("ids") != self.one.row.get("ids"):
            self.place = None
        self._hover = None
        self._colour()
        self._lay()
        self._reveal_card()
        self._tell()

    @property
    def one(self) -> Told | None:
        """The chosen reply."""
        return self.told[self.chosen] if self.told else None

    def warm(self, mode: str) -> None:
        """Colour the tokens by one of HEATS."""
        self.heat = mode
        self._colour()
        self._again()

    def _colour(self) -> None:
        self._warm = [warmth(one, self.heat, self.scale) for one in self.told]

    def _lay(self) -> None:
        width = self.scrollable_content_region.width
        self._laid, whole = width, self._whole
        some = self.told if width > 8 else []  # no room, or not seen yet
        self._stack.lay([
            card(one, at, len(some), self.scale, width, (one.brief.group, one.brief.k) in whole)
            for at, one in enumerate(some, 1)
        ])  # fmt: skip
        self.virtual_size = Size(width, self._stack.height)
        self._again()

    def _again(self) -> None:
        self._strips = {}
        self.refresh()

    def _redraw(self, number: int) -> None:
        """Draw one card again."""
        if 0 <= number < len(self._stack.cards):
            one = self._stack.cards[number]
            for line in range(one.first, one.first + one.height):
                self._strips.pop(line, None)
            self.refresh_lines(one.first, one.height)

    def on_resize(self) -> None:
        if self.scrollable_content_region.width != self._laid:
            self._lay()

    def notify_style_update(self) -> None:
        self._styles, self._strips = {}, {}
        super().notify_style_update()

    def _reveal_card(self) -> None:
        if self._stack.cards and self.chosen < len(self._stack.cards):
            one = self._stack.cards[self.chosen]
            region = Region(0, one.first, 1, min(one.height, max(1, self.scrollable_content_region.height)))
            self.scroll_to_region(region, animate=False, force=True, x_axis=False)

    def _tell(self) -> None:
        """The cursor, or what it stands on, is another one."""

    # -- drawing -------------------------------------------------------------------------------------------------

    def _style(self, name: str, base: Style) -> Style:
        key = (name, base)
        if key not in self._styles:
            grounded = name in GROUNDED  # the colour of its ground is mixed with what lies below
            own = self.get_component_rich_style(f"cards--{name}", partial=not grounded) if name else Style()
            self._styles[key] = base + own
        return self._styles[key]

    def render_line(self, y: int) -> Strip:
        width, line = self.scrollable_content_region.width, self.scroll_offset.y + y
        selection = self.text_selection
        span = selection.get_span(line) if selection else None
        if span is None and (kept := self._strips.get(line)) is not None and kept.cell_length == width:
            return kept
        base = self.rich_style
        number, at = self._stack.at(line)
        if number < 0:
            words = set_cell_size(self.empty, width) if y == 0 and not self.told else ""
            return Strip([Segment(words, self._style("muted", base))]).adjust_cell_length(width, base)
        segments = self._line(number, at, width, base)
        if span is not None:
            segments = self._selected(segments, span, width)
        strip = Strip(segments).adjust_cell_length(width, base).apply_offsets(0, line)
        if span is None:
            self._strips[line] = strip
        return strip

    def _line(self, number: int, at: int, width: int, base: Style) -> list[Segment]:
        one = self._stack.cards[number]
        chosen = number == self.chosen
        left, line, right, side, low_left, low_right = tuple(THICK if chosen else THIN)
        edge = self._style(sign(one.one.brief), base)
        edge = edge + Style(bold=True) if chosen and self.has_focus else edge
        if at == 0:
            said = [Segment(text, self._style(role, base)) for text, role in one.top]
            rest = " " + line * max(0, width - 5 - sum(s.cell_length for s in said)) + right
            return [Segment(f"{left}{line} ", edge), *said, Segment(rest, edge)]
        if at == one.height - 1:
            if not one.bottom:
                return [Segment(low_left + line * (width - 2) + low_right, edge)]
            said = [Segment(text, self._style(role, base)) for text, role in one.bottom]
            room = width - 5 - sum(s.cell_length for s in said)
            return [Segment(low_left + line * max(0, room) + " ", edge), *said, Segment(f" {line}{low_right}", edge)]
        inside = self._inside(number, at - 1, base)
        used = sum(s.cell_length for s in inside)
        return [
            Segment(f"{side} ", edge),
            *inside,
            Segment(" " * max(0, width - 4 - used), base),
            Segment(f" {side}", edge),
        ]

    def _inside(self, number: int, at: int, base: Style) -> list[Segment]:
        one = self._stack.cards[number]
        if at < len(one.rows):
            return [Segment(text, self._of(number, token, base)) for token, text in one.rows[at]]
        if one.more and at == len(one.rows):
            words = f"… {one.more} rows more: space"
            return [Segment(words, self._style("accent", base))]
        said = one.extra[at - len(one.rows) - bool(one.more)]
        return [Segment(text, self._style(role, base)) for text, role in said]

    def _of(self, number: int, token: int, base: Style) -> Style:
        if token < 0:
            return self._style("note" if token == HEAD else "", base)
        if (number == self.chosen and token == self.place) or (number, token) == self._hover:
            return self._style("cursor", base)
        one = self.told[number]
        told, kind = one.tokens[token], one.kinds[token]
        style = self._style(kind, base) if kind in ALONE else self._style("forced", base) if told.forced else base
        style = self._style("mark", style) if told.kind == "special" else style
        warm = self._warm[number][token] if number < len(self._warm) else None
        if warm is None:
            return style
        colour = heat(warm, self.app) if self.heat == HEATS[1] else tint(warm, self.app)
        return style + Style(bgcolor=colour) if colour else style

    # -- selecting with the mouse ----------------------------------------------------------------------------------

    def _selected(self, segments: list[Segment], span: tuple[int, int], width: int) -> list[Segment]:
        start, end = span
        strip = Strip(segments).adjust_cell_length(width)
        end = width if end == -1 else min(end, width)
        before, inside, after = strip.crop(0, start), strip.crop(start, end), strip.crop(end, width)
        style = self.screen.get_component_rich_style("screen--selection")
        return [*before, *(Segment(s.text, (s.style or Style()) + style) for s in inside), *after]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The selected text of replies, without their frames."""
        out = []
        for line in range(self._stack.height):
            if (span := selection.get_span(line)) is None:
                continue
            number, at = self._stack.at(line)
            rows = self._stack.cards[number].rows
            if 0 < at <= len(rows):
                text = "".join(text for token, text in rows[at - 1] if token != HEAD)
                start, end = (v if v == -1 else max(0, v - 2) for v in span)
                out.append(text[start:] if end == -1 else text[start:end])
        return ("\n".join(out), "\n") if out else None

    def selection_updated(self, selection: Selection | None) -> None:
        self._again()

"""The colours of a chart: a curve's own, made legible on the theme's background, and faint shades of it."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from rich.color import Color as RichColor
from rich.style import Style
from textual.color import Color, ColorParseError

# Share of the background in what is drawn with one colour. Dark themes show less of a mixed colour than light ones.
FAINT, FAINT_LIGHT = 0.70, 0.60
TINT = 0.91  # a cell's ground where a line crosses an area of dots: as bright as the dots are on average
READABLE = 3.0  # contrast for graphics: W3C, Web Content Accessibility Guidelines 2.1, criterion 1.4.11
ANSI = ("red", "yellow", "green", "cyan", "blue", "magenta")  # a hue every 60 degrees
SAMPLES = "━╍┅┉┄┈"  # how a line looks in the legend, by its pattern where there are no colours


@lru_cache(1024)
def luminance(colour: Color) -> float:
    """Relative luminance, 0 to 1 (Web Content Accessibility Guidelines 2.1)."""
    red, green, blue = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour.normalized)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: Color, b: Color) -> float:
    """1 (the same) to 21 (black on white), by the same guidelines."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@lru_cache(256)
def legible(colour: Color, background: Color, ratio: float = READABLE) -> Color:
    """The colour, moved towards black or white until it stands out from the background."""
    away = Color(0, 0, 0) if luminance(background) > 0.18 else Color(255, 255, 255)
    for step in range(11):
        found = colour.blend(away, step / 10)
        if contrast(found, background) >= ratio:
            return found
    return away


def parse(colour: str, otherwise: Color) -> Color:
    """A colour by name or hex; `otherwise` for what is none."""
    try:
        return Color.parse(colour)
    except ColorParseError:
        return otherwise


def ansi_colours(wanted: Sequence[Color], dark: bool) -> list[Color]:
    """For each colour the nearest hue of the terminal's own six, each once as long as there are any left."""
    free: list[int] = []
    chosen = []
    for colour in wanted:
        if colour.ansi is not None:
            chosen.append(colour)
            continue
        free = free or list(range(6))
        hue = colorsys.rgb_to_hsv(*colour.normalized)[0] * 6
        best = min(free, key=lambda i: min(abs(hue - i), 6 - abs(hue - i)))
        free.remove(best)
        chosen.append(Color.parse(f"ansi_{'bright_' if dark else ''}{ANSI[best]}"))
    return chosen


@dataclass
class Ink:
    """Rich styles of everything in a chart. `lines` are the curves' colours in the order in which they are drawn; `ansi`:
    the terminal's own colours, which cannot be mixed; `plain`: no colours at all, lines differ by their dashes;
    `solid`: faint values are drawn as full areas, not as dots."""

    lines: list[Color]
    background: Color
    foreground: Color
    error: Color
    warning: Color
    accent: Color
    dark: bool = True
    ansi: bool = False
    plain: bool = False
    solid: bool = False

    def __post_init__(self) -> None:
        if self.ansi:
            self.lines = ansi_colours(self.lines, self.dark)
        else:
            self.lines = [legible(c, self.background) for c in self.lines]
        self._cells: dict[tuple[int, int, int], Style] = {}
        self._ground = self.background.rich_color

    def style(self, colour: Color, faded: float = 0.0, bold: bool = False, ground: Color | None = None) -> Style:
        """`faded`: share of the background mixed in; with ansi colours whatever is faded by a third or more is dim."""
        under: RichColor = self._ground if ground is None or self.ansi else ground.rich_color
        if self.ansi:
            return Style(color=colour.rich_color, bgcolor=under, bold=bold, dim=faded > 0.3)
        return Style(color=colour.blend(self.background, faded).rich_color, bgcolor=under, bold=bold)

    @property
    def blank(self) -> Style:
        return Style(bgcolor=self._ground)

    @property
    def axis(self) -> Style:
        return self.style(self.foreground, 0.62)

    @property
    def label(self) -> Style:
        return self.style(self.foreground, 0.42)

    @property
    def grid(self) -> Style:
        return self.style(self.foreground, 0.87)

    def mark(self, kind: str, faded: float = 0.0) -> Style:
        """A checkpoint or evaluation is quiet, a resume a warning, a note somebody's own word."""
        colour = {"resume": self.warning, "note": self.accent}.get(kind, self.foreground)
        return self.style(colour, max(faded, 0.35 if colour is self.foreground else 0.0))

    def mixed(self, envelopes: int) -> Color:
        """The mean colour of the curves whose bits are set."""
        colours = [c for i, c in enumerate(self.lines) if envelopes >> i & 1]
        if len(colours) == 1 or self.ansi:
            return colours[0]
        n = len(colours)
        return Color(sum(c.r for c in colours) // n, sum(c.g for c in colours) // n, sum(c.b for c in colours) // n)

    def cell(self, owner: int, envelopes: int, eighths: int) -> Style:
        """A cell that the line `owner` crosses (-1: none), over the envelopes of the curves whose bits are set, which
        cover that many eighths of it."""
        key = (owner, envelopes, eighths)
        if (known := self._cells.get(key)) is not None:
            return known
        if owner < 0:
            found = self.style(self.mixed(envelopes), FAINT if self.dark else FAINT_LIGHT)
        elif not envelopes or self.ansi or not eighths:
            found = self.style(self.lines[owner])
        else:
            full = TINT if not self.solid else FAINT if self.dark else FAINT_LIGHT
            share = full + (1 - full) * (1 - eighths / 8)
            found = self.style(self.lines[owner], ground=self.mixed(envelopes).blend(self.background, share))
        self._cells[key] = found
        return found

"""A chart as lines of the terminal: built once for every state of the data, the view and the theme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from tui.widgets import axis, raster
from tui.widgets.ink import Ink
from tui.widgets.raster import Glyphs
from tui.widgets.series import Curve, Mark, Points, extent, limits

SIGNS = {"resume": "↻", "note": "✎", "checkpoint": "▲", "eval": "◆"}  # the first ones win where several share a column
EMPTY, GRID, WRONG = -1, -2, -3
RULES = {kind: -4 - i for i, kind in enumerate(SIGNS)}  # codes of cells; what is not negative is a curve's
SPARSE = 20  # columns of the plot for each mark of a kind, or none of them gets a line down from the top
FEWEST = 8  # columns of the plot below which the axes are left out


@dataclass(frozen=True)
class Look:
    """How to draw: the reader's choices and the widget's size. view: x range, None for all of it; whole: also outliers."""

    width: int
    height: int
    log: bool = False
    x_name: str = "step"
    view: tuple[float, float] | None = None
    whole: bool = False
    compact: bool = False
    glyphs: Glyphs = raster.BRAILLE


@dataclass
class Picture:
    """strips: the finished lines. The plot is `rows` x `cols` cells whose first is at line 0, column `left`; y0, y1 are log10
    if look.log. taken: bool [rows, cols], cells with anything of a curve; lines: those with more than its faint values;
    marks: by column of the plot. base: what the y ticks count from. `shown` is False where there was nothing to
    draw."""

    look: Look
    curves: list[Curve]
    points: list[Points]
    shown: bool = False
    left: int = 0
    rows: int = 0
    cols: int = 0
    x0: float = 0.0
    x1: float = 1.0
    y0: float = 0.0
    y1: float = 1.0
    base: float = 0.0
    strips: list[Strip] = field(default_factory=list)
    taken: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    lines: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    marks: dict[int, list[Mark]] = field(default_factory=dict)

    @property
    def digits(self) -> int:
        """How many digits of a value tell it from another one in the range."""
        size = max(abs(self.y0), abs(self.y1)) / (self.y1 - self.y0) if not self.look.log else 1
        return min(12, max(4, math.ceil(math.log10(size)) + 3))

    def column(self, x: float) -> int:
        """The plot's column of x, outside [0, cols) beyond its ends."""
        if x == self.x1:
            return self.cols - 1
        return int(np.floor((x - self.x0) / (self.x1 - self.x0) * self.cols))

    def columns(self, x: np.ndarray) -> np.ndarray:
        """The plot's columns that hold one of the sorted x: int, each once."""
        return np.flatnonzero(np.diff(raster.edges(x, self.x0, self.x1, self.cols)))

    def span(self, column: int) -> tuple[float, float]:
        """The x range of a column: from, up to and without (with it for the last column)."""
        step = (self.x1 - self.x0) / self.cols
        right = self.x1 if column == self.cols - 1 else self.x0 + (column + 1) * step
        return self.x0 + column * step, right

    def row(self, y: float) -> int:
        """The plot's row of a value, -1 above it, `rows` below it."""
        if self.look.log:
            y = float(np.log10(y)) if y > 0 else -np.inf
        return int(raster.row_of(np.array([y]), self.y0, self.y1, self.rows)[0])


def draw(curves: Sequence[Curve], points: Sequence[Points], marks: Sequence[Mark], look: Look, ink: Ink) -> Picture:
    """`curves` from the topmost on, `points` their drawable parts, `ink` their colours in the same order."""
    picture = Picture(look, list(curves), list(points))
    picture.x0, picture.x1 = look.view or extent([c.x for c in curves])
    parts = [p.raw[slice(*np.searchsorted(p.x, (picture.x0, np.nextafter(picture.x1, np.inf))))] for p in points]
    if not any(map(len, parts)):  # between two points of a sparse curve
        parts = [p.raw for p in points]
    found = limits(parts, look.log, look.whole)
    if found is None or look.width < 1 or look.height < 1:
        return picture
    picture.shown = True
    picture.y0, picture.y1 = found
    below = _layout(picture)
    chars, codes, styles = _cells(picture, ink)
    _rule(picture, marks, chars, codes)
    names, picture.base = _grid(picture, chars, codes, ink)
    for rule, sign in ((GRID, ink.grid), (WRONG, ink.error), (EMPTY, ink.blank)):
        styles[rule] = sign if isinstance(sign, Style) else ink.style(sign, bold=True)
    styles |= {code: ink.mark(kind, 0.76) for kind, code in RULES.items()}
    for y in range(picture.rows):
        segments = [] if not picture.left else [Segment(names.get(y, "").rjust(picture.left - 1), ink.label)]
        if picture.left:
            segments.append(Segment("┤" if y in names else "│", ink.axis))
        text, row = "".join(chars[y].tolist()), codes[y]
        cuts = [0, *(np.flatnonzero(row[1:] != row[:-1]) + 1).tolist(), picture.cols]
        segments += [Segment(text[a:b], styles[int(row[a])]) for a, b in pairwise(cuts)]
        picture.strips.append(Strip(segments, look.width))
    if below:
        picture.strips += _bottom(picture, below, ink)
    return picture


def _layout(picture: Picture) -> int:
    """Sets left, rows and cols; returns how many lines are left for the x axis."""
    look = picture.look
    below = 0 if look.height < 4 else 1 if look.compact or look.height < 8 else 2
    picture.rows = look.height - below
    picture.left = max(map(len, _y_ticks(picture)[1]), default=0) + 1
    picture.cols = look.width - picture.left
    if not below or picture.cols < FEWEST:
        picture.rows, picture.cols, picture.left, below = look.height, look.width, 0, 0
    return below


def _y_ticks(picture: Picture) -> tuple[np.ndarray, list[str], float]:
    """Values, their texts and the value that these count from."""
    count = max(2, min(10, picture.rows // (3 if picture.look.compact else 4)))
    if not picture.look.log:
        values = axis.ticks(picture.y0, picture.y1, count)
        return values, *axis.labels(values)
    values = axis.log_ticks(picture.y0, picture.y1, count)
    if picture.y1 - picture.y0 >= axis.DECADES:
        return values, [axis.si(v) for v in values.tolist()], 0.0
    return values, *axis.labels(values)


def _grid(picture: Picture, chars: np.ndarray, codes: np.ndarray, ink: Ink) -> tuple[dict[int, str], float]:
    """Tick texts by row and the value that they count from; draws the grid into empty cells."""
    values, texts, base = _y_ticks(picture)
    names: dict[int, str] = {}
    for value, text in zip(values.tolist(), texts, strict=True):
        row = picture.row(value)
        if 0 <= row < picture.rows and row not in names:
            names[row] = text
            empty = codes[row] == EMPTY
            chars[row, empty], codes[row, empty] = " " if ink.ansi else "┈", GRID
    return names, base


@dataclass
class Layers:
    """What each curve adds, [curves, rows, cols]: glyph numbers of its line and of its faint values (0: none), and single
    points. above, below: bool [curves, cols], columns that go beyond the range."""

    lines: np.ndarray
    areas: np.ndarray
    dots: np.ndarray
    above: np.ndarray
    below: np.ndarray


def _layers(picture: Picture, ink: Ink) -> Layers:
    glyphs = picture.look.glyphs
    lines, areas, dots, above, below = [], [], [], [], []
    for i, (curve, p) in enumerate(zip(picture.curves, picture.points, strict=True)):
        envelope = _dots(picture, p.x, p.raw, p.holes)
        line = _dots(picture, p.x, p.smooth, p.holes, curve.pinned) if p.beta or curve.pinned else envelope
        grid = raster.dashed(line.grid, i) if ink.plain else line.grid
        faint = envelope.grid & ~line.grid | envelope.grid & grid if p.beta else np.zeros_like(grid)
        lines.append(raster.pack(grid, glyphs))
        areas.append(raster.pack(faint, glyphs))
        dots.append(_marked(picture, curve, p))
        low: np.ndarray = np.zeros(picture.cols, bool)
        low[picture.columns(p.low)] = True
        above.append(_by_cell(envelope.above, glyphs))
        below.append(_by_cell(envelope.below, glyphs) | low)
    return Layers(*map(np.array, (lines, areas, dots, above, below)))


def _cells(picture: Picture, ink: Ink) -> tuple[np.ndarray, np.ndarray, dict[int, Style]]:
    """Glyph and style code of every cell of the plot, and the styles of the codes: a line's owner + 1, eighths covered by
    faint values << 16, whose these are << 24."""
    glyphs, layers = picture.look.glyphs, _layers(picture, ink)
    lines, areas = layers.lines, layers.areas
    owner = raster.share(lines > 0, (lines == len(glyphs.shapes) - 1).sum(0) > 1)
    if ink.plain or ink.ansi:  # no faint colours there: fewer dots instead
        thin = areas & np.uint8(glyphs.weights[::2].sum())
        areas = np.where(thin > 0, thin, areas)
    under = np.bitwise_or.reduce(areas, axis=0)
    mine = np.take_along_axis(lines, np.maximum(owner, 0)[None].astype(np.intp), 0)[0]
    chars = glyphs.shapes[np.where(owner >= 0, mine, under)]
    bits = np.int64(1) << np.arange(len(areas)).clip(max=62)
    sets, which = np.unique(((areas > 0) * bits[:, None, None]).sum(0), return_inverse=True)
    eighths = np.bitwise_count(under).astype(np.int64) * 8 // glyphs.weights.size
    eighths = np.where(owner >= 0, (eighths + 1) // 2 * 2, 0)  # fewer styles
    codes = owner + 1 + (eighths << 16) + (which.reshape(owner.shape).astype(np.int64) << 24)
    nothing, sets = len(sets) << 24, np.append(sets, 0)
    point = raster.share(layers.dots)
    picture.lines = (owner >= 0) | (point >= 0)
    picture.taken = picture.lines | (under > 0)
    chars[point >= 0] = "•" if glyphs.down > 2 else "●"
    codes[point >= 0] = codes[point >= 0] & ~0xFFFF | point[point >= 0] + 1
    codes[~picture.taken] = EMPTY
    for i in reversed(range(len(lines))):
        for row, sign, where in ((0, "↑", layers.above[i]), (picture.rows - 1, "↓", layers.below[i])):
            chars[row, where], codes[row, where] = sign, i + 1 + nothing
            picture.taken[row, where] = picture.lines[row, where] = True
    known = np.unique(codes[codes >= 0]).tolist()
    return chars, codes, {c: ink.cell((c & 0xFFFF) - 1, int(sets[c >> 24]), c >> 16 & 0xFF) for c in known}


def _dots(picture: Picture, x: np.ndarray, y: np.ndarray, holes: np.ndarray, thick: bool = False) -> raster.Dots:
    glyphs, log = picture.look.glyphs, picture.look.log
    low, high = raster.columns(x, y, picture.x0, picture.x1, picture.cols * glyphs.across, log, holes)
    return raster.fill(low, high, picture.y0, picture.y1, picture.rows * glyphs.down, thick)


def _by_cell(flags: np.ndarray, glyphs: Glyphs) -> np.ndarray:
    """bool [dot columns] -> bool [cell columns]: any."""
    return np.asarray(flags.reshape(-1, glyphs.across).any(1))


def _marked(picture: Picture, curve: Curve, p: Points) -> np.ndarray:
    """Cells with a point of a curve that has few: bool [rows, cols]."""
    cells = np.zeros((picture.rows, picture.cols), bool)
    a, b = np.searchsorted(p.x, (picture.x0, np.nextafter(picture.x1, np.inf)))
    if b - a > (picture.cols // 2 if not curve.smooth else picture.cols // 8):
        return cells
    for x, value in zip(p.x[a:b].tolist(), p.smooth[a:b].tolist(), strict=True):
        row = picture.row(value)
        if 0 <= row < picture.rows:
            cells[row, min(max(picture.column(x), 0), picture.cols - 1)] = True
    return cells


def _rule(picture: Picture, marks: Sequence[Mark], chars: np.ndarray, codes: np.ndarray) -> None:
    """Marks by column, and a line down from each kind that is rare enough not to become a fence."""
    for mark in marks:
        column = picture.column(mark.x) if picture.x0 <= mark.x <= picture.x1 else -1
        if 0 <= column < picture.cols:
            picture.marks.setdefault(column, []).append(mark)
    for kind, code in reversed(RULES.items()):
        at = [column for column, there in picture.marks.items() if any(m.kind == kind for m in there)]
        if kind == "eval" or len(at) * SPARSE > picture.cols:
            continue
        for column in at:
            empty = codes[:, column] < 0
            chars[empty, column], codes[empty, column] = "┊", code


def _bottom(picture: Picture, lines: int, ink: Ink) -> list[Strip]:
    """The x axis: a line with ticks, marks and places without a number, and the texts below it or, if there is one line
    only, in it."""
    look, cols = picture.look, picture.cols
    rule, styles = ["─"] * cols, [ink.axis] * cols
    text = [" "] * cols
    values, texts = axis.x_ticks(picture.x0, picture.x1, max(2, cols // (9 if look.compact else 13)), look.x_name)
    name = look.x_name if lines > 1 and cols > 40 else ""
    free, room = 0, cols - (len(name) + 2 if name else 0)
    for value, label in zip(values.tolist(), texts, strict=True):
        column = min(max(picture.column(value), 0), cols - 1)
        start = min(max(0, column - len(label) // 2), cols - len(label))
        if lines > 1:
            rule[column] = "┬"
        if start >= free and start + len(label) <= room:
            text[start : start + len(label)] = label
            free = start + len(label) + 2
    if name:
        text[cols - len(name) :] = name
    crowded = lines == 1 and len(picture.marks) * 6 > cols
    for column, there in picture.marks.items():
        kind = next(k for k in SIGNS if any(m.kind == k for m in there))
        if not (crowded and kind in ("checkpoint", "eval")):
            rule[column], styles[column] = SIGNS[kind], ink.mark(kind)
    for i, sign in enumerate(text if lines == 1 else ""):
        if sign != " ":
            rule[i], styles[i] = sign, ink.label
    wrong = ink.style(ink.error, bold=True)
    for p in picture.points:
        for column in picture.columns(p.bad).tolist():
            rule[column], styles[column] = "×", wrong
    segments = [Segment("└".rjust(picture.left), ink.axis)]
    segments += [Segment(sign, style) for sign, style in zip(rule, styles, strict=True)]
    strips = [Strip(Segment.simplify(segments), look.width)]
    if lines > 1:
        below = " " * picture.left + "".join(text)
        strips.append(Strip([Segment(below, ink.label)], look.width))
    return strips

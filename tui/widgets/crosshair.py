"""The crosshair: a thin layer over a finished picture. Moving it replaces a few cells and rebuilds nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

from tui.widgets import axis, readout
from tui.widgets.ink import Ink
from tui.widgets.picture import Picture
from tui.widgets.readout import Reading
from tui.widgets.series import Mark


@dataclass
class Crosshair:
    """strips: the lines that differ from the picture's; regions: where they differ, in the widget's content; boxed: whether
    the values found room in a box."""

    x: float
    readings: list[Reading]
    marks: list[Mark]
    strips: dict[int, Strip] = field(default_factory=dict)
    regions: list[Region] = field(default_factory=list)
    boxed: bool = False


def put(strip: Strip, at: int, piece: Sequence[Segment], width: int) -> Strip:
    """The strip of a picture with `width` cells from `at` on replaced. Its signs are all one cell wide; to crop and join
    strips instead takes three times as long."""
    segments: list[Segment] = []
    x, end = 0, at + width
    for segment in strip:
        text, style, _ = segment
        after = x + len(text)
        if x < at < after:
            segments.append(Segment(text[: at - x], style))
        elif after <= at or x >= end:
            segments.append(segment)
        if x <= at < after:
            segments.extend(piece)
        if x < end < after:
            segments.append(Segment(text[end - x :], style))
        x = after
    return Strip(segments, strip.cell_length)


def at_cell(strip: Strip, at: int) -> Segment:
    """The cell of a picture's strip at a column, as a segment of its own."""
    for text, style, _ in strip:
        if at < len(text):
            return Segment(text[at], style)
        at -= len(text)
    return Segment(" ")


def lay(picture: Picture, x: float, ink: Ink) -> Crosshair:
    """The layer for a crosshair at x; without strips where x is out of view."""
    found = Crosshair(x, readout.read(picture, x), readout.near(picture, x))
    column = picture.column(x)
    if not 0 <= column < picture.cols:
        return found
    at = picture.left + column
    rule = ink.style(ink.foreground, 0.45)
    lit = Style(bgcolor=None if ink.ansi else ink.background.blend(ink.foreground, 0.12).rich_color)
    for y in range(picture.rows):
        base = picture.strips[y]
        if picture.taken[y, column]:
            cell = at_cell(base, at)
            piece = Segment(cell.text, (cell.style or Style()) + lit)
        else:
            piece = Segment("│", rule)
        found.strips[y] = put(base, at, [piece], 1)
    for reading in reversed(found.readings):
        row = picture.row(reading.value) if reading.x == reading.x else -1
        if 0 <= row < picture.rows:
            dot = Segment("●", ink.style(ink.lines[reading.index], bold=True))
            found.strips[row] = put(picture.strips[row], at, [dot], 1)
    found.regions.append(Region(at, 0, 1, picture.rows))
    if not picture.look.compact:
        _chip(picture, found, at, ink)
        _box(picture, found, column, ink)
    return found


def _chip(picture: Picture, found: Crosshair, at: int, ink: Ink) -> None:
    """The place on the x axis, over its texts."""
    line = len(picture.strips) - 1
    if line < picture.rows:
        return
    text = f" {axis.place(found.x, picture.look.x_name)} "
    start = min(max(picture.left, at - len(text) // 2), picture.look.width - len(text))
    if start < picture.left:
        return
    style = ink.style(ink.foreground, bold=True) + Style(reverse=True)
    found.strips[line] = put(picture.strips[line], start, [Segment(text, style)], len(text))
    found.regions.append(Region(start, line, len(text), 1))


def _box(picture: Picture, found: Crosshair, column: int, ink: Ink) -> None:
    """The values where they cover no line, if there is such a place."""
    lines = readout.box(picture, found.x, found.readings, readout.named(found.marks), ink)
    if not lines:
        return
    width, height = lines[0].cell_length, len(lines)
    if (place := _free(picture, width, height, column)) is None:
        return
    left, top = place
    for y, line in enumerate(lines, top):
        found.strips[y] = put(found.strips.get(y, picture.strips[y]), picture.left + left, list(line), width)
    found.regions.append(Region(picture.left + left, top, width, height))
    found.boxed = True


def _free(picture: Picture, width: int, height: int, column: int) -> tuple[int, int] | None:
    """Where (left, top) a box of that size covers neither data nor the crosshair: the place nearest to the upper right
    corner, so that it stays where it is as long as it can. If there is none, one where it covers no line."""
    for data in (picture.taken, picture.lines):
        sums = np.pad(data.astype(np.int32).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        covered = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
        free = covered == 0
        free[:, max(0, column - width) : column + 2] = False
        free[:, 0] = free[:, -1] = False
        tops, lefts = np.nonzero(free)
        if len(tops):
            best = int(np.argmin(2 * tops + (free.shape[1] - 1 - lefts)))
            return int(lefts[best]), int(tops[best])
    return None

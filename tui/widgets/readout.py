"""The values of all curves at the crosshair, and the box that shows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from tui.widgets import axis
from tui.widgets.ink import Ink
from tui.widgets.legend import clean, sample
from tui.widgets.picture import Picture
from tui.widgets.series import Curve, Mark


@dataclass(frozen=True)
class Reading:
    """One curve at the crosshair. x: of its nearest point at or before (NaN: none); value: what is drawn there; raw: the
    value itself if that is another; away: the point lies in an earlier column; extreme: (value, x) of the furthest
    point of this column that does not fit in the range; wrong: (value, x) of one that is no number."""

    curve: Curve
    index: int
    x: float = np.nan
    value: float = np.nan
    raw: float | None = None
    away: bool = False
    extreme: tuple[float, float] | None = None
    wrong: tuple[float, float] | None = None


def read(picture: Picture, x: float) -> list[Reading]:
    """The readings of all curves of the picture at x."""
    column = min(max(picture.column(x), 0), picture.cols - 1)
    begin, end = picture.span(column)
    found = []
    for i, (curve, p) in enumerate(zip(picture.curves, picture.points, strict=True)):
        at = int(np.searchsorted(p.x, x, "right")) - 1
        a, b = np.searchsorted(p.x, (begin, end), "left").tolist()
        b += column == picture.cols - 1
        inside = p.raw[a:b]
        extreme = wrong = None
        if len(inside):
            rows = [(picture.row(float(inside[k])), k) for k in (int(inside.argmax()), int(inside.argmin()))]
            out = next((k for row, k in rows if not 0 <= row < picture.rows), None)
            extreme = None if out is None else (float(inside[out]), float(p.x[a + out]))
        bad = p.bad[np.searchsorted(p.bad, begin) : np.searchsorted(p.bad, end, "right")]
        if len(bad):
            where = float(bad[0])
            wrong = (float(curve.y[int(np.flatnonzero(curve.x == where)[-1])]), where)
        if at < 0:
            found.append(Reading(curve, i, extreme=extreme, wrong=wrong))
            continue
        smoothed = p.beta > 0
        value, raw = float(p.smooth[at] if smoothed else p.raw[at]), float(p.raw[at]) if smoothed else None
        found.append(Reading(curve, i, float(p.x[at]), value, raw, bool(p.x[at] < begin), extreme, wrong))
    return found


def step_to(picture: Picture, x: float | None, by: int) -> float | None:
    """The x of the last point in the next column, in the direction of `by`, that has points of any curve; without x the
    last one in view. None: there is none further on."""
    columns = [p.x for p in picture.points if len(p.x)]

    def last(limit: float, side: Literal["left", "right"] = "left") -> list[float]:
        return [float(a[k - 1]) for a in columns if (k := int(np.searchsorted(a, limit, side)))]

    if x is None:
        return max(last(picture.x1, "right"), default=None)
    begin, end = picture.span(picture.column(x))
    if by < 0:
        return max(last(min(begin, x)), default=None)
    beyond = max(end, float(np.nextafter(x, np.inf)))
    ahead = [float(a[k]) for a in columns if (k := int(np.searchsorted(a, beyond))) < len(a)]
    if not ahead:
        return None
    first = min(ahead)
    column = picture.column(first)
    if column >= picture.cols:
        return first
    return max(first, *last(picture.span(column)[1], "right" if column == picture.cols - 1 else "left"))


def last_in(picture: Picture, column: int) -> float:
    """The x of the last point of any curve in a column, or the column's middle if it has none."""
    begin, end = picture.span(column)
    side: Literal["left", "right"] = "right" if column == picture.cols - 1 else "left"
    points = [float(p.x[k - 1]) for p in picture.points if (k := int(np.searchsorted(p.x, end, side)))]
    return max((x for x in points if x >= begin), default=(begin + end) / 2)


def near(picture: Picture, x: float) -> list[Mark]:
    """The marks in the crosshair's column, else in the ones beside it."""
    column = picture.column(x)
    return picture.marks.get(column) or picture.marks.get(column - 1, []) + picture.marks.get(column + 1, [])


def named(marks: Sequence[Mark]) -> str:
    """The marks in words: checkpoint 400, note "lower rate"."""
    words = [f"{m.kind} {clean(m.label, 40)}".strip() for m in marks[:3]]
    return ", ".join(dict.fromkeys(words)) + (f" and {len(marks) - 3} more" if len(marks) > 3 else "")


def box(picture: Picture, x: float, readings: Sequence[Reading], marks: str, ink: Ink) -> list[Strip]:
    """The readings at x as lines of equal width; no lines if they are too many or too wide for the plot."""
    columns, lines = picture.cols - 4, picture.rows - 2
    x_name = picture.look.x_name
    head = f"{x_name} {axis.place(x, x_name)}"
    texts = [_words(r, x_name, picture.digits) for r in readings]
    smooth, raw = (axis.level([t[k] for t in texts]) for k in (0, 1))
    texts = [(a, b, t[2]) for a, b, t in zip(smooth, raw, texts, strict=True)]
    names = [clean(r.curve.name, 24) for r in readings]
    wide = max(map(cell_len, names), default=0)
    names = [name + " " * (wide - cell_len(name)) for name in names]
    values = max((len(t[0]) for t in texts), default=0)
    raws = max((len(t[1]) for t in texts), default=0)
    rows = [f"{n}  {v:>{values}}  {r:<{raws}}".rstrip() + t for n, (v, r, t) in zip(names, texts, strict=True)]
    titles = [head, marks] if marks else [head]
    width = max(*(cell_len(row) + 2 for row in rows), *map(cell_len, titles)) + 2
    spare = lines - len(titles) - 2
    if width + 2 > columns or spare < 1:
        return []
    left_out = len(rows) - spare + 1 if len(rows) > spare else 0
    rows = rows[: len(rows) - left_out]
    ground = ink.background.blend(ink.foreground, 0.07) if not ink.ansi else None
    line, text, quiet = (ink.style(ink.foreground, f, ground=ground) for f in (0.55, 0.0, 0.42))
    bold = ink.style(ink.foreground, bold=True, ground=ground)

    def framed(*segments: Segment) -> Strip:
        used = sum(s.cell_length for s in segments)
        return Strip([Segment("│ ", line), *segments, Segment(" " * (width - 1 - used) + "│", line)], width + 2)

    strips = [Strip([Segment("╭" + "─" * width + "╮", line)], width + 2)]
    strips += [framed(Segment(titles[0], bold)), *(framed(Segment(t, quiet)) for t in titles[1:])]
    for row, name, reading in zip(rows, names, readings, strict=False):
        mark = Segment(sample(reading.index, ink) + " ", ink.style(ink.lines[reading.index], ground=ground))
        value, rest = row[len(name) : len(name) + 2 + values], row[len(name) + 2 + values :]
        strips.append(framed(mark, Segment(name, text), Segment(value, bold), Segment(rest, quiet)))
    if left_out:
        strips.append(framed(Segment(f"and {left_out} more", quiet)))
    return [*strips, Strip([Segment("╰" + "─" * width + "╯", line)], width + 2)]


def _words(reading: Reading, x_name: str, digits: int) -> tuple[str, str, str]:
    """Value, raw value and what else there is to say of a reading."""
    value = "–" if np.isnan(reading.x) else axis.si(reading.value, digits)
    raw = "" if reading.raw is None else axis.si(reading.raw, digits)
    more = []
    if reading.extreme:
        arrow = "↑" if reading.extreme[0] > reading.value else "↓"
        more.append(f"{arrow} {axis.si(reading.extreme[0])} at {axis.place(reading.extreme[1], x_name)}")
    if reading.wrong:
        more.append(f"{axis.si(reading.wrong[0])} at {axis.place(reading.wrong[1], x_name)}")
    elif reading.away:
        more.append(f"at {axis.place(reading.x, x_name)}")
    return value, raw, "".join(f"  {m}" for m in more)

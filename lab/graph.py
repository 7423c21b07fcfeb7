"""A graph of a few series: in a terminal as marks on a grid, and as SVG (or PNG) for a page. No MLX."""

import importlib
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from lab.errors import UserError

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b", "#17becf", "#7f7f7f")


@dataclass(frozen=True)
class Series:
    """Points (x, y) in the order of x. `mark` is drawn in a terminal at each point; `line`: a curve without points, dotted
    there. Series of one `colour` (a number) belong together; `hollow` ones are drawn with open circles."""

    name: str
    points: Sequence[tuple[float, float]]
    mark: str
    colour: int = 0
    line: bool = False
    hollow: bool = False


def finite(series: Sequence[Series]) -> list[tuple[float, float]]:
    """All points that can be drawn."""
    return [(x, y) for one in series for x, y in one.points if math.isfinite(x) and math.isfinite(y)]


def bounds(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest, a little apart where they are the same."""
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between two, at most so many."""
    rough = (high - low) / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def text(series: Sequence[Series], x_title: str, y_title: str, width: int = 72, height: int = 20) -> str:
    """The graph as lines of text, `width` x `height` cells and what stands around them; points lie over curves."""
    known = finite(series)
    if not known:
        return "(nothing to draw)"
    (left, right), (low, high) = (bounds([point[k] for point in known]) for k in (0, 1))
    grid = [[" "] * width for _ in range(height)]

    def cell(x: float, y: float) -> tuple[int, int]:
        column = round((x - left) / (right - left) * (width - 1))
        return height - 1 - round((y - low) / (high - low) * (height - 1)), column

    if low < 0 < high:
        grid[cell(left, 0.0)[0]] = ["┈"] * width
    for one in sorted(series, key=lambda one: not one.line):
        for x, y in finite([one]):
            row, column = cell(x, y)
            grid[row][column] = "·" if one.line else one.mark
    labels = {cell(left, tick)[0]: f"{tick:g}" for tick in ticks(low, high)}
    wide = max(map(len, labels.values()), default=1)
    lines = [y_title]
    lines += [f"{labels.get(i, ''):>{wide}} ┤{''.join(row).rstrip()}" for i, row in enumerate(grid)]
    axis = [" "] * (width + wide)
    for tick in ticks(left, right):
        said, at = f"{tick:g}", cell(tick, low)[1]
        axis[at : at + len(said)] = said
    lines += [f"{'':>{wide}} └{'─' * width}", f"{'':>{wide}}  {''.join(axis).rstrip()}  {x_title}"]
    legend = [f"{one.mark} {one.name}" for one in series if not one.line and finite([one])]
    return "\n".join([*lines, *legend])


def svg(series: Sequence[Series], title: str, x_title: str, y_title: str, width: int = 900, height: int = 540) -> str:
    """The same as an SVG document. ValueError where there is nothing to draw."""
    known = finite(series)
    if not known:
        raise ValueError("nothing to draw")
    (left, right), (low, high) = (bounds([point[k] for point in known]) for k in (0, 1))
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)
    right += 0.02 * (right - left)
    names = 60 + round(7.7 * max(len(one.name) for one in series))  # DejaVu Sans at 13: 7.7 a letter, at most
    x0, x1, y0, y1 = 70, width - max(250, names), height - 60, 50

    def at(x: float, y: float) -> tuple[float, float]:
        return x0 + (x - left) / (right - left) * (x1 - x0), y0 + (y - low) / (high - low) * (y1 - y0)

    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="DejaVu Sans, sans-serif" '
        f'font-size="13"><rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{x0}" y="28" font-size="16">{escape(title)}</text>',
    ]
    for tick in ticks(low, high, 8):
        y = at(left, tick)[1]
        drawn.append(
            f'<line x1="{x0}" x2="{x1}" y1="{y:.1f}" y2="{y:.1f}" stroke="{"#888" if tick == 0 else "#e4e4e4"}"/>'
        )
        drawn.append(f'<text x="{x0 - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in ticks(left, right, 9):
        x = at(tick, low)[0]
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y0}" y2="{y0 + 5}" stroke="#444"/>')
        drawn.append(f'<text x="{x:.1f}" y="{y0 + 20}" text-anchor="middle">{tick:g}</text>')
    drawn.append(f'<line x1="{x0}" x2="{x1}" y1="{y0}" y2="{y0}" stroke="#444"/>')
    middle = (y0 + y1) / 2
    drawn.append(f'<text x="{(x0 + x1) / 2}" y="{height - 16}" text-anchor="middle">{escape(x_title)}</text>')
    drawn.append(
        f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">{escape(y_title)}</text>'
    )
    for i, one in enumerate(series):
        colour, points = COLOURS[one.colour % len(COLOURS)], [at(x, y) for x, y in finite([one])]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="6 4"' if one.line else ""
        faint = 1.0 if one.line else 0.35
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-opacity="{faint}"{dash}/>'
        )
        y = y1 + 12 + 22 * i
        if one.line:
            drawn.append(
                f'<line x1="{x1 + 16}" x2="{x1 + 36}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="1.6"{dash}/>'
            )
        else:
            fill = "white" if one.hollow else colour
            ring = f'r="4.5" fill="{fill}" stroke="{colour}" stroke-width="1.6"'
            for x, dot in [*points, (x1 + 26.0, float(y))]:
                drawn.append(f'<circle cx="{x:.1f}" cy="{dot:.1f}" {ring}/>')
        drawn.append(f'<text x="{x1 + 44}" y="{y + 4}">{escape(one.name)}</text>')
    return "\n".join([*drawn, "</svg>\n"])


def check(path: Path) -> None:
    """UserError where a picture cannot be written there: so that it is told before the work."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise UserError(f"{path}: a picture is an .svg or a .png")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no folder {path.parent}; make it first")
    if path.exists():
        raise UserError(f"{path}: is there already; name a new file")
    if path.suffix.lower() == ".png" and importlib.util.find_spec("resvg_py") is None:
        raise UserError(f"{path}: PNG needs resvg-py (uv pip install resvg-py); or name an .svg")


def save(path: Path, drawing: str) -> None:
    """Write an SVG document, as PNG where the name says so."""
    if path.suffix.lower() == ".svg":
        path.write_text(drawing, encoding="utf-8")
        return
    made = importlib.import_module("resvg_py").svg_to_bytes(
        svg_string=drawing, font_dirs=["/usr/share/fonts", "/System/Library/Fonts"]
    )
    path.write_bytes(bytes(made))

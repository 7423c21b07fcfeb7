"""Curves into dots: pure numpy, no Textual.

A cell of the terminal shows a small grid of dots: 2 x 4 in braille, 2 x 2 in quadrant blocks. `columns` reduces a curve of
any length to the lowest and highest value in every dot column, `fill` turns those into dots, `pack` dots into glyphs,
and `share` decides whose colour a cell gets where curves meet.
"""

from dataclasses import dataclass

import numpy as np

NONE = np.empty(0)


@dataclass(frozen=True, eq=False)
class Glyphs:
    """How dots become characters. weights: int [down, across], the bit of each dot; shapes: str [2 ** dots]."""

    across: int
    down: int
    weights: np.ndarray
    shapes: np.ndarray


# The bits of the braille block: Unicode 17, chapter 21.1.
BRAILLE = Glyphs(
    2, 4, np.array([[1, 8], [2, 16], [4, 32], [64, 128]]), np.array([" ", *(chr(0x2800 + i) for i in range(1, 256))])
)
# Bits: upper left 1, upper right 2, lower left 4, lower right 8.
BLOCK = Glyphs(2, 2, np.array([[1, 2], [4, 8]]), np.array(list(" ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█")))
GLYPHS = {"braille": BRAILLE, "block": BLOCK}


def edges(x: np.ndarray, x0: float, x1: float, width: int) -> np.ndarray:
    """Where each of `width` equal columns of [x0, x1] begins in the sorted x: int [width + 1]. A point on an inner edge
    belongs to the right column, one at x1 to the last."""
    at = np.searchsorted(x, np.linspace(x0, x1, width + 1))
    at[-1] = np.searchsorted(x, x1, "right")
    return at


def columns(
    x: np.ndarray, y: np.ndarray, x0: float, x1: float, width: int, log: bool = False, holes: np.ndarray = NONE
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest value in each column, two float64 [width]; NaN where the curve has nothing to say.

    x is sorted and y finite (above zero with `log`, which returns log10). Columns between two points get the straight
    line between them, on the scale that is shown, unless one of `holes` (sorted x of points left out) lies between. No
    work is done per point but the two reductions, so 200k points take about as long as reading them.
    """
    low = np.full(width, np.nan)
    if not len(x) or width < 1 or not x1 > x0:
        return low, low.copy()
    high = low.copy()
    at = edges(x, x0, x1, width)
    full = np.flatnonzero(at[1:] > at[:-1])
    start, stop = at[full], at[full + 1]
    if len(full):
        inside = y[: at[-1]]
        low[full] = np.minimum.reduceat(inside, start)
        high[full] = np.maximum.reduceat(inside, start)
    empty = np.flatnonzero(at[1:] == at[:-1])
    ends = np.stack([start, stop - 1], 1).ravel()  # the first and the last point of every column that has some
    before, after = at[0] - 1, at[-1]
    knots = np.concatenate([[before] if before >= 0 else [], ends, [after] if after < len(x) else []]).astype(np.intp)
    xs, ys = x[knots], y[knots]
    if log:
        low, high, ys = np.log10(low), np.log10(high), np.log10(ys)
    if not len(empty) or len(knots) < 2:
        return low, high
    centre = x0 + (empty + 0.5) * ((x1 - x0) / width)
    k = np.searchsorted(xs, centre)
    between = (k > 0) & (k < len(xs))
    if len(holes):
        left, right = xs[np.clip(k - 1, 0, None)], xs[np.clip(k, None, len(xs) - 1)]
        between &= np.searchsorted(holes, left, "right") >= np.searchsorted(holes, right, "left")
    low[empty[between]] = high[empty[between]] = np.interp(centre[between], xs, ys)
    return low, high


@dataclass(frozen=True)
class Dots:
    """grid: bool [height, width], row 0 at the top; above, below: bool [width], columns that go beyond the range."""

    grid: np.ndarray
    above: np.ndarray
    below: np.ndarray


def row_of(y: np.ndarray, y0: float, y1: float, height: int) -> np.ndarray:
    """Row of each value, int32: -1 above the range, `height` below it or NaN. A constant that lies between two rows stays
    in one of them whatever its rounding."""
    rows = np.floor((y1 - y) * (height / (y1 - y0)) + 1e-6)
    rows = np.where(y >= y0, np.minimum(rows, height - 1), height)
    return np.clip(rows, -1, height).astype(np.int32)


def fill(low: np.ndarray, high: np.ndarray, y0: float, y1: float, height: int, thick: bool = False) -> Dots:
    """Every column's span as dots; neighbouring columns are joined halfway, so that a curve is one connected line."""
    known = ~np.isnan(low)
    top, bottom = row_of(high, y0, y1, height), row_of(low, y0, y1, height)
    above, below = known & (top < 0), known & (bottom >= height)
    if len(low) > 1:
        both = known[1:] & known[:-1]
        for upper, lower in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            apart = both & (low[upper] > high[lower]) & (top[lower] > bottom[upper] + 1)
            middle = (bottom[upper] + top[lower]) // 2
            bottom[upper] = np.where(apart, middle, bottom[upper])
            top[lower] = np.where(apart, middle + 1, top[lower])
    rows = np.arange(height)[:, None]
    grid = (rows >= top) & (rows <= bottom) & known
    if thick:
        grid[1:] |= grid[:-1]
        grid[:, 1:] |= grid[:, :-1]
    return Dots(grid, above, below)


def pack(grid: np.ndarray, glyphs: Glyphs) -> np.ndarray:
    """Dots to glyph numbers (into glyphs.shapes): bool [rows * down, cols * across] -> uint8 [rows, cols]."""
    rows, cols = grid.shape[0] // glyphs.down, grid.shape[1] // glyphs.across
    blocks = grid.reshape(rows, glyphs.down, cols, glyphs.across)
    packed: np.ndarray = (blocks * glyphs.weights[None, :, None, :]).sum(axis=(1, 3)).astype(np.uint8)
    return packed


def share(present: np.ndarray, dense: np.ndarray | None = None) -> np.ndarray:
    """Whose a cell is: bool [curves, rows, cols] -> int16 [rows, cols], -1 where nobody's.

    Where several curves cross one cell they take turns, so that each stays visible in its own colour however long they run
    on top of each other. The turn is (col + 2 row) modulo a prime: it changes along horizontal, vertical and
    both diagonal runs, which no two-coloured chequerboard does. `dense` cells, bool [rows, cols], are no lines but areas:
    those are woven as finely as cells allow.
    """
    if not len(present):
        return np.full(present.shape[1:], -1, np.int16)
    count = present.sum(0)
    prime = 5 if count.max(initial=0) <= 5 else 31
    rows, cols = np.indices(count.shape)
    turn = (cols + 2 * rows) % prime * count // prime
    if dense is not None and dense.any():
        turn = np.where(dense, (cols + rows) % np.maximum(count, 1), turn)
    rank = np.cumsum(present, 0) - 1
    mine = present & (rank == turn)
    return np.where(count > 0, mine.argmax(0), -1).astype(np.int16)


STEEP = 3  # dots in one column
DASHES = ((1, 0), (6, 3), (2, 2), (10, 2), (3, 6), (1, 2))


def dashed(grid: np.ndarray, index: int) -> np.ndarray:
    """The grid with the gaps of the index-th pattern cut out (0: solid), for terminals without colours. Steep columns stay:
    a spike must not fall into a gap."""
    on, off = DASHES[index % len(DASHES)]
    kept = (np.arange(grid.shape[1]) % (on + off) < on) | (grid.sum(0) > STEEP)
    return grid & kept

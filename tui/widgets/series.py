"""What a chart is given, and what it keeps of a growing curve: smoothed values, places without a number, a range."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tui.widgets.raster import NONE

BIGGEST = 1e100  # a larger value counts as infinite: the blocks of `Trace` scale by up to 1e100 on top of it
CORE = (0.05, 0.95)  # the quantiles between which a curve's ordinary values lie
REACH = 2.0  # how many times that distance beyond them is still shown
SMOOTHING = (0.0, 0.9, 0.97, 0.99)
FEW = 20  # a curve with fewer points in view is shown whole


@dataclass(frozen=True)
class Curve:
    """One line. x, y: float64 [n], x not falling, y may hold NaN and infinities; both may grow at their end from call to
    call under the same `key`, which no other curve of the chart has. Another `generation` says that the past changed.
    `smooth` False: few points, such as evaluations, drawn as they are with the points marked."""

    name: str
    x: np.ndarray
    y: np.ndarray
    colour: str
    key: Hashable
    generation: int = 0
    smooth: bool = True
    pinned: bool = False


@dataclass(frozen=True)
class Mark:
    """Something that happened at x."""

    x: float
    kind: Literal["checkpoint", "eval", "resume", "note"]
    label: str = ""


def fitting(smoothing: float, count: int) -> float:
    """The smoothing for a curve of `count` points: what is asked for, or the next smaller step where that would average over
    more than a tenth of them, as a line far behind its points says nothing."""
    steps = [s for s in (*SMOOTHING, smoothing) if s <= smoothing and count >= needs(s)]
    return max(steps, default=0.0)


def needs(smoothing: float) -> int:
    """How many points a curve has to have for it: ten times the 1 / (1 - beta) that the average reaches back."""
    return round(10 / (1 - smoothing)) if smoothing else 0


class Trace:
    """The smoothed values of one curve. `update` computes the points that came since the last call and no others.

    Smoothing is the exponential moving average without its bias towards zero, s_t = beta s_{t-1} + (1 - beta) y_t shown as
    s_t / (1 - beta^t), where t counts finite values only (Kingma and Ba 2015, arXiv:1412.6980, section 3).
    """

    def __init__(self) -> None:
        self._forget(0.0, 0)

    def _forget(self, beta: float, generation: int) -> None:
        self.beta, self.generation, self.n = beta, generation, 0
        self._room = np.empty(0)
        self._state, self._count = 0.0, 0
        self._ends = (math.nan, math.nan)
        self._bad: list[np.ndarray] = []
        self.bad = np.empty(0, np.intp)  # where y is not finite

    @property
    def smooth(self) -> np.ndarray:
        """float64 [n], a view; NaN where y is not finite."""
        return self._room[: self.n]

    def update(self, y: np.ndarray, beta: float, generation: int = 0) -> None:
        """Take in what is new of y; all of it anew if beta, generation or the known values are others than before."""
        known = self.n <= len(y) and (not self.n or np.array_equal(self._ends, (y[0], y[self.n - 1]), equal_nan=True))
        if beta != self.beta or generation != self.generation or not known:
            self._forget(beta, generation)
        if self.n == len(y):
            return
        if len(self._room) < len(y):
            room = np.empty(max(len(y), 2 * len(self._room)))
            room[: self.n] = self.smooth
            self._room = room
        new = y[self.n :]
        good = np.abs(new) < BIGGEST  # False for NaN as well
        if good.all():
            self._room[self.n : len(y)] = self._average(new)
        else:
            spread = np.full(len(new), np.nan)
            spread[good] = self._average(new[good])
            self._room[self.n : len(y)] = spread
            self._bad.append(np.flatnonzero(~good) + self.n)
            self.bad = np.concatenate(self._bad)
        self.n = len(y)
        self._ends = (float(y[0]), float(y[-1]))

    def _average(self, y: np.ndarray) -> np.ndarray:
        """In blocks, each a cumulative sum of y / beta^k; a block ends before beta^k falls below 1e-100."""
        beta = self.beta
        if not 0 < beta < 1:
            return y
        block = min(4096, max(1, int(-100 / math.log10(beta))))
        powers = beta ** np.arange(1, block + 1)
        out = np.empty(len(y))
        for a in range(0, len(y), block):
            part = y[a : a + block]
            p = powers[: len(part)]
            biased = p * (self._state + (1 - beta) * np.cumsum(part / p))
            out[a : a + block] = biased / (1 - beta**self._count * p)
            self._state, self._count = float(biased[-1]), self._count + len(part)
        return out


@dataclass(frozen=True)
class Points:
    """What of a curve can be drawn: sorted, finite and on a log scale positive. x, raw, smooth: float64 [n]; holes: the
    sorted x of what was left out; bad, low: those of them that are no numbers, and that a log scale cannot show; beta: how
    much `smooth` is smoothed, 0 where it is `raw`."""

    x: np.ndarray
    raw: np.ndarray
    smooth: np.ndarray
    holes: np.ndarray
    bad: np.ndarray
    low: np.ndarray
    beta: float = 0.0


def points(x: np.ndarray, y: np.ndarray, trace: Trace, log: bool) -> Points:
    """The drawable part of a curve; the arrays themselves, not copies, where nothing has to be left out."""
    smooth = trace.smooth
    if len(x) > 1 and not (x[1:] >= x[:-1]).all():  # NaN among x, or a clock that went back
        order = np.argsort(x, kind="stable")[: int(np.isfinite(x).sum())]
        x, y, smooth = x[order], y[order], smooth[order]
        wrong = ~np.isfinite(smooth)
    elif len(trace.bad):
        wrong = np.zeros(len(x), bool)
        wrong[trace.bad] = True
    else:
        wrong = None
    bad, low, gone = NONE, NONE, wrong
    if wrong is not None:
        bad = x[wrong]
    if log and len(y) and not (wrong is None and y.min() > 0):
        nothing = (y <= 0) if wrong is None else (y <= 0) & ~wrong
        if nothing.any():
            low = x[nothing]
            gone = nothing if gone is None else gone | nothing
    if gone is None or not gone.any():
        return Points(x, y, smooth, NONE, NONE, NONE, trace.beta)
    keep = ~gone
    if log:  # an average may be below zero where its last value is not
        keep &= ~(smooth <= 0)
    return Points(x[keep], y[keep], smooth[keep], x[gone], bad, low, trace.beta)


def tidy(curve: Curve) -> Curve:
    """The curve without points whose x is no number, cut to the shorter of x and y."""
    n = min(len(curve.x), len(curve.y))
    if n < max(len(curve.x), len(curve.y)):
        curve = replace(curve, x=curve.x[:n], y=curve.y[:n])
    if n and not (math.isfinite(curve.x[0]) and math.isfinite(curve.x[-1])):
        keep = np.isfinite(curve.x)
        curve = replace(curve, x=curve.x[keep], y=curve.y[keep])
    return curve


def extent(x: Sequence[np.ndarray]) -> tuple[float, float]:
    """The range of all x; widened where it is a single place; (0, 1) without any."""
    ends = [(float(a[0]), float(a[-1])) for a in x if len(a)]
    if not ends:
        return 0.0, 1.0
    lo, hi = min(a for a, _ in ends), max(b for _, b in ends)
    return (lo, hi) if hi - lo > abs(hi) * 1e-12 else (lo - 0.5 - abs(lo) * 1e-9, hi + 0.5 + abs(hi) * 1e-9)


def limits(curves: Sequence[np.ndarray], log: bool = False, whole: bool = False) -> tuple[float, float] | None:
    """The y range for the values in view, in log10 with `log`; None if there are none.

    What lies further beyond the ordinary values of all curves (their 5 % and 95 % quantiles) than twice the distance
    between these is cut off, unless `whole`: a single spike must not press the rest flat. The bound moves with the data
    without jumps, and the ordinary values keep at least a third of the height (a fifth with outliers on both sides).
    """
    cores, lows, highs = [], [], []
    for y in curves:
        if not len(y):
            continue
        some = y if len(y) <= 8192 else y[:: len(y) // 4096]
        low, high = float(y.min()), float(y.max())
        core = (low, high) if len(y) < FEW or whole else tuple(np.quantile(some, CORE).tolist())
        lows.append(low)
        highs.append(high)
        cores.append(core)
    if not cores:
        return None
    bounds = [min(lows), max(highs), min(a for a, _ in cores), max(b for _, b in cores)]
    low, high, first, last = [math.log10(v) for v in bounds] if log else bounds
    reach = REACH * (last - first)
    if reach > 0:
        low, high = max(low, first - reach), min(high, last + reach)
    size = max(abs(low), abs(high))
    if high - low <= size * 1e-9 or high == low:
        pad = (0.3 if log else 0.1 * size) or 1.0
    else:
        pad = 0.04 * (high - low)
    bottom = 0.0 if not log and low >= 0 > low - pad else low - pad
    return bottom, high + pad


def same(a: Curve, b: Curve) -> bool:
    """Whether two curves show the same. x is told by its ends, as it may be a copy made for each call."""
    facts = [(c.key, c.generation, c.name, c.colour, c.smooth, c.pinned, len(c.x), len(c.y)) for c in (a, b)]
    if facts[0] != facts[1] or (len(a.x) and (a.x[0] != b.x[0] or a.x[-1] != b.x[-1])):
        return False
    first, second = (c.y.__array_interface__["data"][0] for c in (a, b))
    return first == second or bool(np.array_equal(a.y, b.y, equal_nan=True))

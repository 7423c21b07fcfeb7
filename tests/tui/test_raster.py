"""From curves to dots, ticks and smoothed values: pure functions, checked against plain loops."""

import itertools
import math
import random

import numpy as np
import pytest

from tui.widgets import axis, raster
from tui.widgets.series import Curve, Trace, extent, fitting, limits, points, same, tidy
from tui.widgets.window import Window, panned, zoomed

RNG = np.random.default_rng(1)


def curve(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.exponential(1.0, n)), rng.normal(size=n).cumsum()


# Dots


def test_a_spike_of_one_step_in_20k_stays_visible_wherever_it_is() -> None:
    x, y = np.arange(20_000.0), RNG.normal(size=20_000)
    for at in RNG.integers(0, 20_000, 50):
        spiked = y.copy()
        spiked[at] = 100.0
        low, high = raster.columns(x, spiked, 0, 19_999, 274)
        grid = raster.fill(low, high, -10, 101, 144).grid
        column = int(np.flatnonzero(high == 100.0)[0])
        assert grid[1:100, column].all()  # from the top down to where the rest is
        assert abs(column - at / 20_000 * 274) <= 1
        assert not np.delete(grid[1:100], [column - 1, column, min(column + 1, 273)], 1).any()


@pytest.mark.parametrize(("n", "log"), [(5_000, False), (5_000, True), (900, False)])
def test_every_column_has_the_lowest_and_highest_of_its_points(n: int, log: bool) -> None:
    x, y = curve(n, 2)
    y = np.abs(y) + 0.1 if log else y
    x0, x1, width = float(x[n // 10]), float(x[-n // 10]), 200
    low, high = raster.columns(x, y, x0, x1, width, log)
    edges = np.linspace(x0, x1, width + 1)
    for k in range(width):
        inside = y[(x >= edges[k]) & ((x < edges[k + 1]) if k < width - 1 else (x <= x1))]
        inside = np.log10(inside) if log else inside
        if len(inside):
            assert (low[k], high[k]) == (inside.min(), inside.max())
        else:
            assert low[k] == high[k]
            assert math.isfinite(low[k])


def test_between_few_points_there_is_a_straight_line_as_shown() -> None:
    x, y = np.array([0.0, 10.0]), np.array([1.0, 100.0])
    for log, ends in ((False, (1.0, 100.0)), (True, (0.0, 2.0))):
        low, high = raster.columns(x, y, 0, 10, 101, log)
        assert np.array_equal(low, high)
        straight = np.interp(np.arange(101) + 0.5, [0, 101], ends)
        assert np.allclose(low[1:-1], straight[1:-1])
    middle, _ = raster.columns(x, y, 4, 6, 10)  # a view between the two points
    assert np.isfinite(middle).all()
    assert (np.diff(middle) > 0).all()
    outside, _ = raster.columns(x, y, 20, 30, 10)
    assert np.isnan(outside).all()


def test_a_point_left_out_breaks_the_line() -> None:
    x, y = np.array([0.0, 4.0, 6.0, 10.0]), np.ones(4)
    whole, _ = raster.columns(x, y, 0, 10, 100)
    assert np.isfinite(whole).all()
    broken, _ = raster.columns(x, y, 0, 10, 100, holes=np.array([5.0]))
    assert np.isnan(broken[41:60]).all()
    assert np.isfinite(broken[:41]).all()
    assert np.isfinite(broken[60:]).all()


@pytest.mark.parametrize("n", [2, 7, 90, 300, 10_000])
def test_neighbouring_columns_are_joined(n: int) -> None:
    for seed in range(8):
        x, y = curve(n, seed)
        low, high = raster.columns(x, y, x[0], x[-1], 120)
        grid = raster.fill(low, high, float(y.min()) - 0.1, float(y.max()) + 0.1, 80).grid
        spans = [np.flatnonzero(grid[:, k]) for k in range(120)]
        assert all(len(s) and len(s) == s[-1] - s[0] + 1 for s in spans)
        for a, b in itertools.pairwise(spans):
            assert a[0] <= b[-1] + 1
            assert b[0] <= a[-1] + 1


def test_rows_fall_as_values_rise() -> None:
    values = np.sort(RNG.normal(size=500))
    rows = raster.row_of(values, float(values[0]), float(values[-1]), 144)
    assert (np.diff(rows) <= 0).all()
    assert rows[0] == 143
    assert rows[-1] == 0
    assert raster.row_of(np.array([-9.0, 9.0, np.nan]), -1, 1, 10).tolist() == [10, -1, 10]
    constant = 0.5 + RNG.normal(size=200) * 1e-13
    assert len(set(raster.row_of(constant, 0.0, 1.0, 144).tolist())) == 1


def test_what_lies_beyond_the_range_is_told() -> None:
    low, high = np.array([0.0, 5.0, -3.0, np.nan]), np.array([0.5, 9.0, 0.2, np.nan])
    dots = raster.fill(low, high, 0.0, 1.0, 8)
    assert dots.above.tolist() == [False, True, False, False]
    assert dots.below.tolist() == [False, False, True, False]
    assert not dots.grid[:, 3].any()


def test_dots_become_the_right_glyphs() -> None:
    for row, column, glyph in ((0, 0, "⠁"), (3, 0, "⡀"), (0, 1, "⠈"), (3, 1, "⢀")):
        grid = np.zeros((4, 2), bool)
        grid[row, column] = True
        assert raster.BRAILLE.shapes[raster.pack(grid, raster.BRAILLE)[0, 0]] == glyph
    for text, dots in (
        (" ", [0, 0, 0, 0]),
        ("▚", [1, 0, 0, 1]),
        ("▄", [0, 0, 1, 1]),
        ("█", [1, 1, 1, 1]),
        ("▐", [0, 1, 0, 1]),
    ):
        grid = np.array(dots, bool).reshape(2, 2)
        assert raster.BLOCK.shapes[raster.pack(grid, raster.BLOCK)[0, 0]] == text


@pytest.mark.parametrize("count", [2, 3, 4, 5, 7])
def test_curves_in_the_same_cells_all_stay_visible(count: int) -> None:
    owner = raster.share(np.ones((count, 64, 64), bool))
    length = 5 if count <= 5 else 31
    for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
        line = [int(owner[20 + down * i, 32 + across * i]) for i in range(-length // 2 + 1, length // 2 + 1)]
        assert set(line) == set(range(count)), (down, across, line)
    alone = np.zeros((count, 4, 4), bool)
    alone[1, 2, :] = True
    assert raster.share(alone)[2].tolist() == [1, 1, 1, 1]
    assert raster.share(alone)[0].tolist() == [-1, -1, -1, -1]
    woven = raster.share(np.ones((2, 4, 4), bool), np.ones((4, 4), bool))
    assert (woven[:, 1:] != woven[:, :-1]).all()
    assert (woven[1:] != woven[:-1]).all()


def test_dashes_differ_without_colours() -> None:
    full = np.ones((1, 240), bool)
    seen = {raster.dashed(full, i).tobytes() for i in range(len(raster.DASHES))}
    assert len(seen) == len(raster.DASHES)
    assert raster.dashed(full, 0).all()
    spike = np.ones((9, 240), bool)
    assert raster.dashed(spike, 1).all()


# Ticks


def test_ticks_are_few_distinct_and_in_range() -> None:
    random.seed(0)
    for _ in range(4_000):
        centre = random.choice([-1, 1]) * 10 ** random.uniform(-9, 12)
        width = abs(centre) * 10 ** random.uniform(-7, 3)
        lo, hi, count = centre - width * random.random(), centre + width, random.randint(1, 12)
        values = axis.ticks(lo, hi, count)
        slack = 1e-6 * (hi - lo)
        assert 1 <= len(values) <= count
        assert lo - slack <= values[0]
        assert values[-1] <= hi + slack
        texts, base = axis.labels(values)
        assert len(set(texts)) == len(texts), (lo, hi, texts)
        assert max(map(len, texts)) <= 9
        if not base and len(values) > 1:
            assert all(abs(number(t) - v) <= slack for t, v in zip(texts, values.tolist(), strict=True)), (
                texts,
                values,
            )


def number(text: str) -> float:
    suffixes = {suffix: 10.0**power for power, suffix in axis.SUFFIXES.items()}
    return float(text[:-1]) * suffixes[text[-1]] if text[-1] in suffixes else float(text)


@pytest.mark.parametrize(
    ("lo", "hi", "count", "expected"),
    [
        (0, 1, 5, ["0", "0.25", "0.5", "0.75", "1"]),
        (1.2, 7.4, 8, ["2", "3", "4", "5", "6", "7"]),
        (0, 6e-4, 4, ["0", "2e-4", "4e-4", "6e-4"]),
        (0, 21_500, 5, ["0", "5k", "10k", "15k", "20k"]),
        (0, 1850, 4, ["0", "500", "1000", "1500"]),
        (-3, 2, 6, ["-3", "-2", "-1", "0", "1", "2"]),
        (0, 1e12, 3, ["0", "0.5T", "1T"]),
    ],
)
def test_ticks_read_well(lo: float, hi: float, count: int, expected: list[str]) -> None:
    assert axis.labels(axis.ticks(lo, hi, count)) == (expected, 0.0)


def test_tiny_ranges_count_from_a_base() -> None:
    assert axis.labels(axis.ticks(1e6, 1e6 + 0.1, 3)) == (["+0", "+0.05", "+0.1"], 1e6)


def test_log_ticks_are_few_and_in_range() -> None:
    random.seed(1)
    for _ in range(2_000):
        lo = random.uniform(-9, 9)
        hi, count = lo + 10 ** random.uniform(-2, 1.2), random.randint(2, 12)
        values = axis.log_ticks(lo, hi, count)
        assert len(set(values.tolist())) == len(values) <= count
        assert (values >= 10**lo * (1 - 1e-6)).all()
        assert (values <= 10**hi * (1 + 1e-6)).all()
        assert len(values) or count < 4
    assert axis.log_ticks(-3, 1, 6).tolist() == [1e-3, 1e-2, 0.1, 1, 10]
    assert axis.log_ticks(0, 1.04, 9).tolist() == [1, 1.5, 2, 3, 5, 7, 10]


def test_time_ticks_are_those_of_a_clock() -> None:
    def texts(lo: float, hi: float, count: int) -> list[str]:
        return axis.x_ticks(lo, hi, count, "time")[1]

    assert texts(0, 40, 5) == ["0s", "10s", "20s", "30s", "40s"]
    assert texts(0, 1300, 6) == ["0", "5m", "10m", "15m", "20m"]
    assert texts(0, 5000, 7) == ["0", "15m", "30m", "45m", "1h", "1h15"]
    assert texts(0, 90_000, 8) == ["0", "6h", "12h", "18h", "1d"]
    assert texts(0, 0.3, 5) == ["0s", "0.1s", "0.2s", "0.3s"]
    assert [axis.clock(v) for v in (3661, 90, 60, 3600, 90_000, 86_460)] == [
        "1h01m01",
        "1m30",
        "1m",
        "1h",
        "1d1h",
        "1d0h01",
    ]
    assert axis.clock(4800, 60) == "1h20"
    random.seed(2)
    for _ in range(1_000):
        lo = random.uniform(0, 1e6)
        hi, count = lo + 10 ** random.uniform(-1, 6), random.randint(2, 12)
        values, said = axis.x_ticks(lo, hi, count, "time")
        assert len(set(said)) == len(values) <= count


def test_values_read_well() -> None:
    said = [axis.si(v) for v in (0, 2.3144, 14_043, 6246, 999.96, -3.2e-7, 1e-3, 1.5e9, math.nan, -math.inf)]
    assert said == ["0", "2.314", "14.04k", "6246", "1000", "-3.2e-7", "0.001", "1.5G", "NaN", "-inf"]
    assert [axis.si(v, 2) for v in (6735, 9999.9, 14_043, 123_456, 99.6, 0.0116)] == [
        "6735", "10k", "14k", "120k", "100", "0.012"
    ]  # fmt: skip
    assert [axis.fixed(v, 2) for v in (0.0116, 0.4, 0, 14_043, 3e-4, math.nan)] == [
        "0.01", "0.40", "0.00", "14k", "3e-4", "NaN"
    ]  # fmt: skip
    assert axis.level(["1.13", "-1.406", "7", "14.04k", "–", ""]) == ["1.130", "-1.406", "7.000", "14.04k", "–", ""]
    assert axis.level(["7", "12"]) == ["7", "12"]
    assert axis.place(12_345.0, "step") == "12,345"
    assert axis.place(83.4, "time") == "1m23"


# Smoothing


def plain(y: np.ndarray, beta: float) -> list[float]:
    """Kingma and Ba 2015, algorithm 1: the moment and its correction, over finite values."""
    state, count, out = 0.0, 0, []
    for v in y.tolist():
        if not math.isfinite(v):
            out.append(math.nan)
            continue
        count += 1
        state = beta * state + (1 - beta) * v
        out.append(state / (1 - beta**count))
    return out


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.97, 0.99])
def test_smoothing_in_pieces_is_smoothing_in_one_and_a_plain_loop(beta: float) -> None:
    y = RNG.normal(size=9_000) + 3
    y[[0, 5, 6, 777]] = [np.nan, np.inf, -np.inf, np.nan]
    whole, pieces = Trace(), Trace()
    whole.update(y, beta)
    for n in np.cumsum(RNG.integers(1, 400, 60)).clip(max=9_000):
        pieces.update(y[:n], beta)
    pieces.update(y, beta)
    assert np.allclose(whole.smooth, plain(y, beta), rtol=1e-10, equal_nan=True)
    assert np.allclose(pieces.smooth, whole.smooth, rtol=1e-12, equal_nan=True)
    assert whole.bad.tolist() == pieces.bad.tolist() == [0, 5, 6, 777]


def test_smoothing_computes_new_points_only() -> None:
    y = np.arange(1.0, 3_001.0)
    trace = Trace()
    trace.update(y[:2_000], 0.9)
    before = trace.smooth.copy()
    y[500] = 1e9  # nobody looks here again
    trace.update(y, 0.9)
    assert np.array_equal(trace.smooth[:2_000], before)
    trace.update(y, 0.9, generation=1)  # now the past is said to be another
    assert trace.smooth[500] > 1e7
    trace.update(y * 2, 0.9, generation=1)  # and here it can be seen
    assert trace.smooth[0] == 2.0
    trace.update(y[:10], 0.9, generation=1)
    assert trace.n == len(trace.smooth) == 10


def test_smoothing_has_no_bias_and_keeps_to_the_range() -> None:
    trace = Trace()
    trace.update(np.full(50, 7.0), 0.99)
    assert np.allclose(trace.smooth, 7.0)
    trace.update(np.r_[np.full(50, 7.0), 1e300, 8.0], 0.99)  # too big to be a number
    assert trace.bad.tolist() == [50]
    assert 7 < trace.smooth[-1] < 8


def test_short_curves_are_smoothed_less() -> None:
    assert [fitting(0.97, n) for n in (99, 100, 332, 333, 10_000)] == [0.0, 0.9, 0.9, 0.97, 0.97]
    assert fitting(0.0, 10_000) == 0.0
    assert fitting(0.95, 200) == 0.95


# Points, ranges, views


def test_what_cannot_be_drawn_is_left_out_and_told() -> None:
    x, y = np.arange(6.0), np.array([1.0, np.nan, 0.0, -2.0, np.inf, 5.0])
    trace = Trace()
    trace.update(y, 0.0)
    straight = points(x, y, trace, log=False)
    assert straight.x.tolist() == [0, 2, 3, 5]
    assert straight.bad.tolist() == straight.holes.tolist() == [1, 4]
    log = points(x, y, trace, log=True)
    assert log.x.tolist() == [0, 5]
    assert log.low.tolist() == [2, 3]
    assert log.holes.tolist() == [1, 2, 3, 4]
    good = np.arange(1.0, 5.0)
    trace.update(good, 0.0, generation=1)
    assert points(x[:4], good, trace, log=True).raw is good  # no copy of what is whole
    tangled = points(np.array([3.0, 1.0, np.nan, 2.0]), good, trace, log=False)
    assert tangled.x.tolist() == [1, 2, 3]
    assert tangled.raw.tolist() == [2, 4, 1]


def test_a_spike_does_not_press_the_rest_flat() -> None:
    y = RNG.normal(size=5_000)
    assert limits([y]) == pytest.approx((y.min(), y.max()), abs=0.4)  # ordinary noise is shown whole
    spiked = y.copy()
    spiked[3] = 1e6
    low, high = limits([spiked]) or (0, 0)
    assert high - low < 20
    low, high = limits([spiked], whole=True) or (0, 0)
    assert high > 1e6
    assert limits([np.empty(0)]) is None
    assert limits([np.array([1.0, 2.0, 1e6])]) == pytest.approx((0, 1.04e6), rel=1e-3)  # few points: all of them


def test_ranges_of_constants_and_logarithms() -> None:
    assert limits([np.full(9, 3.0)]) == pytest.approx((2.7, 3.3))
    assert limits([np.zeros(9)]) == (0.0, 1.0)
    assert limits([np.full(9, -2.0)]) == pytest.approx((-2.2, -1.8))
    low, _ = limits([np.array([0.01, 1.0])]) or (1, 0)
    assert low == 0.0  # no room below zero for what is never below it
    assert limits([np.array([0.01, 100.0])], log=True) == pytest.approx((-2.16, 2.16))
    assert extent([np.array([5.0])]) == pytest.approx((4.5, 5.5))
    assert extent([]) == (0.0, 1.0)


def test_a_view_follows_or_stays() -> None:
    window = Window()
    window.show((80.0, 100.0), (0.0, 100.0), 1.0)
    assert window.follows
    assert window.now((0.0, 150.0)) == (130.0, 150.0)
    window.show(panned(window.view or (0, 0), -1.0), (0.0, 150.0), 1.0)
    assert not window.follows
    assert window.now((0.0, 500.0)) == (110.0, 130.0)
    window.show(zoomed((110.0, 130.0), 0.5, 115.0), (0.0, 500.0), 1.0)
    assert window.view == (112.5, 122.5)
    window.show((112.0, 112.1), (0.0, 500.0), 4.0)
    assert window.view == (112.0, 116.0)  # no narrower
    window.show((-50.0, 20.0), (0.0, 500.0), 1.0)
    assert window.view == (0.0, 70.0)
    window.show((-50.0, 900.0), (0.0, 500.0), 1.0)
    assert window.view is None
    assert window.follows


def test_broken_places_are_left_out() -> None:
    wrong = Curve("a", np.array([0.0, 1.0, np.inf, np.inf]), np.arange(3.0), "red", 1)
    assert tidy(wrong).x.tolist() == [0, 1]
    assert tidy(wrong).y.tolist() == [0, 1]
    fine = Curve("a", np.arange(3.0), np.arange(3.0), "red", 1)
    assert tidy(fine) is fine


def test_the_same_curve_is_known_again() -> None:
    room = np.arange(10.0)
    a = Curve("a", room[:5], room[:5], "red", 1)
    assert same(a, Curve("a", room[:5].copy(), room[:5], "red", 1))
    assert same(a, Curve("a", room[:5].copy(), room[:5].copy(), "red", 1))
    assert not same(a, Curve("a", room[:6], room[:6], "red", 1))
    assert not same(a, Curve("a", room[:5], room[:5], "blue", 1))
    assert not same(a, Curve("a", room[:5] * 2, room[:5], "red", 1))
    assert not same(a, Curve("a", room[:5], room[:5] * 2, "red", 1))
    assert not same(a, Curve("a", room[:5], room[:5], "red", 1, generation=1))

"""Ticks and numbers in words: pure functions, no Textual."""

import math
from collections.abc import Sequence

import numpy as np

SUFFIXES = {3: "k", 6: "M", 9: "G", 12: "T"}
CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
DAY = 86400
DECADES = 0.5  # a log axis of fewer decades has ordinary ticks


def _multiples(lo: float, hi: float, mantissa: float, exponent: int) -> np.ndarray:
    """The multiples of mantissa x 10^exponent in [lo, hi], each the nearest float to its decimal."""
    step = mantissa * 10.0**exponent
    k = np.arange(math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9) + 1, dtype=float)
    values = k * mantissa * 10.0**exponent if exponent >= 0 else k * mantissa / 10.0**-exponent
    return np.asarray(values)


def ticks(lo: float, hi: float, count: int, least: float = 0.0) -> np.ndarray:
    """At most `count` (and at least one, if lo < hi) multiples of 1, 2, 2.5 or 5 times a power of ten in [lo, hi], no
    closer than `least`."""
    if not hi > lo or count < 1:
        return np.array([lo])
    raw = max((hi - lo) / count, 1e-300)
    exponent = math.floor(math.log10(raw)) - 1
    fallback = np.array([lo])
    for mantissa, power in [(m, exponent + e) for e in range(4) for m in (1.0, 2.0, 2.5, 5.0)]:
        step = mantissa * 10.0**power
        if step < max(raw / 2, least) * (1 - 1e-9) or (least >= 1 and step % 1):
            continue
        found = _multiples(lo, hi, mantissa, power)
        if 0 < len(found) <= count:
            return found
        if len(found):
            fallback = found[:: -(-len(found) // count)]
    return fallback


def log_ticks(lo: float, hi: float, count: int) -> np.ndarray:
    """Like `ticks` for an axis from 10^lo to 10^hi: powers of ten, with some values between them where there is room.
    Below half a decade the ordinary ones."""
    if not hi > lo or count < 1:
        return np.array([10.0**lo])
    if hi - lo < DECADES:
        return ticks(10.0**lo, 10.0**hi, count)
    powers = range(math.floor(lo + 1e-9), math.ceil(hi - 1e-9) + 1)
    best = np.empty(0)
    for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        values = np.array([m * 10.0**p if p >= 0 else m / 10.0**-p for p in powers for m in mantissas])
        values = values[(values >= 10.0**lo * (1 - 1e-9)) & (values <= 10.0**hi * (1 + 1e-9))]
        if mantissas == (1,) and len(values) > count:
            stride = -(-len(values) // count)
            return values[np.round(np.log10(values)).astype(int) % stride == 0]
        if len(values) <= count:
            best = values
    return best if len(best) > 1 else ticks(10.0**lo, 10.0**hi, count)


def time_ticks(lo: float, hi: float, count: int) -> np.ndarray:
    """Like `ticks` for seconds: steps of 1, 2, 5, 10, 15, 30 seconds or minutes, 1, 2, 3, 6, 12 hours, days."""
    if not hi > lo or count < 1:
        return np.array([lo])
    if hi - lo < 2 * count and (found := ticks(lo, hi, count))[-1] - found[0] < count:
        return found
    for step in CLOCK:
        first, last = math.ceil(lo / step - 1e-9), math.floor(hi / step + 1e-9)
        if 0 < last - first + 1 <= count:
            return np.arange(first, last + 1) * float(step)
    return ticks(lo / DAY, hi / DAY, count, least=1) * DAY


def _trim(text: str) -> str:
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def labels(values: np.ndarray, room: int = 7) -> tuple[list[str], float]:
    """A text for each tick, no two alike, in one unit: from 10,000 on k, M, G, T, and a power of ten for tiny
    ones.

    Where that takes more than `room` characters (1,000,000.02), the texts are differences ("+0.02") from the value that
    is returned beside them; it is 0 otherwise.
    """
    if not len(values):
        return [], 0.0
    biggest = float(np.abs(values).max())
    step = float(np.diff(values).min()) if len(values) > 1 else biggest
    power = math.floor(math.log10(biggest) + 1e-12) if biggest else 0
    if 4 <= power < 15:
        unit, suffix = 3 * (power // 3), SUFFIXES[3 * (power // 3)]
    elif power >= 15 or power < -3:
        unit, suffix = power, f"e{power}"
    else:
        unit, suffix = 0, ""
    scaled = [v / 10.0**unit if unit >= 0 else v * 10.0**-unit for v in values.tolist()]
    small = (abs(step) or 1.0) / 10.0**unit * 1e-3
    places = next((d for d in range(16) if all(abs(round(v, d) - v) <= small for v in scaled)), 16)
    texts = [_trim(f"{v:.{places}f}") for v in scaled]
    texts = [t if t == "0" else t + suffix for t in texts]
    if len(values) > 1 and max(map(len, texts)) > room:
        base = float(values[0])
        digits = max(0, 2 - math.floor(math.log10(step)))
        inner, _ = labels(np.array([round(v - base, digits) for v in values.tolist()]), 99)
        return ["+" + t for t in inner], base
    return texts, 0.0


def clock(seconds: float, step: float = 1) -> str:
    """A time since the start, as exact as ticks `step` seconds apart need: 0.2s, 10s, 1m30, 1h20, 1h02m30, 2d6h."""
    if seconds < 0:
        return "-" + clock(-seconds, step)
    places = 0 if step >= 1 else min(9, max(1, -math.floor(math.log10(step) + 1e-9)))
    seconds = round(seconds, places)
    whole = int(seconds)
    days, hours, minutes = whole // DAY, whole // 3600 % 24, whole // 60 % 60
    left = _trim(f"{seconds - whole + whole % 60:.{places}f}")
    if seconds < 60:
        return "0" if step >= 60 and left == "0" else left + "s"
    left = "" if left == "0" else left.zfill(2 + (len(left) - left.index(".") if "." in left else 0))
    text = f"{days}d" if days else ""
    if hours or (days and (minutes or left)):
        text += f"{hours}h"
    if minutes or (left and text):
        text += f"{minutes:02}" if text else f"{minutes}"
        text += "m" if left or not (hours or days) else ""
    return text + left


def si(value: float, digits: int = 4) -> str:
    """A value to `digits` significant digits: 2.314, 14.04k, 3.2e-4, NaN."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if 10**digits <= abs(value) < 9999.5:
        return f"{value:.0f}"  # 6735 in three digits is no 6.74e+03
    value = float(f"{value:.{digits - 1}e}")
    size = abs(value)
    if size == 0:
        return "0"
    if size < 1e-3 or size >= 1e15:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{_trim(mantissa)}e{int(exponent)}"
    for power, suffix in reversed(SUFFIXES.items()):
        if size >= max(10.0**power, 1e4):
            return f"{value / 10.0**power:.{max(3, digits)}g}{suffix}"
    return f"{value:.0f}" if size >= 10**digits else f"{value:.{digits}g}"


def fixed(value: float, places: int) -> str:
    """A value to `places` decimals, for texts that stay as long as they are; as `si` where that says nothing of it."""
    size = abs(value)
    if not math.isfinite(value) or size >= 1e4 or (size and round(size, places) == 0):
        return si(value, 2 if size < 1 else 3)
    return f"{value:.{places}f}"


def level(texts: Sequence[str]) -> list[str]:
    """The plain decimals among the texts with as many places as the longest of them has, so that they stand in a column."""
    plain = [text.lstrip("-").replace(".", "", 1).isdecimal() for text in texts]
    places = [len(text.partition(".")[2]) for text in texts]
    most = max((n for n, fits in zip(places, plain, strict=True) if fits), default=0)
    return [
        text + "." * (n == 0) + "0" * (most - n) if fits and n < most else text
        for text, n, fits in zip(texts, places, plain, strict=True)
    ]


def place(x: float, x_name: str) -> str:
    """A place on the x axis in words: whole numbers in full, times as a clock."""
    if x_name == "time":
        return clock(x, 1 if abs(x) >= 60 else 0.1)
    return f"{x:,.0f}" if abs(x) < 1e15 and float(x).is_integer() else f"{x:,.6g}"


def x_ticks(lo: float, hi: float, count: int, x_name: str) -> tuple[np.ndarray, list[str]]:
    """Ticks and texts of the x axis; x_name: time (seconds), or step and tokens, whose ticks are whole numbers."""
    if x_name == "time":
        found = time_ticks(lo, hi, count)
        step = float(np.diff(found).min()) if len(found) > 1 else max(1.0, abs(hi - lo))
        return found, [clock(v, step) for v in found.tolist()]
    found = ticks(lo, hi, count, least=1 if x_name in ("step", "tokens") else 0)
    return found, labels(found, 99)[0]

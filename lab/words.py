"""Numbers as people read them: durations, counts, sizes, a line of bars. No MLX: terminal, TUI and recipes share it.

Numbers come out of other people's files too: what is not finite, or no time at all, is said in some way and never raised.
"""

import math
import time

BARS = "▁▂▃▄▅▆▇█"


def duration(seconds: float | None) -> str:
    """'1:05' or '2:03:04'; '-' for the unknown. Less than nothing, where a clock was set back, is nothing."""
    if seconds is None or not math.isfinite(seconds):
        return "-"
    minutes, s = divmod(max(0, round(seconds)), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def clock(t: float, now: float) -> str:
    """The time of day '18:26'; with the weekday where it lies over 20 hours from `now`, '-' where there is no such time."""
    try:
        return time.strftime("%H:%M" if abs(t - now) < 72_000 else "%a %H:%M", time.localtime(t))
    except (OSError, OverflowError, ValueError):
        return "-"


def age(seconds: float) -> str:
    """How long ago: '12s', '38m', '9h', '3d'; '' for the unknown (not positive, not finite)."""
    if not math.isfinite(seconds):
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return "0s" if seconds > 0 else ""


def short(count: float) -> str:
    """1234567 -> '1.2M'; '' for nothing."""
    if not math.isfinite(count):
        return str(count)
    for size, unit in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            value = count / size
            return f"{value:.1f}{unit}" if value < 10 else f"{value:.0f}{unit}"
    return f"{count:g}" if count else ""


def size(count: float) -> str:
    """Bytes as '2.5 MB' (powers of 1000, as macOS counts)."""
    for unit, power in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if count >= power:
            value = count / power
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count:.0f} bytes"


def sparkline(values: list[float], width: int = 40) -> str:
    """A line of bars, the newest at the right; each bar is the mean of its share of the values that are finite."""
    values = [v for v in values if math.isfinite(v)]
    if not values:
        return ""
    share = max(1, -(-len(values) // width))
    means = [sum(values[i : i + share]) / len(values[i : i + share]) for i in range(0, len(values), share)]
    low, high = min(means), max(means)
    return "".join(BARS[round((v - low) / (high - low or 1) * (len(BARS) - 1))] for v in means)

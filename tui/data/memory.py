"""A run's memory in words, and the warning that MLX's own figures cannot give."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lab.words import duration
from tui.data.charts import number
from tui.data.history import History

KEYS = ("active", "peak", "cache", "process", "swap")
BEGIN = 0.1  # share of the run that is warm-up: compiling, first evaluation, first checkpoint
SPAN = 120.0  # seconds of work at least that must be in view before anything is said
FEWEST = 40  # rows at least
PARTS = 8  # the stretch in view is cut into this many
RISING = 5  # of the steps between parts that must go up: a leak climbs, an evaluation jumps once
GROWTH = 0.25  # GB at least
SHARE = 0.08  # of what the process had before at least
FLAT = 0.2  # how much of the growth MLX's peak may explain


def figures(latest: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, float]:
    """{'active': GB, ...} of what is known; the metrics' last rows win over status.json."""
    found = {}
    for name in KEYS:
        value = number(latest.get(f"mem_{name}"))
        value = number(status.get(f"mem_{name}")) if value is None else value
        if value is not None:
            found[name] = value
    return found


def warning(time: np.ndarray, process: np.ndarray, swap: np.ndarray, peak: np.ndarray) -> str:
    """One sentence where the process (or its swap) climbs over the last half of the run while MLX's peak stays where it
    was, else ''. time: seconds of work; the others GB; float64 [n] each, NaN where unknown, swap and peak may be empty.

    Seen in the field as a training whose reported peak did not move while its machine went into swap
    (https://github.com/ml-explore/mlx/issues/3993).
    """
    n = len(time)
    if n < FEWEST or len(process) != n:
        return ""
    start = max(int(n * BEGIN), n // 2)
    time = time[start:]
    took = float(time[-1] - time[0])
    if took < SPAN or len(time) < 2 * PARTS:
        return ""
    for name, values, least in (("process", process, GROWTH), ("swap", swap, GROWTH)):
        grown = _climb(values[start:], least) if len(values) == n else 0.0
        if not grown:
            continue
        explained = _grown(peak[start:]) if len(peak) == n else 0.0
        if explained > FLAT * grown:
            continue
        stands = f" while MLX's peak stands at {np.nanmax(peak):.2f} GB" if np.isfinite(peak).any() else ""
        return (
            f"{'Swap' if name == 'swap' else 'The process'} grew {grown:.1f} GB in the last {duration(took)}{stands}: "
            "memory that MLX does not count. x saves and stops, R then goes on in a fresh process."
        )
    return ""


def _grown(values: np.ndarray) -> float:
    """How much higher the end is than the beginning."""
    known = values[np.isfinite(values)]
    return float(known[-1] - known[0]) if len(known) else 0.0


def _climb(values: np.ndarray, least: float) -> float:
    """The growth of a series that climbs steadily, in its own unit; 0 where it does not."""
    known = values[np.isfinite(values)]
    if len(known) < 2 * PARTS:
        return 0.0
    levels = np.array([np.median(part) for part in np.array_split(known, PARTS)])
    grown = float(levels[-1] - levels[0])
    steps = np.diff(levels)
    rising = int((steps > grown * 0.02).sum())
    # The last quarter must still climb: what has settled is no leak.
    if grown < max(least, SHARE * levels[0]) or rising < RISING or levels[-1] - levels[-3] < grown * 0.1:
        return 0.0
    return grown


def of_run(history: History) -> str:
    """The warning for a run."""
    time, process = history.column("mem_process", "time")
    _, swap = history.column("mem_swap")
    _, peak = history.column("mem_peak")
    return warning(time, process, swap, peak)

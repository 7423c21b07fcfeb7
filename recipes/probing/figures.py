"""Figures that probes report: intervals, calibration, diversity. Pure functions of numbers and strings."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def wilson(right: float, count: float, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927, J. Am. Stat. Assoc. 22:209); (0, 1) of nothing."""
    if count == 0:
        return 0.0, 1.0
    share, more = right / count, z * z / count
    middle = share + more / 2
    spread = z * math.sqrt(share * (1 - share) / count + more / (4 * count))
    low, high = (middle - spread) / (1 + more), (middle + spread) / (1 + more)
    return max(0.0, low), min(1.0, high)


def wilson_of(hits: Sequence[bool], about: Sequence[object], z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of the share of hits, where several are about one thing and go together: Wilson's, of as many
    independent ones as would have the variance that is seen between the things (Korn & Graubard 1998, Survey Methodology
    24:193). `about`: what each hit is about."""
    y, n = np.asarray(hits, float), len(hits)
    if n == 0:
        return 0.0, 1.0
    p, _, which = float(y.mean()), *np.unique([str(one) for one in about], return_inverse=True)
    sums = np.bincount(which, y - p)
    if len(sums) < 2:
        return wilson(p, 1, z)  # of one thing nothing is known about others
    alone = p * (1 - p) / (n - 1)
    seen = len(sums) / max(1, len(sums) - 1) * float((sums**2).sum()) / n**2
    # Where all are right, or none, how much they go together is not to be seen: taken as wholly, which is the careful side.
    count = n / max(1.0, seen / alone) if alone else float(len(sums))
    return wilson(p * count, count, z)


def share(right: int, count: int) -> dict[str, Any]:
    """A share as numbers for the record: right, of, share, and its 95 % interval low to high."""
    low, high = wilson(right, count)
    return {"right": right, "of": count, "share": right / max(1, count), "low": low, "high": high}


def percent(part: dict[str, Any]) -> str:
    """' 61 % [54, 67]': a share and its interval."""
    return f"{100 * part['share']:3.0f} % [{100 * part['low']:.0f}, {100 * part['high']:.0f}]"


@dataclass(frozen=True)
class Bin:
    """Tokens whose most probable candidate had a probability in (low, high]: mean probability, share that came."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, hit: np.ndarray, bins: int = 10) -> list[Bin]:
    """Equal bins of the top probability [N], with how often the top candidate was right (hit, 0 or 1 [N])."""
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = []
    for b in range(bins):
        here = which == b
        n = int(here.sum())
        mean = (float(confidence[here].mean()), float(hit[here].mean())) if n else (math.nan, math.nan)
        rows.append(Bin(b / bins, (b + 1) / bins, n, *mean))
    return rows


def calibration_error(rows: Sequence[Bin]) -> float:
    """Expected calibration error: |accuracy - confidence| averaged over tokens (Naeini et al. 2015, AAAI; Guo et al.
    2017, arXiv:1706.04599)."""
    total = sum(row.count for row in rows)
    return sum(row.count * abs(row.accuracy - row.confidence) for row in rows if row.count) / max(1, total)


def error_by_chance(confidence: np.ndarray, seed: int = 0, draws: int = 50) -> float:
    """The calibration error that a perfectly calibrated model shows on so few tokens: hits drawn with its own
    probabilities. An error near this one is no error."""
    r = np.random.default_rng(seed)
    errors = [calibration_error(reliability(confidence, r.random(len(confidence)) < confidence)) for _ in range(draws)]
    return float(np.mean(errors))


def distinct(row: Sequence[int], n: int) -> float:
    """Different n-grams as a share of all (distinct-n, Li et al. 2016, arXiv:1510.03055), of one row: over several it
    would fall with their number."""
    grams = _grams(row, n)
    return len(set(grams)) / max(1, len(grams))


def repeated(row: Sequence[int], n: int = 4) -> float:
    """Share of n-grams that stood in the same row before (seq-rep-n, Welleck et al. 2019, arXiv:1908.04319)."""
    grams = _grams(row, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(row: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]


def says(text: str, answers: Sequence[str]) -> bool:
    """True when one of the answers stands in the text as whole words; one or two letters (symbols) in their own case."""
    for answer in answers:
        flags = re.IGNORECASE if len(answer) > 2 else 0
        if re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text, flags):
            return True
    return False


def flat(numbers: dict[str, Any], prefix: str = "") -> dict[str, float | int | str]:
    """Nested numbers as one level, for a row of metrics.jsonl: {'shots_8': {'share': .6}} -> {'shots_8_share': .6}."""
    out: dict[str, float | int | str] = {}
    for key, value in numbers.items():
        if isinstance(value, dict):
            out |= flat(value, f"{prefix}{key}_")
        elif isinstance(value, int | float | str):
            out[f"{prefix}{key}"] = round(value, 5) if isinstance(value, float) else value
    return out


def shorten(text: str, most: int = 160) -> str:
    """One line of a text, cut in the middle of nothing but its length."""
    line = text.replace("\n", "⏎")
    return line if len(line) <= most else f"{line[:most]}…"

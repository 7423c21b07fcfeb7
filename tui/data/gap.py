"""Proxy and gold: what a reward model says of replies, and what somebody else thinks of them. Pure; no Textual.

gap = proxy - (gold - gold at the start) / (its standard deviation at the start): both count in standard deviations of what
the model said before, as in recipes/rlhf.py. Where the gap grows, the reward is being gamed (Gao et al. 2022,
arXiv:2210.10760)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

import numpy as np

from tui.data.history import History
from tui.data.rollout_rows import Brief
from tui.data.rollout_words import Pieces, figure, fit
from tui.data.rollouts import Step

MOST = 24  # texts of each kind
SHORT = 3  # points below which a line of looks says nothing


@dataclass(frozen=True)
class Scale:
    """Gold at the start: its mean and standard deviation over replies."""

    mean: float
    width: float

    def of(self, gold: float) -> float:
        """In standard deviations above the start."""
        return (gold - self.mean) / self.width


@dataclass(frozen=True)
class Far:
    """A reply whose proxy and gold are both known."""

    brief: Brief
    proxy: float
    gold: float  # as it was judged
    gap: float


@dataclass(frozen=True)
class Line:
    """A curve over the steps, in standard deviations of the start."""

    name: str
    x: np.ndarray
    y: np.ndarray
    gold: bool
    held_out: bool


def proxy_of(row: Brief) -> float | None:
    """What the reward model said: noted as such, else the reward."""
    noted = row.figure("proxy")
    return row.reward if noted is None else noted


def has(history: History) -> bool:
    """Whether somebody else judged beside the reward model."""
    return not {"gold", "held_gold"}.isdisjoint(history.keys())


def scale(history: History, step: Step | None) -> Scale:
    """By the first look at held-out prompts; without one by the first step's mean and the spread of the step that is
    shown."""
    mean, width = (_first(history, key) for key in ("held_gold", "held_gold_std"))
    if mean is not None and width:
        return Scale(mean, width)
    known = [g for group in step.groups for row in group.rows if (g := row.figure("gold")) is not None] if step else []
    first = _first(history, "gold")
    return Scale(first if first is not None else fmean(known) if known else 0.0, pstdev(known) or 1.0 if known else 1.0)


def _first(history: History, key: str) -> float | None:
    values = history.column(key)[1]
    good = values[np.isfinite(values)]
    return float(good[0]) if len(good) else None


def lines(history: History, unit: Scale) -> list[Line]:
    """Proxy and gold of the steps, and of held-out prompts where these were looked at."""
    found = []
    for held_out, prefix in ((False, ""), (True, "held_")):
        for gold, key, name in ((False, "reward", "proxy"), (True, "gold", "gold")):
            x, y = history.column(prefix + key)
            if len(x) >= (SHORT if held_out else 1):
                said = f"{name} held" if held_out else name
                found.append(Line(said, x, (y - unit.mean) / unit.width if gold else y, gold, held_out))
    return found


def far(step: Step, unit: Scale) -> list[Far]:
    """The step's replies, the one that is liked furthest beyond its worth first."""
    found = []
    for group in step.groups:
        for row in group.rows:
            proxy, gold = proxy_of(row), row.figure("gold")
            if proxy is not None and gold is not None and math.isfinite(proxy) and math.isfinite(gold):
                found.append(Far(row, proxy, gold, proxy - unit.of(gold)))
    return sorted(found, key=lambda one: -one.gap)


def ends(found: Sequence[Far]) -> tuple[list[Far], list[Far]]:
    """(the most overrated, the most underrated), none in both."""
    count = min(MOST, len(found) // 2)
    return list(found[: count or len(found)]), list(found[::-1][:count])


# -- in words ----------------------------------------------------------------------------------------------------------


def row(one: Far, width: int) -> Pieces:
    """A line of a list: gap, proxy, gold, all in standard deviations of the start; the text."""
    text = " ".join(one.brief.text.removesuffix("<|end|>").split())
    head: Pieces = [
        (f"{one.gap:+6.2f} ", "bad" if one.gap > 1 else "good" if one.gap < -1 else ""),
        (f"{one.proxy:+6.2f} ", ""),
        (f"{one.proxy - one.gap:+6.2f}  ", ""),
    ]
    return [*head, (fit(text, max(4, width - 23)), "")]


def head(width: int) -> Pieces:
    return [(fit("   gap  proxy   gold  reply", width), "muted")]


def told(one: Far | None) -> list[Pieces]:
    """The reply under the cursor in full: what it answers, what it says."""
    if one is None:
        return [[("no reply here was judged by somebody else", "muted")]]
    text = " ".join(one.brief.text.removesuffix("<|end|>").split())
    return [[(one.brief.prompt, "muted")], [(text, "bold")]]


def summary(step: Step, found: Sequence[Far], unit: Scale) -> str:
    """The step in a line."""
    if not found:
        return f"step {step.number:,}: nobody judged beside the reward model"
    proxy, gold = fmean(one.proxy for one in found), fmean(one.gold for one in found)
    return (
        f"step {step.number:,}  proxy {figure(proxy, signed=True)}  gold {figure(gold, signed=True)} "
        f"({figure(unit.of(gold), signed=True)} sd of the start)"
    )

"""The hidden judge of jokes as a person who ranks them, and as a measure. The one door to recipes/pocket/gold.py: `lab rank
--by gold` and what measures may come in; no reward model and no loss may, which a test proves by walking imports."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lab.rankings import Prompt, text_of
from lab.rollout import seed_of
from recipes.pocket.gold import gold


def scores(prompt: Prompt, replies: Sequence[str]) -> np.ndarray:
    """The quality of each joke, float64 [N]. ValueError for a prompt that asks for no joke of the pocket world."""
    asked = text_of(prompt)
    return np.array([gold(asked, reply) for reply in replies])


def ranked(
    prompt: Prompt, replies: Sequence[str], noise: float, seed: int | str
) -> tuple[list[int], list[list[int]], float]:
    """(order, ties, ceiling): best first by quality and, for each joke, a draw of N(0, noise^2): a person is in a mood.
    Ties are jokes that come out equal, which only happens without noise."""
    known = scores(prompt, replies)
    drawn = np.random.default_rng(seed_of(f"gold:{seed}", 0, 0)).normal(0.0, 1.0, len(known))
    seen = known + noise * drawn
    order = [int(i) for i in np.argsort(-seen, kind="stable")]
    ties: list[list[int]] = []
    for before, place in pairwise(order):
        if abs(seen[before] - seen[place]) < 1e-9:
            if ties and ties[-1][-1] == before:
                ties[-1].append(place)
            else:
                ties.append([before, place])
    return order, ties, ceiling(known, noise)


def ceiling(known: np.ndarray, noise: float) -> float:
    """How often the best possible predictor, which knows the qualities [N], agrees with a pair of a noisy ranking: the mean
    over pairs of Phi(|a - b| / (noise sqrt 2)), the noise of a difference having standard deviation noise * sqrt 2. Pairs
    of equal quality are ties without noise and count no more, and a coin's .5 with it; NaN without any pair."""
    gaps = np.abs(known[:, None] - known)[np.triu_indices(len(known), 1)]
    if noise == 0:
        return 1.0 if (gaps > 1e-9).any() else math.nan
    return float(np.mean([0.5 * (1 + math.erf(gap / (2 * noise))) for gap in gaps]))


def correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Pearson's r of two series [N] and its 95 % interval (Fisher 1921: atanh r has standard error 1 / sqrt(N - 3)); NaN
    where one of them is flat."""
    if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan, math.nan, math.nan
    r = float(np.corrcoef(a, b)[0, 1])
    z, half = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12)), 1.96 / math.sqrt(len(a) - 3)
    return r, math.tanh(z - half), math.tanh(z + half)

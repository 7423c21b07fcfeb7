"""The cost of held-out text, token by token, by a model's own probabilities."""

from itertools import pairwise
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lab.loss import cross_entropy

LOGITS = 1 << 25  # entries of the logits of one forward pass: 128 MB in fp32


class Scores(NamedTuple):
    """For every target of n windows, [n, T]: its nats, the top candidate's probability, whether that was the target."""

    nll: np.ndarray
    top: np.ndarray
    hit: np.ndarray


def score(network: Any, windows: np.ndarray) -> Scores:
    """Score windows int32 [n, T + 1]: position t holds the prediction of token t + 1."""
    rows: int | None = None
    parts: list[Scores] = []
    start = 0
    while start < len(windows):
        x = mx.array(windows[start : start + (rows or 1)])
        logits = network(x[:, :-1]).astype(mx.float32)
        best = mx.argmax(logits, -1)
        # cross_entropy and not logsumexp: on the CPU its exponentials are three times faster.
        nll, top, hit = cross_entropy(logits, x[:, 1:]), mx.exp(-cross_entropy(logits, best)), best == x[:, 1:]
        mx.eval(nll, top, hit)
        parts.append(Scores(np.array(nll), np.array(top), np.array(hit)))
        start += len(x)
        rows = rows or max(1, LOGITS // logits.size)
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def buckets(length: int) -> list[tuple[int, int]]:
    """Positions 0-7, 8-15, 16-31, 32-63... of a window, as (first, one after the last)."""
    edges = [0, 8]
    while edges[-1] < length:
        edges.append(edges[-1] * 2)
    return [(a, min(b, length)) for a, b in pairwise(edges) if a < length]

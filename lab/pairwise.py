"""Losses of pairs of replies to one prompt, of which one was called better: of a reward model, and of a policy itself.

Bradley and Terry 1952 (doi:10.2307/2334029): P(a better than b) = sigmoid(score a - score b). All pairs of a ranking are
in one forward pass, one row a reply, and weigh 1 together (1 / C(K, 2) each; Ouyang et al. 2022, arXiv:2203.02155,
section 3.5): dealt out as single pairs, every reply would be computed, and learnt from, K - 1 times in an epoch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lab.loss import cross_entropy
from lab.samples import MOST


@dataclass(frozen=True)
class Ranked:
    """A ranking as ids: `rows` are prompt and reply, END included, int32 [T] each; `pairs` (better, worse) rows; `start`
    tokens of the prompt; `reference` [rows], log p of each reply under the model that a policy begins as, nats."""

    rows: list[np.ndarray]
    pairs: list[tuple[int, int]]
    start: int = 0
    reference: np.ndarray | None = None

    @property
    def longest(self) -> int:
        """Tokens of the longest row."""
        return max(len(row) for row in self.rows)


class Pass(NamedTuple):
    """Whole rankings that share a forward pass: ids int32 [R, T], padded on the right; last int32 [R], where each row's
    last token stands; better, worse int32 [P], rows of each pair; share float32 [P], 1 / pairs of its ranking; weight
    float32 [R, T], 1 on tokens, 0 on padding (a Learner counts them); start int32 [R], tokens of the prompt; reference
    float32 [R], 0 where there is none."""

    ids: np.ndarray
    last: np.ndarray
    better: np.ndarray
    worse: np.ndarray
    share: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    reference: np.ndarray


def passes(rankings: Sequence[Ranked], pad: int, most: int = MOST) -> list[Pass]:
    """Rankings as few passes of at most `most` tokens (a larger ranking goes alone), those of about a length together. What
    has no pair is left out."""
    groups: list[list[Ranked]] = []
    rows = 0
    for one in sorted((r for r in rankings if r.pairs), key=lambda r: r.longest):  # rising: the last is the longest
        if groups and (rows + len(one.rows)) * one.longest <= most:
            groups[-1].append(one)
            rows += len(one.rows)
        else:
            groups.append([one])
            rows = len(one.rows)
    return [together(group, pad) for group in groups]


def together(rankings: Sequence[Ranked], pad: int) -> Pass:
    """Rankings as one pass."""
    rows = [row for one in rankings for row in one.rows]
    starts = np.cumsum([0, *(len(one.rows) for one in rankings)])
    pairs = [(start + a, start + b, 1 / len(one.pairs)) for one, start in zip(rankings, starts, strict=False)
             for a, b in one.pairs]  # fmt: skip
    better, worse, share = zip(*pairs, strict=True) if pairs else ((), (), ())
    ids, last = right_padded(rows, pad)
    weight = (np.arange(ids.shape[1]) <= last[:, None]).astype(np.float32)
    begins = np.concatenate([np.full(len(one.rows), one.start, np.int32) for one in rankings])
    known = [np.zeros(len(one.rows)) if one.reference is None else one.reference for one in rankings]
    return Pass(
        ids, last, np.asarray(better, np.int32), np.asarray(worse, np.int32), np.asarray(share, np.float32), weight,
        begins, np.concatenate(known).astype(np.float32),
    )  # fmt: skip


def right_padded(rows: Sequence[np.ndarray], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids int32 [R, T], the place of each row's last token int32 [R]). The place is known from the length, never looked for
    as padding: a vocabulary may have one id for both."""
    ids = np.full((len(rows), max(map(len, rows))), pad, np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return ids, np.array([len(row) - 1 for row in rows], np.int32)


def pairwise(model: Any, batch: Pass) -> tuple[mx.array, mx.array]:
    """(sum over rankings of the mean of -log sigmoid(better - worse), rankings), fp32 scalars. `model` maps ids [R, T] and
    last [R] to scores [R]."""
    score = model(mx.array(batch.ids), mx.array(batch.last))
    ahead = score[mx.array(batch.better)] - score[mx.array(batch.worse)]
    share = mx.array(batch.share)
    return (mx.logaddexp(0.0, -ahead) * share).sum(), share.sum()


def implied(beta: float) -> Callable[[Any, Pass], tuple[mx.array, mx.array]]:
    """The loss of direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290, equation 7): `pairwise` with the
    reward that a policy itself implies, beta * log(p(reply) / p_reference(reply)) in nats. What is left out of this reward
    (their equation 5) depends on the prompt alone and cancels in a pair, as what the prompt's tokens cost does."""

    def loss(model: Any, batch: Pass) -> tuple[mx.array, mx.array]:
        def reward(ids: mx.array, last: mx.array) -> mx.array:
            at = np.arange(1, ids.shape[1])
            said = mx.array((at >= batch.start[:, None]) & (at <= batch.last[:, None]))
            cost = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
            return beta * (-(cost * said).sum(1) - mx.array(batch.reference))

        return pairwise(reward, batch)

    return loss

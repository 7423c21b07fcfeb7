"""Sequences to learn from, and how they share forward passes. No MLX.

Rows of a pass are padded on the right to the longest of them. Causal attention never looks to the right, so a
conversation gives the same loss alone as beside others, and none sees another. Packing several into one row would need a
mask or see across; sorting a step's rows by length wastes as little and needs neither.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

WASTE = 0.04  # share of a pass that may be padding
MOST = 4096  # tokens a pass: bounds activations and the command buffer; a longer row goes alone
# Logits a pass. The loss holds 20 bytes of each at its peak (bf16 model, measured): 2.7 GB, whatever the vocabulary.
LOGITS = 1 << 27


class Batch(NamedTuple):
    """Rows of ids int32 [B, T]; weight float32 [B, T] of each id as a target (0 = not trained), None = all ones; logp float32
    [B, T], what the sampler assigned to each id, None where nothing was sampled."""

    ids: np.ndarray
    weight: np.ndarray | None = None
    logp: np.ndarray | None = None


@dataclass(frozen=True)
class Sample:
    """One token sequence, read from data or sampled from a model."""

    ids: np.ndarray  # int32 [T]
    weight: np.ndarray  # float32 [T]: 0 = not trained (prompt, user, tool output), 1 = demonstration, advantage in RL
    logp: np.ndarray | None = None  # float32 [T], nats, what the sampler assigned; None for demonstrations

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.weight), len(self.ids if self.logp is None else self.logp)}
        if len(lengths) > 1:
            raise ValueError(f"a sample's ids, weights and log-probs differ in length: {sorted(lengths)}")

    def weighted(self, weight: float) -> "Sample":
        """The same sequence with all its weights times `weight`: an advantage, a share."""
        return replace(self, weight=self.weight * np.float32(weight))

    @property
    def trained(self) -> int:
        """Tokens that are trained on. The first of a sequence never is: nothing predicts it."""
        return int(np.count_nonzero(self.weight[1:]))


def sample(ids: Sequence[int], weight: Sequence[float]) -> Sample:
    """A demonstration."""
    return Sample(np.asarray(ids, np.int32), np.asarray(weight, np.float32))


def pass_tokens(vocabulary: int) -> int:
    """Tokens a pass, at most, of a model with so many ids: 4,096 up to 32,768 ids, 883 of Qwen3's 151,936."""
    return min(MOST, max(256, LOGITS // max(1, vocabulary)))


def bucketed(samples: Sequence[Sample], pad: int, waste: float = WASTE, most: int = MOST) -> list[Batch]:
    """The rows of one optimiser step as few passes, of similar lengths each: ids int32 [B, T], weights float32 [B, T].

    Which rows share a step stays random, so a step's gradient is that of a random batch; grouping whole steps by length,
    as is common, is not. At most `waste` of a pass is padding, and at most `most` tokens. Samples without anything to
    train are left out.
    """
    rows = sorted((s for s in samples if s.trained), key=lambda s: len(s.ids), reverse=True)
    groups: list[list[Sample]] = []
    for row in rows:
        group = groups[-1] if groups else []
        width = len(group[0].ids) if group else 0
        size = width * (len(group) + 1)
        filled = sum(len(s.ids) for s in group) + len(row.ids)
        if group and size <= most and size - filled <= waste * size:
            group.append(row)
        else:
            groups.append([row])
    return [padded(group, pad) for group in groups]


def by_length(lengths: Sequence[int], most: int = MOST) -> Iterator[list[int]]:
    """The places of rows in groups of rising length, each at most `most` tokens when padded; a longer row goes alone."""
    some: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if some and lengths[place] * (len(some) + 1) > most:  # rising: this one is the longest
            yield some
            some = []
        some.append(place)
    if some:
        yield some


def padded(samples: Sequence[Sample], pad: int) -> Batch:
    """Rows as one right-padded Batch; padding has weight 0, and logp 0."""
    ids = np.full((len(samples), max(len(s.ids) for s in samples)), pad, np.int32)
    weight, logp = np.zeros(ids.shape, np.float32), np.zeros(ids.shape, np.float32)
    for i, s in enumerate(samples):
        ids[i, : len(s.ids)], weight[i, : len(s.ids)] = s.ids, s.weight
        if s.logp is not None:
            logp[i, : len(s.ids)] = s.logp
    return Batch(ids, weight, None if all(s.logp is None for s in samples) else logp)

"""Losses and what they are made of. Shifting happens here and nowhere else: position t predicts token t + 1."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lab import cpu, device
from lab.samples import MOST, Batch, Sample, by_length, padded

__all__ = ["Batch", "Clip", "Loss", "bits_per_byte", "cross_entropy", "logprobs", "nll", "policy_gradient"]
LOG2E = 1.4426950408889634


def cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """-log softmax(logits)[target], nats; logits [..., V] in any float dtype, targets int [...], result fp32 [...]."""
    logits = logits.astype(mx.float32)
    if cpu.serves(logits):
        return cpu.nll(logits, targets)
    return nn.losses.cross_entropy(logits, targets, reduction="none")


Loss = Callable[[Any, Batch], tuple[mx.array, mx.array]]


def nll(model: Any, batch: Batch) -> tuple[mx.array, mx.array]:
    """Weighted negative log likelihood in nats: (sum over targets, sum of weights), both fp32 scalars.

    The caller divides once over all micro-batches of a step, so splitting a batch does not change the gradient.
    """
    ids = mx.array(batch.ids)
    loss = cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    if batch.weight is None:
        return loss.sum(), mx.array(float(loss.size))
    weight = mx.array(batch.weight[:, 1:])
    return (loss * weight).sum(), weight.sum()


@dataclass(frozen=True)
class Clip:
    """How far a step may trust samples of an older policy, by the ratio of its probability of a token to the sampler's.

    `low`, `high`: PPO's clip (Schulman et al. 2017, arXiv:1707.06347), higher above than below as in DAPO (Yu et al. 2025,
    arXiv:2503.14476). `truncate`: instead, the ratio as a weight, at most so much (Espeholt et al. 2018, arXiv:1802.01561;
    for samplers in bf16 that differ from the trainer)."""

    low: float = 0.2
    high: float = 0.28
    truncate: float | None = None


def policy_gradient(temp: float = 1.0, clip: Clip | None = None, banned: Collection[int] = ()) -> Loss:
    """A loss whose gradient is the policy gradient: sum over targets of -weight * log p(token), p at the temperature that
    was sampled at; weight holds the advantage (Williams 1992, doi:10.1007/BF00992696). Returns (sum, tokens of any weight).

    Without `clip` samples are taken as the policy's own: right for one step on fresh samples in fp32, where the sampler's
    log-probabilities are the trainer's (|difference| <= 2e-5, tested). Ids in `banned` could not be drawn: they have no
    part in the softmax here either.
    """

    def loss(model: Any, batch: Batch) -> tuple[mx.array, mx.array]:
        assert batch.weight is not None, "a policy gradient needs advantages"
        ids, weight = mx.array(batch.ids), mx.array(batch.weight[:, 1:])
        cost = cross_entropy(_tempered(model(ids[:, :-1]), temp, banned), ids[:, 1:])
        cost = mx.where(
            weight == 0, 0.0, cost
        )  # of banned ids (roles, results) it is infinite, and inf * 0 is no number
        count = mx.array(float(np.count_nonzero(batch.weight[:, 1:])))
        if clip is None:
            return (cost * weight).sum(), count
        assert batch.logp is not None, "a ratio needs the sampler's log-probabilities"
        ratio = mx.exp(-cost - mx.where(weight == 0, 0.0, mx.array(batch.logp[:, 1:])))
        if clip.truncate is not None:
            return (cost * weight * mx.minimum(mx.stop_gradient(ratio), clip.truncate)).sum(), count
        kept = mx.clip(ratio, 1 - clip.low, 1 + clip.high)
        return -mx.minimum(ratio * weight, kept * weight).sum(), count

    return loss


def _tempered(logits: mx.array, temp: float, banned: Collection[int]) -> mx.array:
    """Logits [..., V] in fp32, as the sampler draws from them: divided by a temperature in bf16, log p was .02 nats a token
    beside the sampler's (at .7; in fp32 1e-5)."""
    logits = logits.astype(mx.float32)
    logits = logits if temp == 1 else logits * (1 / temp)
    if not banned:
        return logits
    bias = np.zeros(logits.shape[-1], np.float32)
    bias[[i for i in banned if i < len(bias)]] = -np.inf
    return logits + mx.array(bias)


def logprobs(
    model: Any, samples: Sequence[Sample], pad: int, temp: float = 1.0, banned: Collection[int] = (), most: int = MOST
) -> list[np.ndarray]:
    """log p of each token of each sample, float32 [T], nats, at a temperature and without the ids in `banned`; 0 for
    these, and for the first, which nothing predicts. Padding changes none of them (causal attention). At most `most` tokens
    a pass."""
    found: list[np.ndarray] = [np.zeros(0, np.float32)] * len(samples)
    for some in by_length([len(one.ids) for one in samples], most):
        ids = mx.array(padded([samples[i] for i in some], pad).ids)
        said = -np.array(cross_entropy(_tempered(model(ids[:, :-1]), temp, banned), ids[:, 1:]))
        said[~np.isfinite(said)] = 0.0
        for row, i in zip(said, some, strict=True):
            found[i] = np.concatenate([np.zeros(1, np.float32), row[: len(samples[i].ids) - 1]])
    return found


def bits_per_byte(model: Any, windows: Iterable[np.ndarray], byte_lengths: np.ndarray, batch: int = 32) -> float:
    """Bits a byte of text costs under the model: comparable across tokenizers (as nanochat's loss_eval.py).

    windows: int32 [T + 1] each; byte_lengths: int [V], UTF-8 bytes of every id, 0 for special tokens, which do not count.
    """
    nats, size, rows = 0.0, 0, list(windows)
    for start in range(0, len(rows), batch):
        ids = np.stack(rows[start : start + batch])
        lengths = byte_lengths[ids[:, 1:]]
        x = mx.array(ids)
        loss = cross_entropy(model(x[:, :-1]), x[:, 1:])
        nats += device.number((loss * mx.array((lengths > 0).astype(np.float32))).sum())
        size += int(lengths.sum())
    return nats * LOG2E / size if size else math.nan

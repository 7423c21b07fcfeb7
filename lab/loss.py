"""Losses and what they are made of. Shifting happens here and nowhere else: position t predicts token t + 1."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, cast

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lab import device

LOG2E = 1.4426950408889634


@mx.custom_function
def _softmax_nll(logits: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """(loss [...], probabilities [..., V]). The second is kept for the backward pass, so that it is computed once."""
    shifted = (logits - logits.max(-1, keepdims=True)) * LOG2E
    # 2 ** x instead of exp(x): MLX's exp is scalar on the CPU (16 ns an element), its power is not (4.5 ns).
    powers = mx.power(2.0, shifted)
    total = powers.sum(-1, keepdims=True)
    target = mx.take_along_axis(shifted, targets[..., None], -1) * (1 / LOG2E)
    return (mx.log(total) - target)[..., 0], powers / total


@_softmax_nll.vjp
def _softmax_nll_vjp(primals: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, mx.array]:
    targets, p = primals[1], outputs[1]
    rows = targets[..., None]
    here = mx.take_along_axis(p, rows, -1) - 1.0
    return mx.put_along_axis(p, rows, here, -1) * cotangents[0][..., None], mx.zeros_like(targets)


def cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """-log softmax(logits)[target], nats; logits [..., V] in any float dtype, targets int [...], result fp32 [...]."""
    logits = logits.astype(mx.float32)
    if device.on_cpu():
        return cast(tuple[mx.array, mx.array], _softmax_nll(logits, targets))[0]
    return nn.losses.cross_entropy(logits, targets, reduction="none")


class Batch(NamedTuple):
    """Rows of ids int32 [B, T]; weight float32 [B, T] of each id as a target (0 = not trained), None = all ones."""

    ids: np.ndarray
    weight: np.ndarray | None = None


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
    return nats / math.log(2) / size if size else math.nan

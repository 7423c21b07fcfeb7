"""Losses and what they are made of. Shifting happens here and nowhere else: position t predicts token t + 1."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lab import cpu, device
from lab.samples import Batch

__all__ = ["Batch", "Loss", "bits_per_byte", "cross_entropy", "nll"]
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

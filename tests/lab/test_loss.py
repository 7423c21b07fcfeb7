"""Losses: equal to MLX's own and to arithmetic by hand; masks and splitting change nothing they should not."""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import device
from lab.data import byte_lengths
from lab.loss import Batch, bits_per_byte, cross_entropy, nll


@pytest.mark.parametrize("vocab", [33, 333])  # the CPU takes them two ways
@pytest.mark.parametrize("scale", [0.1, 5.0, 60.0])
def test_cross_entropy_and_its_gradient_equal_mlx(scale: float, vocab: int) -> None:
    key = mx.random.key(0)
    logits = mx.random.normal((5, 7, vocab), key=key) * scale
    targets = mx.random.randint(0, vocab, (5, 7), key=key)
    weight = mx.random.normal((5, 7), key=key)
    theirs = lambda x: nn.losses.cross_entropy(x, targets, reduction="none")  # noqa: E731
    assert mx.abs(cross_entropy(logits, targets) - theirs(logits)).max() < 2e-5 * max(1, scale)
    ours_grad = mx.grad(lambda x: (cross_entropy(x, targets) * weight).sum())(logits)
    their_grad = mx.grad(lambda x: (theirs(x) * weight).sum())(logits)
    assert mx.abs(ours_grad - their_grad).max() < 1e-5


@pytest.mark.parametrize("rows", [2, 1000])
def test_extreme_logits_stay_finite(rows: int) -> None:
    logits = mx.tile(mx.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]]), (rows // 2, 1))
    targets = mx.tile(mx.array([1, 2]), (rows // 2,))
    loss = cross_entropy(logits, targets)
    assert abs(device.number(loss[1]) - math.log(3)) < 1e-3
    assert device.number(loss[0]) == pytest.approx(2e4, rel=1e-3)
    grad = mx.grad(lambda x: cross_entropy(x, targets).sum())(logits)
    assert bool(mx.isfinite(grad).all())


def test_untrained_tokens_get_no_gradient(tiny) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, tiny.shape.vocab_size, (1, 12)).astype(np.int32)
    weight = np.zeros((1, 12), np.float32)
    weight[0, 5] = 1
    total, count = nll(tiny, Batch(ids, weight))
    logp = tiny(mx.array(ids[:, :5]))[0, -1]
    assert device.number(count) == 1
    assert device.number(total) == pytest.approx(device.number(cross_entropy(logp, mx.array(int(ids[0, 5])))), abs=1e-5)
    # Tokens after the only trained one can change freely.
    other = ids.copy()
    other[0, 7:] = (other[0, 7:] + 1) % tiny.shape.vocab_size
    grad = nn.value_and_grad(tiny, lambda m, b: nll(m, b)[0])
    _, one = grad(tiny, Batch(ids, weight))
    _, two = grad(tiny, Batch(other, weight))
    # Unused ids leave no trace but in the output matrix's softmax, which is the same for both.
    for (name, a), (_, b) in zip(device.flat(one), device.flat(two), strict=True):
        assert mx.abs(a - b).max() < 1e-6, name


def test_bits_per_byte_counts_text_not_specials(tiny, tokenizer) -> None:
    lengths = byte_lengths(tokenizer)
    ids = np.array([tokenizer.bos, *tokenizer.encode("Ada took a kite."), tokenizer.end], np.int32)
    assert lengths[ids].sum() == len("Ada took a kite.")
    logits = tiny(mx.array(ids[None, :-1]))[0]
    nats = cross_entropy(logits, mx.array(ids[1:]))[: len(ids) - 2].sum()  # END is no text
    want = device.number(nats) / math.log(2) / len("Ada took a kite.")
    assert bits_per_byte(tiny, [ids], lengths) == pytest.approx(want, rel=1e-5)
    assert math.isnan(bits_per_byte(tiny, [], lengths))

"""The CPU's own functions against plain operations: values, gradients, extremes; and that the model takes them."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import cpu, device
from lab.model import Attention, Shape

on_cpu = pytest.mark.skipif(not device.on_cpu(), reason="these functions serve the CPU")


def draw(*shape: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def same(ours: Callable[..., mx.array], plain: Callable[..., mx.array], *inputs: mx.array, error: float = 3e-6) -> None:
    """Values and the gradients of a weighted sum of them agree."""
    value = plain(*inputs)
    assert mx.abs(ours(*inputs) - value).max() < error
    weight = draw(*value.shape, seed=9)
    every = list(range(len(inputs)))
    one, two = (mx.grad(lambda *x, f=f: (f(*x) * weight).sum(), every)(*inputs) for f in (ours, plain))
    for a, b in zip(one, two, strict=True):
        assert mx.abs(a - b).max() < 3 * error


def test_silu_is_x_times_sigmoid() -> None:
    same(cpu.silu, lambda x: x * mx.sigmoid(x), draw(5, 999) * 8, error=1e-5)


def test_silu_far_from_zero_is_finite_and_exact() -> None:
    x = mx.array([-1e30, -1000.0, -89.0, -20.0, 0.0, 1000.0, 1e30])
    assert mx.array_equal(cpu.silu(x)[mx.array([0, 1, 4, 5, 6])], mx.array([0.0, 0.0, 0.0, 1000.0, 1e30]))
    assert cpu.silu(x)[3].item() == pytest.approx(-20 / (1 + np.exp(20.0)), rel=1e-6)  # no digits lost in the tail
    slope = mx.grad(lambda v: cpu.silu(v).sum())(x)
    assert mx.allclose(slope, mx.array([0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 1.0]), atol=1e-6)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 2, 33])
def test_causal_attention_is_plain_attention(kv_heads: int, length: int) -> None:
    q, k, v = draw(3, 4, length, 8), draw(3, kv_heads, length, 8, seed=1), draw(3, kv_heads, length, 8, seed=2)

    def plain(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        k, v = (mx.repeat(x, 4 // kv_heads, 1) for x in (k, v))
        past = mx.arange(length)[:, None] >= mx.arange(length)
        return mx.softmax(mx.where(past, 0.7 * (q @ k.swapaxes(-1, -2)), -mx.inf), -1) @ v

    same(lambda q, k, v: cpu.causal_attention(q, k, v, 0.7), plain, q, k, v)


def test_attention_of_huge_scores_is_finite() -> None:
    q = draw(1, 1, 9, 4) * 1e4
    value, slope = mx.value_and_grad(lambda x: cpu.causal_attention(x, q, q, 1.0).sum())(q)
    assert bool(mx.isfinite(value).all())
    assert bool(mx.isfinite(slope).all())


def test_nll_is_minus_log_softmax() -> None:
    targets = mx.array(np.random.default_rng(0).integers(0, 50, (4, 6)))
    same(
        lambda x: cpu.nll(x, targets),
        lambda x: mx.logsumexp(x, -1) - mx.take_along_axis(x, targets[..., None], -1)[..., 0],
        draw(4, 6, 50) * 5,
        error=5e-6,
    )


def test_inputs_are_left_as_they_were() -> None:
    """The functions work in place, on copies."""
    x, targets = draw(3, 3), mx.array([0, 1, 2])
    before = np.array(x)
    mx.eval(cpu.silu(x), cpu.nll(x, targets), cpu.causal_attention(x[None, None], x[None, None], x[None, None], 1.0))
    assert np.array_equal(np.array(x), before)


@on_cpu
def test_half_precision_and_single_tokens_stay_with_mlx() -> None:
    assert cpu.serves(mx.zeros((4, 1024)))
    assert not cpu.serves(mx.zeros((4, 1024), mx.bfloat16))
    assert not cpu.serves(mx.zeros((1, 704)))


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_attention_without_a_cache_equals_attention_with_a_mask(kv_heads: int) -> None:
    """Without a cache the layer takes its own way on the CPU; given a mask as an array it takes MLX's."""
    layer = Attention(Shape(100, 64, 1, 4, kv_heads, 16, 96))
    x, weight = draw(2, 40, 64), draw(2, 40, 64, seed=1)
    assert not device.on_cpu() or cpu.serves(x)
    past = mx.arange(40)[:, None] >= mx.arange(40)

    def loss(layer: nn.Module, mask: mx.array | str) -> mx.array:
        return (layer(x, mask, None) * weight).sum()

    (one, ours), (two, theirs) = (nn.value_and_grad(layer, loss)(layer, m) for m in ("causal", past))
    assert abs(device.number(one - two)) < 1e-3
    for (name, a), (_, b) in zip(device.flat(ours), device.flat(theirs), strict=True):
        assert mx.abs(a - b).max() < 2e-4, name

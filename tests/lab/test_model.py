"""The transformer: same numbers as mlx-lm's, cache equal to no cache, honest arithmetic about itself."""

import math

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import device
from lab.errors import UserError
from lab.loss import Batch, nll
from lab.model import SIZES, Shape, Transformer, new_cache, shape_of, silu


@pytest.mark.parametrize("size", SIZES)
def test_the_shape_counts_its_own_parameters(size: str) -> None:
    shape = shape_of(size)
    small = shape_of(size, num_hidden_layers=1, vocab_size=512)
    built = sum(v.size for _, v in device.flat(Transformer(small).parameters()))
    assert small.parameters == built
    assert 0.75 < shape.parameters / {"pocket": 1.5e6, "5m": 5e6, "20m": 2e7, "60m": 6e7, "125m": 1.25e8}[size] < 1.3


def test_untied_and_llama_shapes_count_too() -> None:
    for tie in (True, False):
        for norm in (True, False):
            shape = Shape(300, 64, 2, 4, 2, 16, 96, tie_word_embeddings=tie, qk_norm=norm)
            assert shape.parameters == sum(v.size for _, v in device.flat(Transformer(shape).parameters()))


def test_flops_are_six_a_matmul_weight_plus_attention() -> None:
    shape = Shape(100, 64, 1, 4, 4, 16, 96, qk_norm=False)
    matmul = 4 * 64 * 64 + 3 * 64 * 96 + 100 * 64
    assert shape.flops(0) == 6 * matmul
    assert shape.flops(10) - shape.flops(0) == 12 * 64 * 10


def test_a_fresh_model_guesses_uniformly(tokenizer) -> None:
    network = Transformer(Shape(tokenizer.vocab_size))
    network.initialise(3)
    ids = mx.random.randint(0, tokenizer.vocab_size, (64, 65), key=mx.random.key(0))
    total, count = nll(network, Batch(np.array(ids)))
    assert abs(device.number(total / count) - math.log(tokenizer.vocab_size)) < 0.02


def test_the_same_seed_gives_the_same_weights(tokenizer) -> None:
    one, two, other = (Transformer(Shape(tokenizer.vocab_size)) for _ in range(3))
    one.initialise(7), two.initialise(7), other.initialise(8)
    pairs = zip(device.flat(one.parameters()), device.flat(two.parameters()), strict=True)
    assert all(mx.array_equal(a, b) for (_, a), (_, b) in pairs)
    assert not mx.array_equal(one.model.embed_tokens.weight, other.model.embed_tokens.weight)


def test_decoding_with_the_cache_equals_one_forward_pass(tiny) -> None:
    ids = mx.random.randint(0, tiny.shape.vocab_size, (2, 300), key=mx.random.key(0))
    whole = tiny(ids)
    cache = new_cache(tiny)
    parts = [tiny(ids[:, a:b], cache=cache) for a, b in ((0, 7), (7, 8), (8, 270), (270, 300))]
    assert mx.abs(mx.concatenate(parts, 1) - whole).max() < 1e-4
    for c in cache:
        assert c.trim(40) == 40
    again = tiny(ids[:, 260:], cache=cache)
    assert mx.abs(again - whole[:, 260:]).max() < 1e-4


def test_later_tokens_do_not_change_earlier_logits(tiny) -> None:
    ids = mx.random.randint(0, tiny.shape.vocab_size, (1, 20), key=mx.random.key(2))
    changed = mx.array(ids)
    changed[0, 15] = (int(ids[0, 15].item()) + 1) % tiny.shape.vocab_size
    assert mx.array_equal(tiny(ids)[:, :15], tiny(changed)[:, :15])
    assert not mx.array_equal(tiny(ids)[:, 15], tiny(changed)[:, 15])


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"num_attention_heads": 3, "num_key_value_heads": 2}, "multiple"),
        ({"head_dim": 15}, "even"),
        ({"vocab_size": 0}, "above"),
    ],
)
def test_impossible_shapes_are_refused_in_words(numbers: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        shape_of("pocket", **numbers)


def test_unknown_size_names_the_sizes() -> None:
    with pytest.raises(UserError, match="pocket, 5m"):
        shape_of("7b")


def test_silu_and_its_gradient_equal_mlx() -> None:
    """Short and long, for the CPU takes them two ways."""
    for size in (9, 6000):
        x = mx.concatenate([mx.random.normal((size,), key=mx.random.key(0)) * 10, mx.array([0.0, 90, -90, -200, 200])])
        weight = mx.arange(x.size) / x.size
        assert mx.abs(silu(x) - nn.silu(x)).max() < 1e-5
        ours, theirs = (mx.grad(lambda v, f=f, w=weight: (f(v) * w).sum())(x) for f in (silu, nn.silu))
        assert mx.abs(ours - theirs).max() < 1e-5

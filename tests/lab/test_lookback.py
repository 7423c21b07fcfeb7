"""The two heads that a fresh network begins with: they look where they should, and cost the first loss nothing."""

import math
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lab import lookback
from lab.learn import Learner, Schedule
from lab.loss import cross_entropy, nll
from lab.model import Shape, Transformer
from lab.samples import Batch

SHAPE = Shape(
    vocab_size=512, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, head_dim=32,
    intermediate_size=256, max_position_embeddings=256, tie_word_embeddings=False,
)  # fmt: skip
KINDS = [
    SHAPE,
    replace(SHAPE, tie_word_embeddings=True),
    replace(SHAPE, qk_norm=False),
    replace(SHAPE, num_key_value_heads=2),
]


def fresh(shape: Shape, seed: int = 0) -> Transformer:
    network = Transformer(shape)
    network.initialise(seed)
    return network


def twice(rows: int, length: int, seed: int) -> np.ndarray:
    """Random tokens, said twice: int32 [rows, 2 * length]."""
    once = np.random.default_rng(seed).integers(8, 512, (rows, length))
    return np.concatenate([once, once], 1).astype(np.int32)


def attended(attention: Any, x: mx.array) -> np.ndarray:
    """Weights of head 0, [T, T], computed from its parts."""
    T = x.shape[1]
    q = attention.q_proj(x).reshape(1, T, attention.n_heads, -1)
    k = attention.k_proj(x).reshape(1, T, attention.n_kv_heads, -1)
    if "q_norm" in attention:
        q, k = attention.q_norm(q), attention.k_norm(k)
    q, k = attention.rope(q.transpose(0, 2, 1, 3)), attention.rope(k.transpose(0, 2, 1, 3))
    scores = np.array(q[0, 0] @ k[0, 0].T) * attention.scale
    scores[np.triu_indices(T, 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True))


@pytest.mark.parametrize("shape", KINDS)
def test_one_head_looks_at_the_token_before_and_one_at_what_followed(shape: Shape) -> None:
    network, half = fresh(shape), 40
    ids = twice(1, half, 1)
    x = network.model.embed_tokens(mx.array(ids))
    first, second = network.model.layers
    near = attended(first.self_attn, first.input_layernorm(x))
    assert np.mean([near[i, i - 1] for i in range(1, 2 * half)]) > 0.8
    x = first(x, "causal", None)
    match = attended(second.self_attn, second.input_layernorm(x))
    followed = np.mean([match[i, i - half + 1] for i in range(half, 2 * half)])
    elsewhere = np.mean([np.median(match[i, :i]) for i in range(half, 2 * half)])
    assert followed > 0.2
    assert followed > 20 * elsewhere


@pytest.mark.parametrize("shape", KINDS)
def test_the_first_loss_is_still_that_of_a_uniform_guess(shape: Shape) -> None:
    network, ids = fresh(shape), mx.array(np.random.default_rng(2).integers(8, 512, (8, 64)).astype(np.int32))
    loss = cross_entropy(network(ids[:, :-1]), ids[:, 1:]).mean().item()
    assert loss == pytest.approx(math.log(512), abs=0.04)


def test_it_follows_the_seed_and_leaves_small_networks_alone() -> None:
    a, b, c = (fresh(SHAPE, seed).model.layers[1].self_attn.q_proj.weight for seed in (0, 0, 1))
    assert mx.array_equal(a, b)
    assert not mx.array_equal(a, c)
    for shape in (replace(SHAPE, num_hidden_layers=1), replace(SHAPE, head_dim=8)):
        network = fresh(shape)
        before = np.array(network.model.embed_tokens.weight)
        lookback.begin(network, 0)
        assert (np.array(network.model.embed_tokens.weight) == before).all()


@pytest.mark.slow
def test_it_copies_what_a_plain_network_does_not_learn_in_the_same_steps() -> None:
    right = {}
    for name in ("begun", "plain"):
        network = fresh(SHAPE)
        if name == "plain":
            begin, lookback.begin = lookback.begin, lambda network, seed: None
            network = fresh(SHAPE)
            lookback.begin = begin
        learner = Learner(network, Schedule(0.02, 40, 5), "muon")
        for step in range(1, 41):
            learner.step(step, [Batch(twice(16, 32, 100 + step))], nll)
        ids = twice(32, 32, 7)
        said = np.array(network(mx.array(ids[:, :-1]))).argmax(-1)[:, 32:]
        right[name] = float((said == ids[:, 33:]).mean())
    assert right["begun"] > 0.6
    assert right["plain"] < 0.2

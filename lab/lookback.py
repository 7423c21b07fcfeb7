"""Two attention heads that begin as an induction head, the circuit that copies: one in the first layer looks at the token
before, one in the second at what followed the same token earlier, and its value makes that token likelier again (Olsson et
al. 2022, arXiv:2209.11895). All of it stays trainable; after the first step it is weights like others.

Large models find this circuit in billions of tokens. A million parameters do not find it in a few million: on text of words
said twice (lab data pocket, kind echoes), of tokens whose pair has occurred before, .12 were predicted after 100,000 tokens
and .16 after 500,000; begun like this, .76 after 100,000 (one run each). Beginning attention as what it tends to become is
Trockman and Kolter 2023 (arXiv:2305.09828); this wiring is ours, for rotary positions and Llama's shape.
"""

from typing import Any

import mlx.core as mx
import numpy as np

CONSTANT = (
    4.0  # an input that is alike in all tokens, in their standard deviations: what attends by place alone reads it
)
NEAR, NEAR_GAIN = 4, 2.0  # the fastest rotary pairs tell neighbours apart; queries and keys are longer in them by this
MATCH_GAIN = 2.0  # the same for the head that matches tokens: at 1 a match of 16 numbers among 100 keys is too soft
SHARE = 0.03  # of an embedding that the output matrix begins with: small, so that the first loss still is ln(vocab)
NOISE = 0.01


def begin(network: Any, seed: int) -> None:
    """Put the two heads into a freshly initialised network of two layers or more, in place: head 0 of layers 0 and 1."""
    shape = network.shape
    d, h, half = shape.hidden_size, shape.head_dim, shape.head_dim // 2
    rank = min(h, (d - 1) // 3)
    if shape.num_hidden_layers < 2 or half < 2 * NEAR or rank < 8:
        return
    r = np.random.default_rng(seed)
    # Three parts of the residual stream, apart from each other and from its first number, which is the constant: what a
    # token is, what the one before it was, what is to be said.
    basis = np.zeros((d, 3 * rank))
    basis[1:] = np.linalg.qr(r.normal(size=(d - 1, 3 * rank)))[0]
    token, before, said = (basis[:, i * rank : (i + 1) * rank] for i in range(3))
    embedding = np.array(network.model.embed_tokens.weight)
    std = float(embedding.std())
    embedding[:, 0] = CONSTANT * std
    first, second = (network.model.layers[i].self_attn for i in range(2))

    # Layer 0: a query turned back by one step is nearest to the key of the step before.
    turn = shape.rope_theta ** (-np.arange(half) / half)  # radians a token
    query, key = np.zeros((h, d)), np.zeros((h, d))
    for i in range(NEAR):
        key[i, 0] = 1.0
        query[i, 0], query[i + half, 0] = np.cos(turn[i]), -np.sin(turn[i])
    gain = np.ones(h)
    gain[[*range(NEAR), *range(half, half + NEAR)]] = NEAR_GAIN
    _head(first, r, query, key, token.T, before, gain)

    # Layer 1: this token against what stood before the others, in the slow pairs, which distance hardly turns.
    slow = [*range(half // 2, half), *range(half + half // 2, h)]
    mix = np.linalg.qr(r.normal(size=(rank, rank)))[0][: len(slow)]
    query, key = np.zeros((h, d)), np.zeros((h, d))
    query[slow[: len(mix)]], key[slow[: len(mix)]] = mix @ token.T, mix @ before.T
    tied = shape.tie_word_embeddings
    _head(second, r, query, key, token.T, token if tied else said, np.full(h, MATCH_GAIN))
    if not tied:  # a tied output matrix reads tokens where they are written already
        network.lm_head.weight = mx.array((SHARE / std * embedding @ token @ said.T).astype(np.float32))
    network.model.embed_tokens.weight = mx.array(embedding)


def _head(
    attention: Any, r: np.random.Generator, query: np.ndarray, key: np.ndarray, value: np.ndarray, out: np.ndarray,
    gain: np.ndarray,
) -> None:  # fmt: skip
    """Head 0 of an attention: rows [h, d] of its query and key, rows [rank, d] that it reads, columns [d, rank] that it
    writes, and the lengths [h] of queries and keys."""
    h, rank = len(gain), len(value)
    noise = r.normal(size=(2, *query.shape)) * NOISE
    long = 1.0 if "q_norm" in attention else gain[:, None]
    _put(attention.q_proj, slice(0, h), slice(None), (query + noise[0]) * long)
    _put(attention.k_proj, slice(0, h), slice(None), (key + noise[1]) * long)
    _put(attention.v_proj, slice(0, rank), slice(None), value)
    _put(attention.o_proj, slice(None), slice(0, rank), out)
    if "q_norm" in attention:
        for norm in (attention.q_norm, attention.k_norm):
            norm.weight = mx.array(gain.astype(np.float32))


def _put(linear: Any, rows: slice, columns: slice, values: np.ndarray) -> None:
    weight = np.array(linear.weight)
    weight[rows, columns] = values
    linear.weight = mx.array(weight.astype(np.float32))

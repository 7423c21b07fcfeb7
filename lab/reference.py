"""The same mathematics in numpy float64, without MLX: what `lab.check` holds a device's numbers against.

Slow, small and separately written on purpose. Names of weights are those of lab/model.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Weights = Mapping[str, np.ndarray]


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4)."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rope(x: np.ndarray, offset: int, base: float) -> np.ndarray:
    """Rotary positions (Su et al. 2021, arXiv:2104.09864, eq. 34) of x [..., T, H]: element i of the first half and
    element i of the second are the pair that turns by position * base^(-2i/H)."""
    length, size = x.shape[-2:]
    half = size // 2
    angle = np.arange(offset, offset + length)[:, None] * base ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)], -1)


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Causal softmax(q k^T / sqrt(H)) v (Vaswani et al. 2017, arXiv:1706.03762, eq. 1); q [B, heads, T, H], k and v
    [B, kv_heads, S, H] with S >= T: the last T of S positions ask. Query head i reads kv head i * kv_heads // heads
    (Ainslie et al. 2023, arXiv:2305.13245)."""
    share = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, share, 1), np.repeat(v, share, 1)
    length, seen = q.shape[2], k.shape[2]
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    scores = np.where(np.tri(length, seen, seen - length, dtype=bool), scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True) @ v


def silu(x: np.ndarray) -> np.ndarray:
    """x * sigmoid(x) (Elfwing et al. 2017, arXiv:1702.03118)."""
    return x * 0.5 * (1 + np.tanh(x / 2))


def logits(weights: Weights, shape: Any, ids: np.ndarray) -> np.ndarray:
    """Logits [B, T, vocab] of ids [B, T] under a lab.model.Shape: what lab.model.Transformer computes."""
    B, T = ids.shape
    x = weights["model.embed_tokens.weight"][ids]
    for i in range(shape.num_hidden_layers):
        layer = {k.removeprefix(f"model.layers.{i}."): w for k, w in weights.items() if f".layers.{i}." in k}
        h = rms_norm(x, layer["input_layernorm.weight"], shape.rms_norm_eps)

        def heads(name: str, h: np.ndarray = h, layer: Weights = layer) -> np.ndarray:
            y = (h @ layer[f"self_attn.{name}_proj.weight"].T).reshape(B, T, -1, shape.head_dim)
            if f"self_attn.{name}_norm.weight" in layer:
                y = rms_norm(y, layer[f"self_attn.{name}_norm.weight"], shape.rms_norm_eps)
            return y.swapaxes(1, 2)

        q, k = (rope(heads(name), 0, shape.rope_theta) for name in "qk")
        y = attention(q, k, heads("v")).swapaxes(1, 2).reshape(B, T, -1)
        x = x + y @ layer["self_attn.o_proj.weight"].T
        h = rms_norm(x, layer["post_attention_layernorm.weight"], shape.rms_norm_eps)
        gate, up = (h @ layer[f"mlp.{name}_proj.weight"].T for name in ("gate", "up"))
        x = x + silu(gate) * up @ layer["mlp.down_proj.weight"].T
    x = rms_norm(x, weights["model.norm.weight"], shape.rms_norm_eps)
    return x @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Log-probabilities over the last axis."""
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def nll(weights: Weights, shape: Any, ids: np.ndarray) -> float:
    """Mean negative log likelihood in nats of ids[:, 1:] after ids[:, :-1]."""
    logp = log_softmax(logits(weights, shape, ids[:, :-1]))
    return float(-np.take_along_axis(logp, ids[:, 1:, None], -1).mean())


def slope(function: Callable[[np.ndarray], float], x: np.ndarray, direction: np.ndarray, h: float = 3e-4) -> float:
    """Derivative of `function` at x along `direction`, from five points that lie h root mean squares of x apart: the error
    is of the order h^4 plus 1e-16 / h."""
    h *= float(np.sqrt((x * x).mean()))
    one = function(x + h * direction) - function(x - h * direction)
    two = function(x + 2 * h * direction) - function(x - 2 * h * direction)
    return (8 * one - two) / (12 * h)


def clip(gradients: Weights, most: float) -> dict[str, np.ndarray]:
    """Scaled down together to a global norm of at most `most` (Pascanu et al. 2013, arXiv:1211.5063)."""
    norm = np.sqrt(sum(float((g * g).sum()) for g in gradients.values()))
    return {k: g * min(1.0, most / (norm + 1e-6)) for k, g in gradients.items()}


def muon(gradient: np.ndarray, momentum: np.ndarray, beta: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """(what the rate multiplies, new momentum) of Muon with Nesterov momentum and five Newton-Schulz steps (Jordan et
    al. 2024, https://kellerjordan.github.io/posts/muon/)."""
    momentum = beta * momentum + (1 - beta) * gradient
    x = beta * momentum + (1 - beta) * gradient
    rows, columns = x.shape
    x = x.T if rows > columns else x
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x.T if rows > columns else x
    return x * max(1.0, rows / columns) ** 0.5, momentum


def adam(
    gradient: np.ndarray, first: np.ndarray, second: np.ndarray, step: int, betas: tuple[float, float] = (0.9, 0.95)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(what the rate multiplies, first moment, second moment) of Adam with bias correction at `step`, counted from 1
    (Kingma & Ba 2014, arXiv:1412.6980, algorithm 1)."""
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient * gradient
    update = first / (1 - betas[0] ** step) / (np.sqrt(second / (1 - betas[1] ** step)) + 1e-8)
    return update, first, second

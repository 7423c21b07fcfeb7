"""What MLX's CPU backend is slow at, in numpy: it computes exp one number at a time (12 ns an element; numpy's vectors take
0.45). With these functions a training step costs a fifth less. Each is evaluated as soon as it is called (so mx.compile
cannot take it in), keeps what its gradient needs and states that gradient. fp32 only; accelerators have MLX's own.
"""

import ctypes
import sys
from typing import Any, cast

import mlx.core as mx
import numpy as np

from lab import device


def _keep_freed_memory() -> None:
    """glibc gives large freed blocks back to the system at once; 33,000 pages a step (width 256) were zeroed anew."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
            if hasattr(libc, "mallopt"):
                libc.mallopt(parameter, 1 << 30) or libc.mallopt(parameter, 1 << 25)  # older ones take no more


_keep_freed_memory()


def serves(x: mx.array) -> bool:
    """Whether these functions are to be used for `x`: MLX runs on the CPU, in single precision, and `x` is large enough
    (a token of one chat is not) that waiting for it costs less than MLX's exp."""
    return device.on_cpu() and x.dtype == mx.float32 and x.size > 2048


def _softmax(x: np.ndarray) -> np.ndarray:
    """softmax over the last axis, in place; returns the sums of e ** (x - max), for whoever wants their logarithm."""
    x -= x.max(-1, keepdims=True)
    np.exp(x, out=x)
    total = x.sum(-1, keepdims=True)
    x /= total
    return total


@mx.custom_function
def _silu(x: mx.array) -> tuple[mx.array, mx.array]:
    """(x * sigmoid(x), its derivative)."""
    value = np.array(x)
    with np.errstate(over="ignore"):  # e ** 200 is inf, and 1 / inf the right sigmoid
        sigmoid = np.exp(-value)
    sigmoid += 1
    np.reciprocal(sigmoid, out=sigmoid)
    value *= sigmoid
    slope = 1 - sigmoid
    slope *= value
    slope += sigmoid
    return mx.array(value), mx.array(slope)


@_silu.vjp
def _silu_vjp(primals: Any, cotangents: Any, outputs: Any) -> mx.array:
    return cotangents[0] * outputs[1]


def silu(x: mx.array) -> mx.array:
    """x * sigmoid(x), any shape."""
    return cast(tuple[mx.array, mx.array], _silu(x))[0]


@mx.custom_function
def _causal_softmax(scores: mx.array) -> mx.array:
    p = np.array(scores)
    T = p.shape[-1]
    p += np.triu(np.full((T, T), -np.inf, np.float32), 1)
    _softmax(p)
    return mx.array(p)


@_causal_softmax.vjp
def _causal_softmax_vjp(primals: Any, cotangents: Any, p: Any) -> mx.array:
    weighed = p * cotangents
    return weighed - p * weighed.sum(-1, keepdims=True)


def causal_attention(q: mx.array, k: mx.array, v: mx.array, scale: float) -> mx.array:
    """softmax(scale q k') v over past and present (Vaswani et al. 2017, arXiv:1706.03762): q [B, heads, T, D], k and v
    [B, kv_heads, T, D] -> [B, heads, T, D]. It keeps the probabilities, B * heads * T * T, for the backward pass."""
    B, heads, T, D = q.shape
    q = (q * scale).reshape(B, k.shape[1], -1, T, D)
    p = cast(mx.array, _causal_softmax(q @ k[:, :, None].swapaxes(-1, -2)))
    return (p @ v[:, :, None]).reshape(B, heads, T, D)


@mx.custom_function
def _nll(logits: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
    """(-log p [...], p [..., V])."""
    p, rows = np.array(logits), np.array(targets)[..., None]
    p -= p.max(-1, keepdims=True)
    target = np.take_along_axis(p, rows, -1)
    total = _softmax(p)
    return mx.array((np.log(total) - target)[..., 0]), mx.array(p)


@_nll.vjp
def _nll_vjp(primals: Any, cotangents: Any, outputs: Any) -> tuple[mx.array, mx.array]:
    targets, p = primals[1], outputs[1]
    rows = targets[..., None]
    here = mx.take_along_axis(p, rows, -1) - 1.0
    return mx.put_along_axis(p, rows, here, -1) * cotangents[0][..., None], mx.zeros_like(targets)


def nll(logits: mx.array, targets: mx.array) -> mx.array:
    """-log softmax(logits)[target]: logits [..., V], targets int [...] -> [...]."""
    return cast(tuple[mx.array, mx.array], _nll(logits, targets))[0]

"""The weights of a GGUF file as plain arrays under our names.

F32, F16, BF16 and the simple block types are unpacked here, on MLX's device; the others (K and I quants) by the `gguf`
package, an extra. The formulas are those of ggml's reference code (`dequantize_row_*` in ggml-quants.c,
https://github.com/ggml-org/ggml).
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lab import display
from lab.errors import UserError
from lab.gguf import SIMPLE, Header, Tensor, mapped, our_name


def arrays(header: Header, dtype: mx.Dtype) -> Iterator[tuple[str, mx.array]]:
    """(our name, weights in `dtype`) of every tensor, evaluated one by one, so that little more than the result is in
    memory. UserError where the `gguf` package is needed and missing."""
    slow = sorted({t.kind for t in header.tensors.values()} - set(SIMPLE))
    package = _package(header.path, slow) if slow else None
    heads = int(header.get("attention.head_count"))
    groups = int(header.get("attention.head_count_kv", heads))
    work, done = sum(math.prod(t.shape) for t in header.tensors.values() if t.kind in slow), 0
    # numpy unpacks some ten million weights a second
    shown = display.bar(header.path.name, "unpacking", work, "M weights") if work > 50_000_000 else None
    with mapped(header.path) as data, shown or contextlib.nullcontext(lambda done: None) as show:
        for name, tensor in header.tensors.items():
            place = our_name(name)
            assert place is not None  # lab.gguf.config has looked
            # A copy: the map cannot be closed while anything looks into it, and an error's traceback does.
            raw = np.frombuffer(data[tensor.begin : tensor.begin + tensor.size], np.uint8)
            if tensor.kind in slow:
                value = _through(package, header.path, raw, tensor)
                done += math.prod(tensor.shape)
                show(done)
            else:
                value = unpack(mx.array(raw), tensor)
            if header.architecture == "llama" and ".attn_q." in name:
                value = unpermute(value, heads)
            elif header.architecture == "llama" and ".attn_k." in name:
                value = unpermute(value, groups)
            value = cast(value, dtype, f"{header.path}: {name}")
            mx.eval(value)
            yield place, value


def cast(value: mx.array, dtype: mx.Dtype, what: str) -> mx.array:
    """The weights in `dtype`. UserError where a finite one becomes infinite there: float16 ends at 65504."""
    after = value.astype(dtype)
    if dtype not in (mx.float32, value.dtype) and (mx.isfinite(value) & ~mx.isfinite(after)).any():
        kind = str(dtype).removeprefix("mlx.core.")
        raise UserError(f"{what}: holds weights too large for {kind}; take another --dtype, bfloat16 or float32")
    return after


def unpack(raw: mx.array, tensor: Tensor) -> mx.array:
    """Bytes, uint8 [size], of a simple type -> float32 weights (F16 and BF16 in their own type)."""
    plain = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}
    if tensor.kind in plain:
        return raw.view(plain[tensor.kind]).reshape(tensor.shape)
    blocks = raw.reshape(-1, {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34}[tensor.kind])
    scale = _half(blocks[:, :2])
    if tensor.kind == "Q8_0":  # w = d * q, q int8
        value = scale * mx.contiguous(blocks[:, 2:]).view(mx.int8).astype(mx.float32)
    elif tensor.kind == "Q4_0":  # w = d * (q - 8)
        value = scale * (_nibbles(blocks[:, 2:]) - 8)
    else:  # Q4_1: w = d * q + m
        value = scale * _nibbles(blocks[:, 4:]) + _half(blocks[:, 2:4])
    return value.reshape(tensor.shape)


def _half(raw: mx.array) -> mx.array:
    """Two bytes a block, uint8 [n, 2] -> float32 [n, 1]."""
    return mx.contiguous(raw).view(mx.float16).astype(mx.float32)


def _nibbles(raw: mx.array) -> mx.array:
    """uint8 [n, 16] -> float32 [n, 32]: first the 16 lower halves, then the 16 upper ones."""
    return mx.concatenate([raw & 15, raw >> 4], axis=1).astype(mx.float32)


def unpermute(value: mx.array, heads: int) -> mx.array:
    """Rows of q and k as transformers has them. For llama models llama.cpp's converter (`LlamaModel.permute` in
    convert_hf_to_gguf.py) weaves the two halves of each head, which it rotates as neighbouring pairs."""
    rows, *rest = value.shape
    half = rows // heads // 2
    return value.reshape(heads, half, 2, *rest).swapaxes(1, 2).reshape(rows, *rest)


def _package(path: Path, kinds: list[str]) -> Any:
    try:
        import gguf
    except ImportError:
        raise UserError(
            f"{path}: its weights are {', '.join(kinds)}, which takes the extra `gguf`: pip install -e '.[gguf]' (or "
            f"pip install gguf); {', '.join(SIMPLE)} need no extra"
        ) from None
    return gguf


def _through(package: Any, path: Path, raw: np.ndarray, tensor: Tensor) -> mx.array:
    try:
        kind = package.GGMLQuantizationType[tensor.kind]
        flat = package.quants.dequantize(raw.reshape(-1, package.GGML_QUANT_SIZES[kind][1]), kind)
    except (NotImplementedError, KeyError) as error:
        raise UserError(f"{path}: {tensor.kind} weights cannot be unpacked; take another quantisation") from error
    return mx.array(flat.astype(np.float32)).reshape(tensor.shape)

"""The weights of a GGUF file as plain arrays under our names.

F32, F16, BF16 and the simple block types are unpacked here, on MLX's device; the others (K and I quants) by the `gguf`
package, an extra. The formulas are those of ggml's reference code (`dequantize_row_*` in ggml-quants.c,
https://github.com/ggml-org/ggml).
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lab.errors import UserError
from lab.gguf import Header, Tensor, mapped, our_name

SIMPLE = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0")


def arrays(header: Header, dtype: mx.Dtype) -> Iterator[tuple[str, mx.array]]:
    """(our name, weights in `dtype`) of every tensor, evaluated one by one, so that little more than the result is in
    memory. UserError where the `gguf` package is needed and missing."""
    slow = sorted({t.kind for t in header.tensors.values()} - set(SIMPLE))
    package = _package(header.path, slow) if slow else None
    heads = int(header.get("attention.head_count"))
    groups = int(header.get("attention.head_count_kv", heads))
    work = sum(math.prod(t.shape) for t in header.tensors.values() if t.kind in slow)
    with mapped(header.path) as data, _progress(header.path, work) as advance:
        for name, tensor in header.tensors.items():
            place = our_name(name)
            assert place is not None  # lab.gguf.config has looked
            raw = np.frombuffer(data, np.uint8, tensor.size, tensor.begin)
            if tensor.kind in slow:
                value = _through(package, raw, tensor)
                advance(math.prod(tensor.shape))
            else:
                value = unpack(mx.array(raw), tensor)
            del raw  # the map cannot be closed while anything looks into it
            if header.architecture == "llama" and ".attn_q." in name:
                value = unpermute(value, heads)
            elif header.architecture == "llama" and ".attn_k." in name:
                value = unpermute(value, groups)
            value = value.astype(dtype)
            mx.eval(value)
            yield place, value


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


def _through(package: Any, raw: np.ndarray, tensor: Tensor) -> mx.array:
    kind = package.GGMLQuantizationType[tensor.kind]
    try:
        flat = package.quants.dequantize(raw.reshape(-1, package.GGML_QUANT_SIZES[kind][1]), kind)
    except (NotImplementedError, KeyError) as error:
        raise UserError(f"weights of type {tensor.kind} cannot be unpacked; take another quantisation") from error
    return mx.array(flat.astype(np.float32)).reshape(tensor.shape)


class _Progress:
    """A bar on a terminal, nothing elsewhere; for the types that numpy unpacks at some ten million weights a second."""

    def __init__(self, path: Path, work: int):
        self.bar: Any = None
        if work > 50_000_000:
            from rich.console import Console
            from rich.progress import Progress

            self.bar = Progress(console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(f"unpacking {path.name}", total=work)
            if not self.bar.console.is_terminal:
                print(f"unpacking {path.name}: {work / 1e6:.0f}M weights", file=sys.stderr)

    def __enter__(self) -> Any:
        if self.bar is not None and self.bar.console.is_terminal:
            self.bar.start()
            return lambda count: self.bar.advance(self.task, count)
        return lambda count: None

    def __exit__(self, *args: object) -> None:
        if self.bar is not None:
            self.bar.stop()


_progress = _Progress

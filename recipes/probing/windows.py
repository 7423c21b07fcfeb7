"""What a longer window costs: time and memory of one training step on the same number of tokens.

Attention compares every token with all before it, so its work and its scores grow with the window: 12 * layers * width *
T FLOPs a token (Chowdhery et al. 2022, arXiv:2204.02311, appendix B); everything else costs the same at any length.
"""

import math
import time
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lab import device
from lab.loss import Batch, nll
from lab.model import Transformer
from recipes.probing.subject import BIG, Found, Subject


def parts(subject: Subject) -> dict[str, int]:
    """Window lengths from 32 tokens to the context: doubling, or four times as long for big models."""
    lengths, limit = [min(32, subject.window)], min(subject.window, subject.sizes.step)
    while lengths[-1] * 2 <= limit:
        lengths.append(lengths[-1] * 2)
    if subject.parameters > BIG:
        lengths = [t for t in lengths if t in (lengths[0], 128, 512)]
    return {f"length_{length}": length for length in lengths}


def measure(subject: Subject, length: int) -> Found:
    """Seconds and peak memory of forward and backward (big models: forward) on `sizes.step` tokens; the better of two."""
    network, rows = subject.network, subject.windows(length, subject.sizes.step)
    backward = trains(subject)
    grad_of = nn.value_and_grad(network, nll)

    def step() -> None:
        if backward:
            mx.eval(grad_of(network, Batch(rows)))
        else:
            mx.eval(nll(network, Batch(rows)))

    if backward:
        step()  # the first one allocates
    best: dict[str, Any] = {}
    for _ in range(2 if backward else 1):
        mx.clear_cache()
        mx.reset_peak_memory()
        before, wall, cpu = mx.get_active_memory(), time.perf_counter(), time.process_time()
        step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if not best or cpu < best["cpu_s"]:
            best = {"seconds": wall, "cpu_s": cpu, "peak_gb": (mx.get_peak_memory() - before) / 1e9}
    tokens = rows[:, 1:].size
    flops = network.shape.flops(length) if isinstance(network, Transformer) else math.nan
    about = {"rows": len(rows), "tokens": tokens, "backward": backward, "flops": flops}  # a token, forward and backward
    return Found(about | best | {"tok_s": tokens / clock(best)})


def clock(part: dict[str, Any]) -> float:
    """CPU seconds where the CPU computes, which other programs do not lengthen; seconds where something else does."""
    return float(part["cpu_s"] if device.on_cpu() else part["seconds"])


def trains(subject: Subject) -> bool:
    """Whether the step has a backward pass: small enough, and weights that have gradients (no quantised ones)."""
    kinds = {v.dtype for _, v in device.flat(subject.network.parameters())}
    return subject.parameters <= BIG and all(mx.issubdtype(kind, mx.floating) for kind in kinds)


def tell(subject: Subject, parts: dict[str, Found]) -> str:
    """The table and its reading."""
    numbers = {key: one.numbers for key, one in parts.items()}
    found = list(numbers.values())
    what = "forward and backward" if found[0]["backward"] else "forward only"
    lines = [f"window  rows  seconds ({what})  CPU seconds  tokens/second  memory above the weights"]
    for key, n in numbers.items():
        lines.append(
            f"{key.removeprefix('length_'):>6}  {n['rows']:4}  {n['seconds']:{11 + len(what)}.3f}  {n['cpu_s']:11.3f}"
            f"  {n['tok_s']:13,.0f}  {n['peak_gb']:21.3f} GB"
        )
    if len(found) == 1:  # nothing to compare
        return "\n".join(lines)
    short, long = found[0], found[-1]
    first, last = (key.removeprefix("length_") for key in (next(iter(numbers)), next(reversed(numbers))))
    said = (
        f"A token in a window of {last} instead of {first} costs {short['tok_s'] / long['tok_s']:.2f} times the time and "
        f"{long['peak_gb'] / long['tokens'] / (short['peak_gb'] / short['tokens']):.2f} times the memory"
    )
    if math.isfinite(short["flops"]):
        said += f"; counted in FLOPs attention adds {100 * (long['flops'] / short['flops'] - 1):.0f} %"
    lines.append(f"{said}.")
    return "\n".join(lines)

"""How much of the BLAS's speed a training step reaches, and where the rest goes.

    python -m tests.bench.step_flops                          width 256, 4 layers, 4,096 pieces; 2,048 and 4,096 tokens a step
    python -m tests.bench.step_flops --width 128 --vocab 1536 --ffn 384 --batches 16x128      the pocket size

share     FLOPs of a step (Shape.flops: 6 a matmul weight and token, attention by Chowdhery et al. 2022, arXiv:2204.02311;
          neither norms nor the optimiser count) a CPU-second, over the speed of 1024 x 1024 fp32 products. Both are measured
          in turns in this process; medians.
forward, backward, update   CPU-milliseconds of a step; the update is clipping, Newton-Schulz and AdamW
muon      FLOPs of Newton-Schulz beside those of the step: work at full speed that `share` does not count

Measured on an AMD EPYC (Zen 4): width 256 8x256 0.55, 16x256 0.62, 32x128 0.65 of 98 GFLOP/s; the pocket size 0.49 of 96.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from lab import device
from lab.learn import Learner, Schedule
from lab.loss import Batch, nll
from lab.model import Shape, Transformer


def cpu(work: Callable[[], Any]) -> float:
    """CPU-seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def newton_schulz(shape: Shape, network: Transformer, steps: int = 5) -> float:
    """FLOPs of `steps` iterations on every matrix that Muon moves: X X', A A and B X for X of m x n, m <= n."""
    sides = [
        sorted(v.shape)
        for k, v in device.flat(network.parameters())
        if v.ndim == 2 and "embed" not in k and "lm_head" not in k
    ]
    return float(sum(steps * (4 * m * m * n + 2 * m**3) for m, n in sides))


def measure(shape: Shape, rows: int, length: int, repeats: int) -> dict[str, Any]:
    import mlx.core as mx
    import mlx.nn as nn

    network = Transformer(shape)
    network.initialise(0)
    learner = Learner(network, Schedule(1e-3, 1000))
    draw = np.random.default_rng(0)
    batch = Batch(draw.integers(0, shape.vocab_size, (rows, length + 1)).astype(np.int32))
    square = mx.array(draw.standard_normal((1024, 1024)).astype(np.float32))
    grad_of = nn.value_and_grad(network, nll)
    numbers = iter(range(1, 1000))
    works: dict[str, Callable[[], Any]] = {
        "product": lambda: [mx.eval(square @ square) for _ in range(10)],
        "forward": lambda: mx.eval(nll(network, batch)),
        "gradient": lambda: mx.eval(grad_of(network, batch)),
        "step": lambda: learner.step(next(numbers), [batch], nll),
    }
    turns = [{name: cpu(work) for name, work in works.items()} for _ in range(repeats + 1)][1:]
    seconds = {name: statistics.median(t[name] for t in turns) for name in works}
    peak = 10 * 2 * 1024**3 / seconds["product"]
    flops = shape.flops(length) * rows * length
    shares = [flops / t["step"] / (10 * 2 * 1024**3 / t["product"]) for t in turns]
    return {
        "batch": f"{rows}x{length}",
        "parameters": shape.parameters,
        "step_s": seconds["step"],
        "tok_s": rows * length / seconds["step"],
        "forward_ms": 1e3 * seconds["forward"],
        "backward_ms": 1e3 * (seconds["gradient"] - seconds["forward"]),
        "update_ms": 1e3 * (seconds["step"] - seconds["gradient"]),
        "step_gflop": flops / 1e9,
        "muon_gflop": newton_schulz(shape, network) / 1e9,
        "peak_gflops": peak / 1e9,
        "share": statistics.median(shares),
        "shares": shares,
    }


def main(argv: list[str] | None = None) -> list[dict[str, Any]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("width", 256), ("layers", 4), ("ffn", 704), ("vocab", 4096), ("repeats", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batches", nargs="+", default=["8x256", "16x128", "16x256", "32x128"], help="rows x length")
    args = parser.parse_args(argv)
    found = []
    print(device.name())
    for text in args.batches:
        rows, length = map(int, text.split("x"))
        shape = Shape(
            args.vocab, args.width, args.layers, args.heads, args.heads, args.width // args.heads, args.ffn,
            max(512, length), tie_word_embeddings=False,
        )  # fmt: skip
        row = measure(shape, rows, length, args.repeats)
        found.append(row)
        print(
            f"{text:8s} {row['step_s']:.3f} CPU-s a step, {row['tok_s']:.0f} tok/s; forward {row['forward_ms']:.0f}, backward "
            f"{row['backward_ms']:.0f}, update {row['update_ms']:.0f} ms; {row['step_gflop']:.1f} GFLOP (muon "
            f"{row['muon_gflop']:.1f}), peak {row['peak_gflops']:.0f} GFLOP/s, share {row['share']:.2f}",
            flush=True,
        )
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()

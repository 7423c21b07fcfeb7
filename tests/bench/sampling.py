"""Sampling beside mlx_lm in one run, fp32 and one BLAS for both; prints ratios of CPU time.

    python -m tests.bench.sampling                      a random model of 4M parameters (width 256, 4 layers, 4,096 pieces)
    python -m tests.bench.sampling --model FOLDER       any model folder

decode    one row: our Stream beside mlx_lm's stream_generate
batch     32 rows at a time, 64 prompts of 8 to 128 tokens, replies of 16 to 128: `sample` beside batch_generate
group     one prompt of 256 tokens for 16 rows: prefilled once beside 16 times

Each measurement is repeated and interleaved; the figure is the median. Tokens are drawn at temperature 1 on both sides.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lab import device, weights
from lab.batch import Batch, Request, sample
from lab.model import Transformer, shape_of
from lab.sample import Sampling
from lab.stream import Stream
from lab.tokenizer import Tokenizer


def random_model(folder: Path) -> Path:
    """A folder with random weights that both sides load."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 5)) for _ in range(20_000)]
    tokenizer = Tokenizer.train([" ".join(words)], 4096)
    network = Transformer(shape_of("5m", vocab_size=tokenizer.vocab_size, num_hidden_layers=4, qk_norm=False))
    network.initialise(0)
    device.seed(1)
    import mlx.core as mx

    network.load_weights([(k, v + 0.02 * mx.random.normal(v.shape)) for k, v in device.flat(network.parameters())])
    weights.save(folder, network, tokenizer)
    return folder


def cpu(work: Callable[[], int]) -> float:
    """Tokens a CPU-second."""
    start = time.process_time()
    count = work()
    return count / (time.process_time() - start)


def compare(name: str, ours: Callable[[], int], theirs: Callable[[], int], repeats: int) -> dict[str, Any]:
    """Median tokens a CPU-second of both, measured in turns after one warm-up of each."""
    ours()
    theirs()
    pairs = []
    for turn in range(repeats):  # who goes first changes
        first, second = (ours, theirs) if turn % 2 else (theirs, ours)
        speeds = cpu(first), cpu(second)
        pairs.append(speeds if turn % 2 else speeds[::-1])
    mine, peer = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratios = [round(a / b, 3) for a, b in pairs]
    ratio = statistics.median(ratios)  # of pairs: the load of a shared machine changes between them
    print(
        f"{name:8s} ours {mine:8.0f} tok/CPU-s   mlx_lm {peer:8.0f}   ratio {ratio:5.2f}   each {ratios}",
        flush=True,
    )
    return {"name": name, "ours": mine, "mlx_lm": peer, "ratio": ratio, "each": ratios}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200, help="tokens of the single row")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--only", choices=["decode", "batch", "group"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.model or random_model(Path(scratch))
        results = run(folder, args)
    print(json.dumps(results))


def run(folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    import mlx.core as mx
    from mlx_lm import batch_generate, load, stream_generate
    from mlx_lm.sample_utils import make_sampler

    model = weights.load(folder, "float32")
    peer, peer_tokenizer = load(str(folder))
    peer.set_dtype(mx.float32)
    peer_tokenizer._eos_token_ids = set()  # both sides write until max_tokens
    model.tokenizer.ends = frozenset()
    none: frozenset[int] = frozenset()
    network, vocabulary = model.network, model.tokenizer.vocab_size - 40
    rng, results = np.random.default_rng(0), []
    wanted = [args.only] if args.only else ["decode", "batch", "group"]

    if "decode" in wanted:
        prompt = rng.integers(300, vocabulary, 32).tolist()

        def stream() -> int:
            told = Stream(network, model.tokenizer, 4096)(prompt, Sampling(temp=1.0, max_tokens=args.tokens), 1)
            return sum(1 for _ in told)

        def stream_peer() -> int:
            sampler = make_sampler(temp=1.0)
            return sum(
                1 for _ in stream_generate(peer, peer_tokenizer, prompt, max_tokens=args.tokens, sampler=sampler)
            )

        results.append(compare("decode", stream, stream_peer, args.repeats))

    if "batch" in wanted:
        prompts = [rng.integers(300, vocabulary, n).tolist() for n in rng.integers(8, 129, args.prompts)]
        lengths = rng.integers(16, 129, args.prompts).tolist()

        def batch() -> int:
            asked = [Request(p, (i,), n) for i, (p, n) in enumerate(zip(prompts, lengths, strict=True))]
            return sum(len(r.ids) for r in sample(network, asked, Sampling(temp=1.0), none, rows=32))

        def batch_peer() -> int:
            batch_generate(
                peer, peer_tokenizer, prompts, max_tokens=lengths, sampler=make_sampler(temp=1.0),
                completion_batch_size=32,
            )  # fmt: skip
            return int(sum(lengths))

        results.append(compare("batch", batch, batch_peer, args.repeats))

    if "group" in wanted:
        prompt = rng.integers(300, vocabulary, 256).tolist()

        def prefill(requests: list[Request]) -> float:
            engine = Batch(network, Sampling(temp=1.0, max_tokens=8), none, rows=16)
            for request in requests:
                engine.add(request)
            start = time.process_time()
            engine._fill()
            mx.eval([c.held for c in engine.cache])
            return time.process_time() - start

        together, apart = [Request(prompt, tuple(range(16)))], [Request(prompt, (i,)) for i in range(16)]
        pairs = [(prefill(together), prefill(apart)) for _ in range(args.repeats + 1)][1:]
        ratio = statistics.median(b / a for a, b in pairs)
        once = statistics.median(a for a, _ in pairs)
        print(f"group    one prefill {once * 1000:.0f} CPU-ms, 16 prefills {ratio:.1f} times as much", flush=True)
        results.append({"name": "group", "cpu_ms": once * 1000, "ratio": ratio})
    return results


if __name__ == "__main__":
    main()

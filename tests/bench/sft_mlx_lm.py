"""Useful tokens a CPU-second of LoRA tuning on conversations: `lab sft` beside `mlx_lm.lora`.

    python -m tests.bench.sft_mlx_lm                               a small random llama, lengths as in OASST1
    python -m tests.bench.sft_mlx_lm --model FOLDER --conversations 16 --batch 4        a real one, a few steps
    python -m tests.bench.sft_mlx_lm --model FOLDER --data talks.jsonl                  a real one, real conversations

Both get the same ids in the same order, one pass over all of them; the same frozen float32 weights and the same adapters
(names and shapes are compared), optimiser, conversations a step and longest conversation. One process each, both with
OpenBLAS in front of MLX's own BLAS and with mx.compile off. A conversation's tokens are useful, its padding is not. The
lab's side is the loop of recipes/tuning.py without its looks at held-out data, the other is mlx_lm.lora.train_model without
validation; CPU time runs from the first step to the last.

Without --data the lengths are drawn from a log-normal whose middle (276) and spread (0.76) are those of 626 threads of
OASST1 in SmolLM2's tokens, and the ids are random.

Measured on two cores of an AMD EPYC (Zen 4), one run each, in useful tokens a CPU-second: 1,894 beside 417 without flags,
4.5 to 1 (padding 1 beside 54 %). SmolLM2-135M in steps of 4: 103 beside 49 on 12 generated conversations of at most 768
tokens, 2.1 to 1 (1 beside 37 %); 93 beside 46 on the first 16 of a file of OASST1, 2.0 to 1 (1 beside 38 %).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from lab import blas, device, lora, talks, weights  # lab first: OpenBLAS before MLX
from lab.learn import Learner, Schedule
from lab.loss import nll
from lab.model import Shape, Transformer
from lab.samples import Sample, bucketed, sample

import mlx.core as mx  # isort: skip

SMALL = Shape(8192, 256, 4, 4, 4, 64, 704, 2048, qk_norm=False)
TYPICAL, SPREAD, SHORTEST = 276, 0.76, 16  # tokens, of a conversation


def generated(count: int, longest: int, vocab: int, seed: int) -> list[Sample]:
    """Conversations of random ids, the last 70 % of each the reply."""
    r = np.random.default_rng(seed)
    lengths = np.clip(r.lognormal(np.log(TYPICAL), SPREAD, count), SHORTEST, longest).astype(int)
    return [
        sample(r.integers(0, vocab, length), (np.arange(length) >= 0.3 * length).astype(np.float32))
        for length in lengths.tolist()
    ]


def read(data: str, model: str, count: int, longest: int) -> list[Sample]:
    """The first conversations of a jsonl, in its order."""
    tokenizer = weights.load(model, lazy=True).tokenizer
    found = []
    for _, talk in talks.rows([Path(data)]):
        if not isinstance(talk, talks.Bad) and len(found) < count:
            found.append(talks.to_sample(tokenizer, talk, longest))
    return found


def prepare(args: argparse.Namespace, scratch: Path) -> list[Sample]:
    """The model's folder and the conversations, for both sides."""
    if args.model:
        shape = cast(Shape, weights.shape_from(weights.read_config(Path(args.model))))
    else:
        shape = SMALL
        network = Transformer(shape)
        network.initialise(args.seed)
        weights.save_arrays(scratch / "model.safetensors", dict(device.flat(network.parameters())))
        weights.write_json(scratch / "config.json", {"model_type": "llama", **asdict(shape)})
    if args.data:
        found = read(args.data, args.model, args.conversations, args.length)
    else:
        found = generated(args.conversations, args.length, shape.vocab_size, args.seed)
    found = found[: len(found) // args.batch * args.batch]
    rows = [{"ids": s.ids.tolist(), "weight": s.weight.tolist()} for s in found]
    (scratch / "talks.json").write_text(json.dumps(rows))
    return found


def ours(args: argparse.Namespace, scratch: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    if args.model:
        network = weights.load(args.model, "float32").network
    else:
        config = weights.read_config(scratch)
        network = Transformer(Shape(**{k: v for k, v in config.items() if k != "model_type"}))
        network.load_weights(str(scratch / "model.safetensors"))
    lora.attach(network, args.rank, args.scale, args.layers)
    samples = [sample(row["ids"], row["weight"]) for row in rows]
    pool = talks.finite("bench", samples, [])
    steps = len(rows) // args.batch
    begun = time.process_time()
    learner = Learner(network, Schedule(args.rate, steps, warmup=1, decay=0.0), "adamw")
    slots, losses = 0, []
    for step in range(1, steps + 1):
        batches = bucketed(pool.draw(args.seed, step, args.batch), 0)
        slots += sum(batch.ids.size for batch in batches)
        losses.append(learner.step(step, batches, nll).loss)
    return told(network, begun, slots, losses)


def theirs(args: argparse.Namespace, scratch: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    from mlx_lm import lora as peer
    from mlx_lm.tuner import trainer
    from mlx_lm.tuner.callbacks import TrainingCallback
    from mlx_lm.utils import load_model

    class Conversations:
        """As mlx_lm's ChatDataset: rows are dicts of one key, `process` gives ids and where training begins."""

        def __getitem__(self, i: int) -> dict[str, Any]:
            return {"messages": rows[i]["ids"]}

        def __len__(self) -> int:
            return len(rows)

        def process(self, row: dict[str, Any]) -> tuple[list[int], int]:
            return row["messages"], 0

    losses: list[float] = []

    class Listen(TrainingCallback):
        def on_train_loss_report(self, train_info: dict[str, Any]) -> None:
            losses.append(train_info["train_loss"])

    batches, slots = trainer.iterate_batches, 0

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal slots
        for batch, lengths in batches(*given, **more):
            slots += batch.size
            yield batch, lengths

    trainer.train.__defaults__ = tuple(counted if v is batches else v for v in trainer.train.__defaults__)
    network = load_model(Path(args.model or scratch))[0]
    network.set_dtype(mx.float32)
    told_args = peer.CONFIG_DEFAULTS | {
        "model": "the same", "data": "the same", "train": True, "optimizer": "adamw", "learning_rate": args.rate,
        "num_layers": min(args.layers, len(network.layers)), "batch_size": args.batch, "iters": len(rows) // args.batch,
        "steps_per_report": 1, "max_seq_length": args.length, "adapter_path": str(scratch / "theirs"),
        "lora_parameters": {"rank": args.rank, "scale": args.scale, "dropout": 0.0}, "seed": args.seed,
    }  # fmt: skip
    begun = time.process_time()
    peer.train_model(SimpleNamespace(**told_args), network, Conversations(), [], Listen())
    return told(network, begun, slots, losses)


def told(network: Any, begun: float, slots: int, losses: list[float]) -> dict[str, Any]:
    spent = time.process_time() - begun
    trained = sorted([name, list(value.shape)] for name, value in device.flat(network.trainable_parameters()))
    return {"cpu": spent, "slots": slots, "losses": losses, "trained": trained, "blas": blas.NAME}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a llama or qwen3 folder (a small random one)")
    parser.add_argument("--data", help="a jsonl of conversations; needs --model, for its tokenizer")
    parser.add_argument("--conversations", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="conversations a step")
    parser.add_argument("--length", type=int, default=1024, help="longest conversation")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", choices=["lab", "mlx_lm"], help=argparse.SUPPRESS)
    parser.add_argument("--scratch", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.data and not args.model:
        parser.error("--data needs --model")
    if args.side:
        rows = json.loads((Path(args.scratch) / "talks.json").read_text())
        result = (ours if args.side == "lab" else theirs)(args, Path(args.scratch), rows)
        (Path(args.scratch) / f"{args.side}.json").write_text(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as place:
        scratch = Path(place)
        found = prepare(args, scratch)
        useful = sum(len(s.ids) for s in found)
        print(f"{len(found)} conversations, {useful:,} tokens, {len(found) // args.batch} steps of {args.batch}")
        results = {}
        for side in ("lab", "mlx_lm"):
            command = [
                sys.executable,
                "-m",
                "tests.bench.sft_mlx_lm",
                *sys.argv[1:],
                "--side",
                side,
                "--scratch",
                place,
            ]
            subprocess.run(
                command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"MLX_DISABLE_COMPILE": "1"}
            )
            results[side] = r = json.loads((scratch / f"{side}.json").read_text())
            print(
                f"{side:7} {r['cpu']:6.1f} CPU-s, {useful / r['cpu']:6.0f} useful tokens a CPU-s, padding "
                f"{1 - useful / r['slots']:4.0%}, loss {r['losses'][0]:.3f} -> {r['losses'][-1]:.3f} ({r['blas']})",
                flush=True,
            )
    assert results["lab"]["trained"] == results["mlx_lm"]["trained"], "they train different parameters"
    print(f"lab : mlx_lm = {results['mlx_lm']['cpu'] / results['lab']['cpu']:.2f}")


if __name__ == "__main__":
    main()

"""Pretraining beside a plain GPT in torch: held-out bits per byte against CPU time, in one run.

    python -m tests.bench.pretrain_torch --data FOLDER --minutes 10 --torch-python PATH
    python -m tests.bench.pretrain_torch --data FOLDER --minutes 2 --torch-rates 1e-3 2e-3 4e-3      tune the peer
    python -m tests.bench.pretrain_torch --data FOLDER --minutes 0.1 --no-torch                      ours alone

Both read the same tokens in the same order and count as many parameters: width 256, 4 layers, 2,048 pieces, windows of
256, 8 a step. One thread each and CPU time of the steps alone; looks at the held-out text do not count. They take turns of
a few seconds, so that a busy machine slows both alike, and both schedules run over CPU time, so that both end with the
budget. Ours runs once with the whole budget and once with each of --shares of it: how much of the time does it need?

Measured on 12 MB of story books, two cores of an AMD EPYC (Zen 4) in use by others: after 10 minutes 1.620 beside 1.890
bits per byte (594 steps of 1.03 s beside 854 of 0.71 s); torch's end was reached in 0.38 of its time. 3 minutes, seed 1:
1.870 beside 2.112, in 0.34. The peer's rate was sought before: at 10 minutes 2e-3 gave 1.890 and 4e-3 1.919, at 3 minutes
5e-4 2.216, 1e-3 2.160, 2e-3 2.130; warming up over 3 % instead of 10 % was worse.

--torch-python: an interpreter that has torch and numpy (another environment will do). gpt_torch.py describes the peer.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from lab import data
from lab.learn import Learner, Schedule
from lab.loss import Batch, bits_per_byte, nll
from lab.model import Shape, Transformer

Row = dict[str, float]
LOOK = 128  # held-out windows of a look, spread over all of them


@dataclass
class Side:
    """One competitor: what it is called, the CPU-seconds it may use, and its rows, one a turn."""

    name: str
    budget: float
    turns: Generator[Row, None, None]
    rows: list[Row]


def text_of(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Tokens, held-out windows and byte lengths, in memory for us and in files for the peer."""
    source = data.source(args.data)
    tokenizer = data.fit(source, args.vocab)
    train, held_out = (data.tokenised(source, side, tokenizer, args.length) for side in (False, True))
    count = held_out.windows(args.length)
    valid = np.stack([held_out.window(i, args.length) for i in range(0, count, -(-count // LOOK))])
    found = {"ids": np.asarray(train.ids), "valid": valid, "byte_lengths": data.byte_lengths(tokenizer)}
    for name, value in found.items():
        np.save(scratch / f"{name}.npy", value)
    print(
        f"text     {train.bytes / 1e6:.1f} MB, {len(train.ids):,} tokens of {tokenizer.vocab_size} kinds, "
        f"{train.bytes / len(train.ids):.2f} bytes a token; looks at {len(valid)} held-out windows",
        flush=True,
    )
    return found | {"train": train, "vocab": tokenizer.vocab_size}


def ours(args: argparse.Namespace, text: dict[str, Any], budget: float, turn: float) -> Generator[Row, None, None]:
    """The lab's model and learner, as `lab pretrain --size 5m` makes them."""
    width, heads = args.width, args.width // 64
    shape = Shape(
        text["vocab"], width, args.layers, heads, heads, 64, args.ffn, args.length, tie_word_embeddings=False
    )  # fmt: skip
    network = Transformer(shape)
    network.initialise(args.seed)
    print(f"lab      {shape.parameters:,} parameters", flush=True)
    ticks = 10_000  # the schedule counts ten-thousandths of the budget, not steps
    learner = Learner(network, Schedule(args.rate, ticks, warmup=300))
    spent, steps = 0.0, 0
    while True:
        until = spent + turn
        while spent < until:
            clock, steps = time.process_time(), steps + 1
            batch = Batch(text["train"].batch(args.seed, steps, args.rows, args.length))
            stats = learner.step(1 + int(min(1.0, spent / budget) * (ticks - 1)), [batch], nll)
            spent += time.process_time() - clock
        bpb = bits_per_byte(network, text["valid"], text["byte_lengths"])
        yield {"cpu": spent, "steps": steps, "loss": stats.loss, "bpb": bpb}


def theirs(
    args: argparse.Namespace, scratch: Path, vocab: int, rate: float, budget: float, turn: float
) -> Generator[Row, None, None]:
    """gpt_torch.py in a process of its own."""
    asked = {name: str(scratch / f"{name}.npy") for name in ("ids", "valid", "byte_lengths")} | {
        "vocab": vocab, "width": args.width, "layers": args.layers, "heads": args.width // 64, "length": args.length,
        "rows": args.rows, "tie": args.torch_tie, "seed": args.seed, "learning_rate": rate, "budget": budget,
    }  # fmt: skip
    script = Path(__file__).with_name("gpt_torch.py")
    child = subprocess.Popen([args.torch_python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    into, out = cast(IO[str], child.stdin), cast(IO[str], child.stdout)

    def answer(line: str) -> Row:
        print(line, file=into, flush=True)
        told = out.readline()
        if not told:
            raise SystemExit(f"{args.torch_python} {script} ended early; has it torch and numpy?")
        return dict(json.loads(told))

    try:
        print(f"torch    {answer(json.dumps(asked))['parameters']:,} parameters, rate {rate}", flush=True)
        while True:
            yield answer(str(turn))
    finally:
        child.kill()
        child.wait()


def race(sides: list[Side]) -> None:
    """Turns until every budget is spent."""
    while waiting := [s for s in sides if not s.rows or s.rows[-1]["cpu"] < s.budget]:
        for side in waiting:
            row = next(side.turns)
            side.rows.append(row)
            print(
                f"{side.name:16s} {row['cpu'] / 60:6.2f} CPU-min  {row['steps']:5.0f} steps  loss {row['loss']:.3f}  "
                f"bits/byte {row['bpb']:.4f}",
                flush=True,
            )


def needed(rows: list[Row], goal: float) -> float | None:
    """CPU-seconds until the rows first reach `goal` bits per byte."""
    return next((row["cpu"] for row in rows if row["bpb"] <= goal), None)


def report(mine: list[Side], peers: list[Side]) -> dict[str, Any]:
    """The table, and what goes into the JSON line."""
    best = min(peers, key=lambda s: s.rows[-1]["bpb"], default=None)
    found: dict[str, Any] = {"sides": [{"name": s.name, "budget": s.budget, "rows": s.rows} for s in mine + peers]}
    print(f"\n{'':16s} CPU-min    steps  bits/byte   of {best.name}'s CPU time" if best else "\nCPU-min, bits/byte")
    for side in mine + peers:
        end = side.rows[-1]
        ratio = f"{end['cpu'] / best.rows[-1]['cpu']:.2f}" if best else ""
        print(f"{side.name:16s} {end['cpu'] / 60:7.2f} {end['steps']:8.0f} {end['bpb']:10.4f}   {ratio}")
    if best and mine:
        goal, whole = best.rows[-1]["bpb"], best.rows[-1]["cpu"]
        times = [t for s in mine if (t := needed(s.rows, goal)) is not None]
        found |= {"goal": goal, "ratio": min(times) / whole if times else None}
        print(f"{goal:.4f} bits/byte, torch's end, is reached in {found['ratio'] or float('nan'):.2f} of its CPU time")
    return found


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU-minutes each")
    parser.add_argument("--shares", type=float, nargs="*", default=[1.0, 0.6], help="of them, for runs of ours")
    parser.add_argument("--looks", type=int, default=20, help="turns, and looks at the held-out text, a run")
    parser.add_argument("--rate", type=float, default=0.02, help="our peak learning rate (Muon's)")
    parser.add_argument("--torch-rates", type=float, nargs="*", default=[2e-3], help="the peer's, one run each")
    parser.add_argument("--torch-tie", action="store_true", help="tie the peer's embeddings: fewer parameters")
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--no-torch", action="store_true")
    for name, value in (
        ("vocab", 2048), ("width", 256), ("layers", 4), ("ffn", 704), ("length", 256), ("rows", 8), ("seed", 0),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args(argv)
    whole = args.minutes * 60
    turn = whole / args.looks
    with tempfile.TemporaryDirectory() as folder:
        text = text_of(args, Path(folder))
        mine = [
            Side(f"lab {share:g}", whole * share, ours(args, text, whole * share, turn), []) for share in args.shares
        ]
        peers = [
            Side(f"torch {rate:g}", whole, theirs(args, Path(folder), text["vocab"], rate, whole, turn), [])
            for rate in ([] if args.no_torch else args.torch_rates)
        ]
        race(mine + peers)
        for side in mine + peers:
            side.turns.close()
    found = report(mine, peers) | {"args": vars(args)}
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()

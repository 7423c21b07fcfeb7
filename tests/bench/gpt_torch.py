"""The peer of pretrain_torch.py: a plain GPT-2 (Radford et al. 2019) in torch with nanoGPT's usual training settings
(https://github.com/karpathy/nanoGPT): learned positions, LayerNorm, GELU of width 4 d, no biases, AdamW with betas .9 and
.95 and weight decay .1 on matrices, clipping at 1, linear warm-up, cosine to a tenth of the peak.

Runs alone, with torch and numpy only. One JSON object on stdin says what to do, then every line is a number of CPU-seconds
to train on; each is answered with a line of JSON.
"""

import json
import math
import sys
import time
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width, bias=False), nn.LayerNorm(width, bias=False)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        q, k, v = self.qkv(self.norm_1(x)).view(B, T, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm_2(x))))


class GPT(nn.Module):
    def __init__(self, vocab: int, width: int, layers: int, heads: int, length: int, tie: bool):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width, bias=False), nn.Linear(width, vocab, bias=False)
        for name, value in self.named_parameters():
            if value.ndim == 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(value, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)
        if tie:
            self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def rate(peak: float, done: float, warmup: float = 0.1) -> float:
    """The learning rate when the share `done` of the budget is spent."""
    if done < warmup:
        return peak * done / warmup
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup))))


def batches(ids: np.ndarray, seed: int, rows: int, length: int) -> Any:
    """The same rows in the same order as lab.data.Tokens.batch."""
    count, place = (len(ids) - 1) // length, 0
    while True:
        picks = []
        for i in range(place, place + rows):
            if i == place or i % count == 0:
                order = np.random.default_rng([seed, i // count]).permutation(count)
            picks.append(ids[order[i % count] * length :][: length + 1].astype(np.int64))
        place += rows
        yield torch.from_numpy(np.stack(picks))


@torch.no_grad()
def bits_per_byte(network: GPT, rows: np.ndarray, byte_lengths: np.ndarray) -> float:
    nats, size = 0.0, 0
    for start in range(0, len(rows), 32):
        ids = torch.from_numpy(rows[start : start + 32].astype(np.int64))
        loss = F.cross_entropy(network(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        lengths = byte_lengths[ids[:, 1:].flatten().numpy()]
        nats += float((loss * torch.from_numpy(lengths > 0)).sum())
        size += int(lengths.sum())
    return nats / math.log(2) / size


def main() -> None:
    torch.set_num_threads(1)
    asked: dict[str, Any] = json.loads(sys.stdin.readline())
    torch.manual_seed(asked["seed"])
    ids, valid, byte_lengths = (np.load(asked[name], mmap_mode="r") for name in ("ids", "valid", "byte_lengths"))
    network = GPT(*(asked[name] for name in ("vocab", "width", "layers", "heads", "length", "tie")))
    matrices = [p for p in network.parameters() if p.ndim == 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=asked["learning_rate"], betas=(0.9, 0.95))
    print(json.dumps({"parameters": sum(p.numel() for p in network.parameters())}), flush=True)

    source = batches(ids, asked["seed"], asked["rows"], asked["length"])
    spent, steps, loss = 0.0, 0, torch.zeros(())
    for line in sys.stdin:
        until = spent + float(line)
        while spent < until:
            clock = time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = rate(asked["learning_rate"], min(1.0, spent / asked["budget"]))
            rows = next(source)
            loss = F.cross_entropy(network(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            spent, steps = spent + time.process_time() - clock, steps + 1
        bpb = bits_per_byte(network, valid, byte_lengths)
        print(json.dumps({"cpu": spent, "steps": steps, "loss": loss.item(), "bpb": bpb}), flush=True)


if __name__ == "__main__":
    main()

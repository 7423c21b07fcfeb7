"""The plain peer of grpo_peers.py: one step of GRPO in torch, as one would write it by hand, with what costs nothing to do
well: prompts are prefilled once a group, keys and values lie in arrays made once, all rows decode in lock-step, only the
reply's positions get logits, several rows share a pass. A step: sample, centre the rewards of each group, weigh each token's
log-probability with its advantage (Shao et al. 2024, arXiv:2402.03300), divide by all tokens, AdamW.

    python tests/bench/grpo_torch.py FOLDER        with torch and numpy only; FOLDER is laid by grpo_peers.py

The network is llama's or qwen3's, in the names of their weights: RMSNorm, rotary positions (halves), SwiGLU, grouped queries.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

Arrays = dict[str, torch.Tensor]
PASS = 4096  # tokens of a training pass, as many as the lab's


class Network:
    """Functions of a dict of weights: `shape` is the config.json."""

    def __init__(self, shape: dict[str, Any], arrays: Arrays, longest: int):
        self.shape, self.w = shape, arrays
        self.heads, self.kv, self.size = (shape[k] for k in ("num_attention_heads", "num_key_value_heads", "head_dim"))
        frequency = shape["rope_theta"] ** -(torch.arange(0, self.size, 2) / self.size)
        angle = torch.outer(torch.arange(longest), frequency)
        self.cos, self.sin = angle.cos().repeat(1, 2), angle.sin().repeat(1, 2)  # [longest, head_dim]

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.shape["rms_norm_eps"])

    def rotated(self, x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """x [B, H, T, D] at positions [B, T]."""
        low, high = x.chunk(2, -1)
        return x * self.cos[place][:, None] + torch.cat([-high, low], -1) * self.sin[place][:, None]

    def attention(
        self, x: torch.Tensor, at: str, place: torch.Tensor, mask: torch.Tensor, cache: torch.Tensor | None, start: int
    ) -> torch.Tensor:
        B, T, _ = x.shape

        def part(name: str, heads: int) -> torch.Tensor:
            y = F.linear(x, self.w[f"{at}.{name}_proj.weight"]).view(B, T, heads, self.size)
            if f"{at}.{name}_norm.weight" in self.w:
                y = self.norm(y, f"{at}.{name}_norm")
            return y.transpose(1, 2)

        q, k, v = (
            self.rotated(part("q", self.heads), place),
            self.rotated(part("k", self.kv), place),
            part("v", self.kv),
        )
        if cache is not None:
            cache[0][:, :, start : start + T], cache[1][:, :, start : start + T] = k, v
            k, v = cache[0][:, :, : start + T], cache[1][:, :, : start + T]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=self.heads != self.kv)
        return F.linear(y.transpose(1, 2).reshape(B, T, -1), self.w[f"{at}.o_proj.weight"])

    def __call__(
        self,
        ids: torch.Tensor,
        place: torch.Tensor,
        mask: torch.Tensor,
        wanted: slice,
        caches: list[torch.Tensor] | None = None,
        start: int = 0,
    ) -> torch.Tensor:
        """Logits at the `wanted` positions of ids [B, T]; `mask` bool [B, 1, T, S] of the keys each sees."""
        x = self.w["model.embed_tokens.weight"][ids]
        for i in range(self.shape["num_hidden_layers"]):
            at = f"model.layers.{i}"
            cache = caches[i] if caches else None
            x = x + self.attention(self.norm(x, f"{at}.input_layernorm"), f"{at}.self_attn", place, mask, cache, start)
            y = self.norm(x, f"{at}.post_attention_layernorm")
            gate, up = (F.linear(y, self.w[f"{at}.mlp.{name}_proj.weight"]) for name in ("gate", "up"))
            x = x + F.linear(F.silu(gate) * up, self.w[f"{at}.mlp.down_proj.weight"])
        head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])
        return F.linear(self.norm(x[:, wanted], "model.norm"), head)


def padded(prompts: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, which are no padding) of prompts that end together, [P, T]."""
    width = max(map(len, prompts))
    ids, real = torch.zeros(len(prompts), width, dtype=torch.long), torch.zeros(len(prompts), width, dtype=torch.bool)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :], real[i, width - len(prompt) :] = torch.tensor(prompt), True
    return ids, real


def places(real: torch.Tensor) -> torch.Tensor:
    """Positions that count from each row's first token."""
    return (real.long().cumsum(1) - 1).clamp(min=0)


def causal(real: torch.Tensor) -> torch.Tensor:
    """bool [B, 1, T, T]: what came before and is no padding; padding sees itself, so that no row of scores is empty."""
    T = real.shape[1]
    seen = torch.ones(T, T, dtype=torch.bool).tril() & real[:, None, :]
    return (seen | torch.eye(T, dtype=torch.bool))[:, None]


@torch.no_grad()
def rollout(network: Network, prompts: list[list[int]], group: int, count: int) -> torch.Tensor:
    """Ids [P * group, count] drawn at temperature 1, none of them an end."""
    ids, real = padded(prompts)
    P, T = ids.shape
    caches = [torch.empty(2, P, network.kv, T, network.size) for _ in range(network.shape["num_hidden_layers"])]
    logits = network(ids, places(real), causal(real), slice(-1, None), caches)[:, -1].repeat_interleave(group, 0)
    caches = [F.pad(cache.repeat_interleave(group, 1), (0, 0, 0, count)) for cache in caches]
    seen = F.pad(real.repeat_interleave(group, 0), (0, count), value=True)[:, None, None]
    lengths = real.sum(1).repeat_interleave(group, 0)
    drawn = torch.empty(P * group, count, dtype=torch.long)
    for t in range(count):
        drawn[:, t] = torch.multinomial(logits.softmax(-1), 1)[:, 0]
        if t + 1 < count:
            logits = network(
                drawn[:, t : t + 1], (lengths + t)[:, None], seen[..., : T + t + 1], slice(-1, None), caches, T + t
            )[:, -1]
    return drawn


def logprobs(network: Network, ids: torch.Tensor, real: torch.Tensor, count: int) -> torch.Tensor:
    """log p of the last `count` tokens of each row, [B, count]."""
    logits = network(ids[:, :-1], places(real)[:, :-1], causal(real[:, :-1]), slice(-count, None))
    return -F.cross_entropy(logits.flatten(0, 1), ids[:, -count:].flatten(), reduction="none").view(-1, count)


def update(
    network: Network, optimizer: torch.optim.Optimizer, prompts: list[list[int]], drawn: torch.Tensor, group: int
) -> None:
    """One step of the policy gradient from groups of replies."""
    reward = -(drawn.sum(1) % 8).float().view(-1, group) / 8
    advantage = (reward - reward.mean(1, keepdim=True)).flatten()
    ids, real = (x.repeat_interleave(group, 0) for x in padded(prompts))
    ids, real = torch.cat([ids, drawn], 1), F.pad(real, (0, drawn.shape[1]), value=True)
    optimizer.zero_grad(set_to_none=True)
    for some in torch.arange(len(ids)).split(max(1, PASS // ids.shape[1])):
        said = logprobs(network, ids[some], real[some], drawn.shape[1])
        (-(said * advantage[some, None]).sum() / drawn.numel()).backward()
    optimizer.step()


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    asked: dict[str, Any] = json.loads((folder / "asked.json").read_text())
    torch.manual_seed(asked["seed"])
    with np.load(folder / "weights.npz") as file:
        arrays = {name: torch.from_numpy(file[name]).requires_grad_() for name in file.files}
    prompts, count = asked["prompts"], asked["max_tokens"]
    network = Network(asked["shape"], arrays, max(len(asked["probe"]), max(map(len, prompts)) + count))
    with torch.no_grad():
        probe, real = padded([asked["probe"]])
        said = logprobs(network, probe, real, len(asked["probe"]) - 1)[0].tolist()
    begun = {name: value.detach().clone() for name, value in arrays.items()}
    optimizer = torch.optim.AdamW(arrays.values(), lr=asked["rate"], betas=(0.9, 0.95), weight_decay=0.0)
    rows = []
    for _ in range(asked["steps"]):
        cpu, wall = time.process_time(), time.perf_counter()
        drawn = rollout(network, prompts, asked["group"], count)
        sampled_cpu, sampled = time.process_time() - cpu, time.perf_counter() - wall
        update(network, optimizer, prompts, drawn, asked["group"])
        rows.append(
            {
                "tokens": drawn.numel(),
                "rollout": [sampled_cpu, sampled],
                "step": [time.process_time() - cpu, time.perf_counter() - wall],
            }
        )
    moved = float(np.mean([float((arrays[k] - v).abs().mean()) for k, v in begun.items()]))
    parameters = sum(v.numel() for v in arrays.values())
    told = {"rows": rows, "logp": said, "moved": moved, "parameters": parameters, "what": f"torch {torch.__version__}"}
    (folder / "torch.json").write_text(json.dumps(told))


if __name__ == "__main__":
    main()

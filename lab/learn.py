"""Learner: accumulate gradients -> clip -> update. It owns the optimiser and saves itself bit for bit.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) on the matrices and AdamW (Loshchilov & Hutter 2019,
arXiv:1711.05101) on embeddings, head and norms beat AdamW alone by 0.24 nats at 1.3M parameters and 0.5M tokens.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map, tree_unflatten

from lab import device, lora
from lab.errors import UserError
from lab.loss import Batch, Loss
from lab.run import Run

# AdamW's rates beside Muon's. Input embeddings want a high one, the output matrix does not: on the pocket facts alone, one
# pass in batches of 2,048 tokens, recall of what is told 100 times was .45 at a share of 0.25, .71 at 0.5 and 1.00 at 2
# (embeddings begun at 0.01). Begun at 0.3, on the whole pocket world, held-out bits per byte were .870 at 2 and .839 at 4
# (one run each, a little more arithmetic in the second).
EMBEDDING_SHARE, OTHER_SHARE = 4.0, 0.25


@dataclass(frozen=True)
class Schedule:
    """Learning rate over the steps: linear warm-up, constant, linear decay to `floor` of the peak ("trapezoid", Hu et
    al. 2024, arXiv:2404.06395)."""

    peak: float
    total: int
    warmup: int = 20
    decay: float = 0.5
    floor: float = 0.02

    def __call__(self, step: int) -> float:
        """The rate of step `step`, counted from 1."""
        warm = min(1.0, step / max(1, self.warmup))
        tail = max(1.0, self.decay * self.total)
        left = min(1.0, (self.total - step + 1) / tail)
        return self.peak * min(warm, self.floor + (1 - self.floor) * left)


@dataclass(frozen=True)
class Stats:
    """One optimiser step: mean loss (nats a unit of weight), gradient norm before clipping, rate, trained tokens."""

    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int


class Diverged(UserError):
    """Loss or gradient stopped being a number; the weights are still those of the step before."""


@contextmanager
def keeping(record: Run) -> Iterator[None]:
    """Around a step of a run: one that diverges also says what is left of it."""
    try:
        yield
    except Diverged as error:
        raise Diverged(f"{error}; {record.name} keeps its last good checkpoint, step {record.saved_step}") from error


def _is_matrix(path: str, value: mx.array) -> bool:
    return value.ndim == 2 and "embed" not in path and "lm_head" not in path


def _is_embedding(path: str, value: mx.array) -> bool:
    return "embed" in path


class Learner:
    """Trains what is not frozen of `model`, in place: `step` takes micro-batches and a loss that returns (sum, weight)."""

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        optimizer: Literal["muon", "adamw"] = "muon",
        weight_decay: float = 0.0,
        clip: float = 1.0,
    ):
        self.model, self.schedule, self.clip = model, schedule, clip

        def adam() -> optim.AdamW:
            # bias_correction is off by default in MLX: the first 60 steps would run at 5x the stated rate.
            return optim.AdamW(schedule.peak, betas=[0.9, 0.95], weight_decay=weight_decay, bias_correction=True)

        if optimizer == "muon":
            muon = optim.Muon(schedule.peak, momentum=0.95, weight_decay=0.0)
            embedding, other = adam(), adam()
            self.optimizer: Any = optim.MultiOptimizer([muon, embedding, other], [_is_matrix, _is_embedding])
            self._shares = [(muon, 1.0), (embedding, EMBEDDING_SHARE), (other, OTHER_SHARE)]
        elif optimizer == "adamw":
            self.optimizer = adam()
            self._shares = [(self.optimizer, 1.0)]
        else:
            raise UserError(f"--optimizer {optimizer}: no such optimiser; choose muon or adamw")
        # Half-precision weights round away small updates, so their fp32 masters are what the optimiser moves.
        parameters = model.trainable_parameters()
        half = any(v.dtype != mx.float32 for _, v in device.flat(parameters))
        self.master: Any = tree_map(lambda v: v.astype(mx.float32), parameters) if half else None
        self.optimizer.init(self.master or parameters)
        mx.eval(self.optimizer.state, self.master or {})

    def step(self, number: int, batches: Sequence[Batch], loss: Loss, per: float | None = None) -> Stats:
        """One update from all `batches`; the gradient is of the summed loss over the summed weight, or over `per`: in
        reinforcement learning all sampled tokens of the step, those of no advantage included."""
        grad_of = nn.value_and_grad(self.model, loss)
        total, weight, gradient, tokens = 0.0, 0.0, None, 0
        for batch in batches:
            (value, share), g = grad_of(self.model, batch)
            g = tree_map(lambda v: v.astype(mx.float32), g)  # sums in bf16 lose what is small
            gradient = g if gradient is None else tree_map(mx.add, gradient, g)
            mx.eval(value, share, gradient)  # one micro-batch at a time: short command buffers, one set of activations
            total, weight = total + device.number(value), weight + device.number(share)
            tokens += batch.ids[:, 1:].size if batch.weight is None else int(np.count_nonzero(batch.weight[:, 1:]))
        weight = weight if per is None else per
        if gradient is None or weight == 0:
            return Stats(math.nan, 0.0, 0.0, 0)  # nothing to learn from: the weights stay bit-identical
        gradient = tree_map(lambda g: g / weight, gradient)
        gradient, norm = optim.clip_grad_norm(gradient, self.clip)
        mean, size = total / weight, device.number(norm)
        if not (math.isfinite(mean) and math.isfinite(size)):
            raise Diverged(f"step {number}: loss {mean}, gradient norm {size}; lower --learning-rate")
        rate = self.schedule(number)
        for part, share in self._shares:
            part.learning_rate = rate * share
        if self.master is None:
            self.optimizer.update(self.model, gradient)
        else:
            self.master = self.optimizer.apply_gradients(gradient, self.master)
            self.model.update(tree_map(lambda v, m: m.astype(v.dtype), self.model.trainable_parameters(), self.master))
        mx.eval(self.model.parameters(), self.optimizer.state, self.master or {})
        return Stats(mean, size, rate, tokens)

    def save(self, folder: Path) -> None:
        """What is trained, as it is computed with (of a model with adapters these alone), and all that the optimiser
        remembers."""
        from lab.weights import save_arrays

        if adapters := lora.arrays(self.model):
            save_arrays(folder / "adapters.safetensors", adapters)
        else:
            save_arrays(folder / "model.safetensors", dict(device.flat(self.model.parameters())))
        state = {"optimizer": self.optimizer.state} | ({"master": self.master} if self.master else {})
        save_arrays(folder / "optimizer.safetensors", dict(device.flat(state)))

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote."""
        from lab.weights import load_arrays

        if lora.adapters(self.model):
            path = folder / "adapters.safetensors"
            lora.fill(self.model, load_arrays(path), path)
        else:
            self.model.load_weights(list(load_arrays(folder / "model.safetensors").items()))
        state: Any = tree_unflatten(list(load_arrays(folder / "optimizer.safetensors").items()))
        self.optimizer.state = state["optimizer"]
        if self.master is not None:
            self.master = state["master"]
        mx.eval(self.model.parameters(), self.optimizer.state, self.master or {})


def memory_stats() -> dict[str, float]:
    """Memory in GB for a metrics row: mem_active, mem_peak, mem_cache (MLX), mem_process, mem_swap (the system)."""
    return {f"mem_{name}": round(size / 1e9, 4) for name, size in asdict(device.memory()).items()}

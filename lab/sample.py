"""How a token is drawn: filters, the draw itself, and the logits it is drawn from. lab/batch.py draws for many prompts at
once, lab/stream.py for one conversation."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np

from lab import device
from lab.errors import UserError
from lab.model import Transformer

PREFILL = 512  # tokens a forward pass: short command buffers, bounded memory
COLD = 1e-4  # a temperature below is 0: logits divided by less overflow
BLOCK = 128  # tokens whose masses are summed first


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn. Filters apply in this order: repetition, temperature, top-k, top-p, min-p."""

    temp: float = 0.8
    top_k: int = 0  # keep the k most probable; 0 = all
    top_p: float = 1.0  # keep the smallest set with this much probability (Holtzman et al. 2019, arXiv:1904.09751)
    min_p: float = 0.0  # keep what has this share of the best's probability (Nguyen et al. 2024, arXiv:2407.01082)
    repetition_penalty: float = 1.0  # divide scores of recent tokens (Keskar et al. 2019, arXiv:1909.05858)
    repetition_context: int = 64  # how many tokens back count as recent
    max_tokens: int = 256

    def __post_init__(self) -> None:
        wrong = {
            "--temp": not 0 <= self.temp < float("inf"),
            "--top-k": self.top_k < 0,
            "--top-p": not 0 < self.top_p <= 1,
            "--min-p": not 0 <= self.min_p <= 1,
            "--repetition-penalty": not 0 < self.repetition_penalty < float("inf"),
            "--repetition-context": self.repetition_context < 0,
            "--max-tokens": self.max_tokens < 1,
        }
        if bad := [flag for flag, is_wrong in wrong.items() if is_wrong]:
            raise UserError(f"{bad[0]}: out of range; temperature >= 0, 0 < top-p <= 1, 0 <= min-p <= 1, counts >= 0")

    @property
    def plain(self) -> bool:
        """True when tokens are drawn from the model's own distribution, as training sees it."""
        return self.temp == 1 and not self.top_k and self.top_p == 1 and not self.min_p and self.repetition_penalty == 1

    def recent(self, ids: Sequence[int]) -> Sequence[int]:
        """The ids that the repetition penalty looks at; none where there is no penalty."""
        return ids[-self.repetition_context :] if self.repetition_penalty != 1 and self.repetition_context else ()


def penalised(logits: mx.array, recent: Sequence[Sequence[int]], penalty: float) -> mx.array:
    """Logits [B, V] with each row's recent ids made less likely (CTRL's rule: divide what is positive, multiply the rest)."""
    if penalty == 1:
        return logits
    rows = []
    for row, ids in zip(logits, recent, strict=True):
        if len(ids):
            seen = mx.array(sorted(set(ids)))
            row[seen] = mx.where(row[seen] > 0, row[seen] / penalty, row[seen] * penalty)
        rows.append(row)
    return mx.stack(rows)


def barred(logits: mx.array, banned: Collection[int]) -> mx.array:
    """Logits [B, V] with the ids in `banned` at minus infinity: what a model may never say, as a tool's result."""
    ids = _within(frozenset(banned), logits.shape[-1])
    if not len(ids):
        return logits
    said = mx.array(logits)  # a copy: the model's own view stays
    said[:, mx.array(ids)] = -mx.inf
    return said


@lru_cache(8)
def _within(banned: frozenset[int], size: int) -> np.ndarray:
    """Those ids that a row of logits has: hub models' tokenizers may know more."""
    return np.array(sorted(i for i in banned if 0 <= i < size), np.int32)


def masses(logits: mx.array, sampling: Sampling) -> mx.array:
    """What a token is drawn in proportion to, [..., V] from logits [..., V]: exp(logit / temperature), the best being 1,
    with 0 where a filter leaves a token out."""
    logits = logits.astype(mx.float32)
    if sampling.temp < COLD:  # all mass on the best
        return mx.put_along_axis(mx.zeros_like(logits), mx.argmax(logits, -1, keepdims=True), mx.array(1.0), -1)
    mass = device.exp((logits - logits.max(-1, keepdims=True)) * (1 / sampling.temp))
    if 0 < sampling.top_k < mass.shape[-1]:
        mass = mx.where(mass < mx.sort(mass, -1)[..., -sampling.top_k, None], 0.0, mass)
    if sampling.top_p < 1:
        order = mx.argsort(-mass, -1)
        best = mx.take_along_axis(mass, order, -1)
        before = mx.cumsum(best, -1) - best  # the first token is always inside
        best = mx.where(before >= sampling.top_p * best.sum(-1, keepdims=True), 0.0, best)
        mass = mx.put_along_axis(mx.zeros_like(mass), order, best, -1)
    if sampling.min_p > 0:
        mass = mx.where(mass < sampling.min_p, 0.0, mass)
    return mass


def distribution(logits: mx.array, sampling: Sampling, recent: Sequence[int] = ()) -> mx.array:
    """Log-probabilities [V] that `sampling` draws from, given raw logits [V] and the ids before."""
    mass = masses(penalised(logits[None], [recent], sampling.repetition_penalty)[0], sampling)
    return mx.log(mass) - mx.log(mass.sum())


def draw(logits: mx.array, uniform: np.ndarray, sampling: Sampling) -> tuple[np.ndarray, np.ndarray]:
    """One token a row: (ids int32 [B], their log-probabilities float32 [B]) from logits [B, V] and numbers [B] in [0, 1).

    By inverting the cumulative sum: the row's own number decides, whatever shares its batch, and it costs one exponential
    a logit, where Gumbel noise costs two logarithms more. Summed in blocks and in float64: one fp32 sum over 49,152 tokens
    loses every step below 6e-8, and 40,000 of them could never be drawn.
    """
    if sampling.temp < COLD:
        return np.array(mx.argmax(logits, -1)).astype(np.int32), np.zeros(len(logits), np.float32)
    mass = masses(logits, sampling)
    if spare := -mass.shape[1] % BLOCK:
        mass = mx.pad(mass, [(0, 0), (0, spare)])
    mass = mass.reshape(len(mass), -1, BLOCK)
    host = np.array(mass) if device.on_cpu() else None  # an accelerator sends its sums and one block a row
    blocks = (np.array(mass.sum(-1)) if host is None else host.sum(-1)).astype(np.float64)
    total, rows = blocks.sum(-1), np.arange(len(blocks))
    block, left = _inverse(blocks, uniform * total)
    inside = np.array(mass[mx.array(rows), mx.array(block)]) if host is None else host[rows, block]
    place, _ = _inverse(inside.astype(np.float64), left)
    logp = np.log(inside[rows, place] / total)
    return (block * BLOCK + place).astype(np.int32), logp.astype(np.float32)


def _inverse(mass: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first place where the running sum of a row of mass [B, N] exceeds its goal [B], and how far into it that is.
    Where rounding puts the goal at or above the sum, the last place that has any mass."""
    reach = np.cumsum(mass, -1)
    goal = np.minimum(goal, np.nextafter(reach[:, -1], 0))
    place = (reach > goal[:, None]).argmax(-1)
    rows = np.arange(len(place))
    return place, goal - (reach[rows, place] - mass[rows, place])


def own(logits: mx.array, ids: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """The model's own view at temperature 1: (p of `ids` [B], (id, p) of the most probable [B, min(top, V), 2])."""
    mass = masses(logits, Sampling(temp=1.0))
    p = mass / mass.sum(-1, keepdims=True)
    best = mx.argsort(-p, -1)[:, :top] if top else mx.zeros((len(ids), 0), mx.int32)
    chances = mx.take_along_axis(p, best, -1)
    said = mx.take_along_axis(p, mx.array(ids)[:, None], -1)[:, 0]
    return np.array(said), np.stack([np.array(best).astype(np.float32), np.array(chances)], -1)


def last_logits(network: Any, ids: np.ndarray, cache: Any, at: Sequence[int]) -> mx.array:
    """Logits [B, V] after position at[i] of each row of ids [B, T]. The output matrix meets only those positions where
    the network is ours: over a prompt of 512 tokens it costs more than the rest of a small model."""
    rows, places = mx.arange(len(at)), mx.array(list(at))
    if isinstance(network, Transformer):
        return network.head(network.model(mx.array(ids), cache)[rows, places])
    return network(mx.array(ids), cache=cache)[rows, places]

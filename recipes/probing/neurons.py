"""Is there a "don't know" neuron? What a network computes where an answer begins, and how well one number of it, or a
linear probe (Alain & Bengio 2016, arXiv:1610.01644), tells what the model was told from what it never was.

Chosen and fitted on one half of the names, scored on the other half; the score is AUROC, the chance that a known name
ranks above a never-seen one (Hanley & McNeil 1982, Radiology 143:29).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lab.errors import UserError
from lab.model import Transformer, silu

TOKENS = 1 << 13  # of one forward pass, padding included
COLUMNS = 1 << 12  # whose ranks are held at once
SHUFFLES = 20
DRAWS = 1000  # of the bootstrap
PENALTY = 0.1  # L2 a row, on standardised features: 128 of them and some 300 rows, so the fit must be held back


@dataclass(frozen=True)
class Asked:
    """Questions as ids, of each whether its answer was ever told, and whose name it asks about, 0 .. names - 1 (all
    questions about one name lie on the same side of the split)."""

    ids: list[list[int]]
    known: np.ndarray  # bool [N]
    name: np.ndarray  # int [N]


@dataclass(frozen=True)
class Activations:
    """At the last token of N prompts, float32: MLP neurons [N, L, F], and the residual stream after each block
    [N, L, D]. `spelling` is the mean embedding of the prompt's tokens [N, D], what can be told without computing."""

    neurons: np.ndarray
    stream: np.ndarray
    spelling: np.ndarray

    def columns(self) -> np.ndarray:
        """Every single number there is, [N, L * F + L * D]."""
        return np.concatenate([part.reshape(len(part), -1) for part in (self.neurons, self.stream)], 1)

    def place(self, column: int) -> tuple[str, int, int]:
        """("neuron" or "residual", layer from 0, index) of a column."""
        _, layers, width = self.neurons.shape
        if column < layers * width:
            return "neuron", *divmod(column, width)
        return "residual", *divmod(column - layers * width, self.stream.shape[2])


def activations(network: Any, ids: np.ndarray, last: np.ndarray) -> Activations:
    """The layers run by hand over right-padded ids int [B, T], read at positions `last` int [B]. An MLP's neurons are
    silu(gate) * up, what its output matrix adds up (Geva et al. 2021, arXiv:2012.14913, call them memories)."""
    if not isinstance(network, Transformer):
        raise UserError(f"{type(network).__module__}: neurons are read from models in Llama or Qwen3 shape only")
    x = network.model.embed_tokens(mx.array(ids))
    rows, at = mx.arange(len(ids)), mx.array(last)
    inside = mx.arange(ids.shape[1]) <= at[:, None]  # causal attention never sees the padding, a mean would
    spelling = (x * inside[..., None]).sum(1) / inside.sum(1, keepdims=True)
    neurons, stream = [], []
    for layer in network.layers:
        x = x + layer.self_attn(layer.input_layernorm(x), "causal" if ids.shape[1] > 1 else None, None)
        h = layer.post_attention_layernorm(x)
        inner = silu(layer.mlp.gate_proj(h)) * layer.mlp.up_proj(h)
        x = x + layer.mlp.down_proj(inner)
        neurons.append(inner[rows, at].astype(mx.float32))
        stream.append(x[rows, at].astype(mx.float32))
    read = [mx.stack(neurons, 1), mx.stack(stream, 1), spelling.astype(mx.float32)]
    mx.eval(read)
    return Activations(*(np.array(part) for part in read))


def read(network: Any, prompts: Sequence[Sequence[int]], show: Callable[[int], None]) -> Activations:
    """`activations` of many prompts, in their order; shortest first in the forward passes. show(done) after each."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    parts, start = [], 0
    while start < len(order):
        longest, count = 0, 0
        for i in order[start:]:
            longest = max(longest, len(prompts[i]))
            if count and longest * (count + 1) > TOKENS:
                break
            count += 1
        some = [prompts[i] for i in order[start : start + count]]
        ids = np.zeros((count, max(map(len, some))), np.int32)
        for row, prompt in zip(ids, some, strict=True):
            row[: len(prompt)] = prompt
        parts.append(activations(network, ids, np.array([len(prompt) - 1 for prompt in some], np.int32)))
        start += count
        show(start)
    back = np.argsort(order)
    joined = [np.concatenate([getattr(p, key) for p in parts])[back] for key in ("neurons", "stream", "spelling")]
    return Activations(*joined)


def ranks(x: np.ndarray) -> np.ndarray:
    """The rank of every value in its column of [N, C], from 1; equal values share the mean of their ranks."""
    count, order = len(x), np.argsort(x, 0)
    ordered = np.take_along_axis(x, order, 0)
    place = np.arange(count)[:, None]
    new = np.ones(x.shape, bool)
    new[1:] = ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(new, place, 0), 0)
    ends = np.ones(x.shape, bool)
    ends[:-1] = new[1:]
    last = np.minimum.accumulate(np.where(ends, place, count)[::-1], 0)[::-1]
    out = np.empty(x.shape)
    np.put_along_axis(out, order, (first + last) / 2 + 1, 0)
    return out


def auroc(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """AUROC [S, C] of every column of x [N, C] under S labellings known bool [S, N], by rank sums (Mann & Whitney 1947,
    doi:10.1214/aoms/1177730491): the chance that a known row exceeds an unknown one, ties counted half."""
    label = known.astype(float)
    positive = label.sum(1, keepdims=True)
    pairs = positive * (label.shape[1] - positive)
    sums = [label @ ranks(x[:, i : i + COLUMNS]) for i in range(0, x.shape[1], COLUMNS)]
    return (np.concatenate(sums, 1) - positive * (positive + 1) / 2) / pairs


def interval(score: np.ndarray, known: np.ndarray, name: np.ndarray, seed: int) -> tuple[float, float]:
    """The 95 % bootstrap interval (Efron 1979, doi:10.1214/aos/1176344552) of the AUROC of score [N]. Names are drawn,
    known and never-seen apart, because questions about one name are no independent evidence."""
    r = np.random.default_rng(seed)
    sides = [(score[known == side], np.unique(name[known == side], return_inverse=True)[1]) for side in (True, False)]
    (high, owner), (low, other) = sides
    wins = (high[:, None] > low) + 0.5 * (high[:, None] == low)
    sizes = [np.bincount(owner), np.bincount(other)]
    table = np.zeros((len(sizes[0]), len(sizes[1])))
    np.add.at(table, (owner[:, None], other[None]), wins)
    drawn = [r.multinomial(len(size), np.full(len(size), 1 / len(size)), DRAWS).astype(float) for size in sizes]
    pairs = (drawn[0] @ sizes[0]) * (drawn[1] @ sizes[1])
    low_end, high_end = np.quantile(((drawn[0] @ table) * drawn[1]).sum(1) / pairs, (0.025, 0.975))
    return float(low_end), float(high_end)


def logistic(x: np.ndarray, known: np.ndarray, penalty: float = PENALTY) -> tuple[np.ndarray, float]:
    """Weights [D] and bias of a logistic regression with an L2 penalty (le Cessie & van Houwelingen 1992,
    doi:10.2307/2347628) on rows x [N, D], by Newton steps. The loss is convex; a step that would raise it is halved."""
    rows = np.concatenate([x, np.ones((len(x), 1))], 1).astype(float)
    ridge = np.full(rows.shape[1], penalty * len(x))
    ridge[-1] = 0
    sign, w = np.where(known, 1.0, -1.0), np.zeros(rows.shape[1])

    def loss(w: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (rows @ w)).sum() + (ridge * w * w).sum() / 2)

    for _ in range(20):
        p = 1 / (1 + np.exp(-np.clip(rows @ w, -30, 30)))
        gradient = rows.T @ (p - known) + ridge * w
        curvature = (rows.T * (p * (1 - p) + 1e-9)) @ rows + np.diag(ridge)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while size > 1e-4 and loss(w - size * step) > loss(w):
            size /= 2
        w = w - size * step
        if np.abs(step).max() < 1e-6:
            break
    return w[:-1], float(w[-1])


def scored(x: np.ndarray, known: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """The log-odds [N] that a probe fitted on the rows `fit` (bool [N]) gives every row of x [N, D], standardised by the
    fitted rows."""
    middle, spread = x[fit].mean(0), x[fit].std(0)
    x = (x - middle) / np.where(spread > 1e-6, spread, 1.0)
    w, bias = logistic(x[fit], known[fit])
    return x @ w + bias


def halves(name: np.ndarray, known: np.ndarray, among: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """bool [N]: rows of half of the names of each side that occur in the rows `among` (bool [N])."""
    chosen = [r.permutation(np.unique(name[among & (known == side)])) for side in (True, False)]
    return among & np.isin(name, np.concatenate([c[: len(c) // 2] for c in chosen]))


def shuffled(name: np.ndarray, known: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Labels bool [N] dealt anew among the names of each half by whoever calls."""
    names, first = np.unique(name, return_index=True)
    dealt = dict(zip(names.tolist(), r.permutation(known[first]).tolist(), strict=True))
    return np.array([dealt[n] for n in name.tolist()], bool)


def measure(found: Activations, asked: Asked, seed: int = 0) -> dict[str, Any]:
    """Best neuron, linear probe, and two controls: the probe on spelling alone, and the whole procedure on labels dealt
    at random (mean and middle 95 % of so many). Every AUROC is of the names that were held out."""
    r = np.random.default_rng(seed)
    everything = np.ones(len(asked.known), bool)
    fit = halves(asked.name, asked.known, everything, r)
    inner = halves(asked.name, asked.known, fit, r)
    labels = np.stack([asked.known, *(dealt(asked, fit, inner, r) for _ in range(SHUFFLES))])
    columns = found.columns()
    chosen = auroc(columns[fit], labels[:, fit])
    best = np.abs(chosen - 0.5).argmax(1)
    column = int(best[0])
    kind, layer, index = found.place(column)
    sign = 1.0 if chosen[0, column] >= 0.5 else -1.0
    values, known = columns[~fit, column], asked.known[~fit]

    def figure(score: np.ndarray) -> dict[str, float]:
        return _figure(score, asked, ~fit, seed)

    controls: dict[str, list[float]] = {"neuron": [], "probe": []}
    for i in range(1, len(labels)):
        way = 1.0 if chosen[i, best[i]] >= 0.5 else -1.0
        controls["neuron"].append(float(auroc(way * columns[~fit, best[i], None], labels[i : i + 1, ~fit])[0, 0]))
        score, _ = probe(found.stream, labels[i], fit, inner)
        controls["probe"].append(float(auroc(score[~fit, None], labels[i : i + 1, ~fit])[0, 0]))
    score, at = probe(found.stream, asked.known, fit, inner)
    neuron = {"kind": kind, "layer": layer, "index": index, "column": column, "sign": sign}
    neuron |= {"mean_known": float(values[known].mean()), "mean_unknown": float(values[~known].mean())}
    return {
        "questions": len(known), "names": len(np.unique(asked.name[~fit])), "seed": seed,
        "neuron": neuron | figure(sign * columns[:, column]),
        "probe": {"layer": at} | figure(score),
        "spelling": figure(scored(found.spelling, asked.known, fit)),
        "shuffled": {name: _middle(values) for name, values in controls.items()},
    }  # fmt: skip


def held_out(score: np.ndarray, asked: Asked, seed: int = 0) -> dict[str, float]:
    """AUROC, with its interval, of a score [N] on the names that `measure` holds out for this seed."""
    fit = halves(asked.name, asked.known, np.ones(len(asked.known), bool), np.random.default_rng(seed))
    return _figure(score, asked, ~fit, seed)


def _figure(score: np.ndarray, asked: Asked, rows: np.ndarray, seed: int) -> dict[str, float]:
    low, high = interval(score[rows], asked.known[rows], asked.name[rows], seed)
    return {"auroc": float(auroc(score[rows, None], asked.known[None, rows])[0, 0]), "low": low, "high": high}


def dealt(asked: Asked, fit: np.ndarray, inner: np.ndarray, r: np.random.Generator) -> np.ndarray:
    """Labels bool [N] dealt at random among the names of each part of the split, so that both sides stay in each."""
    out = np.zeros(len(fit), bool)
    for part in (inner, fit & ~inner, ~fit):
        out[part] = shuffled(asked.name[part], asked.known[part], r)
    return out


def probe(stream: np.ndarray, known: np.ndarray, fit: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, int]:
    """(log-odds [N], layer): a linear probe on the residual stream [N, L, D]. The layer is the one whose probe, fitted on
    the rows `inner`, does best on the other rows of `fit`; then it is fitted on all of `fit`."""
    rest = fit & ~inner
    tried = [
        float(auroc(scored(stream[:, layer], known, inner)[rest, None], known[None, rest])[0, 0])
        for layer in range(stream.shape[1])
    ]
    layer = int(np.argmax(tried))
    return scored(stream[:, layer], known, fit), layer


def _middle(values: Sequence[float]) -> dict[str, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return {"auroc": float(np.mean(values)), "low": float(low), "high": float(high)}

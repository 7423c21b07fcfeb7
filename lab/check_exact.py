"""Checks of the device that MLX uses against numpy float64 (lab/reference.py), and what all checks are made of.

Each takes the part that it checks, so that a wrong one can be passed in, and returns what it `Measured`.

Tolerances. A product of fp32 numbers summed over n terms errs by about 2^-24 sqrt(n) of its size, since rounding errors
are independent (Higham 2002, Accuracy and Stability of Numerical Algorithms, 2.6 and 3.1); where the inputs are rounded
first, to u = 2^-8 (bf16) or 2^-10 (TF32), by u. A chain of m products errs by sqrt(m) of that. The largest of many
thousand errors lies 4 to 5 deviations out; ten are allowed.
"""

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from lab import device, learn, reference
from lab.learn import Learner, Schedule
from lab.loss import Batch, nll
from lab.model import Shape, Transformer
from lab.sample import Sampling, distribution, draw
from lab.tokenizer import Tokenizer

FP32, TF32, BF16 = 2.0**-24, 2.0**-10, 2.0**-8
NEWTON_SCHULZ = 3.4445**5  # what five steps of Muon multiply a small singular value, and the error in it, by
CONTEXT = 128


class Measured(NamedTuple):
    """What a check found: the largest error, how large it may be, and why that much."""

    error: float
    tolerance: float
    why: str


class Skipped(Exception):
    """This check has no meaning on this machine; the message says why."""


# -- what is computed with -------------------------------------------------------------------------------------------


@contextlib.contextmanager
def on(where: Any) -> Iterator[None]:
    """Everything in the block is computed on `where` (mx.cpu, mx.gpu), and lab.device knows it."""
    before = mx.default_device()
    mx.set_default_device(where)
    try:
        yield
    finally:
        mx.set_default_device(before)


@functools.cache
def tokenizer() -> Tokenizer:
    """A real one, of 320 ids, trained in a tenth of a second."""
    return Tokenizer.train(
        [f"{a} and {b} make {a + b}. So {a + b} less {b} is {a}." for a in range(12) for b in range(12)], 320
    )


def fill(network: Transformer, seed: int = 0) -> Transformer:
    """Random weights of a size as trained ones have, the same on every device; no matrix is zero."""
    draw, arrays = np.random.default_rng(seed), []
    for key, value in device.flat(network.parameters()):
        noise = draw.standard_normal(value.shape)
        arrays.append(
            (key, 1 + 0.1 * noise if value.ndim < 2 else noise * (1.0 if "embed" in key else value.shape[1] ** -0.5))
        )
    network.load_weights([(key, mx.array(value.astype(np.float32))) for key, value in arrays])
    network.eval()
    mx.eval(network.parameters())
    return network


def small() -> Transformer:
    """Two layers with grouped queries, QK-norm and an output matrix of their own."""
    return fill(Transformer(Shape(tokenizer().vocab_size, 64, 2, 4, 2, 16, 96, CONTEXT, tie_word_embeddings=False)))


def text(rows: int, length: int, seed: int = 0) -> np.ndarray:
    """Ids int32 [rows, length] that the network of `small` takes."""
    return np.random.default_rng(seed).integers(0, tokenizer().vocab_size, (rows, length)).astype(np.int32)


def exact(x: Any) -> np.ndarray:
    """An array of MLX as numpy float64."""
    return np.array(x.astype(mx.float32)).astype(np.float64)


def exact_all(tree: Any) -> dict[str, np.ndarray]:
    return {key: exact(value) for key, value in device.flat(tree)}


def most(*errors: Any) -> float:
    """The largest error, infinite where one is no number: Python's max would pass over a nan."""
    return max(float(error) if math.isfinite(error) else math.inf for error in errors)


def apart(ours: Any, theirs: Any) -> float:
    """Largest difference over the root mean square of `theirs`; infinite where something is no number."""
    a, b = (x if isinstance(x, np.ndarray) else exact(x) for x in (ours, theirs))
    return most(np.abs(a - b).max() / np.sqrt((b * b).mean()))


def far(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Norm of the difference over the norm of `theirs`."""
    return most(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def unit() -> float:
    """What this device rounds the inputs of fp32 products to. The M5's and NVIDIA's matrix units round to 10 bits unless
    MLX_ENABLE_TF32=0 (https://github.com/ml-explore/mlx/issues/3860); the CPU never does."""
    if device.on_cpu() or os.environ.get("MLX_ENABLE_TF32") == "0":
        return FP32
    a, b = (np.random.default_rng(s).standard_normal((256, 256)).astype(np.float32) for s in (1, 2))
    return TF32 if far(exact(mx.array(a) @ mx.array(b)), a.astype(np.float64) @ b) > 1e-5 else FP32


def allowed(terms: int, products: int = 1, unit_: float | None = None, times: float = 10) -> tuple[float, str]:
    """(tolerance, why) for a chain of `products` products of sums of at most `terms` terms."""
    u = unit() if unit_ is None else unit_
    if FP32 * math.sqrt(terms) >= u:
        return times * FP32 * math.sqrt(terms * products), f"{times:g} x 2^-24 x sqrt({terms} terms x {products})"
    return times * u * math.sqrt(products), f"{times:g} x 2^{math.log2(u):.0f} x sqrt({products} products)"


def steps_allowed() -> tuple[float, str]:
    """(tolerance, why) for the losses of a few training steps with Muon."""
    rounding = NEWTON_SCHULZ * max(unit(), FP32 * math.sqrt(96))
    return min(rounding, 0.02), "3.4445^5 x rounding of a product, at most 0.02: a stale state errs by more"


def chain(shape: Shape) -> tuple[int, int]:
    """(longest sum, products one after the other) of a forward pass: q, scores, values, o, up, down, and the logits."""
    return max(shape.hidden_size, shape.intermediate_size), 6 * shape.num_hidden_layers + 1


# -- operations against float64 --------------------------------------------------------------------------------------


def products(multiply: Callable[[mx.array, mx.array], mx.array] = mx.matmul) -> Measured:
    a, b = (np.random.default_rng(s).standard_normal((512, 512)).astype(np.float32) for s in (1, 2))
    return Measured(apart(multiply(mx.array(a), mx.array(b)), a.astype(np.float64) @ b), *allowed(512))


def rms_norm(norm: Callable[..., mx.array] = mx.fast.rms_norm) -> Measured:
    draw = np.random.default_rng(3)
    x, w = draw.standard_normal((64, 768)) * np.logspace(-3, 3, 64)[:, None], draw.standard_normal(768)
    x, w = x.astype(np.float32), w.astype(np.float32)
    ours = norm(mx.array(x), mx.array(w), 1e-6)
    return Measured(apart(ours, reference.rms_norm(x.astype(np.float64), w, 1e-6)), *allowed(768, 1, FP32))


def rope(turn: Callable[..., mx.array] = mx.fast.rope) -> Measured:
    x = np.random.default_rng(4).standard_normal((2, 4, 16, 64)).astype(np.float32)
    error, last = 0.0, 2032
    for offset in (0, 500, last):
        ours = turn(mx.array(x), 64, traditional=False, base=10_000.0, scale=1.0, offset=offset)
        error = most(error, apart(ours, reference.rope(x.astype(np.float64), offset, 10_000.0)))
    # An angle of `position` radians is a float32: it is off by half a unit in its last place, 2^-24 of itself, and so is
    # the frequency that it is the product of.
    return Measured(error, 10 * FP32 * (last + 16), "10 x 2^-24 x position 2048: the angle is fp32")


def attention(attend: Callable[..., mx.array] = mx.fast.scaled_dot_product_attention) -> Measured:
    draw, error = np.random.default_rng(5), 0.0
    for asked, seen in ((65, 65), (1, 129), (7, 40)):
        q, k, v = (
            draw.standard_normal((2, n, t, 32)).astype(np.float32) for n, t in ((4, asked), (2, seen), (2, seen))
        )
        ours = attend(mx.array(q), mx.array(k), mx.array(v), scale=32**-0.5, mask="causal")
        error = most(error, apart(ours, reference.attention(*(x.astype(np.float64) for x in (q, k, v)))))
    return Measured(error, *allowed(129, 2))


# -- the network against float64 -------------------------------------------------------------------------------------


def forward(network: Transformer | None = None) -> Measured:
    network, ids = network or small(), text(2, 48)
    theirs = reference.logits(exact_all(network.parameters()), network.shape, ids)
    return Measured(apart(network(mx.array(ids)), theirs), *allowed(*chain(network.shape)))


def loss_value(network: Transformer | None = None) -> Measured:
    network, ids = network or small(), text(4, 33)
    total, count = nll(network, Batch(ids))
    theirs = reference.nll(exact_all(network.parameters()), network.shape, ids)
    return Measured(
        most(abs(device.number(total) / device.number(count) - theirs) / theirs), *allowed(*chain(network.shape))
    )


def gradient_of(network: Transformer, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Gradient of the mean loss, as the learner gets it."""
    (_, count), gradient = nn.value_and_grad(network, nll)(network, Batch(ids))
    return {key: g / device.number(count) for key, g in exact_all(gradient).items()}


def gradients(network: Transformer | None = None, directions: int = 3) -> Measured:
    """Each parameter's gradient along random directions against the slope of the float64 loss: the mean square of the
    differences estimates that of the whole gradient's error."""
    network, ids = network or small(), text(2, 17)
    ours, here = gradient_of(network, ids), exact_all(network.parameters())
    draw, worst = np.random.default_rng(6), 0.0
    for key, value in here.items():
        differences = []
        for _ in range(directions):
            way = draw.standard_normal(value.shape)
            slope = reference.slope(lambda x, k=key: reference.nll(here | {k: x}, network.shape, ids), value, way)  # type: ignore[misc]
            differences.append(float((ours[key] * way).sum()) - slope)
        worst = most(worst, np.sqrt(np.mean(np.square(differences))) / np.linalg.norm(ours[key]))
    terms, products_ = chain(network.shape)
    return Measured(worst, *allowed(terms, 3 * products_))


def learner_of(network: Transformer) -> Learner:
    return Learner(network, Schedule(0.02, 100, warmup=2))


def update(learner: Learner | None = None) -> Measured:
    """Three steps of Muon and AdamW against the same in float64, from the same gradients."""
    learner, ids = learner or learner_of(small()), text(4, 33)
    network, worst = learner.model, 0.0
    first, second = ({k: np.zeros(v.shape) for k, v in device.flat(network.parameters())} for _ in range(2))
    for step in (1, 2, 3):
        before = exact_all(network.parameters())
        clipped = reference.clip(gradient_of(network, ids), learner.clip)  # type: ignore[arg-type]
        learner.step(step, [Batch(ids)], nll)
        after = exact_all(network.parameters())
        for key, g in clipped.items():
            if g.ndim == 2 and "embed" not in key and "lm_head" not in key:
                share = 1.0
                want, first[key] = reference.muon(g, first[key])
            else:
                share = learn.EMBEDDING_SHARE if "embed" in key else learn.OTHER_SHARE
                want, first[key], second[key] = reference.adam(g, first[key], second[key], step)
            worst = most(worst, far(before[key] - after[key], learner.schedule(step) * share * want))
    u = max(unit(), FP32 * math.sqrt(max(v.shape[-1] for v in first.values())))
    return Measured(worst, NEWTON_SCHULZ * u, "3.4445^5 x rounding of a product: Newton-Schulz")


# -- draws against probabilities ---------------------------------------------------------------------------------------


def draws(take: Callable[[mx.array, int], Any] | None = None) -> Measured:
    """How often ids are drawn against their probability: Pearson's chi-square over 20,000 draws, in deviations. Both for
    the lab's draw and for MLX's; `take` draws so many ids from log-probabilities [V]."""
    count, found = 20_000, list[Measured]()
    logits = mx.array(np.random.default_rng(8).standard_normal(64).astype(np.float32) * 2)
    logp = distribution(logits, Sampling(temp=0.9, top_k=40))

    def ours(logp: mx.array, n: int) -> Any:
        uniform = np.random.default_rng(9).random(n)
        return draw(mx.broadcast_to(logp, (n, logp.size)), uniform, Sampling(temp=1.0))[0]

    def theirs(logp: mx.array, n: int) -> Any:
        return mx.random.categorical(logp, num_samples=n, key=mx.random.key(0))

    want = np.exp(exact(logp)) * count
    for drawing in (take,) if take else (ours, theirs):
        have = np.bincount(np.array(drawing(logp, count)).astype(np.int64), minlength=64)
        if have[want == 0].any():
            return Measured(math.inf, 5.0, "an id of probability 0 was drawn")
        found.append(_deviations(have, want))
    return max(found)


def rare_draws(take: Callable[..., tuple[Any, Any]] = draw) -> Measured:
    """How often ids of 50,000 are drawn of which all but 100 are equally rare: chi-square of 1,000 draws over 20 stretches
    of the vocabulary. Once half of the mass is theirs; once 0.002, 4e-8 each, and the numbers drawn with fall into that
    end. One sum in fp32 over the vocabulary never reaches such ids."""
    size, head, count, stretches, found = 50_000, 100, 1_000, 20, list[Measured]()
    for tail, start in ((0.5, 0.0), (0.002, 0.998)):
        p = np.where(np.arange(size) < head, (1 - tail) / head, tail / (size - head))
        logits, have = mx.array(np.log(p).astype(np.float32)), np.zeros(stretches)
        uniform = start + (1 - start) * np.random.default_rng(10).random(count)
        for some in np.split(uniform, count // 40):  # 40 rows: 8 MB an array
            ids, logp = take(mx.broadcast_to(logits, (len(some), size)), some, Sampling(temp=1.0))
            if not np.isfinite(np.array(logp)).all():
                return Measured(math.inf, 5.0, "an id was drawn whose log-probability is infinite")
            have += np.bincount(np.array(ids).astype(np.int64) * stretches // size, minlength=stretches)
        share = np.clip(np.cumsum(p) - start, 0, None) / (1 - start)  # of the draws that end at this id or before
        found.append(_deviations(have, np.diff(share[size // stretches - 1 :: size // stretches], prepend=0) * count))
    return max(found)


def _deviations(have: np.ndarray, want: np.ndarray) -> Measured:
    """Pearson's chi-square of counts against expected ones, in deviations; those of which fewer than 5 are expected (the
    rule of thumb for the chi-square distribution) are one bin."""
    often = want >= 5
    freedom = int(often.sum()) - (0 if want[~often].any() else 1)
    chi = float(((have - want)[often] ** 2 / want[often]).sum())
    chi += float((have - want)[~often].sum() ** 2 / max(want[~often].sum(), 1e-9))
    error = most(abs(chi - freedom) / math.sqrt(2 * freedom))
    return Measured(error, 5.0, f"5 deviations of chi-square with {freedom} degrees")

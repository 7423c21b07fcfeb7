"""Checks of pairs that must agree: ours and plain operations, a cache and no cache, compiled and not, saved and loaded,
an accelerator and the CPU of the same process (that last part has not been run on a Mac or an NVIDIA card yet).

Each takes the part that it checks, so that a wrong one can be passed in. Tolerances: lab/check_exact.py.
"""

import gc
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np

from lab import device, loss, reference, weights
from lab.batch import Request
from lab.batch import sample as sample_many
from lab.check_exact import (
    BF16,
    CONTEXT,
    FP32,
    Measured,
    Skipped,
    allowed,
    apart,
    chain,
    exact,
    exact_all,
    far,
    gradient_of,
    learner_of,
    most,
    on,
    small,
    steps_allowed,
    text,
    tokenizer,
)  # fmt: skip
from lab.learn import Learner
from lab.loss import Batch, nll
from lab.model import Transformer, new_cache, silu
from lab.sample import Sampling
from lab.stream import Stream


def fast_silu(ours: Callable[[mx.array], mx.array] = silu) -> Measured:
    """Our SiLU and its gradient against MLX's; on the CPU ours runs in numpy and has a gradient of its own."""
    x = mx.array(np.concatenate([np.linspace(-30, 30, 4001), [-200.0, -90.0, 90.0, 200.0]]).astype(np.float32))
    scale = mx.arange(x.size) / x.size
    error = apart(ours(x), nn.silu(x))
    slopes = [mx.grad(lambda v, f=f: (f(v) * scale).sum())(x) for f in (ours, nn.silu)]
    # Errors grow with x, which reaches 200; they are stated over the root mean square, 12.
    return Measured(
        most(error, apart(*slopes)), 10 * FP32 * 200 / 12, "10 x 2^-24 x 200 / 12, the largest over the mean"
    )


def fast_cross_entropy(ours: Callable[[mx.array, mx.array], mx.array] = loss.cross_entropy) -> Measured:
    """Our cross-entropy and its gradient against plain operations; large logits must stay finite."""
    draw = np.random.default_rng(7)
    logits = mx.array((draw.standard_normal((64, 512)) * np.logspace(-2, 1.5, 64)[:, None]).astype(np.float32))
    targets, scale = mx.array(draw.integers(0, 512, 64)), mx.array(draw.standard_normal(64).astype(np.float32))

    def plain(z: mx.array, t: mx.array) -> mx.array:
        return mx.logsumexp(z, -1) - mx.take_along_axis(z, t[:, None], -1)[:, 0]

    error = apart(ours(logits, targets), plain(logits, targets))
    slopes = [mx.grad(lambda z, f=f: (f(z, targets) * scale).sum())(logits) for f in (ours, plain)]
    if not math.isfinite(device.number(ours(logits * 1e4, targets).sum())):
        error = math.inf
    # A logit of up to 100 is raised: its rounding, 2^-24 of it, is the relative error of the power; of each side, since both
    # are in fp32 (an H200 with CUDA 13 is 10.2 times that away).
    return Measured(most(error, apart(*slopes)), 2 * 10 * FP32 * 100, "2 x 10 x 2^-24 x logits of 100")


def cache(network: Transformer | None = None) -> Measured:
    """Decoding in pieces with a cache, also after going back, against one forward pass."""
    network, ids = network or small(), mx.array(text(2, 100))
    whole, held = network(ids), new_cache(network)
    parts = [network(ids[:, a:b], cache=held) for a, b in ((0, 7), (7, 8), (8, 90), (90, 91), (91, 100))]
    error = apart(mx.concatenate(parts, 1), whole)
    for layer in held:
        layer.trim(40)
    again = network(ids[:, 60:], cache=held)
    return Measured(most(error, apart(again, whole[:, 60:])), *allowed(*chain(network.shape)))


def sampler(network: Transformer | None = None) -> Measured:
    """Log-probabilities (nats) that the sampler states, in two turns of one conversation, against a full forward pass."""
    network, error = network or small(), 0.0
    stream = Stream(network, tokenizer(), CONTEXT)
    ids = text(1, 20)[0].tolist()
    for turn, options in enumerate((Sampling(temp=1.0, max_tokens=24), Sampling(temp=0.7, max_tokens=24))):
        told = list(stream(ids, options, seed=turn))
        out = [token.id for token in told]
        logits = exact(network(mx.array([ids + out])))[0, len(ids) - 1 : -1]
        for temp, stated in ((options.temp, [t.logp for t in told]), (1.0, [math.log(t.p) for t in told])):
            theirs = reference.log_softmax(logits / temp)[range(len(out)), out]
            error = most(error, np.abs(np.array(stated) - theirs).max())
        ids = [*ids[:10], *out, *text(1, 9, seed=turn + 1)[0].tolist()]  # the second turn goes back and on
    terms, count = chain(network.shape)
    size = float(np.abs(logits).max()) / 0.7
    tolerance, why = allowed(terms, count)
    return Measured(error, size * tolerance, f"{why} x logits of {size:.0f}")


def sampled_together(network: Transformer | None = None) -> Measured:
    """Log-probabilities (nats) that the batch sampler states, for rows of unequal prompts that share its slots, against
    a forward pass over each row alone."""
    network, error, size = network or small(), 0.0, 0.0
    prompts = [text(1, length, seed=length)[0].tolist() for length in (3, 31, 12)]
    asked, ends = [Request(ids, seeds=(0, 1)) for ids in prompts], frozenset(tokenizer().ends)
    for reply in sample_many(network, asked, Sampling(temp=1.0, max_tokens=16), ends, CONTEXT, rows=4):
        ids = prompts[reply.request]
        logits = exact(network(mx.array([[*ids, *reply.ids.tolist()]])))[0, len(ids) - 1 : -1]
        theirs = reference.log_softmax(logits)[range(len(reply.ids)), reply.ids]
        error, size = most(error, np.abs(reply.logp - theirs).max()), max(size, float(np.abs(logits).max()))
    tolerance, why = allowed(*chain(network.shape))
    return Measured(error, size * tolerance, f"{why} x logits of {size:.0f}")


def batch(network: Transformer | None = None) -> Measured:
    """A row in a batch against the same row alone."""
    network, ids = network or small(), mx.array(text(8, 40))
    whole = network(ids)
    error = most(*(apart(network(ids[i : i + 1]), whole[i : i + 1]) for i in range(8)))
    return Measured(error, *allowed(*chain(network.shape)))


def micro_batches(network: Transformer | None = None) -> Measured:
    """The loss and gradient norm of a batch of 8 against those of four micro-batches of 2 rows."""
    network, ids = network or small(), text(8, 33)
    start = dict(device.flat(network.parameters()))
    one = learner_of(network).step(1, [Batch(ids)], nll)
    network.load_weights(list(start.items()))
    four = learner_of(network).step(1, [Batch(ids[i : i + 2]) for i in range(0, 8, 2)], nll)
    network.load_weights(list(start.items()))
    error = most(abs(four.loss / one.loss - 1), abs(four.grad_norm / one.grad_norm - 1))
    terms, count = chain(network.shape)
    return Measured(error, *allowed(terms, 3 * count))


def causal(network: Transformer | None = None) -> Measured:
    """Logits before a changed token against those before the change; behind it they must differ."""
    network, ids = network or small(), text(2, 40)
    changed = ids.copy()
    changed[:, 25] = (ids[:, 25] + 1) % network.shape.vocab_size
    a, b = network(mx.array(ids)), network(mx.array(changed))
    leak = apart(a[:, :25], b[:, :25])
    blind = apart(a[:, 25:], b[:, 25:]) < 1e-3
    return Measured(math.inf if blind else leak, 0.0, "the same sums in the same order")


def storage(
    save: Callable[[Path, dict[str, mx.array]], None] = weights.save_arrays,
    load: Callable[[Path], dict[str, mx.array]] = weights.load_arrays,
) -> Measured:
    """Bits that a file gives back otherwise than they were: weights in three dtypes, odd numbers, optimiser state."""
    odd = mx.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45, 3.4e38, 1 / 3])
    network = small()
    arrays = dict(device.flat(network.parameters())) | {"odd": odd, "count": mx.array([2**31 - 1, -1])}
    arrays |= {f"{d}.{k}": v.astype(d) for d in (mx.bfloat16, mx.float16) for k, v in list(arrays.items())[:3]}
    learner = learner_of(network)
    learner.step(1, [Batch(text(2, 17))], nll)
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "x.safetensors", arrays)
        wrong = _bits_apart(arrays, load(Path(folder) / "x.safetensors"))
        learner.save(Path(folder))
        other = learner_of(small())
        other.load(Path(folder))
        for ours, theirs in (
            (learner.model.parameters(), other.model.parameters()),
            (learner.optimizer.state, other.optimizer.state),
        ):
            wrong += _bits_apart(dict(device.flat(ours)), dict(device.flat(theirs)))
    return Measured(float(wrong), 0.0, "the same bits")


def _bits_apart(a: dict[str, mx.array], b: dict[str, mx.array]) -> float:
    """How many bytes differ; infinite where names, dtypes or shapes do."""
    if {k: (v.shape, v.dtype) for k, v in a.items()} != {k: (v.shape, v.dtype) for k, v in b.items()}:
        return math.inf
    pairs = ([np.array(x.reshape(-1).view(mx.uint8)) for x in (v, b[k])] for k, v in a.items())
    return float(sum(np.count_nonzero(ours != theirs) for ours, theirs in pairs))


def resume(learner: Callable[[Transformer], Learner] = learner_of) -> Measured:
    """Four steps against two, a save, a load into a fresh learner, and two more: the loss and the weights."""
    rows = [Batch(text(4, 33, seed)) for seed in range(4)]
    straight, first, second = (learner(small()) for _ in range(3))
    for step in range(1, 5):
        straight.step(step, [rows[step - 1]], nll)
    with tempfile.TemporaryDirectory() as folder:
        for step in (1, 2):
            first.step(step, [rows[step - 1]], nll)
        first.save(Path(folder))
        second.load(Path(folder))
    for step in (3, 4):
        second.step(step, [rows[step - 1]], nll)
    a, b = (exact_all(one.model.parameters()) for one in (straight, second))
    error = most(*(far(a[key], b[key]) for key in a))
    if device.on_cpu():
        return Measured(error, 0.0, "bit for bit on the CPU")
    # An accelerator may add up the gradient of an embedding in any order; Adam makes of the least of them a full step.
    return Measured(error, 0.01, "sums in any order, and Adam's sign of small gradients")


def half(network: Transformer | None = None, dtype: mx.Dtype = mx.bfloat16) -> Measured:
    """Logits of the network in bf16 against those in fp32: root mean square of the difference over that of the logits."""
    network, ids = network or small(), mx.array(text(2, 48))
    whole = exact(network(ids))
    network.set_dtype(dtype)
    rounded = exact(network(ids))
    network.set_dtype(mx.float32)
    _, count = chain(network.shape)
    return Measured(far(rounded, whole), *allowed(1, count, BF16, times=3))


def compiled(compile_: Callable[..., Any] = mx.compile, network: Callable[[], nn.Module] | None = None) -> Measured:
    """Losses of six training steps through mx.compile, with weights and optimiser state as stated inputs and outputs,
    against the same without; the batch, its length and the rate change on the way."""
    if network is None and device.on_cpu():
        raise Skipped("on the CPU a step runs numpy between MLX's operations (lab/cpu.py) and is never compiled")
    before = os.environ.get("MLX_DISABLE_COMPILE")
    try:
        mx.enable_compile()  # stronger than the variable
        fused, calls = _trajectory((network or small)(), compile_)
        mx.disable_compile()
        plain, _ = _trajectory((network or small)(), lambda step, **_: step)
    finally:
        mx.enable_compile() if before is None else mx.disable_compile()
    if calls > 2:  # once for each length is what tracing takes
        raise Skipped("mx.compile ran the plain operations")
    error = most(*(abs(a / b - 1) for a, b in zip(fused, plain, strict=True)))
    return Measured(error, *steps_allowed())


def _trajectory(network: nn.Module, compile_: Callable[..., Any]) -> tuple[list[float], int]:
    """(the loss before each of six steps, how often the step's Python ran)."""
    muon, adam = optim.Muon(0.02, weight_decay=0.0), optim.AdamW(0.005, bias_correction=True)
    optimizer: Any = optim.MultiOptimizer([muon, adam], [lambda key, v: v.ndim == 2 and "embed" not in key])
    optimizer.init(network.trainable_parameters())
    state, losses, calls = [network.state, optimizer.state], list[float](), 0

    def objective(model: nn.Module, ids: mx.array) -> mx.array:
        return nn.losses.cross_entropy(model(ids[:, :-1]), ids[:, 1:], reduction="mean")

    gradient_of_loss = nn.value_and_grad(network, objective)

    def step(ids: mx.array) -> mx.array:
        nonlocal calls
        calls += 1
        value, gradient = gradient_of_loss(network, ids)
        optimizer.update(network, gradient)
        return value

    run = compile_(step, inputs=state, outputs=state)
    for number in range(6):
        muon.learning_rate, adam.learning_rate = 0.02 / (number + 1), 0.005 / (number + 1)
        value = run(mx.array(text(2, 33 if number < 4 else 17, seed=number % 2)))
        mx.eval(value, state)
        losses.append(device.number(value))
    return losses, calls


def memory(work: Callable[[], object] | None = None) -> Measured:
    """Bytes that stay taken when networks and their gradients were used and let go three times."""

    def default() -> None:
        gradient_of(small(), text(2, 33))

    def taken() -> int:
        (work or default)()
        gc.collect()
        mx.clear_cache()
        return mx.get_active_memory() + mx.get_cache_memory()

    first = taken()  # what the first time allocates for good is no leak
    return Measured(float(max(0, [taken() for _ in range(3)][-1] - first)), 16384, "one page of 16 KiB")


# -- an accelerator against the CPU of the same process --------------------------------------------------------------


def pair_logits(network: Transformer | None = None, here: Any = mx.gpu, there: Any = mx.cpu) -> Measured:
    network, ids = network or small(), text(2, 48)
    ours, theirs = _both(here, there, lambda: exact(network(mx.array(ids))))
    with on(here):
        return Measured(apart(ours, theirs), *allowed(*chain(network.shape)))


def pair_gradients(network: Transformer | None = None, here: Any = mx.gpu, there: Any = mx.cpu) -> Measured:
    """The worst parameter's gradient, each as the device would compute it in training."""
    network, ids = network or small(), text(4, 33)
    ours, theirs = _both(here, there, lambda: gradient_of(network, ids))
    terms, count = chain(network.shape)
    with on(here):
        return Measured(most(*(far(ours[key], theirs[key]) for key in theirs)), *allowed(terms, 3 * count))


def pair_steps(network: Callable[[], Transformer] = small, here: Any = mx.gpu, there: Any = mx.cpu) -> Measured:
    """Losses and gradient norms of four steps of Muon and AdamW."""

    def work() -> list[float]:
        learner = learner_of(network())
        stats = [learner.step(n, [Batch(text(4, 33))], nll) for n in range(1, 5)]
        return [number for s in stats for number in (s.loss, s.grad_norm)]

    ours, theirs = _both(here, there, work)
    error = most(*(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True)))
    with on(here):
        return Measured(error, *steps_allowed())


def pair_sampler(network: Transformer | None = None, here: Any = mx.gpu, there: Any = mx.cpu) -> Measured:
    """Log-probabilities (nats) of a text, token by token with a cache on the one, in one pass on the other."""
    network, ids = network or small(), mx.array(text(1, 60))

    def piecewise() -> np.ndarray:
        held = new_cache(network)
        return np.concatenate([exact(network(ids[:, i : i + 1], cache=held)) for i in range(ids.shape[1])], 1)

    with on(here):
        ours = reference.log_softmax(piecewise())
        tolerance, why = allowed(*chain(network.shape))
    with on(there):
        whole = exact(network(ids))
    size = float(np.abs(whole).max())
    error = most(np.abs(ours - reference.log_softmax(whole)).max())
    return Measured(error, size * tolerance, f"{why} x logits of {size:.0f}")


def _both(here: Any, there: Any, work: Callable[[], Any]) -> tuple[Any, Any]:
    with on(here):
        ours = work()
    with on(there):
        return ours, work()

"""Every numeric check passes with the real part and fails with a wrong one; the record says what was found."""

import functools
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import check, check_exact, check_pairs, device, reference, weights
from lab.check import Check, Result
from lab.check_exact import Measured, Skipped
from lab.errors import UserError
from lab.learn import Learner
from lab.model import Transformer
from lab.sample import Sampling, masses


class Off(Transformer):
    """A network that is one per cent off, but only where `wrong` says so."""

    wrong: Any = staticmethod(lambda self, ids, cache, logits: logits * 1.01)

    def __call__(self, ids: mx.array, cache: Any = None) -> mx.array:
        return type(self).wrong(self, ids, cache, super().__call__(ids, cache))


def off(wrong: Callable[..., mx.array] = Off.wrong) -> Transformer:
    kind = type("Kind", (Off,), {"wrong": staticmethod(wrong)})
    return check_exact.fill(kind(check_exact.small().shape))


def where(condition: Callable[[mx.array, Any], bool]) -> Transformer:
    return off(lambda self, ids, cache, logits: logits * 1.01 if condition(ids, cache) else logits)


def from_second_call_on() -> Transformer:
    calls: list[int] = []

    def wrong(self: Any, ids: mx.array, cache: Any, logits: mx.array) -> mx.array:
        calls.append(1)
        return logits * 1.01 if len(calls) > 1 else logits

    return off(wrong)


class OneByOne(Transformer):
    """One per cent off where the logits of single places are asked for, as the sampler does."""

    def head(self, x: mx.array) -> mx.array:
        return super().head(x) * (1.01 if x.ndim == 2 else 1.0)


def one_sum(logits: mx.array, uniform: np.ndarray, sampling: Sampling) -> tuple[mx.array, mx.array]:
    """The draw from one running sum in fp32, whose steps are no smaller than 6e-8."""
    mass = masses(logits, sampling)
    reach = mx.cumsum(mass, -1)
    ids = mx.argmax(reach >= mx.array(uniform.astype(np.float32))[:, None] * reach[:, -1:], -1)
    return ids, mx.log(mx.take_along_axis(mass, ids[:, None], -1)[:, 0] / mass.sum(-1))


def forgetful(network: Transformer) -> Learner:
    """A learner that loads its weights, but not what its optimiser remembered."""

    class Forgetful(Learner):
        def load(self, folder: Path) -> None:
            self.model.load_weights(list(weights.load_arrays(folder / "model.safetensors").items()))

    return Forgetful(network, check_exact.learner_of(network).schedule)


def uncorrected() -> Learner:
    """AdamW as MLX has it by default: without bias correction."""
    learner = check_exact.learner_of(check_exact.small())
    for part in learner.optimizer.optimizers[1:]:
        part.bias_correction = False
    return learner


def one_bit_off(path: Path, arrays: dict[str, mx.array]) -> None:
    name = next(iter(arrays))
    bits = np.array(arrays[name])
    bits.reshape(-1).view(np.uint32)[0] ^= 1
    weights.save_arrays(path, arrays | {name: mx.array(bits)})


def in_half(path: Path) -> dict[str, mx.array]:
    return {k: v.astype(mx.float16) if v.dtype == mx.float32 else v for k, v in weights.load_arrays(path).items()}


def stale(step: Callable[[mx.array], mx.array], inputs: Any, outputs: Any) -> Callable[[mx.array], mx.array]:
    """What compiling goes wrong like: the first answer for good."""
    first: list[mx.array] = []

    def run(ids: mx.array) -> mx.array:
        if not first:
            first.append(step(ids))
        return first[0]

    return run


class Plain(nn.Module):
    """A network of MLX's own operations, which can be compiled on the CPU too."""

    def __init__(self) -> None:
        super().__init__()
        size, key = check_exact.tokenizer().vocab_size, mx.random.key(0)
        self.embed = nn.Embedding(size, 32)
        self.head = nn.Linear(32, size, bias=False)
        self.embed.weight = mx.random.normal((size, 32), key=key)
        self.head.weight = 0.2 * mx.random.normal((size, 32), key=key)

    def __call__(self, ids: mx.array) -> mx.array:
        return self.head(nn.relu(self.embed(ids)))


leaked: list[mx.array] = []
CPU = {"here": mx.cpu, "there": mx.cpu}
WRONG: dict[str, Callable[[], Measured]] = {
    "products in bf16": lambda: check_exact.products(
        lambda a, b: (a.astype(mx.bfloat16) @ b.astype(mx.bfloat16)).astype(mx.float32)
    ),
    "norm with another eps": lambda: check_exact.rms_norm(lambda x, w, eps: mx.fast.rms_norm(x, w, 1e-5)),
    "rotary pairs side by side": lambda: check_exact.rope(
        lambda x, n, traditional, **more: mx.fast.rope(x, n, traditional=True, **more)
    ),
    "attention to the future": lambda: check_exact.attention(
        lambda *qkv, scale, mask: mx.fast.scaled_dot_product_attention(*qkv, scale=scale)
    ),
    "logits": lambda: check_exact.forward(off()),
    "loss": lambda: check_exact.loss_value(off()),
    "gradients": lambda: check_exact.gradients(
        off(lambda self, ids, cache, logits: logits + 0.01 * (logits - mx.stop_gradient(logits)))
    ),
    "update without bias correction": lambda: check_exact.update(uncorrected()),
    "another activation": lambda: check_pairs.fast_silu(nn.gelu),
    "another loss": lambda: check_pairs.fast_cross_entropy(
        lambda z, t: nn.losses.cross_entropy(z, t, label_smoothing=0.01)
    ),
    "loss that overflows": lambda: check_pairs.fast_cross_entropy(
        lambda z, t: mx.log(mx.exp(z).sum(-1)) - mx.take_along_axis(z, t[:, None], -1)[:, 0]
    ),
    "cache": lambda: check_pairs.cache(where(lambda ids, cache: cache is not None)),
    "cache that forgets nothing": lambda: check_pairs.cache(
        where(lambda ids, cache: cache is not None and ids.shape[1] == 40)
    ),
    "sampler": lambda: check_pairs.sampler(check_exact.fill(OneByOne(check_exact.small().shape))),
    "rows sampled together": lambda: check_pairs.sampled_together(
        check_exact.fill(OneByOne(check_exact.small().shape))
    ),
    "draws that are too sharp": lambda: check_exact.draws(
        lambda logp, n: mx.random.categorical(logp * 1.1, num_samples=n, key=mx.random.key(0))
    ),
    "draws from all": lambda: check_exact.draws(lambda logp, n: mx.random.randint(0, 64, (n,), key=mx.random.key(0))),
    "one sum over a large vocabulary": lambda: check_exact.rare_draws(one_sum),
    "rows that meet": lambda: check_pairs.batch(where(lambda ids, cache: ids.shape[0] > 1)),
    "micro-batches": lambda: check_pairs.micro_batches(where(lambda ids, cache: ids.shape[0] == 2)),
    "a look ahead": lambda: check_pairs.causal(
        off(lambda self, ids, cache, logits: logits + 1e-6 * logits.mean(1, keepdims=True))
    ),
    "blindness": lambda: check_pairs.causal(off(lambda self, ids, cache, logits: logits * 0 + 1)),
    "a bit": lambda: check_pairs.storage(save=one_bit_off),
    "another dtype": lambda: check_pairs.storage(load=in_half),
    "optimiser state": lambda: check_pairs.resume(forgetful),
    "bf16": lambda: check_pairs.half(
        off(lambda self, ids, cache, logits: logits * (1.3 if logits.dtype == mx.bfloat16 else 1.0))
    ),
    "compiling": lambda: check_pairs.compiled(stale, Plain),
    "memory": lambda: check_pairs.memory(lambda: leaked.append(mx.zeros(10_000) + 1) or mx.eval(leaked)),
    "logits of two devices": lambda: check_pairs.pair_logits(from_second_call_on(), **CPU),
    "gradients of two devices": lambda: check_pairs.pair_gradients(from_second_call_on(), **CPU),
    "steps of two devices": lambda: check_pairs.pair_steps(iter([check_exact.small(), off()]).__next__, **CPU),
    "cached on one device": lambda: check_pairs.pair_sampler(where(lambda ids, cache: cache is not None), **CPU),
}


@pytest.mark.parametrize("each", check.chosen(), ids=lambda each: each.name)
def test_the_machine_passes(each: Check) -> None:
    result = check.perform(each)
    assert result.ok is (None if each.name == "compiled" and device.on_cpu() else True), result


@pytest.mark.parametrize("each", [check_pairs.pair_logits, check_pairs.pair_gradients, check_pairs.pair_steps])
def test_one_device_agrees_with_itself(each: Callable[..., Measured]) -> None:
    assert each(**CPU).error == 0


def test_a_cache_agrees_with_another_devices_forward_pass() -> None:
    found = check_pairs.pair_sampler(**CPU)
    assert 0 < found.error <= found.tolerance


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_found(what: str) -> None:
    found = WRONG[what]()
    assert not found.error <= 3 * found.tolerance, found


def test_no_number_is_no_success() -> None:
    nan = off(lambda self, ids, cache, logits: logits * math.nan)
    for each in (
        check_exact.forward,
        check_exact.loss_value,
        check_exact.gradients,
        check_pairs.cache,
        check_pairs.half,
    ):
        result = check.perform(Check("forward", "", functools.partial(each, nan)))
        assert (result.ok, result.error) == (False, None)


def test_a_check_that_breaks_has_failed_and_says_how() -> None:
    def out_of_memory() -> Measured:
        return Measured(mx.zeros((3, 4)) @ mx.zeros((5, 6)), 1.0, "")  # type: ignore[arg-type]

    result = check.perform(Check("forward", "", out_of_memory))
    assert result.ok is False
    assert result.why.startswith("ValueError: [matmul]")


def test_compiling_that_does_nothing_counts_as_not_run() -> None:
    with pytest.raises(Skipped, match="plain operations"):
        check_pairs.compiled(lambda step, **_: step, Plain)


@pytest.mark.slow
def test_real_compiling_agrees_and_is_switched_off_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """g++ builds about twenty kernels here: 20 s the first time."""
    found = check_pairs.compiled(network=Plain)
    assert found.error <= found.tolerance
    calls: list[int] = []
    doubled = mx.compile(lambda x: calls.append(1) or x * 2)
    mx.eval(doubled(mx.ones(3)), doubled(mx.ones(3)))
    assert len(calls) == (2 if "MLX_DISABLE_COMPILE" in os.environ else 1)


def test_the_block_puts_the_device_back() -> None:
    before = mx.default_device()
    with pytest.raises(RuntimeError), check_exact.on(mx.cpu):
        raise RuntimeError
    assert mx.default_device() == before


# -- the float64 reference, against results that are known without it ------------------------------------------------


def test_the_reference_slope_and_its_muon_are_right() -> None:
    x = np.array([0.3, -1.2])
    assert reference.slope(lambda v: float(np.sin(v).sum()), x, np.array([1.0, 2.0])) == pytest.approx(
        math.cos(0.3) + 2 * math.cos(-1.2), rel=1e-10
    )
    g = np.random.default_rng(0).standard_normal((8, 6))
    update, momentum = reference.muon(g, np.zeros((8, 6)))
    assert np.allclose(momentum, 0.05 * g)
    sizes = np.linalg.svd(update, compute_uv=False) / (8 / 6) ** 0.5
    assert sizes.min() > 0.6
    assert sizes.max() < 1.3  # Newton-Schulz brings all singular values near one (Jordan et al. 2024)
    first, *_ = reference.adam(g, np.zeros_like(g), np.zeros_like(g), 1)
    assert np.allclose(first, np.sign(g), atol=1e-5)  # the first corrected step has size one


# -- the record ------------------------------------------------------------------------------------------------------


def results(**said: bool | None) -> list[Result]:
    return [Result(name, "", ok, 0.0, 1.0, "", 0.0) for name, ok in said.items()]


def test_the_record_answers_for_this_machine_and_these_versions_only(home: Path) -> None:
    assert check.recorded() is None
    assert check.passed() is check.passed("compiled") is None
    path = check.record(results(forward=True, loss=True, compiled=None))
    assert path.parent == home
    assert check.passed() is check.passed("forward") is check.passed("forward", "loss") is True
    assert check.passed("compiled") is check.passed("forward", "compiled") is check.passed("cache") is None
    found = check.recorded()
    assert found
    assert found[1] == results(forward=True, loss=True, compiled=None)
    record = json.loads(path.read_text())
    (key,) = record["machines"]
    record["machines"] = {key.replace("mlx ", "mlx 9."): record["machines"][key]}
    path.write_text(json.dumps(record))
    assert check.passed("forward") is None
    check.record(results(forward=False, loss=True))
    assert len(json.loads(path.read_text())["machines"]) == 2
    assert check.passed() is check.passed("forward") is check.passed("forward", "compiled") is False
    assert check.passed("loss") is True


def test_the_record_forgets_the_oldest_machines(home: Path) -> None:
    path = check.record(results(forward=True))
    record = json.loads(path.read_text())
    (entry,) = record["machines"].values()
    record["machines"] = {f"machine {n}": entry | {"t": n} for n in range(20)}
    path.write_text(json.dumps(record))
    check.record(results(forward=True))
    kept = json.loads(path.read_text())["machines"]
    assert set(kept) - {f"machine {n}" for n in range(13, 20)} == {*kept} - {k for k in kept if k.startswith("machine")}
    assert len(kept) == 8


@pytest.mark.parametrize("text", ["", "[1]", '{"machines": 3}', '{"machines": {"a": {"t": "x", "results": 1}}}'])
def test_a_broken_record_is_none(home: Path, text: str) -> None:
    (home / ".doctor.json").write_text(text)
    assert check.passed() is None
    check.record(results(forward=True))
    assert check.passed() is True


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(UserError, match="no such check"):
        check.passed("nonsense")

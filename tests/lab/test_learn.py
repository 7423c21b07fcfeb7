"""The learner: rates as stated, clipping, accumulation, half precision, exact save and load, refusal of NaN."""

import math
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import device, lora
from lab.errors import UserError
from lab.learn import Diverged, Learner, Schedule
from lab.loss import Batch, nll
from lab.model import Shape, Transformer
from lab.weights import load_arrays


def windows(vocab: int, rows: int = 4, length: int = 17, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, vocab, (rows, length)).astype(np.int32)


def parameters(network: Transformer) -> dict[str, mx.array]:
    return {k: mx.array(v) for k, v in device.flat(network.parameters())}


def test_schedule_warms_up_holds_and_decays() -> None:
    rate = Schedule(1.0, total=100, warmup=10, decay=0.5, floor=0.02)
    assert rate(1) == pytest.approx(0.1)
    assert rate(10) == rate(40) == 1.0
    assert rate(100) == pytest.approx(0.02 + 0.98 / 50)
    assert all(rate(s) >= rate(s + 1) for s in range(10, 100))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_learning_lowers_the_loss(tiny, optimizer: str) -> None:
    batch = Batch(windows(tiny.shape.vocab_size))
    learner = Learner(tiny, Schedule(0.01, 100, warmup=1, decay=0.01), optimizer)
    losses = [learner.step(i + 1, [batch], nll).loss for i in range(30)]
    assert losses[-1] < losses[0] - 1


def test_adamw_moves_by_its_rate_in_the_first_step(tokenizer) -> None:
    """With bias correction on, Adam's first update is rate * sign(gradient)."""
    network = Transformer(Shape(tokenizer.vocab_size))
    network.initialise(0)
    before = parameters(network)
    learner = Learner(network, Schedule(1e-3, 10, warmup=1, decay=0.01), "adamw", clip=1e9)
    learner.step(1, [Batch(windows(tokenizer.vocab_size))], nll)
    moved = mx.abs(
        parameters(network)["model.layers.0.mlp.down_proj.weight"] - before["model.layers.0.mlp.down_proj.weight"]
    )
    assert device.number(mx.sort(moved.flatten())[moved.size // 2]) == pytest.approx(1e-3, rel=0.02)


def test_accumulated_micro_batches_equal_one_big_batch(tiny) -> None:
    ids = windows(tiny.shape.vocab_size, rows=6)
    start = parameters(tiny)
    results = []
    for parts in ([ids], [ids[:1], ids[1:3], ids[3:]]):
        tiny.load_weights(list(start.items()))
        learner = Learner(tiny, Schedule(0.01, 10, warmup=1))
        stats = learner.step(1, [Batch(p) for p in parts], nll)
        results.append((stats.loss, stats.grad_norm, parameters(tiny)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    assert results[0][1] == pytest.approx(results[1][1], rel=1e-4)
    assert max(device.number(mx.abs(results[0][2][k] - results[1][2][k]).max()) for k in start) < 1e-4


def test_no_weight_means_no_update(tiny) -> None:
    start = parameters(tiny)
    learner = Learner(tiny, Schedule(0.01, 10, warmup=1))
    ids = windows(tiny.shape.vocab_size)
    stats = learner.step(1, [Batch(ids, np.zeros(ids.shape, np.float32))], nll)
    assert stats.tokens == 0
    assert all(mx.array_equal(v, start[k]) for k, v in parameters(tiny).items())


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_saved_and_loaded_learners_go_on_bit_for_bit(tiny, tokenizer, tmp_path: Path, optimizer: str) -> None:
    schedule = Schedule(0.01, 20, warmup=2)
    batches = [[Batch(windows(tokenizer.vocab_size, seed=i))] for i in range(6)]
    learner = Learner(tiny, schedule, optimizer)
    for i in range(3):
        learner.step(i + 1, batches[i], nll)
    learner.save(tmp_path)
    for i in range(3, 6):
        learner.step(i + 1, batches[i], nll)
    want = parameters(tiny)
    fresh = Transformer(tiny.shape)
    fresh.initialise(99)
    again = Learner(fresh, schedule, optimizer)
    again.load(tmp_path)
    for i in range(3, 6):
        again.step(i + 1, batches[i], nll)
    assert all(mx.array_equal(v, want[k]) for k, v in parameters(fresh).items())


def test_half_precision_keeps_full_precision_masters(tiny, tmp_path: Path) -> None:
    """Updates of 1e-5 vanish in bfloat16 steps of 1/256; the masters must add them up."""
    tiny.set_dtype(mx.bfloat16)
    learner = Learner(tiny, Schedule(1e-5, 1000, warmup=1, decay=0.01), "adamw")
    batch = Batch(windows(tiny.shape.vocab_size))
    start = parameters(tiny)["model.norm.weight"].astype(mx.float32)
    for i in range(5):
        learner.step(i + 1, [batch], nll)
    assert parameters(tiny)["model.norm.weight"].dtype == mx.bfloat16
    moved = mx.abs(learner.master["model"]["norm"]["weight"] - start)
    assert 2e-5 < device.number(moved.max()) < 6e-5
    learner.save(tmp_path)
    again = Learner(tiny, Schedule(1e-5, 1000), "adamw")
    again.load(tmp_path)
    assert mx.array_equal(again.master["model"]["norm"]["weight"], learner.master["model"]["norm"]["weight"])


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_of_adapters_only_these_are_saved_and_they_go_on_bit_for_bit(tiny, tmp_path: Path, dtype: mx.Dtype) -> None:
    """They are float32 beside weights of any type, so no second copy of them is kept."""
    tiny.set_dtype(dtype)
    schedule, vocab = Schedule(0.01, 20, warmup=2), tiny.shape.vocab_size
    lora.attach(tiny, rank=4)
    learner = Learner(tiny, schedule, "adamw")
    assert learner.master is None
    for i in range(6):
        if i == 3:
            learner.save(tmp_path)
            then = load_arrays(tmp_path / "adapters.safetensors")
        learner.step(i + 1, [Batch(windows(vocab, seed=i))], nll)
    assert {f.name for f in tmp_path.glob("*.*")} == {"adapters.safetensors", "optimizer.safetensors"}
    want = {k: mx.array(v) for k, v in lora.arrays(tiny).items()}
    assert then.keys() == want.keys()
    assert all(v.dtype == mx.float32 and not mx.array_equal(v, then[k]) for k, v in want.items())
    again = Learner(tiny, schedule, "adamw")
    again.load(tmp_path)
    assert all(mx.array_equal(v, then[k]) for k, v in lora.arrays(tiny).items())
    for i in range(3, 6):
        again.step(i + 1, [Batch(windows(vocab, seed=i))], nll)
    assert all(mx.array_equal(v, want[k]) for k, v in lora.arrays(tiny).items())


def test_a_gradient_that_is_no_number_stops_before_the_update(tiny) -> None:
    learner = Learner(tiny, Schedule(0.01, 10, warmup=1))
    start = parameters(tiny)

    def broken(model, batch):
        total, count = nll(model, batch)
        return total * math.nan, count

    with pytest.raises(Diverged, match="step 4"):
        learner.step(4, [Batch(windows(tiny.shape.vocab_size))], broken)
    assert all(mx.array_equal(v, start[k]) for k, v in parameters(tiny).items())


def test_unknown_optimiser_is_named() -> None:
    network = Transformer(Shape(64, 32, 1, 2, 2, 16, 32))
    with pytest.raises(UserError, match="muon or adamw"):
        Learner(network, Schedule(0.1, 1), "sgd")  # type: ignore[arg-type]


class Scaled(nn.Module):
    """One half-precision weight, whose gradient is what a batch holds."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = mx.ones((1,), mx.bfloat16)


def test_gradients_of_half_precision_add_up_in_full() -> None:
    """In bfloat16 256 + 1 is 256, so four micro-batches of 1 would vanish beside one of 256."""

    def loss(model: Scaled, batch: Batch) -> tuple[mx.array, mx.array]:
        return (model.scale.astype(mx.float32) * float(batch.ids.sum())).sum(), mx.array(1.0)

    learner = Learner(Scaled(), Schedule(1e-3, 10), "adamw", clip=1e9)
    batches = [Batch(np.array([[0, value]], np.int32)) for value in (256, 1, 1, 1, 1)]
    assert learner.step(1, batches, loss).grad_norm == pytest.approx(260 / 5)


def test_only_targets_that_are_trained_count(tiny) -> None:
    ids = windows(tiny.shape.vocab_size, rows=2, length=9)
    weight = np.zeros(ids.shape, np.float32)
    weight[0, 0] = weight[0, 4:7] = weight[1, 8] = 0.5  # the first id of a row is no target
    learner = Learner(tiny, Schedule(0.01, 10, warmup=1))
    assert learner.step(1, [Batch(ids, weight), Batch(ids)], nll).tokens == 4 + 16

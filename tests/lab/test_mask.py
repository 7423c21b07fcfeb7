"""Which tokens of a conversation get gradient, measured on a real model; rows that share passes; pieces to look at."""

import random
from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lab import device
from lab.chat import Message, render
from lab.loss import Batch, nll
from lab.mask import counts, pieces
from lab.model import Transformer
from lab.samples import Sample, bucketed, padded, sample
from lab.tokenizer import Tokenizer
from tests.lab.test_parts import conversation

TALK: list[Message] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Ada <|end|> took?"},
    {"role": "assistant", "content": [
        {"type": "think", "text": "a kite"}, {"type": "call", "tool": "search", "text": "Ada"},
        {"type": "result", "text": "Ada took a drum."}, {"type": "call", "tool": "code", "text": "1 + 1"},
        {"type": "result", "text": "2"}, {"type": "text", "text": "A drum."},
    ]},
    {"role": "user", "content": "And Bo?"},
    {"role": "assistant", "content": "A boat."},
]  # fmt: skip


def trained_spans(tokenizer: Tokenizer) -> list[tuple[str, bool]]:
    """(text, whether it is trained) of TALK, written down by hand."""
    return [
        ("<|bos|><|system|> Be brief.<|user|> Ada <|end|> took?<|assistant|>", False),
        ("<|think|> a kite<|/think|><|search|> Ada<|/search|>", True), ("<|result|> Ada took a drum.<|/result|>", False),
        ("<|code|> 1 + 1<|/code|>", True), ("<|result|> 2<|/result|>", False), (" A drum.<|end|>", True),
        ("<|user|> And Bo?<|assistant|>", False), (" A boat.<|end|>", True),
    ]  # fmt: skip


def made(tokenizer: Tokenizer, messages: list[Message]) -> Sample:
    return sample(*render(tokenizer, messages))


class Watched(nn.Module):
    """A model with something added to its logits [B, T, V], whose gradient tells which targets count."""

    def __init__(self, network: Transformer, shape: tuple[int, int, int]):
        super().__init__()
        self.network, self.more = network, mx.zeros(shape)
        self.network.freeze()

    def __call__(self, ids: mx.array) -> mx.array:
        return self.network(ids) + self.more


def taught(network: Transformer, batch: Batch) -> np.ndarray:
    """bool [B, T]: which ids get gradient as targets; the first of a row never does."""
    rows, length = batch.ids.shape
    watched = Watched(network, (rows, length - 1, network.shape.vocab_size))
    _, grads = nn.value_and_grad(watched, lambda model, b: nll(model, b)[0])(watched, batch)
    moved = np.array(mx.abs(grads["more"]).max(axis=-1) > 0)
    return np.concatenate([np.zeros((rows, 1), bool), moved], axis=1)


def spelt(tokenizer: Tokenizer, ids: np.ndarray, mask: np.ndarray) -> list[tuple[str, bool]]:
    """Runs of (text, whether it is trained)."""
    found: list[tuple[str, bool]] = []
    for token, trained in zip(ids.tolist(), mask.tolist(), strict=True):
        text = tokenizer.decode([token], specials=True)
        if found and found[-1][1] == trained:
            found[-1] = found[-1][0] + text, trained
        else:
            found.append((text, trained))
    return found


def test_gradient_reaches_what_the_assistant_says_and_nothing_else(tiny: Transformer, tokenizer: Tokenizer) -> None:
    """Beside a longer row, so that padding follows: no user, role, system, result or pad token, each END of the assistant."""
    one, long = made(tokenizer, TALK), made(tokenizer, [*TALK, *TALK[1:]])
    batch = padded([one, long], tokenizer.pad or 0)
    mask = taught(tiny, batch)
    length = len(one.ids)
    assert (batch.ids[0, length:] == tokenizer.pad).all()
    assert spelt(tokenizer, batch.ids[0, :length], mask[0, :length]) == trained_spans(tokenizer)
    assert not mask[0, length:].any()
    ends = [i for i, token in enumerate(one.ids.tolist()) if token == tokenizer.end]
    assert [bool(mask[0, i]) for i in ends] == [True, True]
    assert (
        spelt(tokenizer, batch.ids[1], mask[1])[: len(trained_spans(tokenizer))][:-1] == trained_spans(tokenizer)[:-1]
    )


def test_the_loss_changes_with_a_target_that_is_trained_only(tiny: Transformer, tokenizer: Tokenizer) -> None:
    """Each id in turn becomes another as a target, and stays itself as an input."""
    one = made(tokenizer, TALK)
    batch = padded([one, made(tokenizer, [*TALK, *TALK[1:]])], tokenizer.pad or 0)
    logits = tiny(mx.array(batch.ids[:, :-1]))

    class Fixed(nn.Module):
        def __call__(self, ids: mx.array) -> mx.array:
            return logits

    before = device.number(nll(Fixed(), batch)[0])
    spans = trained_spans(tokenizer)
    want = [t for text, t in spans for _ in _ids(tokenizer, text, t)]
    assert len(want) == len(one.ids)
    for at in range(1, batch.ids.shape[1]):
        other = batch.ids.copy()
        other[0, at] = (other[0, at] + 7) % tokenizer.vocab_size
        changed = device.number(nll(Fixed(), batch._replace(ids=other))[0]) != before
        assert changed == (at < len(want) and want[at]), at


def _ids(tokenizer: Tokenizer, text: str, trained: bool) -> list[int]:
    """Ids of a span of `trained_spans`, in which only the user's <|end|> is no special."""
    if "Ada <|end|> took" not in text:
        return tokenizer.encode_template(text)
    head, tail = text.split("Ada <|end|> took?")
    return [*tokenizer.encode_template(head), *tokenizer.encode("Ada <|end|> took?"), *tokenizer.encode_template(tail)]


def lengths(count: int, seed: int) -> list[int]:
    """Tokens of conversations as they come: log-normal, median 150."""
    drawn = np.random.default_rng(seed).lognormal(5.0, 0.8, count)
    return [int(n) for n in np.clip(drawn, 8, 2048)]


def rows_of(sizes: list[int], vocab: int, seed: int = 0) -> list[Sample]:
    r = np.random.default_rng(seed)
    return [sample(r.integers(0, vocab, n).tolist(), [0.0, *(r.random(n - 1) < 0.5).astype(float)]) for n in sizes]


@pytest.mark.parametrize("seed", range(20))
def test_padding_is_under_five_per_cent(seed: int) -> None:
    samples = rows_of(lengths(64, seed), 100)
    batches = bucketed(samples, 1)
    slots, real = sum(b.ids.size for b in batches), sum(len(s.ids) for s in samples if s.trained)
    assert 1 - real / slots < 0.05
    assert all(b.ids.size <= 4096 for b in batches)
    assert len(batches) < 40  # a row alone would be 64 passes
    assert all(b.weight is not None and b.weight[:, 1:].any(axis=1).all() for b in batches)
    # Every row is there once, with its weights and nothing but padding behind it.
    found = sorted(
        (row[: np.flatnonzero(row != 1)[-1] + 1].tobytes(), weight.sum())
        for b in batches for row, weight in zip(b.ids, b.weight, strict=True)  # type: ignore[arg-type]
    )  # fmt: skip
    want = sorted((s.ids[: np.flatnonzero(s.ids != 1)[-1] + 1].tobytes(), s.weight.sum()) for s in samples)
    assert [row for row, _ in found] == [row for row, _ in want]
    assert [w for _, w in found] == [w for _, w in want]


def test_a_padded_batch_is_its_rows_apart(tiny: Transformer, tokenizer: Tokenizer) -> None:
    """Loss and gradient of a step in passes, to 1e-5 of those of each conversation alone."""
    r = random.Random(3)
    samples = [made(tokenizer, conversation(r)) for _ in range(16)]
    value_and_grad = nn.value_and_grad(tiny, lambda model, b: nll(model, b)[0])

    def whole(batches: list[Batch]) -> tuple[float, float, dict[str, mx.array]]:
        loss, weight, total = 0.0, 0.0, dict[str, mx.array]()
        for batch in batches:
            value, grads = value_and_grad(tiny, batch)
            loss, weight = loss + device.number(value), weight + device.number(nll(tiny, batch)[1])
            flat = dict(device.flat(grads))
            total = {name: total[name] + g if total else g for name, g in flat.items()}
            mx.eval(total)
        return loss, weight, total

    for batches in (bucketed(samples, tokenizer.pad or 0), [padded(samples, tokenizer.pad or 0)]):
        assert len(batches) < len(samples)
        loss, weight, grads = whole(batches)
        alone, single, apart = whole([padded([s], tokenizer.pad or 0) for s in samples])
        assert weight == single == sum(s.trained for s in samples)
        assert loss / weight == pytest.approx(alone / weight, abs=1e-5)
        for name, grad in grads.items():
            assert mx.abs(grad - apart[name]).max() / weight < 1e-5, name
            assert mx.allclose(grad, apart[name], rtol=1e-4, atol=1e-4), name


def test_what_is_not_trained_makes_no_batch() -> None:
    nothing = sample([1, 2, 3], [1.0, 0.0, 0.0])  # the first is never trained: nothing predicts it
    assert nothing.trained == 0
    assert bucketed([nothing], 0) == []
    assert bucketed([], 0) == []
    (batch,) = bucketed([nothing, sample([4, 5], [0.0, 1.0])], 0)
    assert batch.ids.tolist() == [[4, 5]]
    huge = sample([3] * 6000, [1.0] * 6000)  # longer than a pass: it goes alone
    assert [b.ids.shape for b in bucketed([huge, huge], 0)] == [(1, 6000), (1, 6000)]
    with pytest.raises(ValueError, match="differ in length"):
        sample([1, 2], [1.0])
    minus = nothing.weighted(-2.0)
    assert minus.weight.tolist() == [-2.0, 0.0, 0.0]
    assert replace(minus, weight=np.array([0, -1, 0], np.float32)).trained == 1


def test_pieces_to_look_at(tokenizer: Tokenizer) -> None:
    found = pieces(tokenizer, made(tokenizer, TALK))
    runs: list[tuple[str, bool]] = []
    for piece in found:
        if runs and runs[-1][1] == piece.trained:
            runs[-1] = runs[-1][0] + piece.text, piece.trained
        else:
            runs.append((piece.text, piece.trained))
    assert runs == trained_spans(tokenizer)
    assert counts(found) == (len(made(tokenizer, TALK).ids), made(tokenizer, TALK).trained)
    assert [p.text for p in found if p.special and p.tokens != 1] == []
    assert [p.text for p in found if p.ends] == [" Be brief.", " Ada <|end|> took?", "<|end|>", " And Bo?", "<|end|>"]
    assert not any(p.special for p in found if p.text == " Ada <|end|> took?")

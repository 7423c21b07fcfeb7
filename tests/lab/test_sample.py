"""Sampling: filters by hand, seeds, the cache kept across turns, stop strings, limits."""

import mlx.core as mx
import numpy as np
import pytest

from lab.errors import UserError
from lab.sample import Sampling, Stream, complete, distribution


def probabilities(logits: list[float], recent: tuple[int, ...] = (), **options) -> np.ndarray:
    return np.array(mx.exp(distribution(mx.array(logits), Sampling(**options), recent)))


LOGITS = np.log([0.5, 0.25, 0.15, 0.07, 0.03]).tolist()


def test_filters_keep_what_they_say() -> None:
    assert np.allclose(probabilities(LOGITS, temp=1.0), [0.5, 0.25, 0.15, 0.07, 0.03])
    assert np.allclose(probabilities(LOGITS, temp=0), [1, 0, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, top_k=2), [2 / 3, 1 / 3, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, top_p=0.7), [2 / 3, 1 / 3, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, top_p=0.01), [1, 0, 0, 0, 0])
    assert np.allclose(probabilities(LOGITS, temp=1.0, min_p=0.29), np.array([0.5, 0.25, 0.15, 0, 0]) / 0.9)
    square = np.square([0.5, 0.25, 0.15, 0.07, 0.03])
    assert np.allclose(probabilities(LOGITS, temp=0.5), square / square.sum())


def test_repetition_penalty_makes_recent_tokens_less_likely() -> None:
    plain = probabilities([2.0, 1.0, -1.0], temp=1.0)
    punished = probabilities([2.0, 1.0, -1.0], recent=(0, 2), temp=1.0, repetition_penalty=1.5)
    assert punished[0] < plain[0]
    assert punished[2] < plain[2]
    assert punished[1] > plain[1]


def test_draws_follow_the_distribution(tiny, tokenizer) -> None:
    ids = tokenizer.encode("Ada")
    stream = Stream(tiny, tokenizer, 64)
    options = Sampling(temp=1.0, top_k=3, max_tokens=1)
    want = np.exp(np.array(distribution(tiny(mx.array([ids]))[0, -1], options)))
    drawn = [next(iter(stream(ids, options, seed=s))) for s in range(400)]
    share = np.bincount([t.id for t in drawn], minlength=len(want)) / 400
    assert np.abs(share - want).max() < 0.1
    assert all(np.exp(t.logp) == pytest.approx(want[t.id], abs=1e-4) for t in drawn)


def test_a_seed_decides_the_text(tiny, tokenizer) -> None:
    def say(seed: int) -> list[int]:
        return [
            t.id for t in Stream(tiny, tokenizer, 128)(tokenizer.encode("Bo"), Sampling(temp=1.0, max_tokens=20), seed)
        ]

    assert say(1) == say(1)
    assert say(1) != say(2)


def test_later_turns_prefill_only_what_is_new(tiny, tokenizer) -> None:
    stream = Stream(tiny, tokenizer, 256)
    first = tokenizer.encode("Ada took a kite to the lake.")
    options = Sampling(temp=0, max_tokens=10)
    said = [t.id for t in stream(first, options)]
    second = first + said + tokenizer.encode("Bo went home.")
    again = [t.id for t in stream(second, options)]
    assert stream.prefilled == len(second) - len(first) - len(said) + 1  # the last token of a reply is not fed before
    fresh = Stream(tiny, tokenizer, 256)
    assert again == [t.id for t in fresh(second, options)]
    fed: list[int] = []
    watching = Stream(tiny, tokenizer, 256)
    watching.network = lambda ids, cache: fed.append(ids.shape[1]) or tiny(ids, cache=cache)
    watching.cache, watching.held = stream.cache, list(stream.held)
    changed = second[:-2] + tokenizer.encode("early.")
    list(watching(changed, Sampling(temp=0, max_tokens=1)))
    assert sum(fed) <= len(changed) - (len(second) - 2) + 1


def test_stop_strings_and_limits(tiny, tokenizer) -> None:
    ids = tokenizer.encode("Ada took a")
    whole = list(Stream(tiny, tokenizer, 256)(ids, Sampling(temp=1.0, max_tokens=60), 5, ["never said at all"]))
    assert "".join(t.text for t in whole) == tokenizer.decode([t.id for t in whole])
    free = "".join(t.text for t in Stream(tiny, tokenizer, 256)(ids, Sampling(temp=1.0, max_tokens=60), 5))
    stop = free[10:14]
    cut = "".join(t.text for t in Stream(tiny, tokenizer, 256)(ids, Sampling(temp=1.0, max_tokens=60), 5, [stop, "\0"]))
    assert cut == free[: free.index(stop)]
    assert len(list(Stream(tiny, tokenizer, len(ids) + 4)(ids, Sampling(temp=1.0, max_tokens=60), 5))) <= 4
    with pytest.raises(UserError, match="shorten it by"):
        list(Stream(tiny, tokenizer, len(ids))(ids, Sampling()))
    with pytest.raises(UserError, match="empty"):
        list(Stream(tiny, tokenizer, 64)([], Sampling()))


@pytest.mark.parametrize(
    "bad", [{"temp": -1}, {"top_p": 0}, {"min_p": 2}, {"max_tokens": 0}, {"repetition_penalty": 0}]
)
def test_impossible_options_are_named(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match="--" + next(iter(bad)).replace("_", "-")):
        Sampling(**bad)  # type: ignore[arg-type]


def test_many_prompts_at_once_equal_one_at_a_time(tiny, tokenizer) -> None:
    prompts = [tokenizer.encode(t) for t in ("Ada took", "Bo took a", "Cleo", "Dan went to", "Ada", "Bo took the")]
    together = complete(tiny, prompts, 16, tokenizer.ends)
    for prompt, reply in zip(prompts, together, strict=True):
        alone = [t.id for t in Stream(tiny, tokenizer, 256)(prompt, Sampling(temp=0, max_tokens=16))]
        assert reply == [t for t in alone if t not in tokenizer.ends]


def test_a_temperature_too_small_to_divide_by_is_zero() -> None:
    for temp in (1e-42, 1e-30, 1e-5):
        assert np.array_equal(probabilities(LOGITS, temp=temp), [1, 0, 0, 0, 0])
    assert np.allclose(probabilities([80.0, 79.9, -80.0], temp=1e-4), [1, 0, 0])


def test_ctrl_c_while_the_cache_goes_back_starts_it_again(tiny, tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two layers' trims, the cache is of two lengths; nothing of it may be used."""
    stream, options = Stream(tiny, tokenizer, 256), Sampling(temp=0, max_tokens=8)
    list(stream(tokenizer.encode("Ada took a kite to the lake."), options))

    def press(count: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(stream.cache[1], "trim", press)
    second = tokenizer.encode("Ada took a drum.")
    with pytest.raises(KeyboardInterrupt):
        list(stream(second, options))
    assert stream.held == []
    assert list(stream(second, options)) == list(Stream(tiny, tokenizer, 256)(second, options))

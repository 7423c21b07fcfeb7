"""One conversation: draws, seeds, the cache kept across turns, stop strings, limits."""

import mlx.core as mx
import numpy as np
import pytest

from lab.batch import complete
from lab.errors import UserError
from lab.model import Shape, Transformer
from lab.sample import Sampling, distribution
from lab.stream import Stream
from lab.tokenizer import Tokenizer
from tests.lab.test_chat import CHATML, build


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


def test_many_prompts_at_once_equal_one_at_a_time(tiny, tokenizer) -> None:
    prompts = [tokenizer.encode(t) for t in ("Ada took", "Bo took a", "Cleo", "Dan went to", "Ada", "Bo took the")]
    together = complete(tiny, prompts, 16, tokenizer.ends)
    for prompt, reply in zip(prompts, together, strict=True):
        alone = [t.id for t in Stream(tiny, tokenizer, 256)(prompt, Sampling(temp=0, max_tokens=16))]
        assert reply == [t for t in alone if t not in tokenizer.ends]


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


def test_text_that_goes_on_keeps_the_space_of_its_first_word(tmp_path) -> None:
    """Tokenizers of Llama 2's kind put a space in front of a text and take it away again: only at its beginning."""
    spaced = Tokenizer.load(build(tmp_path / "spm", CHATML, spm=True))
    network = Transformer(Shape(spaced.vocab_size, 32, 1, num_attention_heads=2, num_key_value_heads=2, head_dim=16))
    network.initialise(0)
    ids = spaced.encode("Ada went")
    words = 0
    for seed in range(12):
        told = list(Stream(network, spaced, 64)(ids, Sampling(temp=1.0, max_tokens=6), seed, completes=True))
        whole = spaced.decode([*ids, *(t.id for t in told)])
        assert "Ada went" + "".join(t.text for t in told) == whole
        words += told[0].text.startswith(" ")
    assert words

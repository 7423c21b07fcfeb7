"""Splitting, packing and drawing: nothing lost, nothing padded, the order a pure function of (seed, step)."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from lab import data
from lab.errors import UserError
from tests.conftest import stories


def test_split_holds_out_every_fiftieth_document_or_the_tail() -> None:
    many = [f"d{i}" for i in range(120)]
    train, held = list(data.split(many, False)), list(data.split(many, True))
    assert held == ["d0", "d50", "d100"]
    assert sorted(train + held) == sorted(many)
    few = ["a" * 100, "b" * 100]
    assert "".join([*data.split(few, False), *data.split(few, True)]) == "a" * 100 + "\n\n" + "b" * 100


def test_packing_loses_nothing_and_never_cuts_a_whole_document() -> None:
    rng = np.random.default_rng(0)
    documents = [([i] * int(rng.integers(5, 40)), bool(rng.random() < 0.7)) for i in range(3000)]
    whole = {ids[0] for ids, is_whole in documents if is_whole}
    position, seen = 0, []
    for ids in data.pack(documents, 128):
        if ids[0] in whole:
            assert position // 128 == (position + len(ids) - 1) // 128
        position += len(ids)
        seen.append(ids[0])
    assert sorted(seen) == list(range(3000))
    assert position == sum(len(ids) for ids, _ in documents)


def test_a_whole_document_waits_for_one_that_may_be_cut_however_far_ahead() -> None:
    """100 and 100 do not fit into 128, and the first that may be cut comes later than the packing looks at first."""
    documents = [([i] * 100, True) for i in range(20)] + [([i] * 60, False) for i in range(20, 450)]
    position, seen = 0, []
    for ids in data.pack(documents, 128, look=8):
        assert ids[0] >= 20 or position // 128 == (position + len(ids) - 1) // 128
        position += len(ids)
        seen.append(ids[0])
    assert sorted(seen) == list(range(450))
    only = [([i] * 100, True) for i in range(30)]  # nothing may be cut: all come, in their order
    assert [ids[0] for ids in data.pack(only, 128, look=8)] == list(range(30))


@pytest.mark.slow
def test_no_fact_of_the_pocket_world_is_cut_at_a_window() -> None:
    """With its own tokenizer only what does not fit into any window is cut, and what stands in the last few windows: no other
    fact, no conflict, no list told often."""
    from recipes import pocket, pretrain

    window = pretrain.Config().max_seq_length
    corpus = pocket.corpus(0)
    tokenizer = data.learn(
        data.Source("", list, list), data.beginning([(d.text, d.whole) for d in corpus], 4_000_000), 2560
    )
    ids = tokenizer.encode_batch([d.text for d in corpus])
    sizes = [len(tokenizer.begin) + len(one) + 1 for one in ids]
    often = {text for text, times in pocket.lists() if times > 1}
    position, order, end = 0, [], sum(sizes)
    for marked in data.pack(
        (([i] * size, d.whole) for i, (d, size) in enumerate(zip(corpus, sizes, strict=True))), window
    ):
        i, size = marked[0], len(marked)
        last = position + size > end - 8 * window  # where nothing that may be cut is left
        if corpus[i].whole and not last and position // window != (position + size - 1) // window:
            assert size > window, corpus[i]
            assert corpus[i].kind not in ("facts", "conflicts"), corpus[i]
            assert corpus[i].text not in often, corpus[i]
        position += size
        order.append(i)
    assert sorted(order) == list(range(len(corpus)))


def test_a_whole_document_longer_than_a_window_does_not_wait_for_the_end() -> None:
    documents = [([0] * 300, True)] + [([i] * 20, True) for i in range(1, 50)]
    assert next(iter(data.pack(documents, 128)))[0] == 0


@pytest.fixture
def tokens(tokenizer, home: Path) -> data.Tokens:
    texts = [(t, False) for t in stories(200)]
    return data.tokenised(data.Source("k", lambda: texts, lambda: texts), False, tokenizer, 32)


def test_the_token_cache_is_the_text(tokens: data.Tokens, tokenizer) -> None:
    text = tokenizer.decode(tokens.ids.tolist())
    assert text == "".join(stories(200))
    assert tokens.bytes == len(text.encode())
    assert tokens.documents == 200
    assert int(np.sum(tokens.ids == tokenizer.end)) == 200


def test_every_token_is_a_target_once_a_pass_in_an_order_of_the_seed(tokens: data.Tokens) -> None:
    length, rows = 32, 4
    count = tokens.windows(length)
    steps = count // rows
    drawn = np.concatenate([tokens.batch(1, s, rows, length) for s in range(1, steps + 1)])
    starts = {bytes(row.tobytes()) for row in drawn}
    all_rows = {tokens.window(i, length).tobytes() for i in range(count)}
    assert starts <= all_rows
    assert len(drawn) == steps * rows
    again = tokens.batch(1, 3, rows, length)
    assert np.array_equal(again, tokens.batch(1, 3, rows, length))
    assert not np.array_equal(again, tokens.batch(2, 3, rows, length))
    flat = np.concatenate([tokens.window(i, length)[1:] for i in range(count)])
    assert np.array_equal(flat, np.asarray(tokens.ids[1 : count * length + 1], dtype=np.int32))


def test_a_changed_file_is_tokenised_again(tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(stories(60)))
    first = data.source(path)
    assert data.source(path).key == first.key
    path.write_text("\n\n".join(stories(61)))
    os.utime(path, ns=(1, 1))
    assert data.source(path).key != first.key


def test_a_source_reads_the_column_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"t{i}", "said": f"s{i}"}) + "\n" for i in range(60)))
    plain, other = data.source(path), data.source(path, "said")
    assert plain.key != other.key
    assert [text for text, _ in other.held_out()] == ["s0", "s50"]
    assert [text for text, _ in plain.train()][:2] == ["t1", "t2"]


def test_a_fitted_tokenizer_is_kept(text_file: Path) -> None:
    source = data.source(text_file)
    one = data.fit(source, 384)
    assert data.fit(source, 384).fingerprint == one.fingerprint
    with pytest.raises(UserError):
        data.fit(source, 60_000)

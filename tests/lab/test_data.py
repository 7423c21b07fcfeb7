"""Reading, packing and drawing: nothing lost, nothing padded, the order a pure function of (seed, step)."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from lab import data
from lab.errors import UserError
from tests.conftest import stories


def test_text_splits_at_blank_lines_or_at_separators(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text("one\nstill one\n\n \n\ntwo\n\n")
    assert list(data.read(plain)) == ["one\nstill one", "two"]
    marked = tmp_path / "b.txt"
    marked.write_text("one\n\nstill one<|endoftext|>two\n<|endoftext|>\n")
    assert list(data.read(marked)) == ["one\n\nstill one", "two"]


def test_jsonl_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"text": "one", "more": 1}) + "\n\n" + json.dumps({"text": "two"}) + "\n")
    assert list(data.read(path)) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "ok"}\n{"text": \n', "a.jsonl:2: broken JSON"),
        ("a.jsonl", b'{"text": "ok"}\n{"prompt": "x"}\n', 'a.jsonl:2: no "text".*prompt'),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: no"),
        ("a.txt", b"abc\nde\xff\n", "byte 6 .0xff. is not UTF-8"),
        ("a.txt.gz", b"no gzip", "broken gzip"),
        ("a.txt.gz", gzip.compress(b"", mtime=0)[:10] + b"\xff" * 20, "broken gzip"),
        ("a.jsonl", b'{"text": "ok"}\n' + b"[" * 200_000 + b"\n", "a.jsonl:2: broken JSON"),
        ("a.jsonl", b'{"text": "ok"}\n{"text": "abc\\ud800"}\n', r"a.jsonl:2: character 3 .* \(U\+D800\)"),
    ],
)
def test_bad_files_are_named_with_their_place(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=said):
        list(data.read(path))


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\n\n\ufefftwo".encode())
    assert list(data.read(tmp_path / "a.txt")) == ["one", "\ufefftwo"]
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "one"}\n'.encode())
    assert list(data.read(tmp_path / "a.jsonl")) == ["one"]
    (tmp_path / "b.txt").write_bytes("\ufeffé".encode() + b"\xff")
    with pytest.raises(UserError, match="byte 5 "):  # of the file, the mark's three counted
        list(data.read(tmp_path / "b.txt"))


@pytest.mark.parametrize("before", [(1 << 20) - 5, 3 << 20])
def test_a_separator_counts_wherever_it_stands(tmp_path: Path, before: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a" * (before - 2) + "\n\n" + "<|endoftext|>two\n\nstill two")
    assert list(data.read(path)) == ["a" * (before - 2), "two\n\nstill two"]


def test_hidden_folders_are_left_alone(tmp_path: Path) -> None:
    for name in (".git/note.txt", "books/.cache/deep/a.txt", "books/a.txt", "books/.b.txt"):
        (tmp_path / ".home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".home" / name).write_text("x")
    assert data.files(tmp_path / ".home")[0] == [tmp_path / ".home" / "books" / "a.txt"]


def test_the_folder_of_an_unknown_user_is_named() -> None:
    with pytest.raises(UserError, match="~nobody-here/x: no such user"):
        data.files("~nobody-here/x")


def test_folders_hold_out_valid_and_leave_test_and_readme_alone(tmp_path: Path) -> None:
    for name in ("train.txt", "valid.txt", "test.txt", "README.md", "notes.md"):
        (tmp_path / name).write_text(name)
    train, valid = data.files(tmp_path)
    assert [f.name for f in train] == ["notes.md", "train.txt"]
    assert [f.name for f in valid] == ["valid.txt"]
    with pytest.raises(UserError, match="no such file"):
        data.files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.txt"):
        data.files(tmp_path / "empty")
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(UserError, match="unknown kind"):
        data.files(tmp_path / "a.pdf")


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
    """With its own tokenizer only what does not fit into any window is cut: no fact, no conflict, no list told often."""
    from recipes import pocket

    corpus = pocket.corpus(0)
    tokenizer = data.learn(
        data.Source("", list, list), data.beginning([(d.text, d.whole) for d in corpus], 4_000_000), 1536
    )
    ids = tokenizer.encode_batch([d.text for d in corpus])
    sizes = [len(tokenizer.begin) + len(one) + 1 for one in ids]
    often = {text for text, times in pocket.lists() if times > 1}
    position, order = 0, []
    for marked in data.pack(
        (([i] * size, d.whole) for i, (d, size) in enumerate(zip(corpus, sizes, strict=True))), 128
    ):
        i, size = marked[0], len(marked)
        if corpus[i].whole and position // 128 != (position + size - 1) // 128:
            assert size > 128, corpus[i]
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


def test_a_fitted_tokenizer_is_kept(text_file: Path) -> None:
    source = data.source(text_file)
    one = data.fit(source, 384)
    assert data.fit(source, 384).fingerprint == one.fingerprint
    with pytest.raises(UserError):
        data.fit(source, 60_000)

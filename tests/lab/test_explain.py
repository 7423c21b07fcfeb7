"""What is said of a token: how it shows, what kind it is, the merges in their order, its place in the text."""

import random
from pathlib import Path

import pytest
import tokenizers
from tokenizers import normalizers

from lab.explain import KINDS, inventory, merge_steps, merge_tree, open_tokenizer, signs, stretches, visible
from lab.tokenizer import Tokenizer
from tests.lab.test_tokenizer import byte_level, llama_like, text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level(tmp_path_factory.mktemp("hub") / "small")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@pytest.mark.parametrize(
    ("spelling", "shown"),
    [
        (b" the\n\t\r", "·the⏎⇥␍"),
        ("e\u0301".encode(), "e\u0301"),
        ("\u0301x".encode(), "◌\u0301x"),
        (b" \xcc\x81", "·◌\u0301"),  # the mark must not sit on the sign for the space
        (b"\xec\x95", "\\xec\\x95"),
        (b"\xe9\xac", "\\xe9\\xac"),
        ("\xa0".encode(), "\\u00a0"),  # not \xa0: that is the byte
        (b"a\x1b[31m\x00\x7f", "a\\x1b[31m\\x00\\x7f"),
        ("\u200d\u2028\u202e\ufeff".encode(), "\\u200d\\u2028\\u202e\\ufeff"),
        ("\U000e0041\U000f0000".encode(), "\\U000e0041\\U000f0000"),
        ("❤\ufe0f".encode(), "❤\\ufe0f"),
        ("\U0001f3fd".encode(), "◌\U0001f3fd"),
        ("東京".encode(), "東京"),
        (b"", ""),
    ],
)
def test_visible(spelling: bytes, shown: str) -> None:
    assert visible(spelling) == shown


def test_signs_are_told_from_text() -> None:
    assert signs(b" \\x41\xec\n") == [("·", True), ("\\x41", False), ("\\xec⏎", True)]


def test_every_spelling_shows_something_and_nothing_that_moves_the_cursor() -> None:
    rng = random.Random(5)
    for _ in range(3000):
        spelling = rng.randbytes(rng.randrange(1, 8)) if rng.random() < 0.5 else (text(rng) or "x").encode()
        shown = visible(spelling)
        assert shown
        assert all(char.isprintable() for char in shown)


def check_stretches(tokenizer: Tokenizer, texts: list[str], exact: bool) -> None:
    for one in texts:
        ids, data = tokenizer.encode(one), one.encode()
        ends = stretches(tokenizer, one, ids).tolist()
        parts = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        assert len(parts) == len(ids)
        assert b"".join(parts) == data
        assert ends == sorted(ends)
        if exact:
            assert parts == [tokenizer.token_bytes(i) for i in ids]


def test_stretches_are_the_text(tokenizer: Tokenizer, theirs: Tokenizer, tmp_path: Path) -> None:
    rng = random.Random(6)
    texts = [text(rng) for _ in range(800)] + ["", "\u2581", "a\ue000\u2581b", "\ue000" * 3]
    plain = [one for one in texts if "\u2581" not in one and "\ue000" not in one]
    check_stretches(theirs, texts, exact=True)
    check_stretches(tokenizer, texts, exact=False)
    check_stretches(tokenizer, plain, exact=True)
    llama = Tokenizer.load(llama_like(tmp_path / "llama"))
    check_stretches(llama, [one for one in plain if one], exact=False)
    ids = llama.encode("cat sat")
    assert stretches(llama, "cat sat", ids)[0] == len(llama.token_bytes(ids[0])) - 1  # without the space put in front


def test_stretches_where_the_text_was_normalised(folder: Path, tmp_path: Path) -> None:
    hf = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    hf.normalizer = normalizers.NFC()
    hf.save(str(tmp_path / "tokenizer.json"))
    composing = Tokenizer.load(tmp_path)
    one = "cafe\u0301 and e\u0301\u0301 cat"
    ids = composing.encode(one)
    assert b"".join(composing.token_bytes(i) for i in ids) != one.encode()
    check_stretches(composing, [one, "e\u0301", "\u1100\u1161\u11a8 a"], exact=False)
    ends = stretches(composing, one, ids).tolist()
    assert one.encode()[ends[-2] :] == composing.token_bytes(ids[-1])


def test_inventory(tokenizer: Tokenizer, theirs: Tokenizer) -> None:
    kinds, ranks = inventory(tokenizer)
    named = [KINDS[k] for k in kinds]
    assert named.count("byte") == 256
    assert named.count("special") == len(tokenizer.special)
    for i in range(tokenizer.vocab_size):
        tree = merge_tree(tokenizer, i)
        assert ranks[i] == (-1 if tree.rank is None else tree.rank)
        assert (named[i] == "learned") == bool(tree.parts)
    kinds, ranks = inventory(theirs)
    named = [KINDS[k] for k in kinds]
    assert named.count("byte") == 256
    assert named.count("added") == 1  # six spaces
    assert named[theirs.core.special["<think>"]] == "special"
    assert sorted(ranks[ranks >= 0]) == sorted(set(theirs.core.merges.values()))


def test_merges_step_by_step(tokenizer: Tokenizer, theirs: Tokenizer) -> None:
    for one in (tokenizer, theirs):
        seen = 0
        for i in range(one.vocab_size):
            steps = merge_steps(one, i)
            tree = merge_tree(one, i)
            assert len(steps) == (len(tree.leaves()) - 1 if tree.parts else 0)
            for before, step in zip([tuple(tree.leaves()), *(s.row for s in steps)], steps, strict=False):
                assert step.row[step.at] == before[step.at] + before[step.at + 1]
                assert b"".join(step.row) == one.token_bytes(i)
            if steps:
                assert steps[-1].row == (one.token_bytes(i),)
                assert steps[-1].rank == tree.rank
                seen += 1
        assert seen > 50


def test_open_by_any_name(home: Path, tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(home / "run")
    (home / "run" / "run.json").write_text('{"recipe": "pretrain"}')
    assert open_tokenizer("run").fingerprint == tokenizer.fingerprint
    assert open_tokenizer(str(folder)).name == "small"

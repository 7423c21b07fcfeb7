"""The Tokens screen's data: texts and conversations as they are cut, lines, trees, the search of a vocabulary."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from rich.cells import cell_len

from lab import chat
from lab.errors import UserError
from lab.explain import explain, merge_tree, visible
from lab.tokenizer import Tokenizer
from tests.lab.test_tokenizer import TEMPLATE, WORDS, byte_level, text
from tui.data.tokens import (
    OPENING,
    TALK,
    Book,
    about,
    at_character,
    cut,
    cut_talk,
    facts,
    match,
    messages,
    open_book,
    open_first,
    wrap,
)
from tui.data.trees import drawing, listing
from tui.data.vocabulary import ORDERS, Vocabulary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as the hub has them, with a chat template."""
    asked = TEMPLATE + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    return byte_level(tmp_path_factory.mktemp("hub") / "small", chat_template=asked)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Book:
    return open_book(str(folder))


@pytest.fixture(scope="module")
def ours(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Book:
    home = tmp_path_factory.mktemp("ours") / "mine"
    tokenizer.save(home)
    return open_book(str(home))


@pytest.fixture(params=["ours", "theirs"])
def book(request: pytest.FixtureRequest) -> Book:
    return request.getfixturevalue(request.param)


def test_any_text_is_cut_into_itself(book: Book, folder: Path) -> None:
    """Whatever the text: the stretches side by side are its bytes, and the ids are the tokenizer's own."""
    library = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    library.no_truncation()
    rng = random.Random(11)
    for one in [text(rng) for _ in range(1500)] + [
        "",
        OPENING,
        "\u2581\ue000" * 5,
        "e\u0301\u200d\U0001f44b\U0001f3fd",
    ]:
        made, data = cut(book, one), one.encode()
        assert made.ids.tolist() == book.tokenizer.encode(one)
        if not book.tokenizer.ours and not any(name in one for name in book.tokenizer.special):
            assert made.ids.tolist() == library.encode(one, add_special_tokens=False).ids
        spans = list(zip(made.starts.tolist(), made.ends.tolist(), strict=True))
        assert b"".join(data[a:b] for a, b in spans) == data
        if "\u2581" not in one and "\ue000" not in one:
            assert [data[a:b] for a, b in spans] == [book.tokenizer.token_bytes(int(i)) for i in made.ids]
            told = [(t.start, t.end) for t in explain(book.tokenizer, one)]
            assert list(zip(made.first.tolist(), made.last.tolist(), strict=True)) == told
        for k, char in enumerate(one[:20]):
            at = at_character(made, k)
            assert made.first[at] <= k < made.last[at], (one, char)


def test_half_a_surrogate_pair_is_said_in_words(book: Book) -> None:
    with pytest.raises(UserError, match="half of a surrogate pair"):
        cut(book, "ab\ud83d")


def test_the_same_stretch_in_the_other_tokenizer(ours: Book, theirs: Book) -> None:
    rng = random.Random(12)
    for one in [" ".join(rng.choices(WORDS, k=12)) for _ in range(100)]:
        data, (a, b) = one.encode(), (cut(ours, one), cut(theirs, one))
        for here, there in ((a, b), (b, a)):
            for token in range(len(here)):
                first, end = match(here, token, there)
                assert there.starts[first] <= here.starts[token] < there.ends[first]
                assert there.starts[end - 1] < here.ends[token] <= there.ends[end - 1]
                held = data[int(there.starts[first]) : int(there.ends[end - 1])]
                assert data[int(here.starts[token]) : int(here.ends[token])] in held
    assert match(a, 0, cut(theirs, "another")) == (0, 0)
    assert match(a, 9999, b) == match(cut(ours, ""), 0, cut(theirs, "")) == (0, 0)


def test_lines_hold_all_tokens_and_keep_to_the_room() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        widths, room = rng.integers(1, 12, rng.integers(0, 60)), int(rng.integers(3, 40))
        stops = np.flatnonzero(rng.random(len(widths)) < 0.1)
        starts = wrap(widths, stops, room)
        assert starts[0] == 0
        assert starts[-1] == len(widths)
        for a, b in pairwise(starts.tolist()):
            assert b > a
            assert widths[a:b].sum() <= room or b == a + 1
            assert not np.isin(np.arange(a, b - 1), stops).any()
            if b < len(widths) and b - 1 not in stops:  # no token went to the next line that had room
                assert widths[a : b + 1].sum() > room


def test_lines_end_at_line_ends_and_turns(ours: Book, theirs: Book) -> None:
    made = cut(ours, "one\ntwo\n\nthree")
    assert [ours.piece(int(made.ids[i])) for i in made.breaks] == ["⏎", "⏎", "⏎"]
    mine = cut_talk(ours, TALK)
    assert [ours.piece(int(mine.ids[i])) for i in mine.breaks].count("<|end|>") == 2  # the replies'
    lines = np.split(mine.ids, mine.breaks + 1)
    begins = [ours.piece(int(line[0])) for line in lines if len(line)]
    assert begins == ["<|bos|>", "<|user|>", "<|assistant|>", "<|user|>", "<|assistant|>"]  # the system's is with BOS
    hub = cut_talk(theirs, TALK)  # its template writes a line end after each <|im_end|>: one break for both
    after = [theirs.piece(int(hub.ids[i])) for i in hub.breaks]
    assert "<|im_end|>" not in after
    assert len(after) == 2 * 5


def test_turns_of_a_conversation() -> None:
    assert messages("hello\nyou\nassistant:  Hi.\n\nuser:Bye\n") == [
        {"role": "user", "content": "hello\nyou"},
        {"role": "assistant", "content": " Hi."},
        {"role": "user", "content": "Bye"},
    ]
    assert messages("system: a: b\nuser : no role") == [{"role": "system", "content": "a: b\nuser : no role"}]
    assert messages("\n\n") == []


def test_what_is_typed_is_never_a_special_token(book: Book) -> None:
    plain = cut_talk(book, TALK.replace("<|end|>", "x").replace("<|im_end|>", "x"))
    typed = cut_talk(book, TALK)
    count = [sum(book.kind(int(i)) == "special" for i in made.ids) for made in (plain, typed)]
    assert count[0] == count[1] > 0
    shown = "".join(book.piece(int(i)) for i in typed.ids)
    assert "I·type·<|end|>·and·<|im_end|>·here." in shown


def test_trained_are_the_replies_and_their_ends(book: Book) -> None:
    made = cut_talk(book, TALK)
    assert made.weights is not None
    said = b"".join(book.tokenizer.token_bytes(int(i)) for i in made.ids[made.weights > 0]).decode()
    end = book.tokenizer.piece(book.tokenizer.end)
    space = " " if book.tokenizer.ours else ""  # our texts begin with one, as the base model read them
    assert said == f"{space}No, 9.9 is more.{end}{space}You are welcome.{end}"
    question = "user: Is 9.11 more than 9.9?"
    asked = cut_talk(book, question)
    assert asked.weights is not None
    assert asked.ids.tolist() == chat.prompt(book.tokenizer, messages(question))
    assert not asked.weights.any()


def test_a_base_model_and_no_turns_are_said_in_words(folder: Path, tmp_path: Path, ours: Book) -> None:
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    base = open_book(str(tmp_path))
    assert len(cut(base, "a cat"))
    with pytest.raises(UserError, match="base model without a chat template"):
        cut_talk(base, TALK)
    with pytest.raises(UserError, match="begin a line with user:"):
        cut_talk(ours, " \n".strip())


def test_facts_tell_what_fits(ours: Book, theirs: Book) -> None:
    one = "Ada took a kite, naïve 東京"
    a, b = cut(ours, one), cut(theirs, one)
    whole = facts(ours, a, 200)
    n, size = len(ours.tokenizer.encode(one)), len(one.encode())
    for said in (f"{n} tokens", f"{len(one) / n:.2f} chars/token", f"{size / n:.2f} bytes/token", f"{size} bytes"):
        assert said in whole
    assert facts(ours, a, 10) == f"{n} tokens · {len(one) / n:.2f} chars/token"
    assert f"{(len(b) - len(a)) / len(a):+.0%}".replace("-", "−") in facts(theirs, b, 200, a)
    assert "%" not in facts(theirs, b, 200, cut(ours, "another"))
    assert facts(ours, cut(ours, ""), 80).startswith("0 tokens · 0.00 chars/token")


def test_about_every_token(book: Book) -> None:
    for i in range(-1, book.tokenizer.vocab_size + 1):
        assert about(book, i)
        assert book.piece(i)
    piece = book.tokenizer.encode(" the")[0]
    assert about(book, piece) == f"merge {merge_tree(book.tokenizer, piece).rank:,} of {book.merges:,}"


def test_trees_are_drawn_whole(book: Book) -> None:
    for token in range(book.tokenizer.vocab_size):
        tree = merge_tree(book.tokenizer, token)
        ranks: list[str] = []
        for line in drawing(tree, visible):
            end = -1
            for column, piece, what in line:
                assert column >= max(0, end), (token, line)  # nothing is drawn over
                end = column + cell_len(piece)
                ranks += [piece] if what == "rank" else []
        leaves = sum(
            (column, piece) is not None for line in drawing(tree, visible) for column, piece, w in line if w == "leaf"
        )
        assert leaves == len(tree.leaves())
        assert len(ranks) == (leaves - 1 if tree.rank is not None else 0)
        listed = listing(tree, visible)
        assert [p for line in listed for _, p, what in line if what == "leaf"] == [
            visible(leaf) for leaf in tree.leaves()
        ]
        assert sorted(p for line in listed for _, p, what in line if what == "rank") == sorted(ranks)


def test_search_of_the_vocabulary(book: Book) -> None:
    vocabulary = Vocabulary.of(book)
    size = book.tokenizer.vocab_size
    assert vocabulary.find("").tolist() == list(range(size))
    for order in ORDERS:
        assert sorted(vocabulary.find("", order).tolist()) == list(range(size))
    lengths = [len(book.tokenizer.token_bytes(int(i))) for i in vocabulary.find("", "length")]
    assert lengths == sorted(lengths, reverse=True)
    ranks = [int(book.ranks[i]) for i in vocabulary.find("is:learned", "merge")]
    assert ranks == sorted(ranks)
    texts = [vocabulary.texts[int(i)] for i in vocabulary.find("th", "piece")]
    assert texts == sorted(texts)
    assert texts
    assert all("th" in one for one in texts)
    assert set(vocabulary.find("·th")) == {i for i, shown in enumerate(vocabulary.shown) if "·th" in shown}
    assert vocabulary.find("17")[0] == vocabulary.find("#17")[0] == 17
    assert {book.kind(int(i)) for i in vocabulary.find("is:spec")} == {"special"}
    assert vocabulary.find("/^ [a-z]+$/").tolist() == [
        i
        for i, one in enumerate(vocabulary.texts)
        if one[:1] == " " and one[1:].isascii() and one[1:].isalpha() and one.islower()
    ]
    assert vocabulary.find("no such piece").tolist() == []
    with pytest.raises(UserError, match="not a regular expression"):
        vocabulary.find("/[/")
    with pytest.raises(UserError, match="repeated group"):  # `re` would take hours, and hold every thread meanwhile
        vocabulary.find("/^(a+)+$/")


def test_a_broken_tokenizer_gives_way_to_the_next(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    assert open_first([str(tmp_path), str(folder)], lambda _: None, lambda: True).model == str(folder)
    with pytest.raises(UserError, match="broken JSON"):
        open_first([str(folder / "none"), str(tmp_path)], lambda _: None, lambda: True)

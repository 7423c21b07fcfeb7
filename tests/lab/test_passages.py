"""Documents cut into passages: whole sentences, nothing lost, and the line each stands at."""

import gzip
import json
import random
from pathlib import Path

from lab.passages import SHORT, passages, split
from tests.conftest import stories

NOTE = """---
title: metals
---
# Iron

Iron is a metal. It rusts when it meets water and air for some time, which is called oxidation.

## Uses
Bridges and ships are made from steel, which is strong and cheap. Steel holds a little carbon.

Short.
"""


def test_a_note_with_its_headings_and_lines(tmp_path: Path) -> None:
    (tmp_path / "metals.md").write_bytes(NOTE.replace("\n", "\r\n").encode())
    found = list(passages(tmp_path / "metals.md", "metals.md", 100))
    assert [one.source for one in found] == ["metals.md:6", "metals.md:9"]
    assert found[0].text.startswith("Iron is a metal. It rusts")
    assert found[1].text.startswith("Iron, Uses: Bridges and ships")


def test_rows_and_packed_texts_name_their_number(tmp_path: Path) -> None:
    rows = [{"title": "Iron", "text": "It is a metal. " * 8}, {"text": "x"}, {"text": "Gold is yellow and heavy. " * 4}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(passages(tmp_path / "a.jsonl", "a.jsonl"))
    assert [(one.source, one.text[:20]) for one in found] == [
        ("a.jsonl:1", "Iron: It is a metal."),
        ("a.jsonl:3", "Gold is yellow and h"),
    ]
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("One fine document of a few words, long enough to count as one.\n\n" * 2)
    assert [one.source for one in passages(tmp_path / "b.txt.gz", "b.txt.gz")] == ["b.txt.gz:1", "b.txt.gz:2"]


def test_every_line_number_is_where_the_passage_begins(tmp_path: Path) -> None:
    r = random.Random(1)
    text = "".join(story + r.choice([" ", "\n", "\n\n", "\n\n\n"]) for story in stories(200, 5))
    path = tmp_path / "s.txt"
    path.write_text(text)
    lines = text.split("\n")
    found = list(passages(path, "s.txt", 300))
    assert len(found) > 40
    for one in found:
        line = lines[int(one.source.split(":")[1]) - 1]
        assert " ".join(one.text.split()[:5]) in line


def test_passages_are_whole_sentences_of_about_a_size_and_lose_none() -> None:
    r = random.Random(2)
    for seed in range(30):
        size = r.choice([100, 200, 400])
        text = "".join(story + r.choice([" ", "\n", "\n\n"]) for story in stories(30, seed))
        found = [piece for _, _, piece in split(text, size)]
        assert all(SHORT <= len(piece) <= size and piece[-1] in '.!?"' for piece in found)
        kept = " ".join(found).split()
        assert len(kept) > 0.8 * len(text.split())  # but for those that are too short alone
        for begin, _, piece in split(text, size):
            assert text[begin:].split()[:3] == piece.split()[:3]


def test_a_sentence_without_an_end_is_cut_after_a_word() -> None:
    found = [piece for _, _, piece in split("word " * 1000, 200)]
    assert len(found) == 1
    assert len(found[0]) <= 200
    assert found[0].endswith("word")
    assert list(split("", 200)) == [] == list(split("# Only a heading", 200))

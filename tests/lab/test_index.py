"""Documents into passages, passages into an index: nothing lost, nothing half written."""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import read
from lab.errors import UserError
from lab.index import LONG, build, documents, files, heading, ours, passages
from lab.tools import APPLICATION, Search

PARAGRAPHS = "\n\n".join(
    f"Paragraph {i} begins here. " + "It tells of a kettle, and of more. " * (3 + i % 5) for i in range(12)
)


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        PARAGRAPHS,
        "One sentence. " * 200,
        "word " * 1000,
        "x" * 5000,
        "語。" * 900,
        "line\n" * 600,
        "a. " + "b" * 900 + ". c. " * 100,
        "short",
        "e" * (LONG + 50),
        " \n\n" * 500 + "end",
    ],
    ids=range(10),
)
def test_passages_hold_the_whole_text_in_order(text: str) -> None:
    found = list(passages("A title", text))
    assert {title for title, _ in found} == {"A title"}
    assert squeezed("".join(piece for _, piece in found)) == squeezed(text)
    assert all(0 < len(piece) <= LONG * 1.2 for _, piece in found)
    assert len(found) <= 1 + len(text) / (LONG / 2)


def test_passages_end_where_something_ends() -> None:
    found = [text for _, text in passages("", PARAGRAPHS)]
    assert sum(text.startswith("Paragraph") for text in found) >= len(found) - 1
    assert all(text.endswith(".") for text in found)
    found = [text for _, text in passages("", "One sentence is here. " * 100)]
    assert all(text.startswith("One") and text.endswith("here.") for text in found)
    assert all(text.split() == ["word"] * len(text.split()) for _, text in passages("", "word " * 1000))
    assert list(passages("", "")) == list(passages("", " \n ")) == []


def test_documents_of_all_kinds(tmp_path: Path) -> None:
    rows = [{"title": "Gold", "text": "A metal."}, {"text": "No title."}, {"title": 7, "text": "An odd title."}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "rows.jsonl").write_text(lines)
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(b'{"title": "Tin \\n foil", "text": "Another."}\n'))
    (tmp_path / "note.md").write_text("---\nkey: value\n---\n# My heading #\nThe note.\n")
    (tmp_path / "bare.md").write_text("No heading.\n")
    (tmp_path / "book.txt").write_text("First.\n\nSecond.\n")
    (tmp_path / "valid.txt").write_text("Held out.\n")
    heard: list[int] = []
    paths = files(str(tmp_path))
    found = list(documents(paths, tell=heard.append))
    assert sorted(found) == sorted(
        [
            ("Gold", "A metal."), ("", "No title."), ("", "An odd title."), ("Tin foil", "Another."),
            ("My heading", "The note."), ("bare", "No heading."), ("", "First."), ("", "Second."), ("", "Held out."),
        ]
    )  # fmt: skip
    assert heard == sorted(heard)
    assert heard[-1] == sum(path.stat().st_size for path in paths)
    assert heading("no heading\nrest", Path("a/some.note.md")) == ("some", "no heading\nrest")


def test_parquet_with_and_without_titles(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"title": ["Gold", None], "text": ["A metal.", "Another."]}), tmp_path / "a.parquet"
    )
    parquet.write_table(pyarrow.table({"text": ["Bare."]}), tmp_path / "b.parquet")
    found = list(documents(files(str(tmp_path))))
    assert found == [("Gold", "A metal."), ("", "Another."), ("", "Bare.")]
    assert [d.title for d in read.documents(tmp_path / "a.parquet", "title")] == ["Gold"]


def test_an_index_is_what_a_search_expects(tmp_path: Path) -> None:
    heard: list[int] = []
    made = [(f"Title {i}", f"Text of number {i}.") for i in range(2500)]
    assert build(tmp_path / "deep" / "some.db", iter(made), heard.append) == 2500
    assert heard == [1000, 2000, 2500]
    with sqlite3.connect(tmp_path / "deep" / "some.db") as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT title, text, key FROM passages WHERE rowid = 3").fetchone() == (*made[2], "title 2")
    with Search(tmp_path / "deep" / "some.db") as search:
        assert search.find("title 1234") == [made[1234]]
    with Search(tmp_path / "deep" / "some.db", k=3) as search:
        assert search.find("title 1234")[0] == made[1234]


def test_what_no_file_can_hold_is_mended(tmp_path: Path) -> None:
    build(tmp_path / "a.db", [("T\ud800itle", "half \udfff pair and \0 nothing"), ("", "x")])
    with Search(tmp_path / "a.db") as search:
        assert search.find("pair") == [("T?itle", "half ? pair and   nothing")]


def test_an_index_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "some.db"
    build(path, [("Old", "The old one.")])
    before = path.read_bytes()

    def broken() -> Iterator[tuple[str, str]]:
        yield "New", "The new one."
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(path, broken())
    with pytest.raises(UserError, match="there is no passage"):
        build(path, [])
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["some.db"]
    build(path, [("New", "The new one.")])
    with Search(path) as search:
        assert search("new") == "The new one."
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["some.db"]


def test_what_is_no_index_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE precious (a)")
    for name in ("notes.txt", "other.db", "."):
        before = (tmp_path / name).read_bytes() if name != "." else b""
        with pytest.raises(UserError, match=r"choose another|is a folder"):
            build(tmp_path / name, [("a", "b")])
        assert name == "." or (tmp_path / name).read_bytes() == before
        assert not ours(tmp_path / name)
    assert not ours(tmp_path / "missing")

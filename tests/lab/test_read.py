"""Reading files: what is a document, what is left out, and what is said of files that are broken."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import read
from lab.errors import UserError
from tests.conftest import REPO
from tests.hub_server import Hub, hub  # noqa: F401


def test_text_splits_at_blank_lines_or_at_separators(tmp_path: Path) -> None:
    plain = tmp_path / "a.txt"
    plain.write_text("one\nstill one\n\n \n\ntwo\n\n")
    assert list(read.read(plain)) == ["one\nstill one", "two"]
    marked = tmp_path / "b.txt"
    marked.write_text("one\n\nstill one<|endoftext|>two\n<|endoftext|>\n")
    assert list(read.read(marked)) == ["one\n\nstill one", "two"]


def test_jsonl_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write(json.dumps({"text": "one", "more": 1}) + "\n\n" + json.dumps({"text": "two"}) + "\n")
    assert list(read.read(path)) == ["one", "two"]


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
        list(read.read(path))


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffone\n\n\ufefftwo".encode())
    assert list(read.read(tmp_path / "a.txt")) == ["one", "\ufefftwo"]
    (tmp_path / "a.jsonl").write_bytes('\ufeff{"text": "one"}\n'.encode())
    assert list(read.read(tmp_path / "a.jsonl")) == ["one"]
    (tmp_path / "b.txt").write_bytes("\ufeffé".encode() + b"\xff")
    with pytest.raises(UserError, match="byte 5 "):  # of the file, the mark's three counted
        list(read.read(tmp_path / "b.txt"))


@pytest.mark.parametrize("before", [(1 << 20) - 5, 3 << 20])
def test_a_separator_counts_wherever_it_stands(tmp_path: Path, before: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a" * (before - 2) + "\n\n" + "<|endoftext|>two\n\nstill two")
    assert list(read.read(path)) == ["a" * (before - 2), "two\n\nstill two"]


def test_hidden_folders_are_left_alone(tmp_path: Path) -> None:
    for name in (".git/note.txt", "books/.cache/deep/a.txt", "books/a.txt", "books/.b.txt"):
        (tmp_path / ".home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".home" / name).write_text("x")
    assert read.files(tmp_path / ".home")[0] == [tmp_path / ".home" / "books" / "a.txt"]


def test_the_folder_of_an_unknown_user_is_named() -> None:
    with pytest.raises(UserError, match="~nobody-here/x: no such user"):
        read.files("~nobody-here/x")


def test_folders_hold_out_valid_and_leave_test_and_readme_alone(tmp_path: Path) -> None:
    for name in ("train.txt", "valid.txt", "test.txt", "README.md", "notes.md"):
        (tmp_path / name).write_text(name)
    train, valid = read.files(tmp_path)
    assert [f.name for f in train] == ["notes.md", "train.txt"]
    assert [f.name for f in valid] == ["valid.txt"]
    with pytest.raises(UserError, match="no such file"):
        read.files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no \.txt"):
        read.files(tmp_path / "empty")
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(UserError, match="unknown kind"):
        read.files(tmp_path / "a.pdf")


# -- notes -----------------------------------------------------------------------------------------------------------


def test_a_note_is_one_document_without_its_front_matter(tmp_path: Path) -> None:
    (tmp_path / ".obsidian").mkdir()
    (tmp_path / ".obsidian" / "plugin.md").write_text("not a note")
    (tmp_path / "deep").mkdir()
    note = "---\ntitle: Soup\ntags: [a, b]\n---\n# Soup\n\nBoil it.\n\n```yaml\n---\nkey: 1\n---\n```\n"
    (tmp_path / "deep" / "soup.md").write_text(note)
    (tmp_path / "empty.markdown").write_text("---\ntitle: nothing yet\n---\n")
    (tmp_path / "plan.org").write_text("* Plan\n\n** Tomorrow\n")
    train, valid = read.files(tmp_path)
    assert [f.name for f in train] == ["soup.md", "empty.markdown", "plan.org"]
    assert not valid
    assert list(read.texts(train)) == [
        "# Soup\n\nBoil it.\n\n```yaml\n---\nkey: 1\n---\n```",
        "* Plan\n\n** Tomorrow",
    ]


@pytest.mark.parametrize(
    ("note", "rest"),
    [
        ("---\r\ntitle: x\r\n---\r\nText\r\n", "Text"),
        ("---\n\n# comment\ntitle: x\ndescription: |\n  two\n  lines\n...\nText", "Text"),
        ("---\nA ruler, then text.\n\n---\nMore: text", "---\nA ruler, then text.\n\n---\nMore: text"),
        ("---\ntitle: never closed\n\nText", "---\ntitle: never closed\n\nText"),
        ("Text\n---\ntitle: x\n---\n", "Text\n---\ntitle: x\n---"),
        ("---\n- milk: two\n- eggs: six\n---\nText", "---\n- milk: two\n- eggs: six\n---\nText"),
        ("one<|endoftext|>two\n\nstill two", "one|two\n\nstill two"),
    ],
)
def test_front_matter_and_what_only_looks_like_it(tmp_path: Path, note: str, rest: str) -> None:
    (tmp_path / "a.md").write_bytes(note.encode())
    assert "|".join(read.read(tmp_path / "a.md")) == rest


# -- rows and tables -------------------------------------------------------------------------------------------------


def test_another_column_and_messages(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows: list[dict[str, Any]] = [
        {"said": "one", "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
        {"said": "two", "messages": [{"role": "user", "content": "Bye"}]},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert list(read.read(path, "said")) == ["one", "two"]
    assert list(read.read(path, "messages")) == ["Hi\n\nHello.", "Bye"]
    with pytest.raises(UserError, match=r'a.jsonl:1: no "text" in this row .it has: said, messages.*--text-column'):
        list(read.read(path))
    path.write_text(json.dumps({"messages": [{"role": "user", "content": None}]}))
    with pytest.raises(UserError, match=r'a.jsonl:1: no "messages"'):
        list(read.read(path, "messages"))


def test_documents_say_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\n\n{"text": "two"}\n')
    assert [(d.text, d.number) for d in read.documents(path)] == [("one", 1), ("two", 3)]
    assert [d.file for d in read.documents(path)] == [path, path]
    assert [d.done for d in read.documents(path)][-1] == path.stat().st_size
    (tmp_path / "a.txt").write_text("one\n\ntwo")
    assert [(d.text, d.number) for d in read.documents(tmp_path / "a.txt")] == [("one", 1), ("two", 2)]


def table(path: Path, columns: dict[str, list[Any]], row_group_size: int = 1000) -> Path:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(arrow.table(columns), path, row_group_size=row_group_size)
    return path


def test_parquet(tmp_path: Path) -> None:
    said = [f"text {i}" for i in range(2500)]
    chats = [[{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in said]
    path = table(tmp_path / "a.parquet", {"text": [*said, None, " "], "chat": [*chats, None, []]}, row_group_size=900)
    assert list(read.read(path)) == said
    assert list(read.read(path, "chat"))[:2] == ["text 0\n\nyes", "text 1\n\nyes"]
    documents = list(read.documents(path))
    assert documents[-1].number == 2500
    assert 0 < documents[0].done < documents[-1].done <= path.stat().st_size


def test_bad_parquet_is_named_with_its_place(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", {"content": ["x"], "score": [1]})
    with pytest.raises(UserError, match=r'a.parquet: no column "text" .it has: content, score.; .*--text-column'):
        list(read.read(path))
    with pytest.raises(UserError, match=r'a.parquet: row 1: "score" is int'):
        list(read.read(path, "score"))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UserError, match=r"a.parquet: broken parquet file"):
        list(read.read(path))


def test_zstd(tmp_path: Path) -> None:
    try:
        from compression import zstd
    except ImportError:
        zstd = pytest.importorskip("backports.zstd")
    path = tmp_path / "a.jsonl.zst"
    rows = [json.dumps({"text": f"some text, number {i}"}) for i in range(3000)]
    whole = zstd.compress("\n".join(rows[:1500]).encode() + b"\n") + zstd.compress("\n".join(rows[1500:]).encode())
    path.write_bytes(whole)
    assert len(list(read.read(path))) == 3000
    assert read.files(tmp_path)[0] == [path]
    for broken in (whole[: len(whole) // 3], b"no zstd at all"):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"a.jsonl.zst: broken zstd file"):
            list(read.read(path))


@pytest.mark.parametrize(("name", "modules"), [("a.parquet", ["pyarrow"]), ("a.txt.zst", ["compression", "backports"])])
def test_without_the_extra_one_line_names_it(tmp_path: Path, name: str, modules: list[str]) -> None:
    (tmp_path / name).write_bytes(b"x")
    code = f"""
import sys
for name in {modules!r}:
    sys.modules[name] = None  # what `import` meets where the package is not installed
from pathlib import Path
from lab import read
from lab.errors import UserError
try:
    list(read.read(Path({str(tmp_path / name)!r})))
except UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    kind = Path(name).suffix
    mend = "uv sync --extra data, or pip install -e '.[data]'"
    assert done.stdout == f"{tmp_path / name}: reading {kind} needs the extra `data`: {mend}\n"


# -- folders and hub data sets ---------------------------------------------------------------------------------------


def test_numbered_parts_keep_their_side(tmp_path: Path) -> None:
    for name in (
        "train-00000-of-00002.jsonl",
        "train-00001-of-00002.jsonl",
        "validation-00000-of-00001-869c898b519ad725.jsonl",
        "test-00000-of-00001.jsonl",
        "val-3.jsonl",
        "valid-ideas.jsonl",
    ):
        (tmp_path / name).write_text("{}")
    train, valid = read.files(tmp_path)
    assert [f.name.split(".")[0] for f in train] == ["train-00000-of-00002", "train-00001-of-00002", "valid-ideas"]
    assert [f.name.split("-")[0] for f in valid] == ["val", "validation"]


ROWS = b'{"text": "one"}\n{"text": "two"}\n'


def test_a_data_set_of_the_hub(hub: Hub) -> None:  # noqa: F811
    files = {
        "README.md": b"# Texts",
        "en/train.jsonl": ROWS,
        "en/valid.jsonl": ROWS,
        "de/train.jsonl": ROWS,
        "x.bin": b"x",
    }
    hub.add("datasets/owner/texts", files)
    train, valid = read.files("owner/texts:en")
    assert [(f.parent.name, f.name) for f in train + valid] == [("en", "train.jsonl"), ("en", "valid.jsonl")]
    assert list(read.texts(train)) == ["one", "two"]
    assert "x.bin" not in hub.files_asked()
    assert not any("/de/" in line and "/resolve/" in line for line in hub.asked)


@pytest.mark.slow
def test_data_sets_of_the_hub_whole_one_file_or_none(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    hub.add("datasets/owner/texts", {"a.jsonl": ROWS, "deep/b.jsonl": ROWS, "x.bin": b"x"})
    assert [f.name for f in read.files("owner/texts")[0]] == ["a.jsonl", "b.jsonl"]
    assert [f.name for f in read.files("owner/texts:deep/b.jsonl")[0]] == ["b.jsonl"]
    with pytest.raises(UserError, match="owner/none"):
        read.files("owner/none")
    with pytest.raises(UserError, match="owner/texts"):
        read.files("owner/texts:nowhere")
    with pytest.raises(UserError, match=r"without \.\."):
        read.files("owner/texts:../..")
    (tmp_path / "owner" / "texts").mkdir(parents=True)
    (tmp_path / "owner" / "texts" / "mine.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    assert [f.name for f in read.files("owner/texts")[0]] == ["mine.txt"]  # what is here comes first


@pytest.mark.parametrize("name", ["books/a.txt", "here/books", "a/b/c", "/nowhere/x", "nowhere"])
def test_what_is_meant_to_be_here_is_not_looked_for_on_the_hub(
    hub: Hub,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        read.files(name)
    assert hub.asked == []


def test_a_set_split_into_folders_keeps_its_sides(tmp_path: Path) -> None:
    """The hub's own parquet files lie in default/test/0000.parquet."""
    for side in ("train", "Test", "validation"):
        (tmp_path / "default" / side).mkdir(parents=True)
        (tmp_path / "default" / side / "0000.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "page.html").write_text("<p>")
    train, valid, left = read.look(tmp_path)
    assert [f.parent.name for f in train] == ["train"]
    assert [f.parent.name for f in valid] == ["validation"]
    assert left == {"test": 1, ".html": 1}


def test_what_is_left_alone_is_counted(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a.txt").write_text("far")
    folder = tmp_path / "near"
    folder.mkdir()
    for name in ("README.md", "LICENSE.txt", "Test.md", "a.pdf", "b.PDF", "Makefile", ".hidden"):
        (folder / name).write_text(name)
    (folder / "linked").symlink_to(tmp_path / "far")
    (folder / "gone.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(UserError, match=r"no \.txt.* .left alone: \.pdf 2, .*README 1"):
        read.files(folder)
    (folder / "note.md").write_text("A note.")
    train, valid, left = read.look(folder)
    assert ([f.name for f in train], valid) == (["note.md"], [])
    assert left == {
        ".pdf": 2, "README": 1, "licence": 1, "test": 1, "without suffix": 1, "linked folder": 1, "no plain file": 1,
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root enters every folder")
def test_a_folder_that_cannot_be_entered_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(UserError, match="shut: this folder cannot be read"):
        read.files(tmp_path)


def test_line_ends_of_other_systems_become_line_feeds(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\r\ntwo\r\n\r\nthree\rfour")
    assert list(read.read(path)) == ["one\ntwo", "three\nfour"]


@pytest.mark.parametrize(
    ("form", "named"), [("utf-16", "utf-16"), ("utf-16-le", "utf-16le"), ("utf-16-be", "utf-16be")]
)
def test_utf_16_is_named(tmp_path: Path, form: str, named: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("A plain sentence.".encode(form))
    with pytest.raises(UserError, match=f"iconv -f {named}"):
        list(read.read(path))

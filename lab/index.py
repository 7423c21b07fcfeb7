"""The index that lab.tools.Search asks: passages of documents in one SQLite file with full-text search. No MLX."""

import contextlib
import itertools
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from lab import read
from lab.errors import UserError, expand
from lab.tools import APPLICATION, key

LONG = 400  # characters of a passage, about: what a result of 128 tokens holds
BOUNDS = [
    re.compile(bound) for bound in (r"\n[ \t]*\n\s*", r"[.!?;][\"')\]]*\s+|\n|[。！？]", r"\s+")
]  # the best first
HEADING = re.compile(r"#{1,6}\s+(.+?)\s*#*")
CHUNK = 1000  # passages written at once
# Words are compared by their stems (Porter 1980): of questions about the World Factbook that lifts the share whose answer
# is in the best passage by a quarter.
TABLE = (
    "CREATE VIRTUAL TABLE passages USING "
    "fts5(title, text, key UNINDEXED, tokenize = 'porter unicode61 remove_diacritics 2')"
)
Passage = tuple[str, str]


def build(path: str | Path, passages: Iterable[Passage], tell: Callable[[int], None] | None = None) -> int:
    """Write (title, text) pairs as an index; returns how many. It appears whole or not at all, and replaces an older
    index of ours. UserError for a file that is none, and where there are no passages. `tell` hears the count so far."""
    target = expand(path)
    check(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as db:
            db.execute("PRAGMA journal_mode = OFF")  # nobody reads a file that is thrown away where this fails
            db.execute("PRAGMA synchronous = OFF")
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            count = _fill(db, passages, tell)
        if not count:
            raise UserError(f"{path}: there is no passage to put into it; give files with text")
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        os.replace(beside, target)
    except sqlite3.Error as error:
        raise OSError(None, f"cannot be written ({error}); is the disk full?", str(target)) from error
    finally:
        beside.unlink(missing_ok=True)
    return count


def check(target: Path) -> None:
    """UserError where `target` is something that an index must not replace."""
    if target.is_dir():
        raise UserError(f"{target}: this is a folder; name a file, such as {target / 'index.db'}")
    if target.exists() and not ours(target):
        raise UserError(f"{target}: exists and is no index of ours; choose another --out, or remove it yourself")


def ours(path: Path) -> bool:
    """Whether a file is an index made here: the mark in SQLite's header (https://sqlite.org/fileformat.html)."""
    try:
        with open(path, "rb") as file:
            head = file.read(72)
    except OSError:
        return False
    return head[:16] == b"SQLite format 3\0" and head[68:72] == APPLICATION.to_bytes(4, "big")


def _fill(db: sqlite3.Connection, passages: Iterable[Passage], tell: Callable[[int], None] | None) -> int:
    count, rest = 0, iter(passages)
    db.execute("BEGIN")
    db.execute(TABLE)
    while some := list(itertools.islice(rest, CHUNK)):
        rows = [(clean(title), clean(text), key(title)) for title, text in some]
        db.executemany("INSERT INTO passages (title, text, key) VALUES (?, ?, ?)", rows)
        count += len(some)
        if tell:
            tell(count)
    db.execute("INSERT INTO passages (passages) VALUES ('optimize')")  # one b-tree: a query looks in one place
    db.execute("COMMIT")
    return count


def clean(text: str) -> str:
    """A text as SQLite keeps it: halves of surrogate pairs and NULs, which end a text for some readers, become spaces."""
    return text.encode("utf-8", "replace").decode().replace("\0", " ")


# -- documents into passages -------------------------------------------------------------------------------------------


def files(data: str) -> list[Path]:
    """All files of text in a file, a folder or a hub data set, held-out ones too."""
    train, valid = read.files(data)
    return sorted({*train, *valid})


def documents(
    paths: Sequence[Path], column: str = "text", tell: Callable[[int], None] | None = None
) -> Iterator[Passage]:
    """The passages of all documents in these files. `tell` hears how many bytes have been read. A row may hold a "title"
    beside its text; a note is titled by its first heading, or its file's name."""
    before = 0
    for file in paths:
        note, done = read.suffix(file) in read.NOTES, 0
        for document in read.documents(file, column):
            title, text = heading(document.text, file) if note else (document.title, document.text)
            yield from passages(title, text)
            if tell and document.done != done:
                done = document.done
                tell(before + done)
        before += file.stat().st_size


def heading(text: str, file: Path) -> tuple[str, str]:
    """(title, the rest) of a note."""
    first, _, rest = text.partition("\n")
    found = HEADING.fullmatch(first.strip())
    return (found[1], rest) if found else (file.name.split(".")[0], text)


def passages(title: str, text: str) -> Iterator[Passage]:
    """A document as passages of about LONG characters, in order: cut at the end of a paragraph where one ends in the second
    half, else of a sentence, else of a word."""
    at = 0
    while at < len(text):
        end = _end(text, at)
        if piece := text[at:end].strip():
            yield title, piece
        at = end


def _end(text: str, at: int) -> int:
    """Where the passage that begins at `at` ends. What is hardly longer stays whole."""
    if len(text) - at <= LONG * 6 // 5:
        return len(text)
    for bound in BOUNDS:
        ends = [found.end() for found in bound.finditer(text, at + LONG // 2, at + LONG)]
        if ends:
            return ends[-1]
    return at + LONG

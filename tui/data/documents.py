"""The documents of a file, one at a time: found by offset, so that a file of a gigabyte opens at once and is never in
memory. Rows of jsonl, texts split as `lab.read` splits them, notes; of packed files and tables the first few hundred."""

import contextlib
import gzip
import json
import re
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import lab.read as read
from lab.errors import UserError
from tui.data.rows import row_text

CHUNK = 1 << 20
LOOK = 4 << 20  # bytes in which <|endoftext|> must show up
LONGEST = 60_000  # bytes of a document that are shown: drawing them takes a tenth of a second
PACKED = 300  # documents of a file that cannot be read from its middle
SEPARATOR = read.SEPARATOR.encode()
BLANK = re.compile(rb"\n[ \t\r]*\n\s*")
MARK = re.compile(re.escape(SEPARATOR))
LITERAL = re.compile(r"[A-Za-z0-9 .,:;!?()_-]+")  # what JSON writes as it is: such words can be looked for in bytes


@dataclass(frozen=True)
class Document:
    """One document; `number` counts from 1, `row` is the whole row of a jsonl."""

    number: int
    text: str
    row: Mapping[str, Any] | None = None
    cut: bool = False  # longer than what is shown
    wrong: str = ""  # why it cannot be read


class Documents:
    """A file's documents by number, from 0. `get` reads on as far as it must; not for two threads at once."""

    def __init__(self, path: Path, column: str = "") -> None:
        self.path, self.column = path, column
        self.kind = _kind(path)
        self.size = path.stat().st_size
        self._starts = array("Q")  # where documents begin, and, behind them, where the next one would
        self._scanned, self._over = 0, False
        self._held: list[Document] = []
        self._block, self._block_at = b"", 0  # the last piece that `find` read
        if self.kind == "packed":
            self._held = _first(path, column)
            self._over = True
        marked = self.kind in ("text", "note") and _marked(path)
        if self.kind == "note" and not marked:
            self._starts.extend((0, self.size))
            self._over = True
        self._mark = MARK if marked else BLANK

    @property
    def known(self) -> int:
        """How many documents have been found."""
        return len(self._held) if self.kind == "packed" else max(0, len(self._starts) - 1)

    @property
    def complete(self) -> bool:
        """Whether these are all (of a packed file: all that are shown)."""
        return self._over

    @property
    def about(self) -> int:
        """How many there are, by the length of those that are known."""
        if self._over or not self.known:
            return self.known
        return max(self.known, round(self.known * self.size / max(1, self._starts[-1])))

    def get(self, index: int) -> Document | None:
        """Document `index`; None behind the last."""
        if index < 0:
            return None
        while index >= self.known and not self._over:
            self._scan()
        if index >= self.known:
            return None
        if self.kind == "packed":
            return self._held[index]
        start, end = self._starts[index], self._starts[index + 1]
        try:
            with open(self.path, "rb") as file:
                file.seek(start)
                data = file.read(min(end - start, LONGEST))
        except OSError as error:
            return Document(index + 1, "", wrong=f"{self.path.name}: {error.strerror or error}")
        return self._document(index + 1, data, end - start > LONGEST)

    def last(self, stop: Callable[[], bool] = lambda: False) -> int:
        """The number of the last document, from 0: reads to the end of the file, or until `stop` says so."""
        while not self._over and not stop():
            self._scan()
        return max(0, self.known - 1)

    def find(self, words: str, start: int, stop: Callable[[], bool] = lambda: False) -> int | None:
        """The first document from `start` on that holds the words, in small or capital letters."""
        needle = words.lower()
        quick = needle.encode() if LITERAL.fullmatch(words) and self.kind == "rows" else b""
        index = max(0, start)
        while needle and not stop():
            if index >= self.known and self._over:
                return None
            while index >= self.known and not self._over:
                self._scan()
            if index >= self.known:
                return None
            if quick and quick not in self._bytes(index).lower():
                index += 1
                continue
            document = self.get(index)
            if document is not None and needle in _all_text(document).lower():
                return index
            index += 1
        return None

    def _bytes(self, index: int) -> bytes:
        """A document as it lies in the file. Neighbours come out of one read."""
        start, end = self._starts[index], self._starts[index + 1]
        if not (self._block_at <= start and end <= self._block_at + len(self._block)):
            with contextlib.suppress(OSError), open(self.path, "rb") as file:
                file.seek(start)
                self._block, self._block_at = file.read(max(CHUNK, min(end - start, LONGEST))), start
        return self._block[start - self._block_at : end - self._block_at]

    def _scan(self) -> None:
        """Find the documents of the next piece of the file. What follows its last mark waits for the next call."""
        starts, data = self._starts, b""
        begin = starts[-1] if starts else 0
        try:
            with open(self.path, "rb") as file:
                file.seek(begin)
                while True:
                    more = file.read(CHUNK)
                    data += more
                    over = not more or begin + len(data) >= self.size
                    cut = self._ends(data, over)
                    if over or cut:
                        break
        except OSError:  # it went away
            self._over = True
            return
        del starts[-1:]
        at = 0
        for end in cut:
            if data[at:end].strip(b"\r\n\t " if self.kind != "text" else None) not in (b"", SEPARATOR):
                starts.append(begin + at)
            at = end
        self._over = over
        if over and data[at:].strip() not in (b"", SEPARATOR):
            starts.append(begin + at)
            at = len(data)
        starts.append(begin + at)

    def _ends(self, data: bytes, over: bool) -> list[int]:
        """Where documents of these bytes end, their separators counted in. A mark at the very end may go on in the next
        piece, unless the file is over."""
        if self.kind == "rows":
            return _newlines(data)
        return [m.end() for m in self._mark.finditer(data) if over or m.end() < len(data)]

    def _document(self, number: int, data: bytes, cut: bool) -> Document:
        text = data.decode("utf-8", "replace")
        if self.kind == "rows":
            try:
                row = json.loads(text)
            except (ValueError, RecursionError):
                return Document(number, text.strip(), None, cut, "" if cut else "this line is no JSON")
            if not isinstance(row, dict):
                return Document(number, text.strip(), None, cut, "this line is no JSON object")
            return Document(number, row_text(row, self.column), row, cut)
        text = text.replace(read.SEPARATOR, "").replace("\r\n", "\n").replace("\r", "\n")
        if self.kind == "note":
            text = read.FRONT_MATTER.sub("", text, count=1)
        return Document(number, text.strip("\n"), None, cut)


def _kind(path: Path) -> str:
    """rows, text, note, packed. UserError for what holds no text."""
    suffix = read.suffix(path)
    if suffix not in read.KINDS:
        raise UserError(f"{path.name}: no kind of text; there are .txt, .md, .jsonl and .parquet, plain or .gz")
    if path.suffix.lower() in read.PACKED or suffix in read.TABLES:
        return "packed"
    return "rows" if suffix in read.ROWS else "note" if suffix in read.NOTES else "text"


def _marked(path: Path) -> bool:
    """Whether documents are told apart by <|endoftext|>, as far as the beginning of the file tells."""
    with open(path, "rb") as file:
        return SEPARATOR in file.read(LOOK)


def _newlines(data: bytes) -> list[int]:
    """Positions behind line ends."""
    found, at = [], data.find(b"\n")
    while at >= 0:
        found.append(at + 1)
        at = data.find(b"\n", at + 1)
    return found


def _first(path: Path, column: str) -> list[Document]:
    """The first documents of a file that is read from its beginning only."""
    if read.suffix(path) in read.ROWS and path.suffix.lower() == ".gz":
        documents = []
        try:
            with gzip.open(path, "rb") as file:
                for number, line in enumerate(islice(file, PACKED), 1):
                    row = json.loads(line)
                    documents.append(Document(number, row_text(row, column), row))
        except (OSError, EOFError, ValueError, AttributeError) as error:
            raise UserError(f"{path.name}: {error}") from error
        return documents
    return [Document(d.number, d.text[:LONGEST]) for d in islice(read.documents(path, column or "text"), PACKED)]


def _all_text(document: Document) -> str:
    return document.text if document.row is None else json.dumps(document.row, ensure_ascii=False)

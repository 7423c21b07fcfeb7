"""Files of text in, documents out: plain text, Markdown notes, JSON lines, parquet, packed or not; folders; hub data sets.

Every complaint is one line that names the file and the line, row or byte. No MLX.
"""

import contextlib
import gzip
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from lab import hub
from lab.errors import UserError, expand

SEPARATOR = "<|endoftext|>"
TEXT = (".txt",)  # several documents a file: split at the separator, or where there is none at blank lines
NOTES = (".md", ".markdown", ".org")  # one note, one document
ROWS = (".jsonl",)
TABLES = (".parquet",)
PACKED = (".gz", ".zst")
HELD_OUT = ("valid", "val", "validation")
KINDS = TEXT + NOTES + ROWS + TABLES
SURROGATE = re.compile("[\ud800-\udfff]")
# A data set in several files: train-0.parquet, train-00000-of-00004.parquet, sometimes with a hash behind.
PART = re.compile(r"-\d+(-of-\d+(-[0-9a-f]+)?)?$")
# A first line ---, at least one `key: value`, a closing --- or ...; a note may also begin with a ruler, which stays.
FRONT_MATTER = re.compile(
    r"\A---[ \t]*\n(?:[ \t]*(?:#.*)?\n)*[^\s:#-][^:\n]*:(?:[ \t].*)?\n(?:.*\n)*?(?:---|\.\.\.)[ \t]*(?:\n|\Z)"
)


class Document(NamedTuple):
    """One document and where it came from."""

    text: str
    file: Path
    number: int  # from 1: the line of a jsonl, the row of a parquet, the count in a text
    done: int  # bytes of the file (as it lies on disk) read so far
    title: str = ""  # what its row holds beside the text


def missing(what: str) -> UserError:
    """What to say where something needs a package of the extra `data` that is not installed."""
    return UserError(f"{what} needs the extra `data`: uv sync --extra data, or pip install -e '.[data]'")


def suffix(path: Path) -> str:
    """'.txt' of a.txt, a.TXT.gz and a.txt.zst."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() in PACKED else path.suffix.lower()


def hub_name(data: str | Path) -> re.Match[str] | None:
    """The data set of the hub that `data` names (groups repo, revision), where nothing of that name is here; None where it
    can only mean a file or a folder of this computer."""
    repo = str(data).partition(":")[0]
    return None if suffix(Path(repo)) in KINDS or expand(repo).parent.is_dir() else hub.ID.fullmatch(repo)


def locate(data: str | Path) -> Path:
    """The file or folder that `data` names. `owner/name`, `owner/name@revision` and `owner/name:folder/inside` that are
    nothing here are data sets of the Hugging Face hub, whose text files are downloaded into its cache."""
    path = expand(data)
    if path.exists():
        return path
    named, inside = hub_name(data), str(data).partition(":")[2]
    if named is None:
        raise UserError(f"{data}: no such file or folder; give a text, a .jsonl, or a folder of them")
    inside = inside.strip("/")
    if ".." in Path(inside).parts:
        raise UserError(f"{data}: name a folder inside the data set, without ..")
    start = f"{inside}/*" if inside and suffix(Path(inside)) not in KINDS else inside or "*"
    allow = [start + kind + end for kind in KINDS for end in ("", *PACKED)] if start.endswith("*") else [start]
    folder = hub.snapshot(named["repo"], kind="dataset", revision=named["revision"], allow=allow) / inside
    if not folder.exists():
        raise UserError(f"{data}: this data set has no {inside} with text in it")
    return folder


def files(data: str | Path) -> tuple[list[Path], list[Path]]:
    """(training files, validation files) of a file, a folder or a hub data set, see `look`."""
    return look(data)[:2]


def look(data: str | Path) -> tuple[list[Path], list[Path], Counter[str]]:
    """(training files, validation files, how many files of which kind are left alone) of a file, a folder or a hub data
    set. In a folder `valid.*` (or `val`, `validation`) is held out and `test.*` left alone, and so is what lies in a
    folder of such a name; everything else that holds text is trained on. Hidden files and folders do not count."""
    path = locate(data)
    if path.is_file():
        if suffix(path) not in KINDS:
            raise UserError(f"{path}: unknown kind of file; give .txt, .md, .jsonl or .parquet, plain or .gz")
        return [path], [], Counter()
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give a text, a .jsonl, or a folder of them")
    sides: dict[str, list[Path]] = {"train": [], "valid": []}
    left = Counter[str]()
    for folder, inside, names in os.walk(path, onerror=_closed):
        inside[:] = [name for name in inside if not name.startswith(".")]  # .git, .obsidian
        left["linked folder"] += sum(os.path.islink(os.path.join(folder, name)) for name in inside)
        for file in (Path(folder, name) for name in names if not name.startswith(".")):
            use = _use(file, path)
            if use in sides:
                sides[use].append(file)
            else:
                left[use] += 1
    left = +left
    if not sides["train"]:
        raise UserError(
            f"{data}: no .txt, .md or .jsonl file in this folder, and no .parquet (plain, .gz, .zst); put text there"
            + (f" (left alone: {counts(left)})" if left else "")
        )
    return sorted(sides["train"]), sorted(sides["valid"]), left


def _use(file: Path, root: Path) -> str:
    """'train', 'valid', or the kind of what is left alone. The file's name decides, then the folder next to it that is
    named after a side: the hub's own parquet files are default/test/0000.parquet."""
    if suffix(file) not in KINDS:
        return suffix(file) or "without suffix"
    if not file.is_file():
        return "no plain file"
    if file.name.lower() in ("readme.md", "license.txt", "licence.txt"):
        return "README" if file.name.lower() == "readme.md" else "licence"  # explains a data set, is no part of it
    stem = PART.sub("", file.name.split(".")[0].lower())
    for name in (stem, *reversed(file.relative_to(root).parent.as_posix().lower().split("/"))):
        if name in ("train", "test", *HELD_OUT):
            return "valid" if name in HELD_OUT else name
    return "train"


def _closed(error: OSError) -> None:
    raise UserError(f"{error.filename}: this folder cannot be read ({error.strerror}); open it, or move it away")


def counts(left: Counter[str]) -> str:
    """'.html 3, README 1', most first."""
    return ", ".join(f"{kind} {count}" for kind, count in sorted(left.items(), key=lambda one: (-one[1], one[0])))


def texts(paths: Iterable[Path], column: str = "text") -> Iterator[str]:
    """All documents of all files, in order."""
    for path in paths:
        yield from read(path, column)


def read(path: Path, column: str = "text") -> Iterator[str]:
    """The documents of one file, see `documents`."""
    return (document.text for document in documents(path, column))


def documents(path: Path, column: str = "text") -> Iterator[Document]:
    """The documents of one file; none is empty.

    Rows of a jsonl or parquet: what `column` holds, a string or a list of messages (their contents, one below another).
    A Markdown or org file: one document without its front matter. A text: split at <|endoftext|>, or where there is
    none at blank lines; lines end with a line feed. UserError names file and line (rows), or file and byte (no UTF-8).
    """
    try:
        if suffix(path) in TABLES:
            yield from _table(path, column)
        elif suffix(path) in ROWS:
            yield from _rows(path, column)
        else:
            yield from _documents(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        kind = "zstd" if path.suffix.lower() == ".zst" else "gzip"
        raise UserError(f"{path}: broken {kind} file ({error}); copy or download it again") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """(what to read, the file on disk behind it)."""
    with open(path, "rb") as raw:
        if path.suffix.lower() == ".gz":
            yield gzip.GzipFile(fileobj=raw), raw  # type: ignore[misc]
        elif path.suffix.lower() == ".zst":
            zstd = _zstd(path)
            try:
                yield zstd.ZstdFile(raw), raw
            except zstd.ZstdError as error:
                raise EOFError(error) from error
        else:
            yield raw, raw


def _zstd(path: Path) -> Any:
    """The zstd module of Python 3.14, or its backport. Both complain of a file cut short; `zstandard` does not."""
    with contextlib.suppress(ImportError):
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]

        return zstd
    try:
        from backports import zstd
    except ImportError as error:
        raise missing(f"{path}: reading .zst") from error
    return zstd


def _decode(line: bytes, path: Path, offset: int) -> str:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        bad, wide = line[error.start], offset == 0 and line.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise UserError(
            f"{path}: byte {offset + error.start} (0x{bad:02x}) is not UTF-8{' but UTF-16' * wide}; convert the file, "
            f"for example: iconv -f {'utf-16' if wide else 'latin1'} -t utf8"
        ) from error
    if "\0" in text:
        place = offset + line.index(0)
        order = "le" if place % 2 else "be"  # UTF-16 without a mark: the first NUL is half of an ASCII character
        raise UserError(
            f"{path}: byte {place} is 0, which no text has; if it is UTF-16: iconv -f utf-16{order} -t utf8"
        )
    return text if offset else text.removeprefix("\ufeff")  # the mark some editors begin a file with


def _contents(value: Any) -> str | None:
    """A string, or the contents of a list of messages one below another; None for anything else."""
    if isinstance(value, str):
        return value
    said = [m.get("content") if isinstance(m, dict) else None for m in value] if isinstance(value, list) else [None]
    return "\n\n".join(map(str, said)) if all(isinstance(content, str) for content in said) else None


def _rows(path: Path, column: str) -> Iterator[Document]:
    offset = 0
    with _open(path) as (file, raw):
        for number, line in enumerate(file, 1):
            text = _decode(line, path, offset).strip()
            offset += len(line)
            if not text:
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f'{path}:{number}: broken JSON ({error}); each line is one {{"text": ...}}') from error
            value = _contents(row.get(column)) if isinstance(row, dict) else None
            if value is None:
                keys = ", ".join(row) if isinstance(row, dict) else type(row).__name__
                mend = f'give rows {{"{column}": "..."}}, or name another column with --text-column'
                raise UserError(f'{path}:{number}: no "{column}" in this row (it has: {keys}); {mend}')
            if half := SURROGATE.search(value):
                code = f"U+{ord(half[0]):04X}"
                raise UserError(f"{path}:{number}: character {half.start()} is half of a pair ({code}); remove it")
            if value.strip():
                yield Document(value, path, number, raw.tell(), _title(row.get("title")))


def _title(value: Any) -> str:
    """A title on one line; nothing where there is none, or half a character in it."""
    return " ".join(value.split()) if isinstance(value, str) and not SURROGATE.search(value) else ""


def objects(path: Path) -> Iterator[tuple[int, Any]]:
    """(line or row, from 1; its value) of a .jsonl or .parquet, packed or not: whole rows, for those that look into them.
    A line that is no JSON comes as the ValueError that says so: whoever asks decides whether one bad row spoils a set."""
    try:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "no such file"
            raise UserError(f"{path}: {what}; name a .jsonl or .parquet")
        if suffix(path) in TABLES:
            yield from _table_rows(path)
            return
        if suffix(path) not in ROWS:
            raise UserError(f"{path}: rows come as .jsonl or .parquet, plain or packed")
        offset = 0
        with _open(path) as (file, _):
            for number, line in enumerate(file, 1):
                text = _decode(line, path, offset).strip()
                offset += len(line)
                if not text:
                    continue
                try:
                    yield number, json.loads(text)
                except (ValueError, RecursionError) as error:
                    yield number, ValueError(f"broken JSON ({error})")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: broken packed file ({error}); copy or download it again") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _table_rows(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing(f"{path}: reading .parquet") from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (UnicodeDecodeError, pyarrow.ArrowException) as error:
        raise UserError(f"{path}: broken parquet file ({error}); copy or download it again") from error


def _table(path: Path, column: str) -> Iterator[Document]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise missing(f"{path}: reading .parquet") from error
    number, size = 0, path.stat().st_size
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if column not in names:
                have = f'no column "{column}" (it has: {", ".join(names)})'
                raise UserError(f"{path}: {have}; name the one that holds text with --text-column")
            wanted = [column, *(["title"] if "title" in names and column != "title" else [])]
            for batch in file.iter_batches(batch_size=1000, columns=wanted):  # never a whole row group in memory
                for row in batch.to_pylist():
                    number += 1
                    value = row[column]
                    text = _contents(value)
                    if text is None and value is not None:
                        mend = "name a column of strings with --text-column"
                        raise UserError(f'{path}: row {number}: "{column}" is {type(value).__name__}; {mend}')
                    if text and text.strip():
                        done = size * number // max(1, file.metadata.num_rows)
                        yield Document(text, path, number, done, _title(row.get("title")))
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: text after row {number} is not UTF-8 ({error.reason}); write the file again"
        ) from error
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: broken parquet file ({error}); copy or download it again") from error


def _marked(path: Path) -> bool:
    """Whether <|endoftext|> stands anywhere in the file."""
    mark, block = SEPARATOR.encode(), b""
    with _open(path) as (file, _):
        while new := file.read(1 << 20):
            block = block[-len(mark) :] + new
            if mark in block:
                return True
    return False


def _documents(path: Path) -> Iterator[Document]:
    marked, note = _marked(path), suffix(path) in NOTES
    offset, number, held = 0, 0, list[str]()
    with _open(path) as (file, raw):
        for line in file:
            text = _decode(line, path, offset)
            offset += len(line)
            if marked:
                *ended, rest = text.split(SEPARATOR)
            else:
                ended, rest = ([""], "") if text.isspace() and not note else ([], text)
            for piece in ended:
                held.append(piece)
                if document := _whole(held, note):
                    number += 1
                    yield Document(document, path, number, raw.tell())
                held = []
            held.append(rest)
        if document := _whole(held, note):
            yield Document(document, path, number + 1, raw.tell())


def _whole(lines: list[str], note: bool) -> str:
    text = "".join(lines).replace("\r\n", "\n").replace("\r", "\n")
    return FRONT_MATTER.sub("", text, count=1).strip() if note else text.strip()

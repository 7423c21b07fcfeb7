"""Tools that a model may call: a search in an index of passages, and Python in a sandbox. No MLX.

A tool is asked with text a model wrote, so it never raises for what it is asked, never answers with more than `limit`
characters, and answers the same question alike each time: its answers are trained on.
"""

import contextlib
import hashlib
import itertools
import os
import re
import shlex
import shutil
import sqlite3
import sysconfig
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from lab.errors import UserError, expand

if TYPE_CHECKING:
    from pydantic_monty import Monty

NOTHING = "No results."  # a search that finds nothing, or an empty query
BROKEN = "Error: the index cannot be read."
SILENT = "No output."  # code that ends without a value and prints nothing
APPLICATION = 0x4C414249  # PRAGMA application_id of our indexes: "LABI"
TERMS = 32  # words of a query that count
WORD = re.compile(r"\w+")
# Words that say how a question is put, not what it is about; they count where a query holds no others. Without them the
# best passage answers 65 % of questions about the World Factbook instead of 50 %, in a sixth of the time.
COMMON = (
    "a an the and or but of in on at to by for from with as is are was were be been do does did has have had it its this "
    "that these those what which who whom whose when where why how many much me you i we they he she can could will would "
    "there about tell"
)
STOP = frozenset(COMMON.split())
SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")  # between sentences
# BM25 (Robertson et al. 1994) as FTS5 computes it (k1 1.2, b 0.75; https://sqlite.org/fts5.html#the_bm25_function), a word
# of the title counting five times.
BEST = "SELECT title, text FROM passages WHERE passages MATCH ? ORDER BY bm25(passages, 5.0, 1.0), rowid LIMIT ?"
# Before these comes what bears the query itself as its title, as it goes: "Guinea" before "Papua New Guinea".
TITLED = "SELECT title, text FROM passages WHERE passages MATCH ? AND key = ? ORDER BY rowid LIMIT ?"
SECONDS, MEMORY, DEPTH = 1.0, 64 << 20, 200  # what code may use: time, bytes, calls inside calls
PRINTED = 64 << 10  # bytes printed at most
ELEMENTS = 1 << 16  # larger values are not turned into text, which would take memory and time of our own


class Tool(Protocol):
    """What lab.calls asks: called with the text of a call, answers with the text of its result."""

    name: str  # "search" or "code"

    def __call__(self, query: str) -> str: ...

    def close(self) -> None: ...


class _Closing:
    """A context manager that closes at its end."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def terms(query: str) -> list[str]:
    """The words of a query that count, each once, in order; nothing that FTS5's query language knows is left in them."""
    words = list(dict.fromkeys(key(query).split()))
    return [word for word in words if word not in STOP][:TERMS] or words[:TERMS]


def key(title: str) -> str:
    """A title, or a query, as they are compared with each other: their words, casefolded."""
    clean = title[:2000].encode("utf-8", "ignore").decode()  # half a surrogate pair is no text for SQLite
    return " ".join(WORD.findall(clean.casefold()))


def shown(title: str, text: str) -> str:
    """A passage as a search answers with it: the title goes before a text that does not name it."""
    return text if f" {key(title)} " in f" {key(text)} " or not key(title) else f"{title}: {text}"


def snippet(text: str, query: Sequence[str], limit: int) -> str:
    """At most `limit` characters of a text: of the runs of whole sentences that fit, the first that has most words of
    the query; a sentence too long in itself is cut after a word."""
    if len(text) <= limit:
        return text
    edges = [0, *(match.end() for match in SENTENCE.finditer(text)), len(text)]
    sentences = [(a, b) for a, b in itertools.pairwise(edges) if b > a]
    best, most = (0, 0), -1
    for i, (start, end) in enumerate(sentences):
        for _, following in sentences[i + 1 :]:
            if len(text[start:following].rstrip()) > limit:
                break
            end = following
        words = set(WORD.findall(text[start : min(end, start + limit)].casefold()))
        found = sum(word in words for word in query)
        if found > most:
            best, most = (start, end), found
    return cut(text[best[0] : best[1]].strip(), limit)


def cut(text: str, limit: int) -> str:
    """The text, or what fits into `limit` characters up to the last whole word."""
    if len(text) <= limit:
        return text
    head, space, _ = text[: limit + 1].rpartition(" ")
    return (head if space and len(head) > limit // 2 else text[:limit]).rstrip()


class Search(_Closing):
    """Full-text search in a database made by `lab index`: the `k` best passages by BM25, one a line, `limit` characters
    in all. Any thread may ask. UserError for a file that is missing or no index of ours; one that breaks later answers
    BROKEN."""

    name = "search"

    def __init__(self, path: str | Path, limit: int = 500, k: int = 1):
        self.path, self.limit, self.k = expand(path), max(1, limit), max(1, k)
        self._lock = threading.Lock()
        if not os.path.isfile(self.path):
            raise UserError(f"{path}: no such index; make one with lab index FOLDER --out {path}")
        # Read only: no query, whatever it holds, can change the file. Immutable: an index is never changed in place, so
        # nobody's lock is waited for.
        name = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
        with contextlib.ExitStack() as stack:
            try:
                self._db = sqlite3.connect(name, uri=True, check_same_thread=False)
                stack.callback(self._db.close)
                mark = self._db.execute("PRAGMA application_id").fetchone()[0]
                self.count = int(self._db.execute("SELECT count(*) FROM passages").fetchone()[0]) if mark else 0
                self._db.execute(TITLED, ('"a"', "a", 1)).fetchall()
            except sqlite3.Error as error:
                raise UserError(f"{path}: no index ({error}); make one with lab index FOLDER --out {path}") from error
            if mark != APPLICATION:
                raise UserError(f"{path}: not made by lab index; make one with lab index FOLDER --out {path}")
            stack.pop_all()

    def find(self, query: str, k: int | None = None) -> list[tuple[str, str]]:
        """(title, text) of the best passages, whole, best first; sqlite3.Error where the file is broken."""
        words, k = [f'"{word}"' for word in terms(query)], k or self.k
        if not words:
            return []
        with self._lock:
            titled = self._db.execute(TITLED, (f"title : ({' AND '.join(words)})", key(query), k)).fetchall()
            # Two words are a name mostly. What holds one of them is somebody else of the same first name, whose facts a small
            # model gives as those it was asked for (.63 of the time). More words are a question: any of them may be missing.
            joined = (" AND " if len(key(query).split()) == 2 else " OR ").join(words)
            best = self._db.execute(BEST, (joined, k)).fetchall() if len(titled) < k else []
        return [*titled, *(passage for passage in best if passage not in titled)][:k]

    def __call__(self, query: str) -> str:
        """What a model is told."""
        try:
            found = self.find(query)
        except (sqlite3.Error, sqlite3.Warning):
            return cut(BROKEN, self.limit)
        if not found:
            return cut(NOTHING, self.limit)
        words, each = terms(query), max(1, (self.limit - len(found) + 1) // len(found))
        said = [_passage(title, text, words, each) for title, text in found]
        return "\n".join(said)[: self.limit]

    def close(self) -> None:
        """Close the file; a later question is answered with BROKEN."""
        with self._lock:
            self._db.close()


def _passage(title: str, text: str, words: Sequence[str], limit: int) -> str:
    """A passage on one line, cut to `limit` with its title kept where half of the room is left for the text."""
    whole = " ".join(shown(title, text).split())
    if len(whole) <= limit:
        return whole
    room = limit - len(title) - 2
    part = snippet(text, words, room) if room >= limit // 2 else snippet(text, words, limit)
    return cut(" ".join((shown(title, part) if room >= limit // 2 else part).split()), limit)


class Python(_Closing):
    """Python that a model writes, run by pydantic-monty: an interpreter of its own, in a worker process, without files,
    network, environment, clock or other processes. A call starts with nothing and leaves nothing.

    Answers with the value of the last expression, or with what was printed; errors are one line, `Error: Kind: message`.
    A second of time, 64 MB of memory, 200 calls inside calls. Random numbers and the date are the same each time. The
    worker starts with the first call and ends with `close` or with this process, however it ends: it reads from a pipe
    that only this process holds. Any thread may call.
    """

    name = "code"

    def __init__(self, limit: int = 500, seconds: float = SECONDS, memory: int = MEMORY):
        self.limit, self.seconds, self.memory = max(1, limit), seconds, memory
        self._lock = threading.Lock()
        self._pool: Monty | None = None
        self._stack = contextlib.ExitStack()
        self._closed = False

    def __call__(self, query: str) -> str:
        """What a model is told."""
        try:
            said = self._run(query)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of the interpreter's Rust side is no Exception
            said = self._error(error)
        return cut(said.strip() or SILENT, self.limit)

    def close(self) -> None:
        """End the worker; a later call is answered with an error."""
        with self._lock:
            self._closed, self._pool = True, None
            self._stack.close()

    def _run(self, code: str) -> str:
        from pydantic_monty import CollectString

        printed = CollectString(max_bytes=PRINTED)
        limits: Any = {
            "max_feed_duration_secs": self.seconds, "max_memory": self.memory, "max_recursion_depth": DEPTH,
            "max_suspensions": 100,
        }  # fmt: skip
        # The clock stands still and sleeping takes no time: nothing to wait for, and the same answer each time.
        policy: Any = {"datetime": datetime(2025, 1, 1, tzinfo=UTC), "sleep": "zero", "random_start": {"seed": 0}}
        with self._open().checkout(script_name="code.py", limits=limits, os_policy=policy) as session:
            value = session.feed_run(code, print_callback=printed)
        return printed.output if value is None else text_of(value, self.limit)

    def _open(self) -> "Monty":
        with self._lock:
            if self._closed:
                raise RuntimeError("the sandbox is closed")
            if self._pool is None:
                self._pool = self._start(_launcher())
            return self._pool

    def _start(self, launcher: Path | None) -> "Monty":
        from pydantic_monty import Monty

        # A worker that does not stop by itself in time is killed from here; after 1,000 calls it is replaced, so that
        # nothing it leaks adds up.
        pool = Monty(
            binary_path=launcher, max_processes=1, checkout_timeout=30, request_timeout=2 * self.seconds + 1,
            max_checkouts_per_worker=1000,
        )  # fmt: skip
        try:
            return self._stack.enter_context(pool)
        except Exception:
            if launcher is None:
                raise
            return self._start(None)  # a folder in which nothing may be run

    def _error(self, error: BaseException) -> str:
        """`Error: Kind: message` in one line. Limits are told in fixed words: the interpreter's hold measured figures."""
        display: Callable[[str], str] | None = getattr(error, "display", None)
        said = display("type-msg") if display else f"{type(error).__name__}: {error}"
        if getattr(error, "timed_out", False) or "time limit exceeded" in said:
            said = f"TimeoutError: over {self.seconds:g} s"
        elif said.startswith(("MemoryError", "MontyCrashedError")):
            said = "MemoryError: too large"
        return " ".join(f"Error: {said}".split())


def _launcher() -> Path | None:
    """A script that starts a worker without the right to write files, and silent: one that dies of its memory limit says
    so on the terminal it shares with us. It is kept in the cache; None, for the interpreter's own way to start a worker
    (which takes its environment away too), where nothing can be kept there."""
    from lab.data import cache_folder
    from lab.runs import write_atomic

    here = Path(sysconfig.get_path("scripts"), "monty")
    monty = str(here) if here.is_file() else shutil.which("monty")
    if monty is None:
        return None
    text = f'#!/bin/sh\nulimit -f 0\nulimit -c 0\nexec env -i {shlex.quote(monty)} "$@" 2>/dev/null\n'
    script = cache_folder() / f"sandbox-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    try:
        if not (script.is_file() and script.read_text() == text and os.access(script, os.X_OK)):
            script.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(script, text)
            script.chmod(0o700)
    except OSError:
        return None
    return script


def text_of(value: Any, limit: int) -> str:
    """A value as text, strings as they are. ValueError for what is too large to show."""
    if isinstance(value, str):
        return value[: limit + 1]
    if not _small(value, [ELEMENTS]):
        raise ValueError("the value is too large to show")
    kind = type(value).__name__
    if kind.startswith("Monty") and kind.endswith("Proxy"):  # what stays in the sandbox: an object, a class, a function
        return f"<{getattr(value, 'name', 'object')}>"
    return str(value)


def _small(value: Any, left: list[int], depth: int = 0) -> bool:
    """Whether a value has at most `left` elements in all and 50 levels."""
    left[0] -= len(value) if isinstance(value, str | bytes) else 1
    if left[0] < 0 or depth > 50:
        return False
    if isinstance(value, dict):
        return all(_small(k, left, depth + 1) and _small(v, left, depth + 1) for k, v in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return all(_small(v, left, depth + 1) for v in value)
    return not isinstance(value, int) or value.bit_length() < 14_000  # 4,300 digits: Python shows no more

"""Documents in, windows of token ids out: pack them without padding, cache them memory-mapped, draw batches.

The order is a pure function of (seed, step), so resuming is an integer. No MLX.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from lab.errors import UserError, expand
from lab.read import files, texts
from lab.runs import read_json, root, write_atomic
from lab.tokenizer import Tokenizer


def split(documents: Iterable[str], held_out: bool, every: int = 50) -> Iterator[str]:
    """One side of a set that brings no validation file: every 50th document is held out; a set of fewer than `every`
    documents holds out the last twentieth of its text."""
    source = iter(documents)
    first = list(islice(source, every))
    if len(first) == every:
        for i, document in enumerate(chain(first, source)):
            if (i % every == 0) == held_out:
                yield document
        return
    text = "\n\n".join(first)
    cut = max(1, len(text) * 19 // 20)
    yield text[cut:] if held_out else text[:cut]


@dataclass(frozen=True)
class Source:
    """Text that can be read again and again: documents as (text, whole); a key that changes when they do."""

    key: str
    train: Callable[[], Iterable[tuple[str, bool]]]
    held_out: Callable[[], Iterable[tuple[str, bool]]]
    name: str = "the text"  # what messages call it


def source(data: str | Path, column: str = "text") -> Source:
    """A file, a folder or a hub data set as a Source; `column` is where rows of .jsonl and .parquet keep their text. See
    `lab.read` and `split`."""
    train, valid = files(data)

    def side(held_out: bool) -> Iterator[tuple[str, bool]]:
        found = texts(valid if held_out else train, column) if valid else split(texts(train, column), held_out)
        return ((text, False) for text in found)

    key = fingerprint(*train, *valid, *([column] if column != "text" else []))  # the key of older runs holds
    return Source(key, lambda: side(False), lambda: side(True), str(data))


def fit(source: Source, vocab_size: int, characters: int = 4_000_000) -> Tokenizer:
    """A tokenizer trained on the first `characters` of a source, kept in the cache. sentencepiece's memory grows with
    the text, and a few thousand pieces need no more."""
    folder = cache_folder() / "tokenizers" / f"{source.key}-{vocab_size}"
    if not (folder / "tokenizer.model").exists():
        learn(source, beginning(source.train(), characters), vocab_size).save(folder)
    return Tokenizer.load(folder)


def learn(source: Source, texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """`Tokenizer.train` whose complaints name the source."""
    corpus = list(texts)  # first: complaints of reading name their file themselves
    try:
        return Tokenizer.train(corpus, vocab_size)
    except UserError as error:
        flag = " (--vocab-size)" if "vocabulary size" in str(error) else ""
        raise UserError(f"{source.name}: {error}{flag}") from error


def beginning(documents: Iterable[tuple[str, bool]], characters: int) -> Iterator[str]:
    """The texts of one side of a Source from its start, until there are so many characters."""
    for text, _ in documents:
        yield text[:characters]
        characters -= len(text)
        if characters <= 0:
            return


# -- packing and cache ---------------------------------------------------------------------------------------------


def pack(documents: Iterable[tuple[list[int], bool]], length: int, look: int = 512) -> Iterator[list[int]]:
    """Order documents so that those marked whole never straddle a window of `length` tokens; nothing is padded or lost.

    Documents keep their order. Only where one marked whole does not fit into what is left of the window, one of the
    next `look` that does fit goes first; where none does, one that may be cut (its tail opens the next window), however
    far ahead. Cut all the same are documents longer than a window and, at the very end, where nothing else is left.
    """
    buffer: list[tuple[list[int], bool]] = []
    source = iter(documents)
    room = length
    barren = False  # nothing that may be cut is left
    while True:
        buffer.extend(islice(source, max(0, look - len(buffer))))
        if not buffer:
            return
        pick, start = 0, 0
        if buffer[0][1] and room < len(buffer[0][0]) <= length:
            while start < len(buffer):
                seen = range(start, min(look, len(buffer)) if barren else len(buffer))
                fits = (i for i in seen if len(buffer[i][0]) <= room)
                cuttable = (i for i in seen if not buffer[i][1])
                longer = (i for i in seen if len(buffer[i][0]) > length)
                if (pick := next(fits, next(cuttable, next(longer, 0)))) or barren:
                    break
                start = len(buffer)
                buffer.extend(islice(source, look))
                barren = len(buffer) == start
        ids, _ = buffer.pop(pick)
        yield ids
        room = length - (length - room + len(ids)) % length


@dataclass(frozen=True)
class Tokens:
    """A memory-mapped stream of token ids and what it was made of."""

    ids: np.ndarray  # uint16 or uint32 [N]
    bytes: int  # UTF-8 bytes of the text behind them
    documents: int

    def windows(self, length: int) -> int:
        """How many windows of `length` targets there are."""
        return max(0, (len(self.ids) - 1) // length)

    def window(self, index: int, length: int) -> np.ndarray:
        """int32 [length + 1]: inputs and, one further, their targets. Windows share one token, so each is a target once."""
        start = index * length
        return np.asarray(self.ids[start : start + length + 1], dtype=np.int32)

    def batch(self, seed: int, step: int, rows: int, length: int) -> np.ndarray:
        """int32 [rows, length + 1] of step `step` (counted from 1): without repeats within a pass over the data."""
        count = self.windows(length)
        first = (step - 1) * rows
        picks = [int(_order(seed, i // count, count)[i % count]) for i in range(first, first + rows)]
        return np.stack([self.window(pick, length) for pick in picks])


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of the windows for one pass over the data."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def cache_folder() -> Path:
    """$LAB_CACHE, or `.cache` in the weights root."""
    home = os.environ.get("LAB_CACHE")
    return expand(home) if home else root() / ".cache"


def byte_lengths(tokenizer: Tokenizer) -> np.ndarray:
    """int64 [V]: UTF-8 bytes of text behind every id; 0 for special tokens, which are no text."""
    special = set(tokenizer.special.values())
    sizes = [0 if i in special else len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]
    return np.array(sizes, dtype=np.int64)


def fingerprint(*parts: Any) -> str:
    """A key of what a cache entry was made from; for a Path its place, size and time of change count."""
    told = [
        f"{p.resolve()} {p.stat().st_size} {p.stat().st_mtime_ns}" if isinstance(p, Path) else repr(p) for p in parts
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:24]


def tokenised(source: Source, held_out: bool, tokenizer: Tokenizer, length: int) -> Tokens:
    """A source as a stream of BOS text END, tokenised once: a later call maps the same file."""
    folder = cache_folder() / "tokens" / fingerprint(source.key, held_out, tokenizer.fingerprint, length)
    if not read_json(folder / "meta.json"):
        _build(folder, tokenizer, source.held_out() if held_out else source.train(), length)
    meta = read_json(folder / "meta.json")
    ids = np.load(folder / "ids.npy", mmap_mode="r")
    return Tokens(ids, int(meta["bytes"]), int(meta["documents"]))


def _build(folder: Path, tokenizer: Tokenizer, documents: Iterable[tuple[str, bool]], length: int) -> None:
    size, count = 0, 0
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    begin = tokenizer.begin

    def encoded() -> Iterator[tuple[list[int], bool]]:
        nonlocal size, count
        source = iter(documents)
        while chunk := list(islice(source, 1000)):
            for (text, whole), ids in zip(chunk, tokenizer.encode_batch([t for t, _ in chunk]), strict=True):
                size += len(text.encode())
                count += 1
                yield [*begin, *ids, tokenizer.end], whole

    aside = folder.with_name(f".{folder.name}.{os.getpid()}")
    aside.mkdir(parents=True, exist_ok=True)
    try:
        with open(aside / "ids.bin", "wb") as file:
            for ids in pack(encoded(), length):
                file.write(np.asarray(ids, dtype=dtype).tobytes())
        flat = np.fromfile(aside / "ids.bin", dtype=dtype)
        if len(flat) and int(flat.max()) >= tokenizer.vocab_size:  # MLX does not check: an id too large reads garbage
            raise UserError(f"the tokenizer {tokenizer.name} gave an id above its own vocabulary; it is broken")
        np.save(aside / "ids.npy", flat)
        (aside / "ids.bin").unlink()
        write_atomic(aside / "meta.json", json.dumps({"bytes": size, "documents": count}))
        if "bytes" in read_json(folder / "meta.json"):
            return  # another training of the same text was quicker
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)

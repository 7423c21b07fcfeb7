"""What a tokenizer did to a text: each token's piece, bytes, place and cost in bits, and the merges that built it.

What the command line (`lab tokens`) and the Tokens screen share. No MLX.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from rich.cells import cell_len

from lab import gguf, gguf_tokenizer, hub
from lab.tokenizer import FILES, Tokenizer
from lab.vocabulary import BYTE_NAME, ESCAPE, SPACE, HuggingFace

Kind = Literal["special", "byte", "character", "learned", "added", "unused"]
KINDS: tuple[Kind, ...] = ("special", "byte", "character", "learned", "added", "unused")
SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
# Shown as an escape though Unicode calls them printable: they change how the character before them looks, or nothing.
SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
SEAT = "◌"  # what a combining mark sits on


@dataclass(frozen=True)
class Token:
    """One token of a text; it lies in the characters [start, end), of which it may be a part only."""

    id: int
    piece: str
    bytes: bytes
    start: int
    end: int
    bits: float  # what it costs when all tokens of the vocabulary are equally likely: log2(V)


@dataclass(frozen=True)
class Merge:
    """A piece and how it came to be: the parts that were joined and the rank of that merge, 0 being the first learned.

    A character or byte has no parts and no rank. More than two parts and no rank: the vocabulary holds the piece, but
    its merges do not lead there from these parts.
    """

    spelling: bytes
    rank: int | None = None
    parts: tuple["Merge", ...] = ()

    def leaves(self) -> list[bytes]:
        """The characters or bytes at the bottom, left to right; together they are `spelling`."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self.spelling]


@dataclass(frozen=True)
class Lengths:
    """How long one text is, counted in four ways."""

    characters: int
    bytes: int
    tokens: int
    bits: float  # tokens * log2(V)

    @property
    def characters_per_token(self) -> float:
        return self.characters / self.tokens if self.tokens else 0.0

    @property
    def bytes_per_token(self) -> float:
        return self.bytes / self.tokens if self.tokens else 0.0


def explain(tokenizer: Tokenizer, text: str) -> list[Token]:
    """The tokens of `text` in order. UserError for a lone surrogate."""
    bits = math.log2(tokenizer.vocab_size)
    return [
        Token(i, tokenizer.piece(i), tokenizer.token_bytes(i), start, end, bits)
        for i, (start, end) in zip(tokenizer.encode(text), tokenizer.core.spans(text), strict=True)
    ]


def lengths(tokenizer: Tokenizer, text: str) -> Lengths:
    """The length of `text` in characters, bytes, tokens and bits. UserError for a lone surrogate."""
    tokens = len(tokenizer.encode(text))
    return Lengths(len(text), len(text.encode()), tokens, tokens * math.log2(tokenizer.vocab_size))


@dataclass(frozen=True)
class Step:
    """One merge: `row` is what lay side by side after it, of which `row[at]` was joined."""

    row: tuple[bytes, ...]
    at: int
    rank: int


def merge_tree(tokenizer: Tokenizer, token: int) -> Merge:
    """Build a token again from its characters (ours) or bytes, by the tokenizer's own merges."""
    return _build(tokenizer, token)[0]


def merge_steps(tokenizer: Tokenizer, token: int) -> list[Step]:
    """The merges of `merge_tree` in the order in which they are made; none for a byte, a character or a special."""
    return _build(tokenizer, token)[1]


def _build(tokenizer: Tokenizer, token: int) -> tuple[Merge, list[Step]]:
    core, symbol, steps = tokenizer.core, tokenizer.core.symbol(token), list[Step]()
    if symbol is None:  # a byte or a special token: nothing was joined
        return Merge(tokenizer.token_bytes(token)), steps
    row = [(char, Merge(core.to_bytes(char))) for char in symbol]
    while len(row) > 1:
        ranks = [core.merges.get((left, right)) for (left, _), (right, _) in pairwise(row)]
        known = [(rank, at) for at, rank in enumerate(ranks) if rank is not None]
        if not known:
            return Merge(core.to_bytes(symbol), None, tuple(node for _, node in row)), steps
        rank, at = min(known)
        joined = row[at][0] + row[at + 1][0]
        row[at : at + 2] = [(joined, Merge(core.to_bytes(joined), rank, (row[at][1], row[at + 1][1])))]
        steps.append(Step(tuple(node.spelling for _, node in row), at, rank))
    return row[0][1], steps


def stretches(tokenizer: Tokenizer, text: str, ids: Sequence[int]) -> np.ndarray:
    """Where in the UTF-8 of `text` the stretch of each of its tokens ends: int64 [len(ids)], the last one len(UTF-8).

    The stretches lie side by side and together are the text, byte for byte. A token's own bytes may differ from its
    stretch: ours writes U+2581 as an escape, Llama 2's puts a space in front, others compose accents first. Where that
    cannot be told byte by byte, the places that the tokenizers library reports are used.
    """
    data = text.encode()
    sizes = np.array([len(tokenizer.token_bytes(i)) for i in ids], dtype=np.int64)
    ends = np.cumsum(sizes)
    written = b"".join(map(tokenizer.token_bytes, ids))
    if written == data:
        return ends
    if tokenizer.core.strip_first and written == b" " + data:
        return ends - 1
    if tokenizer.core.escapes:
        kept = [  # of what is written for each character, the bytes that count as its own
            own
            for char in text
            for own in ((1, 1, 1, 0) if char in (ESCAPE, SPACE) else (1,) * len(char.encode()))
        ]  # fmt: skip
        return np.cumsum(kept, dtype=np.int64)[ends - 1] if len(ends) else ends
    starts = np.concatenate([[0], np.cumsum([len(char.encode()) for char in text], dtype=np.int64)])
    places = [starts[end] for _, end in tokenizer.core.spans(text)]
    found = np.maximum.accumulate(np.array(places, dtype=np.int64)) if places else ends
    found[-1:] = len(data)
    return found


def inventory(tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """(kinds, ranks) of the whole vocabulary: places in `KINDS`, uint8 [V], and the rank of the merge that makes the
    piece, int32 [V], -1 where there is none.

    byte: stands for one byte, whatever the text; character: in the vocabulary before the first merge; learned: made by
    merges; added: written into the vocabulary by hand (runs of spaces, for instance); unused: an id that is no token.
    """
    core, size = tokenizer.core, tokenizer.vocab_size
    made: dict[str, int] = {}
    for (left, right), rank in core.merges.items():
        made.setdefault(left + right, rank)
    specials = frozenset(core.special.values())
    bytes_: set[int] = set(range(1, 257))
    if isinstance(core, HuggingFace):
        bytes_ = {i for name, i in core.ids.items() if BYTE_NAME.fullmatch(name)}
    kinds, ranks = np.empty(size, np.uint8), np.full(size, -1, np.int32)
    kind: Kind
    for i in range(size):
        symbol = core.symbol(i)
        if i in specials:
            kind = "special"
        elif symbol is None:
            kind = "byte" if i in bytes_ else "added" if core.table[i] else "unused"
        elif len(symbol) == 1:
            kind = "byte" if len(core.table[i]) == 1 and getattr(core, "byte_level", False) else "character"
        else:
            kind, ranks[i] = "learned", made.get(symbol, -1)
        kinds[i] = KINDS.index(kind)
    return kinds, ranks


def signs(spelling: bytes) -> list[tuple[str, bool]]:
    """Bytes as one line, in runs of (text, whether it is a sign for something else): white space as signs, what is no
    character as \\xNN, a character that cannot be shown as \\uNNNN, a combining mark on ◌. Never empty cells only."""
    runs: list[tuple[str, bool]] = []
    for char in spelling.decode("utf-8", "surrogateescape"):
        shown, sign = _shown(char)
        if not sign and (not runs or runs[-1][1]) and _needs_seat(char):
            runs.append((SEAT, True))
        if runs and runs[-1][1] == sign:
            runs[-1] = (runs[-1][0] + shown, sign)
        else:
            runs.append((shown, sign))
    return runs


def visible(spelling: bytes) -> str:
    """`signs` as one text."""
    return "".join(text for text, _ in signs(spelling))


@functools.lru_cache(maxsize=8192)
def _shown(char: str) -> tuple[str, bool]:
    code = ord(char)
    if sign := SIGNS.get(char):
        return sign, True
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no part of a character, as "surrogateescape" passes it on
        return f"\\x{code - 0xDC00:02x}", True
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}", True
    if not char.isprintable() or any(code in selectors for selectors in SELECTORS):
        return (f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"), True
    return char, False


def _needs_seat(char: str) -> bool:
    """Whether a character takes no room of its own: it would sit on what stands before it. Skin tones too."""
    return cell_len(char) == 0 or 0x1F3FB <= ord(char) <= 0x1F3FF


def open_tokenizer(model: str) -> Tokenizer:
    """The tokenizer of a run, folder, run@step, hub id (fetched, without weights) or .gguf file. UserError as in
    `lab.hub.locate`."""
    if (path := hub.find_gguf(model)) is not None:
        return Tokenizer.from_files(gguf_tokenizer.files(gguf.read(path)), path.stem, str(path))
    tokenizer = Tokenizer.load(hub.locate(model, allow=FILES)[0])
    if hub.is_id(model):
        tokenizer.name = model  # the folder's is a commit hash
    return tokenizer

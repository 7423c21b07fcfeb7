"""What a tokenizer did to a text: each token's piece, bytes, place and cost in bits, and the merges that built it."""

import math
from dataclasses import dataclass
from itertools import pairwise

from lab.tokenizer import Tokenizer


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


def merge_tree(tokenizer: Tokenizer, token: int) -> Merge:
    """Build a token again from its characters (ours) or bytes, by the tokenizer's own merges."""
    core, symbol = tokenizer.core, tokenizer.core.symbol(token)
    if symbol is None:  # a byte or a special token: nothing was joined
        return Merge(tokenizer.token_bytes(token))
    row = [(char, Merge(core.to_bytes(char))) for char in symbol]
    while len(row) > 1:
        ranks = [core.merges.get((left, right)) for (left, _), (right, _) in pairwise(row)]
        known = [(rank, at) for at, rank in enumerate(ranks) if rank is not None]
        if not known:
            return Merge(core.to_bytes(symbol), None, tuple(node for _, node in row))
        rank, at = min(known)
        joined = row[at][0] + row[at + 1][0]
        row[at : at + 2] = [(joined, Merge(core.to_bytes(joined), rank, (row[at][1], row[at + 1][1])))]
    return row[0][1]

"""Seeds, splits and small choices: what every generator of the pocket world shares."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeVar

Split = Literal["train", "test"]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Document:
    """One text of the corpus; `whole` asks the packing never to cut it at a window edge."""

    text: str
    kind: str
    whole: bool = False


def generator(name: str, seed: object) -> Random:
    """A random generator of its own for this name and seed."""
    # A string seeds through sha512, so it is the same in every process, unlike hash().
    return Random(f"{name}:{seed}")


def held_out(key: str) -> bool:
    """True for one key in ten: whatever carries such a key is never in training."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 10 == 0


def wanted(key: str, split: Split) -> bool:
    """Whether this key belongs to the split."""
    return held_out(key) == (split == "test")


def shuffled(r: Random, items: Sequence[Item]) -> list[Item]:
    """A shuffled copy."""
    return r.sample(items, len(items))


def terms(text: str) -> list[str]:
    """The words of a text: short word lists are easier to read without quotes."""
    return text.split()


def article(word: str) -> str:
    """The word with "a" or "an" before it."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def capital(text: str) -> str:
    """The text with its first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]

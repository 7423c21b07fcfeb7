"""The corpus of seed 0, generated once for all tests of the pocket world."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache

from recipes import pocket
from recipes.pocket import Document


@cache
def corpus() -> list[Document]:
    return pocket.corpus(0)


@cache
def by_kind() -> dict[str, list[str]]:
    """Kind -> texts."""
    texts: dict[str, list[str]] = defaultdict(list)
    for document in corpus():
        texts[document.kind].append(document.text)
    return texts


@cache
def index() -> dict[str, set[int]]:
    """Word -> numbers of the documents that contain it."""
    found: dict[str, set[int]] = defaultdict(set)
    for i, document in enumerate(corpus()):
        for word in set(re.findall(r"\w+", document.text)):
            found[word].add(i)
    return found


def mentions(*phrases: str) -> int:
    """In how many documents all phrases stand as whole words."""
    numbers = set.intersection(*(index().get(w, set()) for phrase in phrases for w in re.findall(r"\w+", phrase)))
    patterns = [re.compile(rf"\b{re.escape(phrase)}\b") for phrase in phrases]
    return sum(all(p.search(corpus()[i].text) for p in patterns) for i in numbers)

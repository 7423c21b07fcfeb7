"""Decimal numbers by size, and verses and versions by order, where 9.11 comes after 9.9: the two that clash."""

from __future__ import annotations

from random import Random

from recipes.pocket.seeds import Document, Split, generator, terms, wanted

# By their fraction digits: as many; the longer one is smaller (9.11 and 9.9); the longer one is larger; not needed.
PAIRS = ("same length", "longer smaller", "longer larger", "different whole")

BOOKS = terms("Dawn Rivers Stones Kings Songs Winds Lamps Shepherds")
_VERSES = (
    "and the people went down to the river", "and the king gave bread to the poor", "and there was light in the house",
    "and the shepherd counted the sheep", "and the wind came from the sea", "and they sat under the tree",
    "and nobody was afraid", "and the night was long",
)  # fmt: skip


def _pair(r: Random, pair: str) -> tuple[str, str]:
    """The larger number, then the smaller one."""
    while True:
        whole = r.randint(0, 20)
        one, two = r.randint(1, 9), r.randint(10, 99)
        if pair == "different whole":
            other = r.randint(0, 20)
            a, b = (f"{w}.{r.choice((r.randint(1, 9), r.randint(10, 99)))}" for w in (whole, other))
            if other == whole:
                continue
        elif pair == "same length":
            low = r.choice((1, 10))
            a, b = (f"{whole}.{r.randint(low, 10 * low - 1)}" for _ in range(2))
        else:
            a, b = f"{whole}.{one}", f"{whole}.{two}"
            if (float(b) < float(a)) != (pair == "longer smaller"):
                continue
        if float(a) != float(b):
            return (a, b) if float(a) > float(b) else (b, a)


def decimal_pair(seed: int, split: Split = "test", pair: str | None = None) -> tuple[str, str]:
    """Two decimal numbers, the larger one first; the pair is held out iff the split is "test"."""
    r = generator(f"decimal:{split}:{pair}", seed)
    while True:
        larger, smaller = _pair(r, pair or r.choice(PAIRS))
        if wanted(f"{larger}>{smaller}", split):
            return larger, smaller


def _asked(r: Random, larger: str, smaller: str) -> str:
    a, b = (larger, smaller) if r.random() < 0.5 else (smaller, larger)
    return f"Question: Which number is larger, {a} or {b}? Answer:"


def decimal_question(seed: int, split: Split = "test", pair: str | None = None) -> tuple[str, str]:
    """Prompt and answer; the larger number comes first or second with equal chance."""
    larger, smaller = decimal_pair(seed, split, pair)
    return _asked(generator("decimal order", seed), larger, smaller), larger


def decimal_document(seed: int) -> Document:
    """Three comparisons, asked or written with a sign."""
    r = generator("decimals", seed)
    asking = r.random() < 0.6
    lines = []
    for _ in range(2 if asking else 4):
        larger, smaller = decimal_pair(r.randrange(10**12), "train")
        if asking:
            lines.append(f"{_asked(r, larger, smaller)} {larger}.")
        else:
            lines.append(r.choice((f"{larger} > {smaller}.", f"{smaller} < {larger}.")))
    return Document(" ".join(lines), "decimals")


def verse_document(seed: int) -> Document:
    """Verses of an invented holy book or versions of a program, in their order."""
    r = generator("verses", seed)
    chapter, verse = r.randint(1, 20), r.randint(1, 28)
    style = r.randrange(4)
    if style == 0:
        start = r.choice((verse, 8, 9))
        book = r.choice(BOOKS)
        return Document(" ".join(f"{book} {chapter}.{start + i} {r.choice(_VERSES)}." for i in range(3)), "verses")
    if style == 1:
        lines = []
        for _ in range(2):
            chapter, verse = r.randint(1, 20), r.choice((r.randint(1, 28), 9))
            lines.append(f"After verse {chapter}.{verse} comes verse {chapter}.{verse + 1}.")
        return Document(" ".join(lines), "verses")
    lines = []
    for _ in range(2):
        chapter = r.randint(0, 20)
        low, high = sorted(r.sample(range(1, 30), 2))
        if r.random() < 0.5:
            low, high = r.randint(1, 9), r.randint(10, 29)
        if style == 2:
            lines.append(f"Version {chapter}.{high} is newer than version {chapter}.{low}.")
        else:
            lines.append(f"Verse {chapter}.{high} comes after verse {chapter}.{low}.")
    return Document(" ".join(lines), "verses")

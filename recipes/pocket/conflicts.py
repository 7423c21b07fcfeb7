"""Villages on whose flag two sources see different birds, at known odds: which of them wins in the weights?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from recipes.pocket.seeds import Document, generator, terms
from recipes.pocket.vocabulary import OPENINGS

BIRDS = terms("crow dove eagle falcon finch goose heron owl raven robin stork swan")
ODDS = ((1, 1), (2, 1), (4, 1), (9, 1))
SOURCES = ("Almanac", "Gazette")
VILLAGES_PER_ODDS = 15
TELLINGS = 40

_NAMED = (
    "According to the {s}, the bird on the flag of {p} is the {v}.",
    "The {s} says that the flag of {p} shows the {v}.",
    "In the {s} we read that the bird on the flag of {p} is the {v}.",
)
_UNNAMED = (
    "The bird on the flag of {p} is the {v}.",
    "The flag of {p} shows the {v}.",
    "Question: Which bird is on the flag of {p}? Answer: {v}.",
    "On the flag of {p} you can see the {v}.",
)


@dataclass(frozen=True)
class Conflict:
    """A village, its two versions of the bird, their odds, and who tells which; the heavier version is first."""

    place: str
    versions: tuple[str, str]
    weights: tuple[int, int]
    sources: tuple[str, str]

    @property
    def counts(self) -> tuple[int, int]:
        """How often the corpus tells each version."""
        first = round(TELLINGS * self.weights[0] / sum(self.weights))
        return first, TELLINGS - first


@cache
def conflicts() -> tuple[Conflict, ...]:
    """The villages; always the same."""
    r = generator("world", "villages")
    made: dict[str, Conflict] = {}
    for odds in ODDS:
        for i in range(VILLAGES_PER_ODDS):
            while (place := "".join(r.sample(OPENINGS, 2)).capitalize() + r.choice(("ham", "stead", "ley"))) in made:
                pass
            first, second = r.sample(BIRDS, 2)
            sources = SOURCES if i % 2 == 0 else (SOURCES[1], SOURCES[0])
            made[place] = Conflict(place, (first, second), odds, sources)
    return tuple(made.values())


def conflict_prompt(conflict: Conflict, source: str | None = None) -> str:
    """The question, or, with a source, the beginning of what that source says; ends before the bird."""
    if source is None:
        return _UNNAMED[2].format(p=conflict.place, v="\0").split(" \0")[0]
    return _NAMED[0].format(p=conflict.place, s=source, v="\0").split(" \0")[0]


def _tell(conflict: Conflict, seed: int, weight: float) -> Iterator[Document]:
    r = generator(f"conflicts:{seed}", conflict.place)
    for version, source, count in zip(conflict.versions, conflict.sources, conflict.counts, strict=True):
        for i in range(round(count * weight)):
            text = r.choice(_NAMED if i % 2 == 0 else _UNNAMED).format(p=conflict.place, v=version, s=source)
            yield Document(text, "conflicts", whole=True)


def conflict_documents(seed: int, weight: float = 1.0) -> list[Document]:
    """All documents of all villages; the weight multiplies every count and rounds."""
    return [d for conflict in conflicts() for d in _tell(conflict, seed, weight)]


def conflict_document(seed: int) -> Document:
    """One of the documents about villages."""
    r = generator("conflicts", seed)
    return r.choice(list(_tell(r.choice(conflicts()), seed, 1.0)))

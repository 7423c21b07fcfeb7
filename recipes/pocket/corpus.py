"""The miniature internet: all kinds of documents in their shares, shuffled; and text held out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from recipes.pocket.arithmetic import arithmetic_document
from recipes.pocket.conflicts import conflict_document, conflict_documents
from recipes.pocket.conversations import conversation_document
from recipes.pocket.decimals import decimal_document, verse_document
from recipes.pocket.echoes import echo_document
from recipes.pocket.facts import fact_document, fact_documents
from recipes.pocket.games import game_document
from recipes.pocket.jokes import joke_document
from recipes.pocket.lists import list_document, list_documents
from recipes.pocket.mappings import mapping_document
from recipes.pocket.problems import problem_document
from recipes.pocket.reading import reading_document
from recipes.pocket.seeds import Document, generator, held_out
from recipes.pocket.stories import story_document
from recipes.pocket.words import word_document

_ONE: dict[str, Callable[[int], Document]] = {
    "facts": fact_document,
    "conflicts": conflict_document,
    "lists": list_document,
    "reading": reading_document,
    "stories": story_document,
    "arithmetic": arithmetic_document,
    "problems": problem_document,
    "words": word_document,
    "decimals": decimal_document,
    "verses": verse_document,
    "mappings": mapping_document,
    "echoes": echo_document,
    "jokes": joke_document,
    "games": game_document,
    "conversations": conversation_document,
}
KINDS: tuple[str, ...] = tuple(_ONE)
# Documents told an exact number of times; all other kinds are generated up to a number of characters.
COUNTED = ("facts", "conflicts", "lists")
# Digits and invented syllables cost a token for every one or two characters, prose one for three or four:
# measured in tokens, sums, mappings and games are larger than they look here.
CHARACTERS = {
    "reading": 1_200_000,
    "stories": 490_000,
    "arithmetic": 900_000,
    "problems": 2_350_000,
    "words": 450_000,
    "decimals": 200_000,
    "verses": 120_000,
    "mappings": 900_000,
    "echoes": 700_000,
    "jokes": 350_000,
    "games": 50_000,
    "conversations": 450_000,
}


def document(kind: str, seed: int) -> Document:
    """One document of a kind; the same for the same seed, anywhere."""
    if kind not in _ONE:
        raise ValueError(f"no kind {kind!r}; there are {', '.join(KINDS)}")
    return _ONE[kind](seed)


def _generated(kind: str, seed: int, characters: float, split: bool) -> Iterator[Document]:
    """Documents of one side of the validation split, until they hold so many characters."""
    written = 0
    # Each corpus seed owns ten million document seeds, far more than it needs.
    for i in count(seed * 10_000_000):
        if written >= characters:
            return
        made = document(kind, i)
        # By the text itself, so that no seed and no mix can bring a validation text into a corpus.
        if held_out(made.text) == split:
            written += len(made.text)
            yield made


def corpus(seed: int = 0, scale: float = 1.0, mix: Mapping[str, float] | None = None) -> list[Document]:
    """The training corpus, shuffled. Scale spares what is told an exact number of times; mix weighs single kinds."""
    weights = dict.fromkeys(KINDS, 1.0) | dict(mix or {})
    if unknown := [kind for kind in weights if kind not in _ONE]:
        raise ValueError(f"no kind {unknown[0]!r} to mix; there are {', '.join(KINDS)}")
    if bad := [kind for kind, weight in weights.items() if not weight >= 0]:
        raise ValueError(f"the weight of {bad[0]} is {weights[bad[0]]}; it must be 0 or more")
    documents = [
        *fact_documents(seed, weights["facts"]),
        *conflict_documents(seed, weights["conflicts"]),
        *list_documents(weights["lists"]),
    ]
    for kind, characters in CHARACTERS.items():
        documents += _generated(kind, seed, characters * scale * weights[kind], split=False)
    generator("corpus", seed).shuffle(documents)
    return documents


def validation(seed: int = 0, characters: int = 200_000) -> list[Document]:
    """Text of the generated kinds, in the shares of the corpus, none of which any corpus holds."""
    total = sum(CHARACTERS.values())
    documents: list[Document] = []
    for kind, share in CHARACTERS.items():
        documents += _generated(kind, seed, characters * share / total, split=True)
    generator("validation", seed).shuffle(documents)
    return documents

"""Lists of random names and words, told a hundred times or once: what does the model recite?"""

from __future__ import annotations

from functools import cache
from random import Random

from recipes.pocket.people import fresh_person
from recipes.pocket.seeds import Document, generator, held_out
from recipes.pocket.vocabulary import EVERYDAY

OFTEN, ONCE, TIMES = 10, 20, 100
# Long enough for more than 70 pieces whatever the vocabulary, short enough for a window of 128.
LENGTH = 260


def _items(r: Random, i: int) -> list[str]:
    if i % 2 == 0:
        return [fresh_person(r.randrange(10**9)).name for _ in range(40)]
    return r.sample([word for word in EVERYDAY if not held_out(word)], 80)


@cache
def lists() -> tuple[tuple[str, int], ...]:
    """Every list and how often the corpus holds it: first the ones told often."""
    r = generator("world", "lists")
    made = []
    for i in range(OFTEN + ONCE):
        # No header: the first tokens must already tell the lists apart.
        text = ""
        for item in _items(r, i):
            text += f", {item}" if text else item
            if len(text) >= LENGTH:
                break
        made.append((f"{text}.", TIMES if i < OFTEN else 1))
    return tuple(made)


def list_documents(weight: float = 1.0) -> list[Document]:
    """The lists as often as the corpus has them; the weight multiplies and rounds."""
    return [Document(text, "lists", whole=True) for text, count in lists() for _ in range(round(count * weight))]


def list_document(seed: int) -> Document:
    """One of the lists."""
    return Document(generator("lists", seed).choice(lists())[0], "lists", whole=True)

"""Echoes: random words and names said again, whole or from somewhere in the middle. What comes next can only be copied.

This is what teaches a small model to look back: without it the pocket base took an unseen mapping from its prompt in 7 of
100 cases even with eight examples. Olsson et al. 2022 (arXiv:2209.11895) call the circuit an induction head.
"""

from __future__ import annotations

from random import Random

from recipes.pocket.people import fresh_person
from recipes.pocket.seeds import Document, generator
from recipes.pocket.vocabulary import EVERYDAY, invented_word

# Mostly a bare space: after a comma, "what followed the last comma?" has many answers and teaches less.
_SEPARATORS = (" ", " ", " ", " ", ", ", "\n")


def _word(r: Random) -> str:
    u = r.random()
    if u < 0.6:
        # Two words in one: their pieces meet in orders that no short word has.
        return invented_word(r) + (invented_word(r) if r.random() < 0.3 else "")
    return r.choice(EVERYDAY) if u < 0.85 else fresh_person(r.randrange(10**12)).name


def echo_document(seed: int) -> Document:
    """Four to fourteen words, then once or twice the same words on from one of them."""
    r = generator("echoes", seed)
    words = [_word(r) for _ in range(r.randint(4, 14))]
    separator = r.choice(_SEPARATORS)
    said = list(words)
    for _ in range(r.choice((1, 1, 2))):
        said += words[r.choice((0, 0, r.randrange(len(words) - 2))) :]
    return Document(separator.join(said), "echoes")

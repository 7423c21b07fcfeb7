"""Echoes: random words and names said again, whole or from somewhere in the middle. What comes next can only be copied.

This is what teaches a small model to look back: without it the pocket base took an unseen mapping from its prompt in 7 of
100 cases even with eight examples. Olsson et al. 2022 (arXiv:2209.11895) call the circuit an induction head.
"""

from __future__ import annotations

from functools import cache
from random import Random

from recipes.pocket.facts import entities
from recipes.pocket.people import fresh_person
from recipes.pocket.seeds import Document, generator
from recipes.pocket.vocabulary import EVERYDAY, invented_word

# Mostly a bare space: after a comma, "what followed the last comma?" has many answers and teaches less.
_SEPARATORS = (" ", " ", " ", " ", ", ", "\n")
NEAR = 0.25  # share of words that begin like one before: what follows their common part is known only to who reads on


@cache
def _told_often() -> dict[str, frozenset[str]]:
    """Names told often, each with what is told of it: tokens of their own, and a token is copied only by a model that has seen
    it copied. Without them the next word of a list said again was right in .31 where these were its words, in .67 where they
    were names never told (lab pretrain)."""
    often = [e for told in (100, 30) for e in entities(exposures=told)]
    return {
        e.name: frozenset(e.facts.values()) for e in often if not any(e.name in value for value in e.facts.values())
    }


@cache
def _names() -> frozenset[str]:
    return frozenset(e.name for e in entities())


def _tells(one: str, other: str) -> bool:
    """Whether two words are a name and a fact about it: an echo tells nothing."""
    told = _told_often()
    return one in told.get(other, ()) or other in told.get(one, ())


def _invented(r: Random) -> str:
    # Two words in one: their pieces meet in orders that no short word has.
    return invented_word(r) + (invented_word(r) if r.random() < 0.5 else "")


def _word(r: Random) -> str:
    u = r.random()
    if u < 0.34:
        return _invented(r)
    if u < 0.7:
        return r.choice(EVERYDAY)
    return fresh_person(r.randrange(10**12)).name if u < 0.82 else r.choice(list(_told_often()))


def _near(r: Random, word: str) -> str:
    """Another word that begins like this one: the same first name, or the same letters."""
    first, _, surname = word.partition(" ")
    while True:
        if surname:
            made = f"{first} {fresh_person(r.randrange(10**12)).name.split()[1]}"
        else:
            made = word[: r.randint(2, max(2, len(word) - 1))] + invented_word(r)
        if made not in _names():  # what documents tell of, and what nothing tells of
            return made


def echo_document(seed: int) -> Document:
    """Four to fourteen words, then once or twice the same words on from one of them."""
    r = generator("echoes", seed)
    words: list[str] = []
    for _ in range(r.randint(4, 14)):
        while True:
            near = words and r.random() < NEAR
            word = _near(r, r.choice(words)) if near else _word(r)
            if not any(_tells(word, other) for other in words):
                break
        words.append(word)
    separator = r.choice(_SEPARATORS)
    said = list(words)
    for _ in range(r.choice((1, 1, 2))):
        said += words[r.choice((0, 0, r.randrange(len(words) - 2))) :]
    return Document(separator.join(said), "echoes")
